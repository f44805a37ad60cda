"""One execution at a time, and the log that its readers follow: without a graph or a model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from stategraph.errors import AbortError, ConfigurationError
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.run_log import RunEvent, RunLog, sse
from stategraph.run.pauses import RunInterrupt
from stategraph.run.turn.run_lock import RunLock, thread_lease

CONFIG: Any = {"configurable": {"thread_id": "t"}}


def turns(*, saver: Any = None, log: RunLog | None = None, run_id: str = "r") -> RunLock:
    return RunLock(run_id, saver, log)


async def nothing() -> str:
    return "done"


def last(log: RunLog) -> Any:
    (event,) = log._after(log.last_seq - 1)
    return event.event, event.data


# -- a run ---------------------------------------------------------------


@pytest.mark.anyio
async def test_a_run_is_executed_once_at_a_time() -> None:
    of_run = turns()
    gate = asyncio.Event()

    async def wait() -> str:
        await gate.wait()
        return "first"

    assert not of_run.running
    first = of_run.start(CONFIG, wait)
    assert of_run.running
    with pytest.raises(
        ConfigurationError, match="Run 'r' is being executed already; wait for it, or create another run"
    ):
        of_run.execute(CONFIG, nothing)
    gate.set()
    assert await first == "first"
    assert not of_run.running
    assert await of_run.execute(CONFIG, nothing) == "done"
    assert first.get_name() == "run r"


@pytest.mark.anyio
async def test_readers_of_a_second_execution_wait_for_its_events() -> None:
    log = RunLog(10)
    of_run = RunLock("r", None, log)
    told: list[bool] = []

    async def work() -> None:
        told.append(log.is_open)
        log.end("completed", None)

    for _ in range(2):
        await of_run.execute(CONFIG, work)
        assert not log.is_open
    assert told == [True, True]


@pytest.mark.anyio
async def test_who_waits_for_the_end_is_told_also_when_the_execution_fails() -> None:
    of_run = turns()
    await of_run.ended()

    async def fail() -> None:
        raise ValueError("no")

    failing = of_run.start(CONFIG, fail)
    waiting = asyncio.ensure_future(of_run.ended())
    with pytest.raises(ValueError, match="no"):
        await failing
    async with asyncio.timeout(10):
        await waiting


@pytest.mark.anyio
async def test_an_abort_before_the_first_execution_stops_it_and_not_the_next() -> None:
    of_run = turns()
    of_run.abort("early")
    seen: list[Any] = []

    async def look() -> None:
        seen.append((of_run.signal.aborted, of_run.signal.reason))

    await of_run.execute(CONFIG, look)
    await of_run.execute(CONFIG, look)
    assert seen == [(True, "early"), (False, None)]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "status"),
    [(ValueError("no"), "failed"), (AbortError("enough"), "cancelled"), (asyncio.CancelledError(), "cancelled")],
)
async def test_readers_are_told_how_an_execution_ended_that_did_not_say_so_itself(
    error: BaseException, status: str
) -> None:
    log = RunLog(10)

    async def fail() -> None:
        raise error

    with pytest.raises(type(error)):
        await turns(log=log).execute(CONFIG, fail)
    event, data = last(log)
    assert (event, data["status"], data["error"]["type"]) == (GraphEvents.ON_RUN_END, status, type(error).__name__)
    assert data["error"].get("message") == ("enough" if isinstance(error, AbortError) else None)
    assert not log.is_open


@pytest.mark.anyio
async def test_an_execution_that_is_cancelled_before_it_begins_is_over() -> None:
    log = RunLog(10)
    of_run = turns(log=log)
    begun: list[int] = []

    async def begin() -> None:
        begun.append(1)

    task = of_run.start(CONFIG, begin)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):
        await of_run.ended()
    assert begun == []
    assert last(log)[1]["status"] == "cancelled"


@pytest.mark.anyio
async def test_an_execution_that_told_its_end_is_not_ended_twice() -> None:
    log = RunLog(10)

    async def work() -> None:
        log.put("mine", 1, None)
        log.end("completed", None)

    await turns(log=log).execute(CONFIG, work)
    assert [event.event for event in log._after(0)] == ["mine", GraphEvents.ON_RUN_END]


# -- a thread ------------------------------------------------------------


@pytest.mark.anyio
async def test_a_thread_is_taken_by_one_run_at_a_time() -> None:
    saver = object()
    with thread_lease(saver, CONFIG, "one"):
        with (
            pytest.raises(ConfigurationError, match="Run 'two' cannot be executed on thread 't': run 'one' is being"),
            thread_lease(saver, CONFIG, "two"),
        ):
            raise AssertionError("taken twice")
        with thread_lease(object(), CONFIG, "two"), thread_lease(saver, {"configurable": {"thread_id": "u"}}, "two"):
            pass
        with thread_lease(None, CONFIG, "two"), thread_lease(None, CONFIG, "two"):
            pass
    with pytest.raises(KeyError), thread_lease(saver, CONFIG, "two"):
        raise KeyError
    with thread_lease(saver, CONFIG, "three"):
        pass


def test_a_thread_that_nobody_named_is_that_of_the_run() -> None:
    saver = object()
    with (
        thread_lease(saver, {}, "one"),
        thread_lease(saver, {}, "two"),
        pytest.raises(ConfigurationError, match="on thread 'one'"),
        thread_lease(saver, {}, "one"),
    ):
        raise AssertionError("taken twice")
    with (
        thread_lease(saver, {"configurable": {"thread_id": 7}}, "one"),
        pytest.raises(ConfigurationError),
        thread_lease(saver, {"configurable": {"thread_id": "7"}}, "two"),
    ):
        raise AssertionError("taken twice")


# -- the log -------------------------------------------------------------


async def read(log: RunLog, after: int, **options: Any) -> list[tuple[int, str]]:
    async with asyncio.timeout(10):
        return [(event.seq, event.event) async for event in log.read(after, **options)]


@pytest.mark.anyio
async def test_a_reader_gets_what_is_kept_after_its_number_and_leaves_at_the_end() -> None:
    log = RunLog(10)
    for name in "abc":
        log.put(name, None, None)
    log.end("completed", None)
    end = (4, str(GraphEvents.ON_RUN_END))
    assert await read(log, 0) == [(1, "a"), (2, "b"), (3, "c"), end]
    assert await read(log, 2) == [(3, "c"), end]
    assert await read(log, 3) == [end]
    assert await read(log, 4) == []
    assert await read(log, -5) == await read(log, 0)


@pytest.mark.anyio
async def test_what_is_no_longer_kept_is_a_gap() -> None:
    log = RunLog(2)
    for name in "abcd":
        log.put(name, None, None)
    log.end("completed", None)
    (gap, *rest) = [event async for event in log.read(1)]
    assert (gap.event, gap.seq, gap.data) == (GraphEvents.ON_GAP, 3, {"afterSeq": 1, "lostTo": 3})
    assert [event.seq for event in rest] == [4, 5]
    assert [event.seq async for event in log.read(3)] == [4, 5]
    assert [event.seq async for event in log.read(2)] == [3, 4, 5]


@pytest.mark.anyio
async def test_numbers_of_another_process_are_a_gap_and_everything_follows() -> None:
    log = RunLog(5)
    log.put("a", None, None)
    log.end("completed", None)
    (gap, *rest) = [event async for event in log.read(9)]
    assert (gap.event, gap.data) == (GraphEvents.ON_GAP, {"afterSeq": 9, "lostTo": 0})
    assert [event.seq for event in rest] == [1, 2]


@pytest.mark.anyio
async def test_a_reader_hears_of_new_events_until_the_execution_ends() -> None:
    log = RunLog(5)
    reading = asyncio.ensure_future(read(log, 0))
    await asyncio.sleep(0)
    log.put("a", None, None)
    await asyncio.sleep(0)
    log.end("interrupted", None, [RunInterrupt("i", "t", {"ask": 1}, None, "")])
    log.begin()
    log.put("of the next", None, None)
    assert await reading == [(1, "a"), (2, str(GraphEvents.ON_RUN_END))]
    (_, end, *_) = log._after(0)
    assert end.data == {"status": "interrupted", "interrupts": [{"interruptId": "i", "payload": {"ask": 1}}]}


@pytest.mark.anyio
async def test_the_run_waits_for_its_owner_that_has_fallen_behind_and_for_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("stategraph.run.events.run_log.LAG", 2)
    log = RunLog(10)
    watching, owning = log.read(0), log.read(0, owns=True)
    waiting = asyncio.ensure_future(anext(owning))
    watcher = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0)
    for name in "abc":
        log.put(name, None, None)
    assert log.is_full
    await asyncio.sleep(0)
    assert (await waiting).event == "a"
    assert not log.is_full
    log.put("d", None, None)
    assert log.is_full
    room = asyncio.ensure_future(log.room())
    await asyncio.sleep(0)
    assert not room.done()
    assert (await anext(owning)).event == "b"
    async with asyncio.timeout(10):
        await room
    log.put("e", None, None)
    assert log.is_full
    log.let_go()
    assert not log.is_full
    await watcher
    await watching.aclose()
    await owning.aclose()


@pytest.mark.anyio
async def test_an_owner_that_leaves_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.run.events.run_log.LAG", 0)
    log = RunLog(10)
    owning = log.read(0, owns=True)
    waiting = asyncio.ensure_future(anext(owning))
    await asyncio.sleep(0)
    log.put("a", None, None)
    await waiting
    log.put("b", None, None)
    log.put("c", None, None)
    room = asyncio.ensure_future(log.room())
    await asyncio.sleep(0)
    assert not room.done()
    await owning.aclose()
    async with asyncio.timeout(10):
        await room
    assert not log.is_full
    log.begin()
    assert log.is_open


@pytest.mark.anyio
async def test_the_run_waits_no_more_for_an_owner_whose_place_another_took() -> None:
    log = RunLog(200)
    before, owning = log.read(0, owns=True), log.read(0, owns=True)
    log.put("first", None, None)
    await anext(before)
    for _ in range(70):
        log.put("more", None, None)
    room = asyncio.ensure_future(log.room())
    await asyncio.sleep(0)
    await anext(owning)
    assert log.is_full
    assert not room.done()
    await before.aclose()
    async with asyncio.timeout(10):
        await room
    assert log.is_full
    await owning.aclose()


@pytest.mark.anyio
async def test_who_comes_between_two_executions_reads_the_first_and_later_the_second_to_its_end() -> None:
    log = RunLog(10)
    assert log.is_open
    log.end("completed", None)
    assert not log.is_open
    assert await read(log, 1) == []
    log.begin()
    assert log.is_open
    reading = asyncio.ensure_future(read(log, 1))
    await asyncio.sleep(0)
    assert not reading.done()
    log.put("a", None, None)
    log.end("completed", None)
    assert await reading == [(2, "a"), (3, str(GraphEvents.ON_RUN_END))]


@pytest.mark.anyio
async def test_a_browser_gets_frames_of_the_events_that_are_for_it() -> None:
    closed: list[str] = []

    async def events() -> Any:
        try:
            yield RunEvent(1, "on_message_delta", {"x": 1})
            yield RunEvent(2, "on_chat_model_start", {"prompt": "secret"})
            yield RunEvent(3, str(GraphEvents.ON_RUN_END), {"status": "completed"})
        finally:
            closed.append("closed")

    frames = [frame async for frame in sse(events())]
    assert frames[0] == 'id: 1\nevent: message\ndata: {"event":"on_message_delta","data":{"x":1}}\n\n'
    assert [frame.partition("\n")[0] for frame in frames] == ["id: 1", "id: 3"]
    assert len([frame async for frame in sse(events(), None)]) == 3
    assert len([frame async for frame in sse(events(), {"on_chat_model_start"})]) == 1
    leaving = sse(events())
    await anext(leaving)
    await leaving.aclose()
    assert closed == ["closed"] * 4


# -- one after the other -------------------------------------------------


@pytest.mark.anyio
async def test_the_next_turn_of_a_thread_waits_for_one_whose_readers_know_its_end() -> None:
    saver, gate, order = object(), asyncio.Event(), []
    log = RunLog(10)
    first, second = turns(saver=saver, log=log, run_id="r1"), turns(saver=saver, run_id="r2")

    async def work() -> None:
        log.end("completed", None)
        await gate.wait()  # such as an index that is still written
        order.append("first")

    async def next_work() -> None:
        order.append("second")

    one = first.start(CONFIG, work)
    for _ in range(3):
        await asyncio.sleep(0)
    assert not log.is_open
    two = second.start(CONFIG, next_work)
    for _ in range(3):
        await asyncio.sleep(0)
    assert order == []
    gate.set()
    await asyncio.gather(one, two)
    assert order == ["first", "second"]


@pytest.mark.anyio
async def test_a_thread_that_is_in_use_is_refused_when_an_execution_is_started() -> None:
    saver, gate = object(), asyncio.Event()
    first, second = turns(saver=saver, log=RunLog(10), run_id="r1"), turns(saver=saver, run_id="r2")

    async def wait() -> None:
        await gate.wait()

    one = first.start(CONFIG, wait)
    await asyncio.sleep(0)
    with pytest.raises(ConfigurationError, match="Run 'r2' cannot be executed on thread 't': run 'r1' is being"):
        second.start(CONFIG, nothing)
    assert not second.running
    assert second.thread_id is None
    gate.set()
    await one
    assert await second.start(CONFIG, nothing) == "done"
