"""A runtime keeps events and finds runs where the host says: any implementation of the ports will do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError
from stategraph.run.pauses import RunInterrupt
from stategraph.run.ports import ExecutionStatus, RunEvent
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.workers import imported
from stategraph.workers.agents.runtime import MultiProcessRuntime

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("hi")]}


class FileLog:
    """Writes each event to a file as a line of JSON, and has readers read the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.last_seq = len(path.read_text().splitlines()) if path.exists() else 0
        self.is_open = True
        self.is_full = False
        self.asked_for_room = 0
        self._changed = asyncio.Event()

    def begin(self) -> None:
        self.is_open = True

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        self.last_seq += 1
        kept = RunEvent(self.last_seq, event, data, metadata)
        with self.path.open("a") as file:
            file.write(kept.to_json() + "\n")
        self.is_full = self.last_seq % 3 == 0
        self._changed.set()
        self._changed = asyncio.Event()

    async def room(self) -> None:
        self.asked_for_room += 1
        self.is_full = False

    def let_go(self) -> None:
        self.is_full = False

    def end(
        self,
        status: ExecutionStatus,
        error: BaseException | None,
        interrupts: Sequence[RunInterrupt] = (),
        *,
        more: Mapping[str, object] | None = None,
    ) -> None:
        self.is_open = False
        self.put("on_run_end", {"status": status}, None)

    async def read(self, after_seq: int, *, owns: bool = False) -> AsyncGenerator[RunEvent, None]:
        while True:
            changed = self._changed
            lines = self.path.read_text().splitlines() if self.path.exists() else []
            for number, line in enumerate(lines[after_seq:], after_seq + 1):
                kept = json.loads(line)
                yield RunEvent(number, kept["event"], kept["data"])
            after_seq = len(lines)
            if not self.is_open and after_seq == self.last_seq:
                return
            await changed.wait()


class Board:
    """A directory that several runtimes share: an id that is used in one is refused in all."""

    def __init__(self, used: dict[str, Run]) -> None:
        self.used = used
        self.own: dict[str, Run] = {}

    async def check(self, run_id: str) -> None:
        await asyncio.sleep(0)
        if (known := self.used.get(run_id)) is not None and known.running:
            raise ConfigurationError(f"Run '{run_id}' goes on in some runtime")

    async def add(self, run: Run) -> None:
        await asyncio.sleep(0)
        self.used[run.id] = self.own[run.id] = run

    def get(self, run_id: str) -> Run | None:
        return self.own.get(run_id)

    def known(self, run_id: str) -> Run:
        if run_id not in self.own:
            raise LookupError(f"not on the board: {run_id}")
        return self.own[run_id]

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self.own.values()))

    async def is_running(self, run_id: str) -> bool:
        return self.used[run_id].running

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        going = self.used[run_id].running
        self.used[run_id].abort(reason)
        return going

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        async for event in self.used[run_id].attach(after_seq):
            yield event


def agent(*replies: Any) -> dict[str, Any]:
    return {"agent_id": "a", "model": ScriptedChatModel(replies=list(replies))}


def held() -> tuple[script.Gate, dict[str, Any]]:
    gate = script.Gate()
    return gate, agent(script.Reply((script.Text("one "), script.Hold(gate), script.Text("two"))))


async def test_events_are_kept_in_the_log_that_the_host_makes(tmp_path: Path) -> None:
    logs: dict[str, FileLog] = {}

    def log(run_id: str) -> FileLog:
        logs[run_id] = FileLog(tmp_path / run_id)
        return logs[run_id]

    async with asyncio.timeout(60), AgentRuntime(event_log=log) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello there, you.")])
        streamed = [event async for event in run.stream(ASK)]
        attached = [event async for event in runtime.attach("r", after_seq=2)]

    written = [json.loads(line)["event"] for line in (tmp_path / "r").read_text().splitlines()]
    assert [event.seq for event in streamed] == list(range(1, len(written) + 1))
    assert [event.event for event in streamed] == written
    assert attached == streamed[2:]
    assert (written.count("on_run_end"), written[-1]) == (1, "on_run_end")
    assert logs["r"].asked_for_room


async def test_a_run_that_comes_back_goes_on_with_the_numbers_of_its_log(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "checkpointer": in_memory_saver(),
        "event_log": lambda run_id: FileLog(tmp_path / run_id),
    }
    seen = 0
    for answer in ("First.", "Second."):
        async with asyncio.timeout(60), AgentRuntime(**settings) as runtime:
            run = await runtime.create_run(run_id="r", agents=[agent(answer)])
            numbers = [event.seq async for event in run.stream(ASK, {"configurable": {"thread_id": "t"}})]
        assert numbers == list(range(seen + 1, seen + len(numbers) + 1))
        seen = numbers[-1]


async def test_a_run_that_keeps_no_events_asks_for_no_log() -> None:
    def log(run_id: str) -> FileLog:
        raise AssertionError("a log was made")

    async with asyncio.timeout(60), AgentRuntime(event_log=log, event_log_size=0) as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent("Hello.")])
        await run.process_stream(ASK)
        with pytest.raises(ConfigurationError, match="keeps no events"):
            runtime.attach("r")


async def test_runs_are_found_where_the_host_keeps_them() -> None:
    used: dict[str, Run] = {}
    gate, waiting = held()
    async with (
        asyncio.timeout(60),
        AgentRuntime(runs=Board(used)) as one,
        AgentRuntime(runs=Board(used)) as other,
    ):
        run = await one.create_run(run_id="r", agents=[waiting])
        work = one.start(run, ASK)
        await gate.wait_reached_async()

        assert (one.get_run("r"), other.get_run("r")) == (run, None)
        assert one.statistics().runs_going == 1
        assert "1 runs known" in repr(one)
        with pytest.raises(ConfigurationError, match="'r' goes on in some runtime"):
            await other.create_run(run_id="r", agents=[agent("x")])
        with pytest.raises(LookupError, match="not on the board: r"):
            other.attach("r")

        assert await other.runs.cancel("r", "stopped from the other")
        with pytest.raises(AbortError, match="stopped from the other"):
            await work
        assert [event.event async for event in other.runs.events("r")][-1] == "on_run_end"
        assert not one.abort("r")


async def test_closing_a_runtime_aborts_what_its_directory_lists() -> None:
    gate, waiting = held()
    async with asyncio.timeout(60):
        async with AgentRuntime(runs=Board({})) as runtime:
            run = await runtime.create_run(run_id="r", agents=[waiting])
            work = runtime.start(run, ASK)
            await gate.wait_reached_async()
        assert work.done() and not run.running


async def test_runs_in_workers_are_kept_and_found_the_same_way(tmp_path: Path) -> None:
    there = {"agent_id": "a", "model": imported("tests.workers.agents:scripted", replies=["Hello."])}
    board = Board({})
    runtime = MultiProcessRuntime(
        backend="inline",
        workers=1,
        allow=["tests.workers"],
        runs=board,
        event_log=lambda run_id: FileLog(tmp_path / run_id),
    )
    async with asyncio.timeout(60), runtime:
        run = await runtime.create_run(run_id="r", agents=[there])
        streamed = [event async for event in run.stream(ASK)]

    written = [json.loads(line)["event"] for line in (tmp_path / "r").read_text().splitlines()]
    assert [event.event for event in streamed] == written
    assert board.get("r") is run
