"""Saves on their way to the saver: their order, what a failing one stops, and who waits for whom."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import START
from stategraph.core.effects import SaveCheckpoint, SaveWrites
from stategraph.engine.checkpoints import saving
from stategraph.engine.checkpoints.saving import AsyncSaves, SaveCalls, Saves
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.graph.state import StateGraph

if TYPE_CHECKING:
    from tests.conftest import Driver

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


class Counted(TypedDict):
    n: int


class Refused(Exception):
    """The saver does not want to."""


class Saver:
    """Keeps what it is given; may wait, and may refuse a number."""

    def __init__(self) -> None:
        self.saved: list[int] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.refuses: dict[int, BaseException] = {}

    def put(self, number: int) -> None:
        self.threads.add(threading.get_ident())
        assert self.gate.wait(30)
        if number in self.refuses:
            raise self.refuses[number]
        self.saved.append(number)

    put_writes = put

    async def aput(self, number: int) -> None:
        await asyncio.to_thread(self.gate.wait, 30)
        self.put(number)

    aput_writes = aput


class Together(Saver):
    """Stores several saves at once, up to the first that it refuses."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def put_together(self, saves: Sequence[Any]) -> int:
        numbers = [args[0] for _, args in saves]
        stored = next((at for at, number in enumerate(numbers) if number in self.refuses), len(numbers))
        for number in numbers[: stored or 1]:
            self.put(number)
        self.batches.append(stored)
        return stored

    async def aput_together(self, saves: Sequence[Any]) -> int:
        await asyncio.to_thread(self.gate.wait, 30)
        return self.put_together(saves)


class InMemory(Saver, InMemorySaver):
    """One that is called in place only if it is no subclass."""


class Calls:
    """Calls of a saver that are numbers."""

    def __init__(self, saver: Any) -> None:
        self.saver = saver
        self.explained: list[tuple[Any, BaseException]] = []
        self.method = "put"
        self.saved = None
        self.step_has_ended = lambda: False

    def call(self, effect: Any) -> Any:
        return self.method, (effect,)

    def timed(self, saves: Any) -> AbstractContextManager[list[int]]:
        return nullcontext([0])

    def explain(self, call: Any, error: BaseException) -> None:
        self.explained.append((call, error))


def saves_of(saver: Any, *, background: bool = True) -> tuple[Any, Calls]:
    calls = Calls(saver)
    return Saves(calls, background=background), calls  # type: ignore[arg-type]


def test_saves_happen_in_the_order_of_asking_beside_the_run() -> None:
    saver = Saver()
    saves, _ = saves_of(saver)
    for number in range(200):
        saves.put(number)
    saves.wait()
    assert saver.saved == list(range(200))
    assert threading.get_ident() not in saver.threads


@pytest.mark.anyio
async def test_the_last_writes_of_a_step_are_stored_with_its_checkpoint_by_an_async_run() -> None:
    saver = Together()
    calls = Calls(saver)
    saves = AsyncSaves(calls)  # type: ignore[arg-type]
    calls.method, calls.step_has_ended = "put_writes", lambda: True
    saves.put(1)
    await asyncio.sleep(0)  # the driver goes on, and asks for the checkpoint
    calls.method = "put"
    saves.put(2)
    await saves.wait()
    assert (saver.saved, saver.batches) == ([1, 2], [2])


@pytest.mark.anyio
async def test_the_last_writes_of_a_step_without_a_checkpoint_are_stored_too() -> None:
    saver = Together()
    calls = Calls(saver)
    saves = AsyncSaves(calls)  # type: ignore[arg-type]
    calls.method, calls.step_has_ended = "put_writes", lambda: True
    saves.put(1)
    await saves.wait()
    assert saver.saved == [1]


def test_saves_that_wait_are_stored_together_by_a_saver_that_can() -> None:
    saver = Together()
    saver.gate.clear()
    saves, _ = saves_of(saver)
    for number in range(60):
        saves.put(number)
    saver.gate.set()
    saves.wait()
    assert saver.saved == list(range(60))
    assert len(saver.batches) < 10
    assert sum(saver.batches) + 1 >= 60


def test_of_saves_that_are_stored_together_a_failing_one_fails_alone_and_stops_the_later_ones() -> None:
    saver = Together()
    saver.refuses = {7: (refused := Refused())}
    saver.gate.clear()
    saves, calls = saves_of(saver)
    for number in range(12):
        saves.put(number)
    saver.gate.set()
    with pytest.raises(Refused):
        saves.wait()
    assert saver.saved == list(range(7))
    assert calls.explained == [(("put", (7,)), refused)]


def test_an_async_run_has_what_waits_stored_together_up_to_a_failing_save() -> None:
    async def use(saves: AsyncSaves) -> None:
        saver.gate.clear()
        for number in range(20):
            saves.put(number)
        saver.gate.set()
        with pytest.raises(Refused):
            await saves.wait()

    saver = Together()
    saver.refuses = {15: (refused := Refused())}
    calls = run_async(saver, use)
    assert saver.saved == list(range(15))
    assert saver.batches == [15]
    assert calls.explained == [(("put", (15,)), refused)]


def test_saves_of_a_run_that_stores_each_step_happen_at_once_in_its_thread() -> None:
    saver = Saver()
    saves, _ = saves_of(saver, background=False)
    saves.put(1)
    assert saver.saved == [1]
    assert saver.threads == {threading.get_ident()}
    saves.wait()


def test_where_each_step_is_stored_the_writes_of_its_last_task_go_with_its_checkpoint() -> None:
    saver = Together()
    saves, calls = saves_of(saver, background=False)
    calls.method = "put_writes"
    saves.put(1)
    assert saver.saved == [1]  # other tasks of the step are still running
    calls.step_has_ended = lambda: True
    saves.put(2)
    assert saver.saved == [1]
    assert not saves.idle
    calls.method = "put"
    saves.put(3)
    assert saver.saved == [1, 2, 3]
    assert saver.batches == [2]
    assert saves.idle
    calls.method = "put_writes"
    saves.put(4)
    saves.wait()
    assert saver.saved == [1, 2, 3, 4]
    assert saver.threads == {threading.get_ident()}


def test_who_waits_waits_for_all_saves_asked_for() -> None:
    saver = Saver()
    saver.gate.clear()
    saves, _ = saves_of(saver)
    saves.put(1)
    saves.put(2)
    waiting = threading.Thread(target=saves.wait)
    waiting.start()
    assert saver.saved == []
    saver.gate.set()
    waiting.join(30)
    assert saver.saved == [1, 2]


@pytest.mark.parametrize("error", [Refused("no"), KeyboardInterrupt("stop")], ids=["refused", "no exception"])
def test_the_first_failing_save_stops_all_later_ones_and_is_raised_to_all_who_ask(error: BaseException) -> None:
    saver = Saver()
    saver.refuses = {1: error}
    saver.gate.clear()
    saves, calls = saves_of(saver)
    for number in range(4):
        saves.put(number)
    saver.gate.set()
    for ask in (saves.wait, saves.wait, lambda: saves.put(9)):
        with pytest.raises(type(error)) as raised:
            ask()
        assert raised.value is error
    assert saver.saved == [0]
    assert calls.explained == ([(("put", (1,)), error)] if isinstance(error, Exception) else [])


def test_a_failing_save_in_place_is_raised_by_the_one_who_asked_and_by_who_waits() -> None:
    saver = Saver()
    saver.refuses = {1: Refused("no")}
    saves, calls = saves_of(saver, background=False)
    saves.put(0)
    with pytest.raises(Refused):
        saves.put(1)
    saves.put(2)
    assert saver.saved == [0]
    assert len(calls.explained) == 1
    with pytest.raises(Refused):
        saves.wait()


def test_a_run_waits_for_a_saver_that_has_fallen_far_behind() -> None:
    saver = Saver()
    saver.gate.clear()
    saves, _ = saves_of(saver)
    put: list[int] = []

    def run() -> None:
        for number in range(2 * saving.BACKLOG):
            saves.put(number)
            put.append(number)

    running = threading.Thread(target=run)
    running.start()
    until = time.monotonic() + 30
    while len(saves._waiting) <= saving.BACKLOG and time.monotonic() < until:
        time.sleep(0)
    assert put == list(range(saving.BACKLOG))
    saver.gate.set()
    running.join(30)
    saves.wait()
    assert saver.saved == list(range(2 * saving.BACKLOG))


@pytest.mark.parametrize("in_place", [True, False])
def test_an_in_memory_saver_is_called_in_place_and_one_derived_from_it_is_not(in_place: bool) -> None:
    saver = SimpleNamespace() if in_place else InMemory()
    saves, _ = saves_of(InMemorySaver() if in_place else saver)
    assert saves._in_place is in_place
    asynchronous = AsyncSaves(Calls(InMemorySaver() if in_place else saver))  # type: ignore[arg-type]
    assert asynchronous._in_place is in_place


def run_async(saver: Any, use: Callable[[AsyncSaves], Any]) -> Calls:
    calls = Calls(saver)

    async def through() -> None:
        async with asyncio.timeout(30):
            await use(AsyncSaves(calls))  # type: ignore[arg-type]

    asyncio.run(through())
    return calls


def test_saves_of_an_async_run_happen_in_order_and_are_waited_for() -> None:
    saver = Saver()

    async def use(saves: AsyncSaves) -> None:
        for number in range(5):
            saves.put(number)  # type: ignore[arg-type]
        assert saver.saved == []
        await saves.wait()
        assert saver.saved == list(range(5))
        saves.put(5)  # type: ignore[arg-type]
        await saves.wait()
        await saves.wait()

    run_async(saver, use)
    assert saver.saved == list(range(6))


def test_a_failing_save_of_an_async_run_stops_the_later_ones() -> None:
    saver = Saver()
    saver.refuses = {1: Refused("no")}

    async def use(saves: AsyncSaves) -> None:
        for number in range(3):
            saves.put(number)  # type: ignore[arg-type]
        for _ in range(2):
            with pytest.raises(Refused):
                await saves.wait()
        with pytest.raises(Refused):
            saves.put(3)  # type: ignore[arg-type]
        assert not saves.crowded

    calls = run_async(saver, use)
    assert saver.saved == [0]
    assert [call for call, _ in calls.explained] == [("put", (1,))]


def test_being_cancelled_while_waiting_does_not_cancel_the_saves() -> None:
    saver = Saver()
    saver.gate.clear()

    async def use(saves: AsyncSaves) -> None:
        saves.put(1)  # type: ignore[arg-type]
        waiting = asyncio.ensure_future(saves.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        saver.gate.set()
        await saves.wait()

    run_async(saver, use)
    assert saver.saved == [1]


def test_a_run_is_told_that_its_saver_is_behind() -> None:
    saver = Saver()
    saver.gate.clear()

    async def use(saves: AsyncSaves) -> None:
        for number in range(saving.BACKLOG):
            saves.put(number)  # type: ignore[arg-type]
        assert not saves.crowded
        saves.put(saving.BACKLOG)  # type: ignore[arg-type]
        assert saves.crowded
        saver.gate.set()
        await saves.wait()
        assert not saves.crowded

    run_async(saver, use)


def test_a_failing_save_in_place_is_raised_once_to_an_async_run() -> None:
    class Failing(InMemorySaver):
        def put(self, *given: Any, **named: Any) -> Any:
            raise Refused

    saver = Failing()

    async def use(saves: AsyncSaves) -> None:
        saves._in_place = True
        with pytest.raises(Refused):
            saves.put(1)  # type: ignore[arg-type]
        saves.put(2)  # type: ignore[arg-type]
        with pytest.raises(Refused):
            await saves.wait()

    calls = run_async(saver, use)
    assert len(calls.explained) == 1


# -- what the saver is asked ---------------------------------------------

PLACE: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": "n"}, "tags": ["kept"]}


def calls_of(saver: Any, put_writes: Any, **options: Any) -> SaveCalls:
    return SaveCalls(saver, PLACE, put_writes, {"1": "node", "2": "__start__"}.get, **options)


def test_a_checkpoint_is_put_behind_its_parent_and_writes_on_theirs() -> None:
    saver = InMemorySaver()
    calls = calls_of(saver, saver.put_writes)
    name, args = calls.call(SaveCheckpoint("parent", {"id": "c"}, {"step": 1}, {"x": 2}))
    assert name == "put"
    place, *rest = args
    assert place == {"configurable": {**PLACE["configurable"], "checkpoint_id": "parent"}, "tags": ["kept"]}
    assert rest == [{"id": "c"}, {"step": 1}, {"x": 2}]
    name, args = calls.call(SaveWrites("c", "1", [("x", 1)], "path"))
    assert (name, args[0]["configurable"]["checkpoint_id"]) == ("put_writes", "c")
    assert args[1:] == ([("x", 1)], "1", "path")


def test_savers_that_know_no_paths_are_given_none() -> None:
    def put_writes(config: Any, writes: Any, task_id: str) -> None:
        """As before LangGraph 0.3."""

    name, args = calls_of(InMemorySaver(), put_writes).call(SaveWrites("c", "1", [("x", 1)], "path"))
    assert (name, args[1:]) == ("put_writes", ([("x", 1)], "1"))


@pytest.mark.parametrize(("task_id", "who"), [("1", "Node 'node'"), ("2", "The input"), ("3", "A task")])
def test_who_wrote_what_would_come_back_changed_is_named(
    task_id: str, who: str, caplog: pytest.LogCaptureFixture
) -> None:
    class Text(str):
        """A text of another class, which the serialiser makes plain."""

        __slots__ = ()

    saver = InMemorySaver()
    calls_of(saver, saver.put_writes).call(SaveWrites("c", task_id, [("x", Text("a"))], ""))
    assert any(record.getMessage().startswith(who) for record in caplog.records)


def test_what_a_run_that_stores_at_its_end_stores_is_looked_at_then(caplog: pytest.LogCaptureFixture) -> None:
    class Word(str):
        """Another one."""

        __slots__ = ()

    saver = InMemorySaver()
    checkpoint = {"id": "c", "channel_values": {"x": Word("a"), "y": 1}}
    calls_of(saver, saver.put_writes).call(SaveCheckpoint(None, checkpoint, {}, {"x": 1, "gone": 1}))
    assert caplog.records == []
    calls_of(saver, saver.put_writes, at_exit=True).call(SaveCheckpoint(None, checkpoint, {}, {"x": 1, "gone": 1}))
    assert any(record.getMessage().startswith("The run") for record in caplog.records)


def test_a_value_that_could_not_be_stored_is_named_with_its_channel_and_node() -> None:
    saver = InMemorySaver()
    calls = calls_of(saver, saver.put_writes)
    bad = lambda: None  # noqa: E731  (no serialiser takes a lambda)
    writes, checkpoint = TypeError("cannot"), TypeError("cannot")
    calls.explain(("put_writes", (PLACE, [("x", bad)], "1")), writes)
    calls.explain(("put", (PLACE, {"channel_values": {"y": bad}})), checkpoint)
    assert "'x'" in str(getattr(writes, "__notes__", writes))
    assert "node" in str(getattr(writes, "__notes__", writes))
    assert "'y'" in str(getattr(checkpoint, "__notes__", checkpoint))


class Breaking(InMemorySaver):
    """Stores until it is broken."""

    broken = False

    def put(self, *args: Any, **kwargs: Any) -> Any:
        if self.broken:
            raise OSError("the disk is full")
        return super().put(*args, **kwargs)

    async def aput(self, *args: Any, **kwargs: Any) -> Any:
        return self.put(*args, **kwargs)


def breaking_graph(saver: Breaking, ends_with: Callable[[], Any]) -> Any:
    def last(_: Any) -> dict[str, int]:
        saver.broken = True
        return {"n": ends_with()}

    builder = StateGraph(Counted).add_node("first", lambda _: {"n": 1}).add_node("last", last)
    return builder.add_edge(START, "first").add_edge("first", "last").compile(checkpointer=saver)


def fail() -> int:
    raise Refused("the node's own")


def test_a_node_error_is_raised_also_where_the_end_of_its_run_cannot_be_stored(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    graph = breaking_graph(Breaking(), fail)
    with pytest.raises(Refused, match="the node's own") as raised:
        driver.invoke(graph, {"n": 0}, THREAD, durability="exit")
    assert "The end of the run could not be stored: OSError: the disk is full" in raised.value.__notes__
    assert [str(record.exc_info[1]) for record in caplog.records if record.exc_info] == ["the disk is full"]


@pytest.mark.parametrize("ends_with", [lambda: 2, lambda: interrupt("go on?")], ids=["finished", "paused"])
def test_a_run_that_has_not_failed_raises_what_storing_its_end_failed_with(
    driver: Driver, ends_with: Callable[[], Any]
) -> None:
    graph = breaking_graph(Breaking(), ends_with)
    with pytest.raises(OSError, match="the disk is full"):
        driver.invoke(graph, {"n": 0}, THREAD, durability="exit")


class Stopped(BaseException):
    """What a signal handler raises."""


class StoppedAtTheEnd(Breaking):
    """Is stopped while it stores what the last step has left behind."""

    def put(self, config: Any, checkpoint: Any, metadata: Any, *rest: Any, **kwargs: Any) -> Any:
        if metadata["step"] == 2:
            raise Stopped
        return InMemorySaver.put(self, config, checkpoint, metadata, *rest, **kwargs)


def test_a_run_that_has_not_failed_raises_what_stopped_its_last_save() -> None:
    with pytest.raises(Stopped):
        breaking_graph(StoppedAtTheEnd(), lambda: 2).invoke({"n": 0}, THREAD, durability="async")


class Impatient(SimpleQueue[None]):
    """Notes when those who wait have looked in vain."""

    def __init__(self) -> None:
        super().__init__()
        self.in_vain = threading.Semaphore(0)

    def get(self, block: bool = True, timeout: float | None = None) -> None:
        try:
            return super().get(block, timeout)
        except Empty:
            self.in_vain.release()
            raise


def test_who_waits_for_a_slow_saver_looks_again_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "_LOOK_S", 0.001)
    monkeypatch.setattr(saving, "SimpleQueue", Impatient)
    saver = Saver()
    saver.gate.clear()
    saves, _ = saves_of(saver)
    saves.put(1)
    waiting = threading.Thread(target=saves.wait)
    waiting.start()
    for _ in range(3):
        assert saves._news.in_vain.acquire(timeout=30)
    saver.gate.set()
    waiting.join(30)
    assert saver.saved == [1]
