"""Nested runs in the event stream: when they start and end, their handles, and an event stream opened by a node."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Iterator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.constants import START
from stategraph.engine.streams.events.lifecycle import LifecycleTransformer
from stategraph.engine.streams.events.modes import ValuesTransformer
from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.subgraphs import SubgraphTransformer
from stategraph.engine.streams.events.transformer import ProtocolEvent, StreamTransformer
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.graph.state import StateGraph
from stategraph.types import Send
from tests.engine.events_kit import AsyncReader, Probe, Reader, State, SyncReader, chain, event, fails, writes

THREAD: Any = {"configurable": {"thread_id": "1"}}


@pytest.fixture(params=["sync", "async"])
def reader(request: pytest.FixtureRequest) -> Iterator[Reader]:
    if request.param == "sync":
        yield SyncReader()
    else:
        with asyncio.Runner() as runner:
            yield AsyncReader(runner)


class Items(TypedDict):
    items: Annotated[list[str], operator.add]


def asks(state: State) -> State:
    return {"value": interrupt("sure?")}


def short(payload: Any) -> tuple[Any, ...]:
    """The event of a lifecycle payload and the nodes on the way to its run."""
    return payload["event"], *(level.partition(":")[0] for level in payload["namespace"])


# -- lifecycle -------------------------------------------------------------------


def test_runs_at_any_depth_are_told_of(reader: Reader) -> None:
    graph = chain(writes("a"), chain(chain(writes("b"))))
    told = reader.read(reader.open(graph, {"value": ""}).run.lifecycle)
    assert [short(payload) for payload in told] == [
        ("started", "n1"),
        ("started", "n1", "n0"),
        ("completed", "n1", "n0"),
        ("completed", "n1"),
    ]
    assert told[0]["graph_name"] == "n1"
    assert told[0]["namespace"] == [f"n1:{told[0]['trigger_call_id']}"]


@pytest.mark.parametrize(("node", "status", "error"), [(fails, "failed", "boom"), (asks, "interrupted", None)])
def test_how_a_nested_run_ended_is_told(reader: Reader, node: Any, status: str, error: str | None) -> None:
    graph = chain(chain(node), checkpointer=InMemorySaver())
    following = reader.next_of(reader.open(graph, {"value": ""}, THREAD).run.lifecycle)
    assert following()["event"] == "started"
    end = following()
    assert (end["event"], end.get("error")) == (status, error)
    with pytest.raises((ValueError, StopIteration, StopAsyncIteration)):
        following()


def test_what_starts_and_ends_is_an_event_too_and_tasks_are_not(reader: Reader) -> None:
    events = reader.read(reader.open(chain(chain(writes("a"))), {"value": ""}).run)
    assert [short(e["params"]["data"]) for e in events if e["method"] == "lifecycle"] == [
        ("started", "n0"),
        ("completed", "n0"),
    ]
    assert "tasks" not in {e["method"] for e in events}


def test_a_run_without_a_task_is_not_told_of_until_it_ends() -> None:
    mux = StreamMux(factories=[LifecycleTransformer])
    told = iter(mux.extensions["lifecycle"])
    mux.push(event("tasks", {"id": "1"}, "odd"))
    mux.close()
    assert list(told) == []


# -- handles ---------------------------------------------------------------------


def test_a_handle_shows_what_happens_in_its_run(reader: Reader) -> None:
    graph = chain(writes("a"), chain(writes("b"), writes("c")))
    following = reader.next_of(reader.open(graph, {"value": ""}).run.subgraphs)
    handle = following()
    assert (handle.graph_name, len(handle.path), handle.status, handle.error) == ("n1", 1, "started", None)
    assert handle.path == (f"n1:{handle.trigger_call_id}",)
    values = [state["value"] for state in reader.read(handle.values)]
    assert values == ["ab", "abc"], "the first task shows a run, so its input state comes too early for a reader"
    assert handle.status == "completed"
    with pytest.raises((StopIteration, StopAsyncIteration)):
        following()


def test_the_output_of_a_handle_is_that_of_its_run(reader: Reader) -> None:
    following = reader.next_of(reader.open(chain(chain(writes("a")), writes("b")), {"value": ""}).run.subgraphs)
    outer, reader.run = reader.run, following()
    assert reader.get("output")["value"] == "a"
    assert reader.get("interrupts") == []
    reader.run = outer
    assert reader.get("output")["value"] == "ab"


def test_a_nested_run_that_has_ended_takes_the_run_around_it_no_further(reader: Reader) -> None:
    ran: list[str] = []

    def noted(state: State) -> State:
        ran.append("later")
        return {}

    run = reader.open(chain(chain(writes("a")), writes("b"), writes("c"), noted), {"value": ""}).run
    reader.run = reader.next_of(run.subgraphs)()
    for _ in range(3):
        assert reader.get("output") == {"value": "a", "items": ["a"]}
    assert reader.read(reader.run.values) == []
    assert ran == []
    reader.run = run
    assert reader.get("output")["value"] == "abc"
    assert ran == ["later"]


def test_a_nested_run_says_once_how_it_ended_by_the_name_that_langchain_reads(reader: Reader) -> None:
    run = reader.open(chain(chain(writes("a"))), {"value": ""}).run
    nested = reader.next_of(run.subgraphs)()
    seen = [nested._seen_terminal]
    assert reader.get("output")["value"] == "a"
    nested._mark("failed", "too late")
    seen.append(nested._seen_terminal)
    assert (seen, nested.status, nested.error) == ([False, True], "completed", None)


def test_only_the_outermost_run_numbers_events(reader: Reader) -> None:
    following = reader.next_of(reader.open(chain(chain(chain(writes("a")))), {"value": ""}).run.subgraphs)
    own = [event for event in reader.read(following()) if event["method"] == "lifecycle"]
    assert [("seq" in event) for event in own] == [False, False]


def test_the_next_level_is_on_the_handle(reader: Reader) -> None:
    graph = chain(chain(chain(writes("a"))))
    run = reader.open(graph, {"value": ""}).run
    top = reader.next_of(run.subgraphs)
    outer = top()
    inner = reader.next_of(outer.subgraphs)()
    assert inner.path[:1] == outer.path
    assert len(inner.path) == 2
    assert reader.read(inner.values)[-1]["value"] == "a"
    assert inner.status == "completed"
    with pytest.raises((StopIteration, StopAsyncIteration)):
        top()


@pytest.mark.parametrize(("node", "status", "error"), [(fails, "failed", "boom"), (asks, "interrupted", None)])
def test_a_handle_knows_how_its_run_ended(reader: Reader, node: Any, status: str, error: str | None) -> None:
    graph = chain(chain(node), checkpointer=InMemorySaver())
    outer = reader.open(graph, {"value": ""}, THREAD).run
    handle = reader.run = reader.next_of(outer.subgraphs)()
    if error is None:
        assert [asked.value for asked in reader.get("interrupts")] == ["sure?"]
    else:
        with pytest.raises(RuntimeError, match="boom"):
            reader.get("output")
    assert (handle.status, handle.error) == (status, error)


@pytest.mark.parametrize(("text", "words"), [("", "^The run failed$"), ("no room", "^no room$")])
def test_a_nested_run_fails_with_the_words_of_its_error_if_it_has_any(reader: Reader, text: str, words: str) -> None:
    def fail(state: State) -> State:
        raise LookupError(text)

    outer = reader.open(chain(chain(fail)), {"value": ""}).run
    handle = reader.run = reader.next_of(outer.subgraphs)()
    with pytest.raises(RuntimeError, match=words):
        reader.get("output")
    assert handle.status == "failed"


def test_parallel_runs_have_a_handle_each(reader: Reader) -> None:
    builder = StateGraph(State).add_node("start", writes(""))
    inner = StateGraph(State, output_schema=Items).add_node("node", lambda state: {"items": [state["value"]]})
    builder.add_node("inner", inner.add_edge(START, "node").compile())
    builder.add_edge(START, "start")
    builder.add_conditional_edges("start", lambda state: [Send("inner", {"value": v}) for v in "xyz"], ["inner"])
    handles = []
    for name, item in reader.open(builder.compile(), {"value": ""}).interleave("subgraphs", "values"):
        if name == "subgraphs":
            handles.append((item, reader.next_of(item.values)))
    assert sorted((handle.status, *first()["items"]) for handle, first in handles) == [
        ("completed", "x"),
        ("completed", "y"),
        ("completed", "z"),
    ]


def test_aborting_a_handle_only_stops_following(reader: Reader) -> None:
    outer = reader.open(chain(chain(writes("a"), writes("b"))), {"value": ""}).run
    reader.run = reader.next_of(outer.subgraphs)()
    values = reader.next_of(reader.run.values)
    reader.abort()
    with pytest.raises((StopIteration, StopAsyncIteration)):
        values()
    reader.run = outer
    assert reader.get("output")["value"] == "ab"


def test_transformers_of_nested_runs_are_their_own(reader: Reader) -> None:
    outer = reader.open(chain(chain(writes("a"))), {"value": ""}, transformers=[Probe]).run
    handle = reader.next_of(outer.subgraphs)()
    probes = [run._mux.transformer_by_key("probe") for run in (outer, handle)]
    assert [probe.scope for probe in probes] == [(), handle.path]
    reader.run = outer
    reader.get("output")
    assert [probe.told for probe in probes] == [["finalize"], ["finalize"]]


def test_handles_are_let_go_when_their_runs_end(reader: Reader) -> None:
    inner = chain(writes("a"))
    run = reader.open(chain(*[inner] * 20), {"value": ""}).run
    followers = run._mux.transformer_by_key("subgraphs"), run._mux.transformer_by_key("lifecycle")
    following = reader.next_of(run)
    for _ in range(60):
        following()
        assert len(followers[0]._handles) <= 1
        assert len(followers[1]._open) <= 1
    reader.abort()


def test_a_transformer_of_a_nested_run_that_cannot_finish_fails_the_run(reader: Reader) -> None:
    class Unready(Probe):
        def finalize(self) -> None:
            if self.scope:
                raise KeyError("unready")

    run = reader.open(chain(chain(writes("a"))), {"value": ""}, transformers=[Unready]).run
    with pytest.raises(KeyError, match="unready"):
        reader.read(run.values)


# -- handles, event by event -------------------------------------------------------


def followed(*factories: Any) -> tuple[StreamMux, SubgraphTransformer]:
    mux = StreamMux(factories=[SubgraphTransformer, *factories])
    transformer = mux.transformer_by_key("subgraphs")
    assert isinstance(transformer, SubgraphTransformer)
    return mux, transformer


def test_runs_that_are_still_open_end_with_the_run_around_them() -> None:
    for end, status in ((StreamMux.close, "completed"), (lambda mux: mux.fail(KeyError("gone")), "failed")):
        mux, transformer = followed()
        handles = iter(mux.extensions["subgraphs"])
        mux.push(event("tasks", {"id": "2"}, "a:1"))
        mux.push(event("tasks", {"id": "3"}, "odd"))
        a, odd = next(handles), next(handles)
        end(mux)
        assert (a.status, odd.status) == (status, status)
        assert a.error == ("'gone'" if status == "failed" else None)
        assert transformer._handles == {}


def test_all_nested_runs_end_even_if_one_cannot() -> None:
    class Unready(Probe):
        def finalize(self) -> None:
            super().finalize()
            if self.scope == ("a:1",):
                raise KeyError("unready")

    mux, transformer = followed(Unready)
    for name in ("a:1", "b:2"):
        mux.push(event("tasks", {"id": "9"}, name))
    handles = list(transformer._handles.values())
    with pytest.raises(KeyError, match="unready"):
        mux.close()
    assert [handle._mux.transformer_by_key("probe").told for handle in handles] == [["finalize"], ["finalize"]]
    assert mux._events._closed


def test_late_events_of_a_run_that_has_ended_are_nobodys() -> None:
    mux, transformer = followed(Probe)
    mux.push(event("tasks", {"id": "2"}, "a:1"))
    (handle,) = transformer._handles.values()
    mux.push(event("tasks", {"id": "1", "result": {}}))
    events = iter(handle)
    mux.push(event("values", {}, "a:1"))
    mux.push(event("tasks", {"id": "3"}, "a:1"))
    assert list(events) == []
    assert transformer._handles == {}


def test_a_mux_of_transformers_that_cannot_be_made_anew_follows_nobody() -> None:
    mux = StreamMux([SubgraphTransformer()])
    handles = iter(mux.extensions["subgraphs"])
    mux.push(event("tasks", {"id": "2"}, "a:1"))
    mux.push(event("tasks", {"id": "1", "result": {}}))
    mux.close()
    assert list(handles) == []
    with pytest.raises(RuntimeError, match="factories"):
        mux._make_child(("a:1",))


# -- opened by a node ----------------------------------------------------------------


def test_a_node_can_read_an_event_stream_of_its_own(reader: Reader) -> None:
    inner = chain(writes("b"), chain(writes("c")))

    def node(state: State) -> State:
        run = inner.stream_events(state, version="v3")
        values = [value["value"] for value in run.values]
        return {"value": ",".join(values), "items": [str(run._mux.scope == () or len(run._mux.scope))]}

    async def anode(state: State) -> State:
        run = await inner.astream_events(state, version="v3")
        values = [value["value"] async for value in run.values]
        return {"value": ",".join(values), "items": [str(run._mux.scope == () or len(run._mux.scope))]}

    graph = chain(anode if reader.is_async else node)
    reader.open(graph, {"value": "a"})
    assert reader.get("output") == {"value": "a,ab,abc", "items": ["1"]}


# -- ahead of the engine's own ---------------------------------------------------------


def test_a_transformer_can_come_ahead_and_change_what_others_see(reader: Reader) -> None:
    class Redacting(StreamTransformer):
        before_builtins = True

        def init(self) -> dict[str, Any]:
            return {}

        def process(self, event: ProtocolEvent) -> bool:
            if event["method"] == "values":
                event["params"]["data"] = {**event["params"]["data"], "value": "***"}
            return True

    run = reader.open(chain(writes("secret")), {"value": ""}, transformers=[Redacting]).run
    assert [state["value"] for state in reader.read(run.values)] == ["***", "***"]


def test_a_transformer_can_keep_an_event_from_the_plain_readers_only(reader: Reader) -> None:
    class Hiding(Probe):
        def process(self, event: ProtocolEvent) -> bool:
            super().process(event)
            return event["method"] != "values"

    reader.open(chain(writes("a")), {"value": ""}, transformers=[Hiding])
    seen: dict[str, int] = {}
    for name, _ in reader.interleave("values", "probe"):
        seen[name] = seen.get(name, 0) + 1
    assert seen["values"] == 2
    events = reader.read(reader.open(chain(writes("a")), {}, transformers=[Hiding]).run)
    assert {event["method"] for event in events} == {"custom:probe"}


def test_a_run_that_a_tool_call_started_is_told_of_with_the_call() -> None:
    mux = StreamMux([LifecycleTransformer()], is_async=False)
    told = iter(mux.extensions["lifecycle"])
    mux.push(event("tasks", {"id": "1", "name": "tools", "input": {"tool_call": {"id": "call"}}}))
    mux.push(event("tasks", {"id": "2", "name": "m", "metadata": {"lc_agent_name": "helper"}}, "tools:1"))
    mux.push(event("tasks", {"id": "3", "name": "m", "input": {}}, "plain:3"))
    mux.close()
    assert [(item["graph_name"], item.get("cause")) for item in told if item["event"] == "started"] == [
        ("helper", {"type": "toolCall", "tool_call_id": "call"}),
        ("plain", None),
    ]


def test_the_projection_of_states_knows_the_error_of_its_run_and_whether_it_was_asked() -> None:
    states = ValuesTransformer()
    mux = StreamMux([states], is_async=False)
    assert (states.error, states._interrupted) == (None, False)
    asked = event("values", {"n": 1})
    asked["params"]["interrupts"] = ("sure?",)
    mux.push(asked)
    assert states._interrupted
    error = KeyError("gone")
    mux.fail(error)
    assert states.error is error


def test_a_transformer_makes_a_dict_of_projections() -> None:
    class Listing(Probe):
        def init(self) -> Any:
            return [self.queue]

    with pytest.raises(TypeError, match=r"Listing\.init\(\) must return a dict of projections, not list"):
        StreamMux([Listing()], is_async=False)


def test_all_transformers_learn_of_an_error_even_if_one_cannot_take_it_in(caplog: pytest.LogCaptureFixture) -> None:
    class Confused(Probe):
        def init(self) -> dict[str, Any]:
            return {}

        def fail(self, err: BaseException) -> None:
            raise LookupError("confused")

    probe, error = Probe(), KeyError("gone")
    mux = StreamMux([Confused(), probe], is_async=False)
    mux.fail(error)
    assert probe.told == [error]
    assert mux._events._error is error
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == ("WARNING", "Confused could not take in an error")
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], LookupError)
