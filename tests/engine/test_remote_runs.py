"""The handle of a run on a server: what it starts and ends, and that it shows what the client library's stream shows.

The client library is played by an object that writes down what it is asked for; what it does on the wire is its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from langgraph_sdk._async.stream import AsyncThreadStream
from langgraph_sdk._sync.stream import SyncThreadStream

from stategraph.engine.remote.graph import RemoteGraph
from stategraph.types import Command

EVENTS = [
    {"method": "updates", "params": {"data": {"a": 1}}},
    {"method": "values", "params": {"data": {"n": 1}}},
    {"method": "updates", "params": {"data": {"b": 2}}},
]


class Refused(Exception):
    """The server is not there."""


class Stream:
    """A thread's stream of the client library, sync."""

    thread_id = "t"
    values = "the values"
    messages = "the messages"
    tool_calls = "the tool calls"
    subgraphs = "the subgraphs"
    extensions: ClassVar = {"progress": "an extension"}
    interrupted = True
    interrupts = ("a question",)

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any]] = []
        self.refuses: set[str] = set()
        self.run = SimpleNamespace(start=self.start)

    def note(self, what: str, about: Any = None) -> None:
        self.asked.append((what, about))
        if what in self.refuses:
            raise Refused(what)

    def start(self, **given: Any) -> Any:
        self.note("start", given)
        return {"run_id": "r"}

    def __enter__(self) -> Stream:
        self.note("enter")
        return self

    def __exit__(self, kind: Any, error: Any, tb: Any) -> None:
        self.note("exit", kind)

    def close(self) -> None:
        self.note("close")

    def cancel(self, thread_id: str, run_id: str, **options: Any) -> None:
        self.note("cancel", (thread_id, run_id, options))

    @property
    def output(self) -> Any:
        return {"n": 2}

    @property
    def events(self) -> Iterator[Any]:
        self.note("events")
        return iter(EVENTS)

    def subscribe(self, channels: list[str]) -> Iterator[Any]:
        self.note("subscribe", channels)
        return iter(EVENTS)

    def interleave_projections(self, names: list[str]) -> Iterator[Any]:
        self.note("interleave", names)
        return iter([(names[0], 1)])


class AsyncStream(Stream):
    """The same, async."""

    def __init__(self) -> None:
        super().__init__()
        self.run = SimpleNamespace(start=self.astart)

    async def astart(self, **given: Any) -> Any:
        return self.start(**given)

    async def __aenter__(self) -> AsyncStream:
        self.note("enter")
        return self

    async def __aexit__(self, kind: Any, error: Any, tb: Any) -> None:
        self.note("exit", kind)

    async def close(self) -> None:  # type: ignore[override]
        self.note("close")

    async def cancel(self, thread_id: str, run_id: str, **options: Any) -> None:  # type: ignore[override]
        super().cancel(thread_id, run_id, **options)

    @property
    async def output(self) -> Any:  # type: ignore[override]
        return {"n": 2}

    @property
    async def events(self) -> AsyncIterator[Any]:  # type: ignore[override]
        self.note("events")
        for event in EVENTS:
            yield event

    async def subscribe(self, channels: list[str]) -> AsyncIterator[Any]:  # type: ignore[override]
        self.note("subscribe", channels)
        for event in EVENTS:
            yield event


class Calls:
    """Uses a handle one way, sync or async, so that one test body covers both."""

    def __init__(self, *, sync: bool) -> None:
        self.sync = sync
        self.stream = Stream() if sync else AsyncStream()
        self.opened: list[dict[str, Any]] = []
        client: Any = SimpleNamespace(
            threads=SimpleNamespace(stream=self.open), runs=SimpleNamespace(cancel=self.stream.cancel)
        )
        self.graph = RemoteGraph("agent", client=client, sync_client=client)

    def open(self, **given: Any) -> Stream:
        self.opened.append(given)
        return self.stream

    def during(self, body: Callable[[Any], Any], input: Any = None, config: Any = None, **options: Any) -> Any:
        """Do something with the handle of a run that is entered; `body` is awaited if it has to be."""
        if self.sync:
            with self.graph.stream_events(input, config, version="v3", **options) as run:
                return body(run)

        async def through() -> Any:
            async with await self.graph.astream_events(input, config, version="v3", **options) as run:
                found = body(run)
                return await found if hasattr(found, "__await__") else found

        return asyncio.run(through())

    def listed(self, iterable: Any) -> Any:
        if self.sync:
            return list(iterable)

        async def collect() -> list[Any]:
            return [item async for item in iterable]

        return collect()

    def asked(self) -> list[str]:
        return [what for what, _ in self.stream.asked]


@pytest.fixture(params=[True, False], ids=["sync", "async"])
def calls(request: pytest.FixtureRequest) -> Calls:
    return Calls(sync=request.param)


def test_entering_starts_the_run_on_the_threads_stream_and_leaving_ends_the_connection(calls: Calls) -> None:
    config = {"configurable": {"thread_id": "t", "user": "u"}}
    calls.during(lambda run: None, {"n": 0}, config, metadata={"who": "me"}, headers={"x": "y"})
    assert calls.opened == [{"thread_id": "t", "assistant_id": "agent", "headers": {"x": "y"}}]
    started = {"input": {"n": 0}, "config": {"configurable": {"user": "u"}}, "metadata": {"who": "me"}}
    assert calls.stream.asked == [("enter", None), ("start", started), ("exit", None)]


def test_an_answer_is_sent_as_it_is_and_a_run_without_a_thread_gets_a_new_one(calls: Calls) -> None:
    calls.during(lambda run: None, Command(resume="yes"))
    assert calls.opened[0]["thread_id"] is None
    assert calls.stream.asked[1][1]["input"] == "yes"


def test_a_run_that_cannot_be_started_leaves_no_connection(calls: Calls) -> None:
    calls.stream.refuses = {"start"}
    with pytest.raises(Refused):
        calls.during(lambda run: None)
    assert calls.stream.asked[-1] == ("exit", Refused)
    assert calls.asked() == ["enter", "start", "exit"]


def test_what_goes_wrong_inside_is_told_to_the_stream(calls: Calls) -> None:
    def fail(run: Any) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        calls.during(fail)
    assert calls.stream.asked[-1] == ("exit", ValueError)


def test_a_handle_serves_for_one_run(calls: Calls) -> None:
    handles: list[Any] = []
    calls.during(handles.append)
    with pytest.raises(RuntimeError, match=r"this run is closed; call stream_events\(\) again"):
        if calls.sync:
            handles[0].__enter__()
        else:
            asyncio.run(handles[0].__aenter__())
    assert calls.asked() == ["enter", "start", "exit"]


def test_the_projections_are_the_client_librarys(calls: Calls) -> None:
    def look(run: Any) -> Any:
        return run.values, run.messages, run.tool_calls, run.subgraphs

    shown = calls.during(look)
    assert shown == ("the values", "the messages", "the tool calls", "the subgraphs")


def test_output_and_questions_are_those_of_the_stream(calls: Calls) -> None:
    def look(run: Any) -> Any:
        return (run.output, run.interrupted, run.interrupts) if calls.sync else alook(run)

    async def alook(run: Any) -> Any:
        return await run.output(), await run.interrupted(), await run.interrupts()

    assert calls.during(look) == ({"n": 2}, True, ["a question"])


def test_all_projections_are_found_by_name(calls: Calls) -> None:
    def look(run: Any) -> Any:
        found = run.extensions
        assert list(found) == [
            *("values", "messages", "tool_calls", "subgraphs"),
            *("updates", "checkpoints", "tasks", "custom"),
        ]
        assert len(found) == 8
        assert (found["values"], found["messages"]) == ("the values", "the messages")
        assert found["progress"] == "an extension"
        with pytest.raises(KeyError):
            found["nothing"]
        return calls.listed(found["updates"])

    assert calls.during(look) == [{"a": 1}, {"b": 2}]
    assert ("subscribe", ["updates"]) in calls.stream.asked


def test_a_projection_is_subscribed_to_when_it_is_read(calls: Calls) -> None:
    calls.during(lambda run: run.extensions["tasks"] and None)
    assert "subscribe" not in calls.asked()


def test_every_iteration_continues_the_first_one(calls: Calls) -> None:
    def look(run: Any) -> Any:
        return [next(iter(run)), *run] if calls.sync else alook(run)

    async def alook(run: Any) -> Any:
        return [await anext(aiter(run)), *[event async for event in run]]

    assert calls.during(look) == EVENTS
    assert calls.asked().count("events") == 1


def test_projections_are_interleaved_in_the_order_of_arrival() -> None:
    calls = Calls(sync=True)
    assert calls.during(lambda run: list(run.interleave("values", "updates"))) == [("values", 1)]
    assert ("interleave", ["values", "updates"]) in calls.stream.asked


def abort(run: Any) -> Any:
    return run.abort()


def test_aborting_cancels_the_run_and_ends_the_connection_once(calls: Calls) -> None:
    def twice(run: Any) -> Any:
        return (run.abort(), run.abort()) if calls.sync else atwice(run)

    async def atwice(run: Any) -> None:
        await run.abort()
        await run.abort()

    calls.during(twice)
    assert calls.asked() == ["enter", "start", "cancel", "close"]
    assert calls.stream.asked[2][1] == ("t", "r", {"wait": False})


@pytest.mark.parametrize("refused", ["cancel", "close"])
def test_aborting_where_the_server_is_gone_is_no_error(
    calls: Calls, refused: str, caplog: pytest.LogCaptureFixture
) -> None:
    calls.stream.refuses = {refused}
    with caplog.at_level("DEBUG", "stategraph.engine.remote.run"):
        calls.during(abort)
    assert calls.asked() == ["enter", "start", "cancel", "close"]
    (record,) = caplog.records
    assert "run r could not be " in record.getMessage() or "the stream of run r could not be" in record.getMessage()
    assert record.exc_info is not None


def test_aborting_what_was_not_started_cancels_nothing(calls: Calls) -> None:
    if calls.sync:
        calls.graph.stream_events({}, version="v3").abort()
    else:

        async def through() -> None:
            await (await calls.graph.astream_events({}, version="v3")).abort()

        asyncio.run(through())
    assert calls.asked() == ["close"]


def test_only_version_3_has_async_events_of_a_remote_graph() -> None:
    with pytest.raises(NotImplementedError, match=r"version='v2'.*use version='v3'"):
        asyncio.run(Calls(sync=False).graph.astream_events({}))


def test_the_client_librarys_streams_have_what_is_asked_of_them() -> None:
    asked = {"events", "subscribe", "close"}
    assert asked <= set(dir(AsyncThreadStream))
    assert asked | {"output", "interleave_projections"} <= set(dir(SyncThreadStream))
