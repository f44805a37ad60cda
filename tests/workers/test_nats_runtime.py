"""Runs on the workers of other machines: nodes that are killed, stopped and stalled, servers that go away."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError, MissingPackageError, TransferError, WorkerError
from stategraph.run.events.run_log import RunEvent
from stategraph.workers import imported
from stategraph.workers.agents.runtime import MultiProcessRuntime
from stategraph.workers.cluster import node as nodes
from stategraph.workers.cluster.pool import ClusterSettings, NatsPool
from stategraph.workers.cluster.serving import node_at
from stategraph.workers.nats.connection import NatsUnavailableError, close
from stategraph.workers.thread import ThreadPool
from tests.workers import agents
from tests.workers.agents import HOST_TOOL, agent
from tests.workers.nats_server import serving
from tests.workers.node_process import ACK_WAIT_S, LIMIT_S, node_process
from tests.workers.test_nats_pool import node_here
from tests.workers.waiting import until

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}
IN_THREADS = {"local": "thread"}

#: Nodes are lost at every so-manieth of their messages: each loss takes a second until it is noticed.
EVERY = int(os.environ.get("STATEGRAPH_TEST_EVERY", "9"))

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def host(url: str, cluster: dict[str, Any] | None = None, **settings: Any) -> AsyncIterator[MultiProcessRuntime]:
    """A runtime whose runs execute on nodes."""
    chosen = ClusterSettings(**{"ack_wait_s": ACK_WAIT_S, **(cluster or {})})
    given: dict[str, Any] = {"backend": "nats", "nats": url, "cluster": chosen, "allow": ["tests.workers"], **settings}
    async with MultiProcessRuntime(**given) as runtime:
        yield runtime


class HostTool:
    """A tool of the host that answers when it is told to.

    Attributes:
        asked: The calls, and their steps, in the order in which they came.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.opened = asyncio.Event()
        self._came = asyncio.Semaphore(0)

    async def handle(self, event: str, data: Any, metadata: Any, graph: Any) -> None:
        (call,) = data["toolCalls"]
        self.asked.append((call["id"], call["stepId"]))
        self._came.release()
        await self.opened.wait()
        data.resolve([{"toolCallId": call["id"], "content": "found"}])

    async def came(self) -> None:
        await limited(self._came.acquire())


async def limited(work: Any) -> Any:
    with anyio.fail_after(LIMIT_S):
        return await work


async def all_of(run: Any) -> list[RunEvent]:
    """All events of a run that has ended, whose numbers have no holes."""
    with anyio.fail_after(LIMIT_S):
        events = [event async for event in run.attach()]
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    return events


def attempts(events: list[RunEvent]) -> list[Any]:
    return [event.data["attempt"] for event in events if event.event == "run.attempt"]


def endings(events: list[RunEvent]) -> list[str]:
    """How the steps ended, each of which was opened and closed once."""
    opened = Counter(event.data["id"] for event in events if event.event == "on_run_step")
    closed = Counter(event.data["id"] for event in events if event.event == "on_run_step_closed")
    assert opened == closed and set(opened.values()) <= {1}
    return [event.data["status"] for event in events if event.event == "on_run_step_closed"]


def said(run: Any) -> list[tuple[type, str]]:
    return [(type(each), each.content) for each in run.get_run_messages()]


def noting(notes: Path) -> dict[str, Any]:
    """An agent that writes a word down, asks the host, and is done."""
    writes = ("write_down", {"file": str(notes), "word": "once"})
    tools = {"graph_tools": [agents.write_down], "tool_definitions": [HOST_TOOL]}
    return agent(["First.", writes], ["Then.", ("lookup", {})], "Done.", **tools)


NOTED = [
    (AIMessage, "First."),
    (ToolMessage, "once"),
    (AIMessage, "Then."),
    (ToolMessage, "found"),
    (AIMessage, "Done."),
]


async def test_a_run_whose_node_is_killed_goes_on_from_its_checkpoint(nats_url: str, tmp_path: Path) -> None:
    pytest.importorskip("langgraph.checkpoint.sqlite")
    store = f"sqlite:///{tmp_path}/runs.db"
    lookup, notes, heard = HostTool(), tmp_path / "notes", []
    handlers = {"on_tool_execute": lookup.handle, "run.attempt": lambda *given: heard.append(given[1]["attempt"])}
    async with host(nats_url, store=store) as runtime, node_process(nats_url) as doomed:
        run = await runtime.create_run(run_id="r", agents=[noting(notes)], custom_handlers=handlers)
        work = run.start(ASK, THREAD)
        await lookup.came()
        doomed.signal(signal.SIGKILL)
        async with node_process(nats_url):
            await lookup.came()
            lookup.opened.set()
            await limited(work)

        events = await all_of(run)
        (attempt,) = [event.data for event in events if event.event == "run.attempt"]
        assert attempt["attempt"] == 2 and "was lost while it held job 'r/1/" in attempt["reason"]
        assert events[-1].data["status"] == "completed" and set(endings(events)) == {"completed"}
        assert notes.read_text() == "once\n"
        assert len(lookup.asked) == 2 and len(set(lookup.asked)) == 1
        assert said(run) == NOTED and heard == [2]
        usage = [each.usage_metadata["output_tokens"] for each in run.get_run_messages() if isinstance(each, AIMessage)]
        assert usage == [1, 2, 3]


async def test_an_answer_that_was_cut_off_is_closed_and_written_anew(nats_url: str, tmp_path: Path) -> None:
    goes_on = tmp_path / "goes_on"
    model = imported("tests.workers.agents:halting", goes_on=str(goes_on))
    async with host(nats_url, IN_THREADS, checkpointer=in_memory_saver()) as runtime, node_process(nats_url) as doomed:
        run = await runtime.create_run(run_id="r", agents=[{"agent_id": "a", "model": model}], return_content=True)
        work = run.start(ASK, THREAD)
        with anyio.fail_after(LIMIT_S):
            async for event in run.attach():
                if event.event == "on_message_delta":
                    break
        doomed.signal(signal.SIGKILL)
        goes_on.touch()
        await runtime.pool.resize(1)
        assert await limited(work) == [{"type": "text", "text": "Whole."}]

        events = await all_of(run)
        assert endings(events) == ["failed", "completed"] and attempts(events) == [2]
        assert [event.data["index"] for event in events if event.event == "on_run_step"] == [0, 1]
        assert said(run) == [(AIMessage, "Whole.")]


@pytest.mark.parametrize(
    ("config", "settings", "way_out"),
    [
        ({}, {}, "give the runtime a 'store' or a 'checkpointer'"),
        ({"durability": "exit"}, {"checkpointer": in_memory_saver()}, "its durability is 'exit': leave it out"),
    ],
    ids=["nowhere", "exit"],
)
async def test_a_run_that_no_checkpoint_knows_of_is_not_begun_again(
    nats_url: str, tmp_path: Path, config: dict[str, Any], settings: dict[str, Any], way_out: str
) -> None:
    lookup, notes = HostTool(), tmp_path / "notes"
    async with host(nats_url, IN_THREADS, **settings) as runtime, node_process(nats_url) as doomed:
        handlers = {"on_tool_execute": lookup.handle}
        run = await runtime.create_run(run_id="r", agents=[noting(notes)], custom_handlers=handlers)
        work = run.start(ASK, {**THREAD, **config})
        await lookup.came()
        doomed.signal(signal.SIGKILL)
        await runtime.pool.resize(1)
        with pytest.raises(WorkerError, match=rf"was lost while it held job 'r/1/.*not begun again.*{way_out}"):
            await limited(work)

        events = await all_of(run)
        assert attempts(events) == [] and endings(events)[-1] == "failed"
        assert events[-1].data == {"status": "failed", "error": {"type": "WorkerError"}}
        assert notes.read_text() == "once\n" and len(lookup.asked) == 1


async def test_a_node_that_is_told_to_stop_gives_its_runs_back_unended(nats_url: str, tmp_path: Path) -> None:
    lookup, notes = HostTool(), tmp_path / "notes"
    async with host(nats_url, IN_THREADS, checkpointer=in_memory_saver()) as runtime:
        handlers = {"on_tool_execute": lookup.handle}
        run = await runtime.create_run(run_id="r", agents=[noting(notes)], custom_handlers=handlers)
        async with node_process(nats_url, "--drain", "0") as leaving:
            work = run.start(ASK, THREAD)
            await lookup.came()
            leaving.signal(signal.SIGTERM)
            assert await leaving.end() == 0
        assert run.running
        await runtime.pool.resize(1)
        await lookup.came()
        lookup.opened.set()
        await limited(work)

        events = await all_of(run)
        assert attempts(events) == [2] and set(endings(events)) == {"completed"}
        assert said(run) == NOTED and notes.read_text() == "once\n"
        assert (await runtime.health()).restarts == 0  # it was given back, not lost


async def test_a_node_that_stalls_past_its_time_writes_nothing_any_more_and_takes_other_runs(
    nats_url: str, tmp_path: Path
) -> None:
    lookup, notes = HostTool(), tmp_path / "notes"
    async with host(nats_url, checkpointer=in_memory_saver()) as runtime, node_process(nats_url) as stalled:
        pool = runtime.pool
        assert isinstance(pool, NatsPool)
        handlers = {"on_tool_execute": lookup.handle}
        run = await runtime.create_run(run_id="r", agents=[noting(notes)], custom_handlers=handlers)
        work = run.start(ASK, THREAD)
        await lookup.came()
        stalled.signal(signal.SIGSTOP)
        async with node_process(nats_url) as other:
            await lookup.came()
            lookup.opened.set()
            await limited(work)
            stalled.signal(signal.SIGCONT)
            await until(lambda: len(pool._seen) == 2 and not any(each.busy for each in pool._seen.values()))
            other.signal(signal.SIGTERM)
            await other.end()
        state = await run.graph.compiled.aget_state({"configurable": {"thread_id": "t"}})
        assert [(type(each), each.content) for each in state.values["messages"][1:]] == said(run) == NOTED
        assert attempts(await all_of(run)) == [2]

        after = await runtime.create_run(run_id="after", agents=[agent("Hello.")])
        await limited(after.process_stream(ASK))
        assert said(after) == [(AIMessage, "Hello.")]
        assert (await runtime.health()).restarts == 1


async def test_an_answer_that_a_tool_has_taken_is_not_asked_for_again(nats_url: str, tmp_path: Path) -> None:
    notes, goes_on = tmp_path / "notes", tmp_path / "goes_on"
    given = {"question": "How?", "file": str(notes), "goes_on": str(goes_on)}
    asking = agent(["", ("ask_then_wait", given)], "Thanks.", tools=[agents.ask_then_wait])
    async with host(nats_url, IN_THREADS, checkpointer=in_memory_saver()) as runtime, node_process(nats_url) as doomed:
        run = await runtime.create_run(run_id="r", agents=[asking], human_in_the_loop={"enabled": True})
        await limited(run.process_stream(ASK, THREAD))
        assert run.get_interrupt() is not None
        work = asyncio.ensure_future(run.resume({"answer": "slowly"}, THREAD))
        await until(notes.exists)
        doomed.signal(signal.SIGKILL)
        await runtime.pool.resize(1)
        await until(lambda: notes.read_text() == "slowly\nslowly\n")  # the tool was not done, and runs again
        goes_on.touch()
        await limited(work)

        assert run.get_interrupts() == []
        assert said(run) == [(AIMessage, ""), (ToolMessage, "They said slowly"), (AIMessage, "Thanks.")]
        assert attempts(await all_of(run)) == [2]


async def test_a_run_goes_on_wherever_its_worker_is_lost(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receive, to_come, lost = nodes.RelayedJob.receive, 0, set[nodes.RelayedJob]()

    def receive_or_lose(self: nodes.RelayedJob, message: Any) -> None:
        """Lose a message and all after it; the worker is taken for dead when it has stopped."""
        nonlocal to_come
        ends = message[0] in ("done", "failed", "cancelled")
        to_come -= self not in lost
        if to_come == 0 and self not in lost:
            lost.add(self)
            if not ends:
                self.send(("superseded", self.job.id))
                self.send(("cancel", self.job.id, None))
        if self not in lost:
            receive(self, message)
        elif ends:
            self.fail(WorkerError(f"Worker 'thread-1' was killed, while it held job '{self.job.id}'"))

    monkeypatch.setattr(nodes.RelayedJob, "receive", receive_or_lose)
    at_once = {**IN_THREADS, "ack_wait_s": 2 * LIMIT_S}  # who waits for the server to deliver the job again is too late
    async with host(nats_url, at_once, workers=1, checkpointer=in_memory_saver()) as runtime:
        for number in itertools.count(1):
            lookup, notes, to_come = HostTool(), tmp_path / f"notes {number}", number
            lookup.opened.set()
            handlers = {"on_tool_execute": lookup.handle}
            run = await runtime.create_run(run_id=f"r{number}", agents=[noting(notes)], custom_handlers=handlers)
            await limited(run.process_stream(ASK, {"configurable": {"thread_id": f"t{number}"}}))

            events = await all_of(run)
            assert said(run) == NOTED
            assert len(lookup.asked) <= 2 and len(set(lookup.asked)) == 1
            assert set(notes.read_text().split()) == {"once"} and len(notes.read_text().split()) <= 2
            assert set(endings(events)) <= {"completed", "failed"}
            if to_come > 0:  # it said less than that
                break
            assert attempts(events) == [2]
    assert number > 50


@asynccontextmanager
async def node_that_is_cut_off(url: str, after: int) -> AsyncIterator[asyncio.Event]:
    """A node that neither says nor hears anything after so many messages to its host, as if it were killed."""
    workers, cut = ThreadPool(1, allow=["tests.workers"], grace_s=0.1), asyncio.Event()
    async with workers, node_at(url, workers, nodes.NodeSettings(drain_s=0.0), ack_wait_s=ACK_WAIT_S) as node:
        session, publish, said = node._queue.session, node._queue.session.publish, 0

        async def publish_until_cut(subject: str, data: bytes, reply: str = "") -> None:
            nonlocal said
            said += subject.endswith(".frames")
            if said > after and not cut.is_set():
                cut.set()
                session._is_closing = True
                session._up.clear()
                if session._client is not None:
                    await close(session._client)
            await publish(subject, data, reply)

        session.publish = publish_until_cut  # type: ignore[method-assign]
        running = asyncio.ensure_future(node.run())
        try:
            yield cut
        finally:
            node.stop()
            await asyncio.wait([running])


async def test_a_run_goes_on_wherever_its_node_is_lost(
    nats_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nodes, "GIVING_BACK_S", 0.1)
    async with host(nats_url, checkpointer=in_memory_saver()) as runtime:
        for number in itertools.count(1, EVERY):
            lookup, notes = HostTool(), tmp_path / f"notes {number}"
            lookup.opened.set()
            handlers = {"on_tool_execute": lookup.handle}
            run = await runtime.create_run(run_id=f"r{number}", agents=[noting(notes)], custom_handlers=handlers)
            async with node_that_is_cut_off(nats_url, number) as cut:
                work = run.start(ASK, {"configurable": {"thread_id": f"t{number}"}})
                await until(lambda cut=cut, work=work: cut.is_set() or work.done())  # type: ignore[misc]
                is_over = work.done()
                async with node_here(nats_url):
                    await limited(work)

            events = await all_of(run)
            assert said(run) == NOTED
            assert len(lookup.asked) <= 2 and len(set(lookup.asked)) == 1
            assert set(notes.read_text().split()) == {"once"} and len(notes.read_text().split()) <= 2
            assert set(endings(events)) <= {"completed", "failed"}
            assert attempts(events) in ([], [2])  # none: the end was said before
            if is_over:  # it said less than that
                break
    assert number > 25


@pytest.fixture
def unheard_end(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The first end of a job that a worker tells its node, which takes the worker for dead before it hears it."""
    receive, lost = nodes.RelayedJob.receive, list[str]()

    def receive_or_lose(self: nodes.RelayedJob, message: Any) -> None:
        if message[0] in ("done", "failed") and not lost:
            lost.append(message[0])
            self.fail(WorkerError(f"Worker 'thread-1' was killed, while it held job '{self.job.id}'"))
        else:
            receive(self, message)

    monkeypatch.setattr(nodes.RelayedJob, "receive", receive_or_lose)
    return lost


@pytest.mark.parametrize("durability", ["sync", "exit"])
async def test_a_run_whose_end_was_not_heard_is_not_done_again(
    nats_url: str, tmp_path: Path, unheard_end: list[str], durability: str
) -> None:
    lookup, notes = HostTool(), tmp_path / "notes"
    lookup.opened.set()
    async with host(nats_url, IN_THREADS, workers=1, checkpointer=in_memory_saver()) as runtime:
        handlers = {"on_tool_execute": lookup.handle}
        run = await runtime.create_run(
            run_id="r", agents=[noting(notes)], custom_handlers=handlers, return_content=True
        )
        parts = await limited(run.process_stream(ASK, {**THREAD, "durability": durability}))

        events = await all_of(run)
        assert unheard_end == ["done"] and attempts(events) == [2] and set(endings(events)) == {"completed"}
        assert said(run) == NOTED and notes.read_text() == "once\n" and len(lookup.asked) == 1
        assert [part["type"] for part in parts] == ["text", "tool_call", "text", "tool_call", "text"]
        assert Counter(event.event for event in events)["on_chat_model_end"] == 3


async def test_a_question_that_was_not_heard_is_asked_by_the_next_attempt(
    nats_url: str, unheard_end: list[str]
) -> None:
    asking = agent(["", ("ask", {"question": "How?"})], "Thanks.", tools=[agents.ask])
    async with host(nats_url, IN_THREADS, workers=1, checkpointer=in_memory_saver()) as runtime:
        run = await runtime.create_run(run_id="r", agents=[asking], human_in_the_loop={"enabled": True})
        await limited(run.process_stream(ASK, THREAD))
        assert unheard_end == ["done"]
        (waits,) = run.get_interrupts()
        assert waits.payload["question"]["question"] == "How?"  # type: ignore[index]
        await limited(run.resume({"answer": "slowly"}, THREAD))
        assert run.get_run_messages()[-1].content == "Thanks."
        assert "They said slowly" in str(run.get_run_messages()[1].content)
        assert set(endings(await all_of(run))) == {"completed"}


async def test_an_error_that_was_not_heard_ends_the_run_with_one_that_says_so(
    nats_url: str, unheard_end: list[str]
) -> None:
    async with host(nats_url, IN_THREADS, workers=1, checkpointer=in_memory_saver()) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent(["", ("fail", {})], tools=[agents.fail])])
        with pytest.raises(WorkerError, match=r"Worker 'thread-1' was killed, .*, after the end of run 'r'"):
            await limited(run.process_stream(ASK, THREAD))  # the model has no second answer
        events = await all_of(run)
        assert unheard_end == ["failed"] and attempts(events) == []
        assert [type(each) for each in run.get_run_messages()] == [AIMessage, ToolMessage]


async def test_a_run_is_given_up_when_its_attempts_are_used_up(nats_url: str) -> None:
    async with host(nats_url, {"max_attempts": 1}, workers=1, checkpointer=in_memory_saver()) as runtime:
        deadly = agent(["", ("die", {})], "Alive.", tools=[agents.die])
        run = await runtime.create_run(run_id="r", agents=[deadly])
        with pytest.raises(WorkerError, match=r"was given up: Worker 'process-1' .*SIGKILL.*begun 1 times"):
            await limited(run.process_stream(ASK, THREAD))
        events = await all_of(run)
        assert endings(events) == ["completed", "failed"] and attempts(events) == []


async def test_a_server_that_goes_away_and_comes_back_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    lookup, notes = HostTool(), tmp_path / "notes"
    with serving() as server:
        async with host(server.url, IN_THREADS, workers=1, checkpointer=in_memory_saver()) as runtime:
            pool = runtime.pool
            assert isinstance(pool, NatsPool)
            handlers = {"on_tool_execute": lookup.handle}
            run = await runtime.create_run(run_id="r", agents=[noting(notes)], custom_handlers=handlers)
            work = run.start(ASK, THREAD)
            await lookup.came()
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            lookup.opened.set()  # the answer waits for the server
            await anyio.to_thread.run_sync(server.start)
            await limited(work)

            events = await all_of(run)
            assert attempts(events) == [] and set(endings(events)) == {"completed"}
            assert said(run) == NOTED and len(lookup.asked) == 1 and notes.read_text() == "once\n"


async def test_a_run_while_the_server_is_away_waits_is_aborted_or_fails_in_a_sentence() -> None:
    with serving() as server:
        async with host(server.url, {"submit_s": 0.2, **IN_THREADS}, workers=1) as runtime:
            pool = runtime.pool
            assert isinstance(pool, NatsPool)
            run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
            await anyio.to_thread.run_sync(server.stop)
            await until(lambda: not pool.session.is_up)
            with pytest.raises(NatsUnavailableError, match=r"has been away for 0\.2 s"):
                await limited(run.process_stream(ASK))
            assert (await all_of(run))[-1].data == {"status": "failed", "error": {"type": "NatsUnavailableError"}}
            waiting = run.start(ASK)
            await asyncio.sleep(0)
            run.abort("never mind")
            with pytest.raises(AbortError, match="never mind"):
                await limited(waiting)

            await anyio.to_thread.run_sync(server.start)
            await until(lambda: pool.session.is_up)
            await limited(run.process_stream(ASK))
            assert said(run) == [(AIMessage, "Hello.")]


async def test_nothing_of_a_run_is_on_the_disk_of_the_server_while_it_waits(nats_url: str) -> None:
    model = imported("tests.workers.agents:scripted", replies=["S3CRET reply"])
    async with host(nats_url, store=None) as runtime:
        pool = runtime.pool
        assert isinstance(pool, NatsPool)
        told = {"agent_id": "a", "model": model, "instructions": "S3CRET rules"}
        run = await runtime.create_run(run_id="r", agents=[told])
        work = run.start({"messages": [HumanMessage("S3CRET question")]})
        await until(lambda: any(each.number for each in pool._placed.values()))
        waiting = await pool.session.jetstream(lambda js: js.get_msg(pool.queue._jobs, 1))
        assert b"stategraph.workers.agents.agent_runs:execute" in waiting.data and b"S3CRET" not in waiting.data
        run.abort()
        with pytest.raises(AbortError):
            await limited(work)


async def test_handlers_may_be_registered_while_a_run_waits_for_a_node(nats_url: str) -> None:
    heard: list[str] = []
    async with host(nats_url, IN_THREADS) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        work = run.start(ASK)
        await asyncio.sleep(0)
        run.handler_registry.register("on_run_step", lambda *given: heard.append(given[1]["id"]))
        await runtime.pool.resize(1)
        await limited(work)
        assert len(heard) == 1 == len(endings(await all_of(run)))


async def test_runs_wait_in_the_queue_of_their_tenant(nats_url: str) -> None:
    async with (
        host(nats_url, {"tenant": "acme"}, queue="gpu") as runtime,
        host(nats_url, {"tenant": "acme", **IN_THREADS}, workers=1),
        host(nats_url, {"queues": ["gpu"], **IN_THREADS}, workers=1),
    ):
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        work = run.start(ASK)
        await until(lambda: runtime.worker_statistics().submitted == 1)
        assert (await runtime.health()).queued == 1
        async with node_process(nats_url, "--tenant", "acme", "--queue", "gpu"):
            await limited(work)
        assert said(run) == [(AIMessage, "Hello.")]


async def test_a_node_replaces_its_processes_as_it_was_told(nats_url: str) -> None:
    processes = set()
    where = agent(["", ("process", {})], "Done.", tools=[agents.process])
    async with host(nats_url) as runtime, node_process(nats_url, "--max-jobs", "1", "--memory-limit", "2048"):
        for name in ("one", "two"):
            run = await runtime.create_run(run_id=name, agents=[where])
            await limited(run.process_stream(ASK))
            processes.add(run.get_run_messages()[1].content)
    assert len(processes) == 2


async def test_workers_of_the_host_take_runs_beside_nodes(nats_url: str) -> None:
    async with host(nats_url, workers=1, memory_limit_mb=2_048, pass_environment=["HOME"]) as runtime:
        run = await runtime.create_run(
            run_id="r", agents=[agent(["", ("process", {})], "Done.", tools=[agents.process])]
        )
        await limited(run.process_stream(ASK))
        (worker,) = runtime.worker_statistics().workers
        assert run.get_run_messages()[1].content == str(worker.pid)


# Errors.


async def test_a_node_runs_no_code_that_it_was_not_told_of(nats_url: str) -> None:
    model = imported("stategraph.testing.chat_model:ScriptedChatModel", replies=["Hello."])
    async with host(nats_url) as runtime, node_process(nats_url):
        run = await runtime.create_run(run_id="r", agents=[{"agent_id": "a", "model": model}])
        with pytest.raises(TransferError, match=r"which this worker may not import; it may import .*tests\.workers"):
            await limited(run.process_stream(ASK))


async def test_a_checkpointer_that_each_node_would_make_is_refused(nats_url: str) -> None:
    saver = imported("stategraph.engine.checkpoints.memory:in_memory_saver")
    async with host(nats_url) as runtime:
        with pytest.raises(
            ConfigurationError, match=r"run 'r' is made by .*in_memory_saver' in each worker, and a node"
        ):
            await runtime.create_run(run_id="r", agents=[agent("x")], checkpointer=saver)


async def test_a_runtime_whose_server_is_away_is_not_open_and_can_be_opened_later() -> None:
    with serving() as server:
        url = server.url
        runtime = MultiProcessRuntime(backend="nats", nats=url, store="sqlite:///:memory:")
        await anyio.to_thread.run_sync(server.stop)
        with pytest.raises(NatsUnavailableError, match="cannot be reached: Connection refused"):
            async with runtime:
                raise AssertionError("it was opened")
        await anyio.to_thread.run_sync(server.start)
        async with runtime:
            assert (await runtime.health()).workers == 0


async def test_the_package_that_is_missing_is_named(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nats.aio.client", None)
    with pytest.raises(MissingPackageError, match=r"stategraph\[nats\]"):
        async with host(nats_url):
            raise AssertionError("it was opened")


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"backend": "nats"}, r"'nats' needs the address of a server: .*nats='nats://127\.0\.0\.1:4222'"),
        ({"backend": "nats", "nats": "127.0.0.1"}, "An address of NATS begins with 'nats://'"),
        ({"backend": "nats", "nats": "nats://far.example.com"}, "is on another machine"),
        ({"nats": "nats://127.0.0.1"}, "'nats' was given, and would have no effect: it is for the backend 'nats'"),
        ({"queue": "gpu"}, "'queue' was given, and would have no effect"),
        ({"cluster": ClusterSettings()}, "'cluster' was given, and would have no effect"),
        (
            {"backend": "nats", "nats": "nats://127.0.0.1", "memory_limit_mb": 512},
            r"'memory_limit_mb' was given, .* for workers of this process, and there are none: nodes have settings",
        ),
        (
            {"backend": "nats", "nats": "nats://127.0.0.1", "max_concurrency_per_worker": 2},
            "'max_concurrency_per_worker' was given, and would have no effect",
        ),
        (
            {
                "backend": "nats",
                "nats": "nats://127.0.0.1",
                "workers": 1,
                "cluster": ClusterSettings(local="thread"),
                "memory_limit_mb": 512,
            },
            r"'memory_limit_mb' was given, .* for workers in processes, and these are of the kind 'thread'",
        ),
        ({"backend": "thread", "memory_limit_mb": 512}, "'memory_limit_mb' was given, and would have no effect"),
        ({"backend": "inline", "pass_environment": ["KEY"]}, "'pass_environment' was given, and would have no effect"),
    ],
)
async def test_settings_that_make_no_sense_or_have_no_effect_are_refused(settings: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        MultiProcessRuntime(**settings)


async def test_secrets_are_not_shown() -> None:
    runtime = MultiProcessRuntime(backend="nats", nats="tls://s3cret@far.example.com")

    assert "s3cret" not in repr(vars(runtime)) + repr(runtime)
