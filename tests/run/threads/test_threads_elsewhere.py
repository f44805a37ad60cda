"""Threads of other graphs, of workers, of scripts, of processes that died, and rows of a registry."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from stategraph import AgentInputs, AgentRuntime, Command, DeltaChannel, MessagesState, StateGraph, interrupt
from stategraph import messages_delta_reducer as delta_reducer
from stategraph.errors import ConfigurationError
from stategraph.run.threads.indexes import index_of
from stategraph.run.threads.keeping import now_s
from stategraph.run.threads.rules import HELD_S
from stategraph.run.threads.values import ThreadQuery
from stategraph.testing import ScriptedChatModel
from stategraph.workers.agents.runtime import MultiProcessRuntime
from stategraph.workers.registry.runs import RunRegistry
from tests.run.threads.conftest import Savers
from tests.workers import agents

ROOT = Path(__file__).resolve().parents[3]
ASK = {"messages": [HumanMessage("hi", id="h1")]}
LIMIT_S = 60


def named(thread_id: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": thread_id}}


def agent(*replies: Any) -> AgentInputs:
    return AgentInputs(agent_id="a", model=ScriptedChatModel(replies=list(replies)))


# Other graphs.


class Conversation(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(delta_reducer)]
    topic: str


class Snapshots(TypedDict):
    messages: Annotated[list[AnyMessage], DeltaChannel(delta_reducer, snapshot_frequency=1)]
    topic: str


def answering(state: Any, saver: Any) -> Any:
    """A graph that is no agent's: it answers with the number of messages, and asks about long conversations."""

    def answer(given: Any) -> Any:
        count = len(given["messages"])
        text = str(interrupt("go on?")) if count > 2 else str(count)
        return {"messages": [AIMessage(text, id=f"answer {count}")]}

    builder = StateGraph(state).add_node("answer", answer)
    return builder.set_entry_point("answer").set_finish_point("answer").compile(checkpointer=saver)


@pytest.mark.anyio
@pytest.mark.parametrize("state", [MessagesState, Conversation, Snapshots], ids=["messages", "delta", "snapshots"])
async def test_threads_of_any_graph_are_read_and_copied(saver: Any, state: Any) -> None:
    graph = answering(state, saver)
    await graph.ainvoke({"messages": [HumanMessage("one", id="h1")]}, named("t"))
    await graph.ainvoke({"messages": [HumanMessage("two", id="h2")]}, named("t"))
    async with AgentRuntime(checkpointer=saver) as runtime:
        view = await runtime.threads.get("t")
        assert [each.id for each in view.messages] == ["h1", "answer 1", "h2"]
        assert view.values["messages"] == view.messages
        assert [each.payload for each in view.interrupts] == ["go on?"]
        await runtime.threads.fork("t", new_thread_id="copy")
        for name, word in (("t", "here"), ("copy", "there")):
            done = await graph.ainvoke(Command(resume=word), named(name))
            assert [each.content for each in done["messages"]] == ["one", "1", "two", word]


@pytest.mark.anyio
async def test_another_graphs_thread_is_forked_at_the_message_that_ends_a_checkpoint(saver: Any) -> None:
    class Topical(MessagesState):
        topic: str

    graph = answering(Topical, saver)
    await graph.ainvoke({"messages": [HumanMessage("one", id="h1")], "topic": "x"}, named("t"))
    await graph.ainvoke({"messages": [HumanMessage("two", id="h2"), HumanMessage("three", id="h3")]}, named("t"))
    async with AgentRuntime(checkpointer=saver) as runtime:
        copy = await runtime.threads.fork("t", message_id="answer 1")
        view = await runtime.threads.get(copy.id)
        assert [each.id for each in view.messages] == ["h1", "answer 1"]
        assert view.values["topic"] == "x"
        with pytest.raises(ConfigurationError, match="none of its checkpoints ends with message 'h2'"):
            await runtime.threads.fork("t", message_id="h2")


@pytest.mark.anyio
async def test_a_lasting_nested_graph_is_copied_with_its_thread(saver: Any) -> None:
    class Counted(TypedDict):
        count: int

    def add(state: Counted) -> Any:
        return {"count": state.get("count", 0) + 1}

    inner = StateGraph(Counted).add_node("add", add).set_entry_point("add").set_finish_point("add")
    counter = inner.compile(checkpointer=True)

    async def outer(state: MessagesState) -> Any:
        counted = await counter.ainvoke({})
        return {"messages": [AIMessage(str(counted["count"]))]}

    builder = StateGraph(MessagesState).add_node("outer", outer)
    graph = builder.set_entry_point("outer").set_finish_point("outer").compile(checkpointer=saver)
    await graph.ainvoke(ASK, named("t"))
    await graph.ainvoke(ASK, named("t"))
    async with AgentRuntime(checkpointer=saver) as runtime:
        await runtime.threads.fork("t", new_thread_id="copy")
    for name in ("copy", "t"):
        assert (await graph.ainvoke(ASK, named(name)))["messages"][-1].content == "3"


@pytest.mark.anyio
async def test_what_a_summary_tells_of_messages_that_a_fork_leaves_out_is_left_out_too(saver: Any) -> None:
    async with AgentRuntime(checkpointer=saver) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("One.")])
        await run.process_stream(ASK, named("t"))
        answer = (await runtime.threads.get("t")).messages[-1]
        for name, covers in (("later", answer.id), ("earlier", "h1"), ("gone", "a message before")):
            summary = {"text": "x", "tokens": 1, "version": 1, "covers": covers}
            windows = {"a": {"summary": summary, "writes": 9}}
            counts = {"a": {"writes": 9, "counts": {"h1": 3}}, "b": {"writes": 9, "counts": {"h1": 4}}}
            update = {"windows": windows, "counts_1": counts}
            await run.graph.compiled.aupdate_state(named("t"), update, as_node="done")
            windows["a"]["writes"] += 1
            copy = await runtime.threads.fork("t", message_id="h1")
            values = (await runtime.threads.get(copy.id)).values
            assert bool(values.get("windows")) is (name != "later"), name
            assert (values.get("counts_1") or {}) == ({} if name == "later" else {"a": counts["a"]})


# Scripts, workers.


def test_a_script_looks_after_its_threads_in_a_database_by_its_address(tmp_path: Path) -> None:
    runtime = AgentRuntime(checkpointer=f"sqlite:///{tmp_path / 'threads.db'}")
    for number in range(2):
        with runtime:
            run = runtime.create_run_sync(run_id=str(number), agents=[agent("Hello.")])
            run.run_sync(ASK, named(f"t{number}"))
            runtime.threads_sync.rename(f"t{number}", f"Number {number}")
    with runtime:
        assert [each.title for each in runtime.threads_sync.list().threads] == ["Number 1", "Number 0"]
        runtime.threads_sync.erase("t0")
        assert [each.title for each in runtime.threads_sync.search("number").threads] == ["Number 1"]
    with pytest.raises(ConfigurationError, match="The runtime is closed, and so is its checkpointer"):
        runtime.threads_sync.list()
    with pytest.raises(
        ConfigurationError, match="give it a checkpointer, or a MultiProcessRuntime a store, and open it"
    ):
        AgentRuntime(checkpointer="sqlite:///x.db").threads_sync.list()
    with pytest.raises(ConfigurationError, match="opens its checkpointer and is not open"):
        AgentRuntime(checkpointer="sqlite:///x.db").create_run_sync(run_id="r", agents=[agent("Hello.")])


@pytest.mark.anyio
async def test_threads_of_runs_on_workers(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'threads.db'}"
    async with MultiProcessRuntime(store=store, workers=1, backend="thread", allow=["tests.workers"]) as runtime:
        await runtime.threads.create("t", title="Tides", owner="ada")
        run = await runtime.create_run(run_id="r", agents=[agents.agent("Hello.")])
        await run.process_stream(ASK, named("t"))
        (listed,) = (await runtime.threads.list(owner="ada")).threads
        assert (listed.id, listed.status) == ("t", "idle")
        assert listed.updated_at > listed.created_at
        copy = await runtime.threads.fork("t")
        assert [each.content for each in (await runtime.threads.get(copy.id)).messages] == ["hi", "Hello."]
        assert (await runtime.threads.erase("t")).runs == 1


def test_a_script_has_its_runs_executed_by_a_process(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'threads.db'}"
    with MultiProcessRuntime(store=store, workers=1, allow=["tests.workers"]) as runtime:
        run = runtime.create_run_sync(run_id="r", agents=[agents.agent("Hello.")])
        assert [event.event for event in run.stream_sync(ASK, named("t"))][-1] == "on_run_end"
        view = runtime.threads_sync.get("t")
        assert ([each.content for each in view.messages], view.thread.status) == (["hi", "Hello."], "idle")


# A process that dies.


DYING = """
import asyncio, os, signal, sys
from stategraph import AgentInputs, AgentRuntime
from stategraph.testing import ScriptedChatModel

async def main():
    agent = AgentInputs(agent_id="a", model=ScriptedChatModel(replies=["Hello."]))
    die = {"on_message_delta": lambda *_: os.kill(os.getpid(), signal.SIGKILL)}
    async with AgentRuntime(checkpointer=sys.argv[1], custom_handlers=die, thread_index=True) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent])
        await run.process_stream({"messages": [("user", "hi")]}, {"configurable": {"thread_id": "t"}})

asyncio.run(main())
"""


def dying(folder: Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", DYING, f"sqlite:///{folder / 'threads.db'}"]
    return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S, check=False)


@pytest.mark.anyio
async def test_a_thread_is_listed_although_its_process_died_before_the_first_checkpoint(tmp_path: Path) -> None:
    savers = Savers("sqlite", f"sqlite:///{tmp_path / 'threads.db'}")
    done = dying(tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    async with savers.open() as saver, AgentRuntime(checkpointer=saver) as runtime:
        view = await runtime.threads.get("t")
        assert (view.checkpoint_id, view.thread.status) == (None, "running")
        with pytest.raises(ConfigurationError, match="run 'r' goes on in it"):
            await runtime.threads.delete("t")
        later = ThreadQuery(status="unfinished", now=now_s() + HELD_S)
        assert [row.id for row in await index_of(saver).find(later)] == ["t"]
        run = await runtime.create_run(run_id="r2", agents=[agent("Hello again.")])
        await run.process_stream(ASK, named("t"))
        assert (await runtime.threads.info("t")).status == "idle"


# A registry.


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_registry_erases_the_runs_of_a_thread(kind: str, tmp_path: Path, request: Any) -> None:
    url = f"sqlite:///{tmp_path / 'runs.db'}" if kind == "sqlite" else request.getfixturevalue("postgres")
    registry = RunRegistry.from_url(url, bus="polling")
    try:
        for thread in ("t", "other"):
            run_id = await registry.submit(thread, "input", target="app:graph")
            claimed = await registry.claim_run("me", run_id)
            assert claimed is not None
            if thread == "t":
                async with AgentRuntime(checkpointer=Savers("memory", "")._saver) as runtime:
                    with pytest.raises(ConfigurationError, match=f"run '{run_id}' is running on it"):
                        await runtime.threads.erase("t", also=[registry])
            await registry.finish(claimed.lease, "success")
        async with AgentRuntime(checkpointer=Savers("memory", "")._saver) as runtime:
            assert (await runtime.threads.erase("t", also=[registry])).runs == 1
        assert [run.thread_id for run in await registry.list()] == ["other"]
        assert list(await registry.events_after(run_id, 0, 9))
    finally:
        await registry.aclose()
