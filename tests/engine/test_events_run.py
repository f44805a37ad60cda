"""The event stream of a run: what its readers see, and how it ends."""

from __future__ import annotations

import asyncio
import copy
import gc
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from typing import Any, ClassVar

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.streams.events.modes import (
    CheckpointsTransformer,
    CustomTransformer,
    DebugTransformer,
    TasksTransformer,
    UpdatesTransformer,
)
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.run import AsyncGraphRunStream, GraphRunStream
from stategraph.engine.streams.events.transformer import ProtocolEvent
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import GraphDrained
from tests.engine.events_kit import AsyncReader, Probe, Reader, State, SyncReader, chain, event, fails, writes

THREAD: Any = {"configurable": {"thread_id": "1"}}


@pytest.fixture(params=["sync", "async"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    if request.param == "sync":
        yield SyncReader()
    else:
        with asyncio.Runner() as runner:
            yield AsyncReader(runner)


# -- one source ----------------------------------------------------------------


def test_the_events_are_the_parts_of_the_stream_in_an_envelope(reader: Reader) -> None:
    graph = chain(writes("a"), chain(writes("b")))
    run = reader.open(graph, {"value": ""}, transformers=[UpdatesTransformer]).run
    events = [event for event in reader.read(run) if event["method"] != "lifecycle"]
    parts = graph.stream({"value": ""}, stream_mode=["values", "updates"], subgraphs=True, version="v2")
    seen = [(e["method"], len(e["params"]["namespace"]), e["params"]["data"]) for e in events]
    assert seen == [(part["type"], len(part["ns"]), part["data"]) for part in parts]


def test_events_are_numbered_and_timed(reader: Reader) -> None:
    events = reader.read(reader.open(chain(writes("a"), chain(writes("b"))), {"value": ""}).run)
    assert [event["seq"] for event in events] == list(range(1, len(events) + 1))
    assert all(event["type"] == "event" and event["params"]["timestamp"] > 10**12 for event in events)


def test_only_the_modes_that_transformers_need_are_produced(reader: Reader) -> None:
    def node(state: State) -> State:
        get_stream_writer()("hello")
        return {"value": "a"}

    plain = reader.read(reader.open(chain(node), {}).run)
    assert {event["method"] for event in plain} == {"values"}
    run = reader.open(chain(node), {}, transformers=[CustomTransformer]).run
    assert reader.read(run.custom) == ["hello"]


def test_every_mode_has_its_projection(reader: Reader) -> None:
    kinds = [UpdatesTransformer, TasksTransformer, CheckpointsTransformer, DebugTransformer]
    graph = chain(writes("a"), checkpointer=InMemorySaver())
    run = reader.open(graph, {"value": ""}, THREAD, transformers=kinds).run
    seen: dict[str, list[Any]] = {}
    for name, item in reader.interleave("values", "updates", "tasks", "checkpoints", "debug"):
        seen.setdefault(name, []).append(item)
    assert seen["values"][-1] == {"value": "a", "items": ["a"]}
    assert seen["updates"] == [{"n0": {"value": "a", "items": ["a"]}}]
    assert [task["name"] for task in seen["tasks"]] == ["n0", "n0"]
    assert [checkpoint["next"] for checkpoint in seen["checkpoints"]] == [["__start__"], ["n0"], []]
    kinds_of_entries = [entry["type"] for entry in seen["debug"]]
    assert kinds_of_entries == ["checkpoint", "checkpoint", "task", "task_result", "checkpoint"]
    assert run.values is run.extensions["values"]


def test_transformers_of_the_graph_come_ahead_of_the_callers(reader: Reader) -> None:
    class Second(Probe):
        def init(self) -> dict[str, Any]:
            return {"second": self.queue}

    graph = chain(writes("a"), transformers=[Probe])
    mux = reader.open(graph, {}, transformers=[Second]).run._mux
    assert [type(each).__name__ for each in mux._transformers[-2:]] == ["Probe", "Second"]


# -- results -------------------------------------------------------------------


def test_the_output_is_the_last_state(reader: Reader) -> None:
    reader.open(chain(writes("a"), writes("b")), {"value": "x"})
    assert reader.get("output") == {"value": "xab", "items": ["a", "b"]}
    assert reader.get("interrupted") is False
    assert reader.get("interrupts") == []


def test_a_run_that_asks_says_what(reader: Reader) -> None:
    def ask(state: State) -> State:
        return {"value": interrupt("sure?")}

    graph = chain(writes("a"), ask, checkpointer=InMemorySaver())
    reader.open(graph, {"value": ""}, THREAD)
    assert [asked.value for asked in reader.get("interrupts")] == ["sure?"]
    assert reader.get("interrupted") is True
    assert reader.get("output") == {"value": "a", "items": ["a"]}


def test_a_run_ends_once_however_often_it_is_asked_for_its_result(reader: Reader) -> None:
    run = reader.open(chain(writes("a")), {"value": "x"}, transformers=[Probe]).run
    for name in ("output", "interrupts", "output"):
        reader.get(name)
    reader.abort()
    assert run._mux.transformer_by_key("probe").told == ["finalize"]


def test_a_run_that_failed_is_not_ended_once_more(reader: Reader) -> None:
    run = reader.open(chain(fails), {"value": "x"}, transformers=[Probe]).run
    for _ in range(2):
        with pytest.raises(ValueError, match="boom"):
            reader.get("output")
        reader.abort()
    (told,) = run._mux.transformer_by_key("probe").told
    assert isinstance(told, ValueError)


def test_a_run_that_is_fed_elsewhere_has_the_result_that_it_was_shown(reader: Reader) -> None:
    mux = StreamMux([Probe()], is_async=reader.is_async)
    run = reader.run = (AsyncGraphRunStream if reader.is_async else GraphRunStream)(None, mux)
    assert reader.get("output") is None
    run._observe_event(event("values", {"value": "x"}))
    assert reader.get("output") == {"value": "x"}
    assert (mux.transformer_by_key("probe").told, mux._events._closed) == ([], False)


@pytest.mark.parametrize("name", ["output", "interrupted", "interrupts"])
def test_a_failed_run_has_no_result(reader: Reader, name: str) -> None:
    reader.open(chain(writes("a"), fails), {"value": ""})
    with pytest.raises(ValueError, match="boom"):
        reader.get(name)


def test_every_reader_of_a_failed_run_gets_the_error_after_the_items(reader: Reader) -> None:
    run = reader.open(chain(writes("a"), fails), {"value": ""}).run
    values, events = reader.next_of(run.values), reader.next_of(run)
    for following in (values, events):
        assert following() is not None
        assert following() is not None
        with pytest.raises(ValueError, match="boom"):
            following()


def test_a_drained_run_fails_its_readers_with_the_reason(reader: Reader) -> None:
    control = RunControl()

    def drain(state: State) -> State:
        control.request_drain("shutdown")
        return {"value": "a"}

    run = reader.open(chain(drain, writes("b")), {"value": ""}, control=control).run
    with pytest.raises(GraphDrained, match="shutdown"):
        reader.read(run.values)


# -- pace ----------------------------------------------------------------------


def test_a_run_starts_when_somebody_reads_and_waits_for_him(reader: Reader) -> None:
    ran: list[str] = []

    def noted(letter: str) -> Any:
        def node(state: State) -> State:
            ran.append(letter)
            return {"value": letter}

        return node

    run = reader.open(chain(*map(noted, "abc")), {"value": ""}).run
    following = reader.next_of(run.values)
    assert ran == []
    assert following() == {"value": "", "items": []}
    assert ran == []
    assert following()["value"] == "a"
    assert len(ran) < 3
    reader.abort()


def test_what_nobody_reads_is_not_kept(reader: Reader) -> None:
    run = reader.open(chain(*map(writes, "abcdef")), {"value": ""}).run
    following = reader.next_of(run)
    for _ in range(7):
        following()
        assert [name for name, queue in run.extensions.items() if queue._items] == []
        assert len(run._mux._events._items) == 0


# -- abort ---------------------------------------------------------------------


def test_an_aborted_run_goes_no_further_and_its_readers_end(reader: Reader) -> None:
    ran: list[str] = []

    def last(state: State) -> State:
        ran.append("last")
        return {}

    run = reader.open(chain(writes("a"), writes("b"), writes("c"), last), {"value": ""}, transformers=[Probe]).run
    following = reader.next_of(run.values)
    following()
    reader.abort()
    reader.abort()
    with pytest.raises((StopIteration, StopAsyncIteration)):
        following()
    assert ran == []
    assert run._mux.transformer_by_key("probe").told == ["finalize"]


def test_leaving_the_block_aborts() -> None:
    with chain(writes("a"), writes("b")).stream_events({"value": ""}, version="v3") as run:
        next(iter(run.values))
    assert list(run) == []

    async def read() -> list[ProtocolEvent]:
        async with await chain(writes("a"), writes("b")).astream_events({"value": ""}, version="v3") as run:
            await anext(aiter(run.values))
        return [event async for event in run]

    assert asyncio.run(read()) == []


def test_what_had_arrived_can_be_read_after_an_abort(reader: Reader) -> None:
    run = reader.open(chain(writes("a"), writes("b")), {"value": ""}).run
    values, events = reader.next_of(run.values), reader.next_of(run)
    events()
    reader.abort()
    assert values() == {"value": "", "items": []}
    with pytest.raises((StopIteration, StopAsyncIteration)):
        values()


def test_the_error_of_a_transformer_does_not_keep_a_run_from_being_aborted(
    reader: Reader, caplog: pytest.LogCaptureFixture
) -> None:
    class Unready(Probe):
        def finalize(self) -> None:
            raise KeyError("unready")

    run = reader.open(chain(writes("a")), {"value": ""}, transformers=[Unready]).run
    with caplog.at_level(logging.WARNING):
        reader.abort()
    assert "aborted" in caplog.text
    assert run._mux._events._closed


# -- projections by name ---------------------------------------------------------


def test_an_unknown_projection_names_those_there_are(reader: Reader) -> None:
    run = reader.open(chain(writes("a")), {"value": ""}, transformers=[Probe]).run
    with pytest.raises(AttributeError, match=r"'valeus'.* lifecycle, messages, subgraphs, values"):
        run.valeus  # noqa: B018
    assert not hasattr(run, "probe")
    assert "probe" in run.extensions
    with pytest.raises(TypeError):
        run.extensions["more"] = 1
    reader.abort()


@pytest.mark.parametrize("kind", [GraphRunStream, AsyncGraphRunStream])
def test_a_bare_handle_can_be_copied_and_asked(kind: type) -> None:
    bare = kind.__new__(kind)
    assert not hasattr(copy.copy(bare), "values")


# -- interleave ------------------------------------------------------------------


def test_projections_are_interleaved_in_the_order_of_arrival(reader: Reader) -> None:
    reader.open(chain(writes("a"), writes("b")), {"value": ""}, transformers=[UpdatesTransformer, Probe])
    seen = [(name, item if name == "probe" else None) for name, item in reader.interleave("updates", "probe", "values")]
    step = [("updates", None), ("probe", "updates"), ("values", None), ("probe", "values")]
    tasks = [("probe", "tasks")]
    assert [entry for entry in seen if entry not in tasks] == [*step[2:], *step, *step]


def test_interleaved_items_come_ahead_of_the_error(reader: Reader) -> None:
    reader.open(chain(writes("a"), fails), {"value": ""})
    seen = []
    with pytest.raises(ValueError, match="boom"):
        for name, item in reader.interleave("values", "lifecycle"):
            seen.append((name, item["value"]))
    assert seen == [("values", ""), ("values", "a")]


def test_interleaving_gives_the_projections_free_again(reader: Reader) -> None:
    run = reader.open(chain(writes("a"), writes("b")), {"value": ""}).run
    assert len(list(reader.interleave("values", "values"))) == 3
    with pytest.raises(KeyError, match="nothing"):
        list(reader.interleave("values", "nothing"))
    taken = reader.next_of(run.values)
    with pytest.raises(RuntimeError, match="already has a subscriber"):
        list(reader.interleave("messages", "values"))
    assert not run.messages._subscribed
    with pytest.raises((StopIteration, StopAsyncIteration)):
        taken()


def test_interleaving_queues_that_are_closed_takes_a_run_no_further(reader: Reader) -> None:
    class Early(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            if not self.queue._closed:
                self.queue.push("first")
                self.queue.close()
            return True

    ran: list[str] = []

    def node(state: State) -> State:
        ran.append("b")
        return {"value": "b"}

    reader.open(chain(writes("a"), node), {"value": ""}, transformers=[Early])
    assert list(reader.interleave("probe")) == [("probe", "first")]
    assert ran == []


def test_only_queues_can_be_interleaved(reader: Reader) -> None:
    class Other(Probe):
        def init(self) -> dict[str, Any]:
            return {"number": 7}

    reader.open(chain(writes("a")), {"value": ""}, transformers=[Other])
    with pytest.raises(TypeError, match="'number' is a int"):
        list(reader.interleave("number"))
    reader.abort()


# -- what is refused ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"stream_mode": ["values"]}, TypeError, "no stream_mode"),
        ({"subgraphs": False, "stream_mode": "values"}, TypeError, "no stream_mode and no subgraphs"),
        ({"transformers": [Probe()]}, TypeError, "pre-built instance: pass Probe, or lambda"),
        ({"transformers": ["values"]}, TypeError, "callables, not 'values'"),
        ({"transformers": [Probe, Probe]}, ValueError, "Probe conflict with 'probe' of Probe"),
    ],
)
def test_a_wrong_call_is_refused_before_the_run_starts(
    reader: Reader, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        reader.open(chain(fails), {"value": ""}, **options)


def test_a_sync_run_refuses_transformers_that_need_an_event_loop() -> None:
    class Needy(Probe):
        requires_async: ClassVar[bool] = True

    with pytest.raises(RuntimeError, match="Needy requires an async run"):
        chain(fails).stream_events({}, version="v3", transformers=[Needy])


def test_other_versions_have_no_sync_events() -> None:
    with pytest.raises(NotImplementedError):
        chain(fails).stream_events({}, version="v2")


# -- errors of transformers ----------------------------------------------------------


def test_a_transformer_that_fails_stops_the_run_and_fails_its_readers(reader: Reader) -> None:
    class Broken(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            if event["method"] == "values" and event["params"]["data"]["value"] == "a":
                raise KeyError("broken")
            return True

    ran: list[str] = []

    def last(state: State) -> State:
        ran.append("last")
        return {}

    run = reader.open(chain(writes("a"), writes("b"), writes("c"), last), {"value": ""}, transformers=[Broken]).run
    with pytest.raises(KeyError, match="broken"):
        reader.read(run.values)
    assert ran == []
    assert [type(error) for error in run._mux.transformer_by_key("probe").told] == [KeyError]


def test_a_transformer_that_cannot_finish_fails_the_readers(reader: Reader, caplog: pytest.LogCaptureFixture) -> None:
    class Unready(Probe):
        def finalize(self) -> None:
            raise KeyError("unready")

    run = reader.open(chain(writes("a")), {"value": ""}, transformers=[Unready]).run
    with caplog.at_level(logging.DEBUG), pytest.raises(KeyError, match="unready"):
        reader.read(run.values)
    (record,) = [record for record in caplog.records if "could not finish" in record.getMessage()]
    assert record.levelname == "DEBUG"
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], KeyError)
    with pytest.raises(KeyError, match="unready"):
        reader.get("output")


# -- concurrent readers ----------------------------------------------------------------


async def open_async(*nodes: Any, **options: Any) -> AsyncGraphRunStream:
    run: AsyncGraphRunStream = await chain(*nodes).astream_events({"value": ""}, version="v3", **options)
    return run


def in_loop(test: Any) -> Any:
    """Run an async test, which has to be done after ten seconds."""

    def run() -> None:
        async def limited() -> None:
            async with asyncio.timeout(10):
                await test()

        asyncio.run(limited())

    run.__name__ = test.__name__
    return run


class Slow:
    """A node that waits until it is let go; says whether it was cancelled."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.go = asyncio.Event()
        self.cancelled = False

    async def __call__(self, state: State) -> State:
        self.started.set()
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled = True
            raise
        return {"value": "slow"}


@in_loop
async def test_concurrent_readers_each_see_everything() -> None:
    run = await open_async(*map(writes, "abc"), transformers=[Probe])

    async def read(projection: Any) -> int:
        return len([item async for item in projection])

    sizes = await asyncio.gather(read(run), read(run.values), read(run.extensions["probe"]), run.output())
    assert sizes[1] == 4
    assert sizes[0] == sizes[1] + sizes[2], "what is pushed to a named queue is an event too"
    assert sizes[3] == {"value": "abc", "items": ["a", "b", "c"]}


@in_loop
async def test_cancelling_one_reader_leaves_the_run_to_the_others() -> None:
    slow = Slow()
    run = await open_async(slow)
    first, second = (asyncio.create_task(run.output()) for _ in range(2))
    await slow.started.wait()
    first.cancel()
    await asyncio.wait([first])
    slow.go.set()
    assert await second == {"value": "slow", "items": []}
    assert first.cancelled()
    assert not slow.cancelled


@in_loop
async def test_cancelling_the_only_reader_cancels_the_run() -> None:
    slow = Slow()
    run = await open_async(slow)
    only = asyncio.create_task(run.output())
    await slow.started.wait()
    only.cancel()
    await asyncio.wait([only])
    assert slow.cancelled
    assert [event async for event in run] == []


@in_loop
async def test_abort_cancels_what_runs_in_nested_runs_too() -> None:
    slow = Slow()
    run = await open_async(chain(chain(slow)))
    reading = asyncio.create_task(run.output())
    await slow.started.wait()
    await run.abort()
    assert slow.cancelled
    assert (await reading)["value"] == ""


@in_loop
async def test_a_transformer_may_abort_the_run_that_it_takes_part_in() -> None:
    ran: list[str] = []

    def noted(state: State) -> State:
        ran.append("later")
        return {}

    class Enough(Probe):
        async def aprocess(self, event: ProtocolEvent) -> bool:
            if event["method"] == "values" and event["params"]["data"]["value"] == "a":
                await run.abort()
                self.told.append("aborted")
            return True

    run = await open_async(writes("a"), writes("b"), noted, transformers=[Enough])
    assert [state["value"] async for state in run.values] == ["", "a"]
    assert run._mux.transformer_by_key("probe").told == ["finalize", "aborted"]  # type: ignore[union-attr]
    assert ran == []


@in_loop
async def test_a_reader_of_a_run_that_is_aborted_before_it_began_ends() -> None:
    run = await open_async(writes("a"))
    reading = asyncio.create_task(run.output())
    await asyncio.sleep(0)
    await run.abort()
    assert await reading is None


@in_loop
async def test_who_waits_for_the_end_does_not_outrun_who_reads() -> None:
    async def parts() -> Any:  # all at once
        for number in range(50):
            yield {"type": "values", "ns": (), "data": number, "interrupts": ()}

    mux = StreamMux(is_async=True)
    run = AsyncGraphRunStream(parts(), mux)
    waiting = []

    async def read() -> None:
        async for _ in run:
            waiting.append(len(mux._events._items))

    assert await asyncio.gather(read(), run.output()) == [None, 49]
    assert len(waiting) == 50
    assert max(waiting) <= 1


@in_loop
async def test_a_reader_that_asks_while_the_run_is_being_ended_gets_the_last_items() -> None:
    assert await read_while_ending(None) == ["last"]


@in_loop
async def test_a_reader_that_asks_while_the_run_is_being_failed_gets_the_error() -> None:
    with pytest.raises(KeyError, match="gone"):
        await read_while_ending(KeyError("gone"))


@in_loop
async def test_work_of_a_transformer_that_begins_to_read_when_the_run_is_over_finds_nothing() -> None:
    over = asyncio.Event()
    seen: list[Any] = []

    class Reads(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            self.schedule(self.read())
            return True

        async def read(self) -> None:
            await over.wait()
            await asyncio.sleep(0)
            seen.append([item async for item in self.queue])

    async def parts() -> Any:
        yield {"type": "values", "ns": (), "data": 1, "interrupts": ()}
        over.set()

    run = AsyncGraphRunStream(parts(), StreamMux([Reads()], is_async=True))
    assert await run.output() == 1
    assert seen == [[]]


async def read_while_ending(error: Exception | None) -> list[Any]:
    """Read a queue that gets its only item at the end, which waits until the reader has asked."""
    ending, go_on = asyncio.Event(), asyncio.Event()

    class Late(Probe):
        async def _end(self, *error: BaseException) -> None:
            ending.set()
            await go_on.wait()
            self.queue.push("last")

        afinalize = afail = _end

        def process(self, event: ProtocolEvent) -> bool:
            return True

    async def parts() -> Any:
        yield {"type": "values", "ns": (), "data": 1, "interrupts": ()}
        if error is not None:
            raise error

    async def read(queue: Any) -> list[Any]:
        return [item async for item in queue]

    run = AsyncGraphRunStream(parts(), StreamMux([Late()], is_async=True))
    queue = aiter(run.extensions["probe"])
    output = asyncio.create_task(run.output())
    await ending.wait()
    reading = asyncio.create_task(read(queue))
    await asyncio.sleep(0)
    go_on.set()
    await asyncio.wait((output, reading))
    assert output.exception() is error
    return await reading


@in_loop
async def test_a_node_that_cancels_itself_fails_the_readers() -> None:
    async def cancel(state: State) -> State:
        raise asyncio.CancelledError

    run = await open_async(cancel)
    with pytest.raises(BaseException) as raised:
        await run.output()
    with pytest.raises(type(raised.value)):
        async for _ in chain(cancel).astream({"value": ""}):
            pass


@in_loop
async def test_a_transformer_that_waits_for_its_own_run_is_told() -> None:
    runs: list[AsyncGraphRunStream] = []

    class Waiting(Probe):
        async def aprocess(self, event: ProtocolEvent) -> bool:
            await runs[0].output()
            return True

    runs.append(await open_async(writes("a"), transformers=[Waiting]))
    with pytest.raises(RuntimeError, match="cannot wait for events"):
        await runs[0].output()


def test_readers_in_threads_take_turns() -> None:
    run = chain(*map(writes, "abcdefgh")).stream_events({"value": ""}, version="v3")
    readers = [iter(run.values), iter(run)]
    sizes: list[int] = []
    threads = [threading.Thread(target=lambda reader=reader: sizes.append(len(list(reader)))) for reader in readers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert sizes == [9, 9]


# -- scheduled work --------------------------------------------------------------------


class Scheduling(Probe):
    """Starts `work` for each state."""

    requires_async: ClassVar[bool] = True
    work: ClassVar[Any]

    def process(self, event: ProtocolEvent) -> bool:
        if event["method"] == "values":
            self.schedule(type(self).work(self), on_error="raise")
        return True


@in_loop
async def test_scheduled_work_is_done_before_a_run_ends() -> None:
    class Late(Scheduling):
        async def work(self) -> None:
            await asyncio.sleep(0)
            self.told.append("work")

    run = await open_async(writes("a"), transformers=[Late])
    await run.output()
    assert run._mux.transformer_by_key("probe").told == ["work", "work", "finalize"]


@in_loop
async def test_scheduled_work_that_failed_long_ago_fails_the_run() -> None:
    class Early(Scheduling):
        async def work(self) -> None:
            raise KeyError("early")

    async def pause(state: State) -> State:
        await asyncio.sleep(0.01)
        return {}

    run = await open_async(pause, transformers=[Early])
    with pytest.raises(KeyError, match="early"):
        await run.output()
    assert [type(error) for error in run._mux.transformer_by_key("probe").told] == [KeyError]


@in_loop
async def test_scheduled_work_is_cancelled_by_abort() -> None:
    class Endless(Scheduling):
        async def work(self) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                self.told.append("cancelled")
                raise

    run = await open_async(writes("a"), transformers=[Endless])
    following = aiter(run.values)
    await anext(following)
    await asyncio.sleep(0)
    await run.abort()
    assert run._mux.transformer_by_key("probe").told == ["cancelled", "finalize"]


@in_loop
async def test_abort_does_not_wait_for_work_that_the_end_of_the_run_waits_for() -> None:
    begun = asyncio.Event()

    class Endless(Scheduling):
        async def work(self) -> None:
            begun.set()
            await asyncio.Event().wait()

    run = await open_async(writes("a"), transformers=[Endless])
    reading = asyncio.create_task(run.output())
    await begun.wait()
    while not run._exhausted:  # noqa: ASYNC110  nothing is told when the parts have ended
        await asyncio.sleep(0)
    await run.abort()
    assert (await reading)["value"] == "a"
    assert run._mux.transformer_by_key("probe").told == ["finalize"]


# -- parts from elsewhere ----------------------------------------------------------------


def test_a_handle_reads_any_iterator_of_parts() -> None:
    parts = [{"type": "values", "ns": (), "data": {"v": 1}, "interrupts": ("ask",)}]
    run = GraphRunStream(iter(parts), StreamMux())
    assert (run.output, run.interrupts) == ({"v": 1}, ["ask"])


def test_the_state_of_a_nested_run_is_not_the_output() -> None:
    parts = [{"type": "values", "ns": ns, "data": ns, "interrupts": ns} for ns in [(), ("inner:1",)]]
    run = GraphRunStream(iter(parts), StreamMux())
    assert (run.output, run.interrupts) == ((), [])


def test_what_fails_while_the_parts_are_closed_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    class Parts:
        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            return {"type": "values", "ns": (), "data": {}, "interrupts": ()}

        def close(self) -> None:
            raise ValueError("cannot close")

    run = GraphRunStream(Parts(), StreamMux())
    assert next(iter(run))["method"] == "values"
    run.abort()
    (record,) = caplog.records
    assert record.getMessage() == "A run failed while its event stream was closed"
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "cannot close"


def test_the_parts_are_closed_when_a_transformer_fails() -> None:
    class Broken(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            raise KeyError("broken")

    closed = []

    def parts() -> Iterator[Any]:
        try:
            yield {"type": "values", "ns": (), "data": 1, "interrupts": ()}
        finally:
            closed.append("sync")

    async def aparts() -> Any:
        try:
            yield {"type": "values", "ns": (), "data": 1, "interrupts": ()}
        finally:
            closed.append("async")

    source, asource = parts(), aparts()  # kept, so that nobody but the run closes them
    with pytest.raises(KeyError, match="broken"):
        GraphRunStream(source, StreamMux([Broken()])).output  # noqa: B018

    async def read() -> None:
        with pytest.raises(KeyError, match="broken"):
            await AsyncGraphRunStream(asource, StreamMux([Broken()], is_async=True)).output()
        assert closed == ["sync", "async"]

    asyncio.run(read())


@in_loop
async def test_a_run_that_is_dropped_is_closed_in_one_go() -> None:
    mishaps: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: mishaps.append(context))
    closed: list[str] = []
    done = asyncio.Event()

    async def inner() -> Any:
        try:
            while True:
                yield {"type": "values", "ns": (), "data": 1, "interrupts": ()}
        finally:
            await asyncio.sleep(0)
            closed.append("inner")

    async def outer() -> Any:
        try:
            async with aclosing(inner()) as parts:
                async for part in parts:
                    yield part
        finally:
            closed.append("outer")
            done.set()

    run = AsyncGraphRunStream(outer(), StreamMux(is_async=True))
    await anext(aiter(run))
    del run
    async with asyncio.timeout(60):
        # The reader's own generator goes first; and nothing is collected while another thread is at it.
        while not done.is_set():
            gc.collect()
            await asyncio.sleep(0)
    assert (closed, mishaps) == (["inner", "outer"], [])


@in_loop
async def test_nothing_waits_for_a_run_that_has_ended_to_be_dropped() -> None:
    finished, failed, aborted = [await open_async(*nodes) for nodes in ([writes("a")], [fails], [writes("a")])]
    await finished.output()
    with pytest.raises(ValueError, match="boom"):
        await failed.output()
    await anext(aiter(aborted))
    assert aborted._dropped is not None
    assert aborted._dropped.alive
    await aborted.abort()
    assert [run._dropped.alive for run in (finished, failed, aborted) if run._dropped] == [False] * 3


def test_a_queue_that_its_transformer_closed_stays_as_it_was(reader: Reader) -> None:
    class Early(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            if not self.queue._closed:
                self.queue.push("first")
                self.queue.close()
            return True

    run = reader.open(chain(writes("a"), fails), {"value": ""}, transformers=[Early]).run
    following = reader.next_of(run.extensions["probe"])
    assert following() == "first"
    with pytest.raises(ValueError, match="boom"):
        reader.get("output")
    with pytest.raises((StopIteration, StopAsyncIteration)):
        following()


def test_what_interrupts_the_reader_ends_the_run() -> None:
    def parts() -> Iterator[Any]:
        yield {"type": "values", "ns": (), "data": 1}
        raise KeyboardInterrupt

    run = GraphRunStream(parts(), StreamMux())
    following = iter(run)
    next(following)
    with pytest.raises(KeyboardInterrupt):
        run._pump_next()
    with pytest.raises(KeyboardInterrupt):
        run.output  # noqa: B018
    with pytest.raises(KeyboardInterrupt):
        next(following)


def test_the_package_is_loaded_by_who_uses_it() -> None:
    code = "import sys, stategraph.graph.state as s; print([m for m in sys.modules if 'engine.events' in m])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert loaded.stdout.strip() == "[]"


def test_a_run_without_messages_does_not_load_what_shows_messages() -> None:
    code = (
        "import sys\n"
        "from stategraph import START, StateGraph\n"
        "graph = StateGraph(dict).add_node('n', lambda _: {'n': 1}).add_edge(START, 'n').compile()\n"
        "before = set(sys.modules)\n"
        "assert graph.stream_events({'n': 0}, version='v3').output == {'n': 1}\n"
        "unwanted = ('langchain_protocol', 'langchain_core.language_models')\n"
        "print([name for name in set(sys.modules) - before if name.startswith(unwanted)])"
    )
    loaded = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, timeout=60)
    assert (loaded.stdout.strip(), loaded.returncode) == ("[]", 0), loaded.stderr
