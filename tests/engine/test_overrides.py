"""Whoever overrides or wraps the methods that run a graph sees every run, nested ones too."""

from __future__ import annotations

import asyncio
import functools
import operator
import threading
from collections.abc import Callable
from types import MethodType
from typing import Annotated, Any, TypedDict
from unittest.mock import patch

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, StateGraph, entrypoint, interrupt
from stategraph.engine.compile.functions import RunnableSeq
from stategraph.engine.engine import StateGraphEngine
from stategraph.engine.interop import instrumentation
from stategraph.engine.tasks import threads
from stategraph.graph.compiled import CompiledStateGraph

METHODS = ("stream", "astream", "invoke", "ainvoke")
Seen = list[tuple[str, str]]


class State(TypedDict, total=False):
    steps: Annotated[list[Any], operator.add]


class Wrapper:
    """A wrapper as instrumentations use them: an object in the place of the method, which binds anew at each look."""

    def __init__(self, wrapped: Any, note: Callable[[Any, str], None]) -> None:
        self.wrapped = wrapped
        self.note = note

    def __get__(self, instance: Any, owner: Any) -> Any:
        bound = self.wrapped.__get__(instance, owner)
        if instance is None:
            return functools.partial(bound)

        def call(*args: Any, **kwargs: Any) -> Any:
            self.note(instance, self.wrapped.__name__)
            return bound(*args, **kwargs)

        return call


@pytest.fixture
def seen() -> Seen:
    return []


def wrap(monkeypatch: pytest.MonkeyPatch, kind: Any, seen: Seen, methods: tuple[str, ...] = METHODS) -> None:
    for method in methods:
        wrapper = Wrapper(getattr(kind, method), lambda graph, name: seen.append((graph.name, name)))
        monkeypatch.setattr(kind, method, wrapper)


def leaf_graph() -> Any:
    return StateGraph(State).add_node("work", lambda state: {"steps": ["leaf"]}).add_edge(START, "work")


def nested(leaf: Any) -> Any:
    """A graph that is a node of a graph."""
    return StateGraph(State).add_node("inner", leaf).add_edge(START, "inner").compile(name="outer")


def calling(leaf: Any, *, in_async: bool) -> Any:
    """A graph with a node that calls one."""

    def call(state: State) -> State:
        return {"steps": leaf.invoke({"steps": []})["steps"]}

    async def acall(state: State) -> State:
        return {"steps": (await leaf.ainvoke({"steps": []}))["steps"]}

    node: Any = acall if in_async else call
    return StateGraph(State).add_node("call", node).add_edge(START, "call").compile(name="outer")


def run(graph: Any, prefix: str, input: Any = None, **options: Any) -> Any:
    """Call ``invoke`` or ``ainvoke``."""
    input = {"steps": []} if input is None else input
    if prefix:
        return asyncio.run(graph.ainvoke(input, **options))
    return graph.invoke(input, **options)


def every(prefix: str, *names: str) -> Seen:
    return [(name, prefix + method) for name in names for method in ("invoke", "stream")]


both = pytest.mark.parametrize("prefix", ["", "a"], ids=["sync", "async"])


@both
@pytest.mark.parametrize("kind", [StateGraphEngine, CompiledStateGraph])
def test_a_wrapper_on_the_class_sees_the_graph_that_is_a_node(
    monkeypatch: pytest.MonkeyPatch, seen: Seen, kind: Any, prefix: str
) -> None:
    graph = nested(leaf_graph().compile(name="leaf"))
    expected = run(graph, prefix)
    wrap(monkeypatch, kind, seen)
    assert run(graph, prefix) == expected == {"steps": ["leaf"]}
    assert seen == every(prefix, "outer", "leaf")


@both
def test_a_wrapper_from_before_the_graph_was_compiled_sees_it_too(
    monkeypatch: pytest.MonkeyPatch, seen: Seen, prefix: str
) -> None:
    wrap(monkeypatch, StateGraphEngine, seen)
    assert run(nested(leaf_graph().compile(name="leaf")), prefix) == {"steps": ["leaf"]}
    assert seen == every(prefix, "outer", "leaf")


@both
def test_a_wrapper_sees_a_graph_that_a_node_calls(monkeypatch: pytest.MonkeyPatch, seen: Seen, prefix: str) -> None:
    graph = calling(leaf_graph().compile(name="leaf"), in_async=bool(prefix))
    wrap(monkeypatch, StateGraphEngine, seen)
    assert run(graph, prefix) == {"steps": ["leaf"]}
    assert seen == every(prefix, "outer", "leaf")


def test_a_wrapper_sees_entrypoints(monkeypatch: pytest.MonkeyPatch, seen: Seen) -> None:
    @entrypoint()
    def inner(number: int) -> int:
        return number + 1

    @entrypoint()
    def outer(number: int) -> int:
        return int(inner.invoke(number)) * 2

    wrap(monkeypatch, StateGraphEngine, seen)
    outer.name, inner.name = "outer", "inner"
    assert outer.invoke(1) == 4
    assert seen == every("", "outer", "inner")


@both
def test_a_wrapper_on_an_instance_sees_its_runs_only(seen: Seen, prefix: str) -> None:
    leaf = leaf_graph().compile(name="leaf")
    graph = nested(leaf)
    for method in ("stream", "astream"):
        original = getattr(leaf, method)

        def noted(self: Any, *args: Any, _original: Any = original, _name: str = method, **kwargs: Any) -> Any:
            seen.append((self.name, _name))
            return _original(*args, **kwargs)

        setattr(leaf, method, MethodType(noted, leaf))
    assert run(graph, prefix) == {"steps": ["leaf"]}
    assert seen == [("leaf", prefix + "stream")]


@both
def test_an_override_in_a_subclass_runs_in_every_place(seen: Seen, prefix: str) -> None:
    class Noted(CompiledStateGraph[Any, Any, Any, Any]):
        def stream(self, input: Any, config: Any = None, **options: Any) -> Any:
            seen.append((self.name, "stream"))
            yield from super().stream(input, config, **options)

        async def astream(self, input: Any, config: Any = None, **options: Any) -> Any:
            seen.append((self.name, "astream"))
            async for chunk in super().astream(input, config, **options):
                yield chunk

    leaf = leaf_graph().compile(name="leaf")
    leaf.__class__ = Noted
    assert run(leaf, prefix) == {"steps": ["leaf"]}
    assert run(nested(leaf), prefix) == {"steps": ["leaf"]}
    assert run(calling(leaf, in_async=bool(prefix)), prefix) == {"steps": ["leaf"]}
    assert seen == [("leaf", prefix + "stream")] * 3


def test_what_an_override_yields_is_the_result() -> None:
    class Replaced(CompiledStateGraph[Any, Any, Any, Any]):
        def stream(self, *args: Any, **options: Any) -> Any:
            yield "updates", {"work": {"steps": ["else"]}}
            yield "values", {"steps": ["else"]}

    leaf = leaf_graph().compile(name="leaf")
    leaf.__class__ = Replaced
    assert leaf.invoke({"steps": []}) == {"steps": ["else"]}
    assert nested(leaf).invoke({"steps": []}) == {"steps": ["else"]}


def test_a_patch_that_was_taken_back_is_not_asked_again(seen: Seen) -> None:
    graph = nested(leaf_graph().compile(name="leaf"))
    original = StateGraphEngine.stream

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append((self.name, "stream"))
        return original(self, *args, **kwargs)

    with patch.object(StateGraphEngine, "stream", noted):
        graph.invoke({"steps": []})
    graph.invoke({"steps": []})
    assert seen == [("outer", "stream"), ("leaf", "stream")]


@both
def test_a_wrapped_stream_is_asked_for_what_the_caller_of_invoke_chose(
    monkeypatch: pytest.MonkeyPatch, prefix: str
) -> None:
    asked: list[dict[str, Any]] = []
    original = getattr(StateGraphEngine, prefix + "stream")

    def noted(self: Any, *args: Any, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return original(self, *args, **kwargs)

    graph = leaf_graph().compile(name="leaf")
    monkeypatch.setattr(StateGraphEngine, prefix + "stream", noted)
    assert run(graph, prefix) == {"steps": ["leaf"]}
    assert run(graph, prefix, version="v2").value == {"steps": ["leaf"]}
    assert run(graph, prefix, stream_mode="updates") == [{"work": {"steps": ["leaf"]}}]
    assert run(graph, prefix, output_keys="steps") == ["leaf"]
    assert run(nested(graph), prefix, subgraphs=True) == {"steps": ["leaf"]}
    modes = [options["stream_mode"] for options in asked]
    assert modes == [["updates", "values"], "values", "updates", *[["updates", "values"]] * 3]
    assert [options.get("version") for options in asked] == [None, "v2", None, None, None, None]
    assert [options["output_keys"] for options in asked[:4]] == [["steps"], ["steps"], ["steps"], "steps"]
    assert [options.get("subgraphs") for options in asked[4:]] == [True, None]


@both
def test_interrupts_pass_through_a_wrapped_stream(monkeypatch: pytest.MonkeyPatch, seen: Seen, prefix: str) -> None:
    leaf = StateGraph(State).add_node("ask", lambda state: {"steps": [interrupt("name?")]}).add_edge(START, "ask")
    graph = (
        StateGraph(State)
        .add_node("inner", leaf.compile(name="leaf"))
        .add_edge(START, "inner")
        .compile(name="outer", checkpointer=InMemorySaver())
    )
    wrap(monkeypatch, StateGraphEngine, seen, ("stream", "astream"))
    config = {"configurable": {"thread_id": "1"}}
    paused = run(graph, prefix, config=config)
    assert [asked.value for asked in paused["__interrupt__"]] == ["name?"]
    assert run(graph, prefix, Command(resume="Ada"), config=config) == {"steps": ["Ada"]}
    assert seen == [(name, prefix + "stream") for name in ("outer", "leaf", "outer", "leaf")]


@both
def test_a_wrapper_is_given_a_config_that_can_be_read_in_any_way(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    nodes: list[Any] = []
    original = getattr(StateGraphEngine, prefix + "invoke")

    def noted(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
        # Past the methods of the dict, as encoders read it.
        nodes.append(None if config is None else dict.get(dict.get(config, "metadata", {}), "langgraph_node"))
        return original(self, input, config, **kwargs)

    graph = nested(leaf_graph().compile(name="leaf"))
    monkeypatch.setattr(StateGraphEngine, prefix + "invoke", noted)
    run(graph, prefix)
    assert nodes == [None, "inner"]


def test_nothing_is_streamed_for_a_result_that_nothing_looks_at() -> None:
    # The reason for noticing wrappers: without one, no chunk is built.
    graph = leaf_graph().compile(name="leaf")
    with patch("stategraph.engine.runs.entrypoints.invoke_through") as through:
        graph.invoke({"steps": []})
    assert not through.called


@both
def test_a_wrapper_of_sequences_sees_every_node(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    ran: list[Any] = []
    original = getattr(RunnableSeq, prefix + "invoke")

    def noted(self: Any, input: Any, config: Any = None, **kwargs: Any) -> Any:
        ran.append(dict.get(dict.get(config, "metadata", {}), "langgraph_node"))
        return original(self, input, config, **kwargs)

    graph = nested(leaf_graph().compile(name="leaf"))
    expected = run(graph, prefix)
    monkeypatch.setattr(RunnableSeq, prefix + "invoke", noted)
    assert run(graph, prefix) == expected
    assert run(graph, prefix, config={"callbacks": [BaseCallbackHandler()]}) == expected
    # A node without edges after it has no writer but its own.
    assert [name for name in ran if name != START] == ["inner", "work"] * 2


@both
def test_a_wrapped_executor_hands_sync_tasks_to_threads(monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    here = threading.local()
    told: list[Any] = []
    original = threads.BackgroundExecutor.submit

    def submit(self: Any, fn: Any, *args: Any, **kwargs: Any) -> Any:
        trace = getattr(here, "trace", None)

        def traced(*given: Any, **named: Any) -> Any:
            here.trace = trace
            try:
                return fn(*given, **named)
            finally:
                del here.trace

        return original(self, traced, *args, **kwargs)

    def work(state: State) -> State:
        told.append(getattr(here, "trace", None))
        return {"steps": [1]}

    graph = StateGraph(State).add_node("one", work).add_node("two", work)
    compiled = graph.add_edge(START, "one").add_edge(START, "two").compile()
    monkeypatch.setattr(threads.BackgroundExecutor, "submit", submit)
    here.trace = "trace"
    assert run(compiled, prefix) == {"steps": [1, 1]}
    assert told == ["trace", "trace"]


@pytest.mark.parametrize(
    "call", [instrumentation.PregelRunner, lambda: instrumentation.AsyncBackgroundExecutor().submit(len)]
)
def test_a_part_that_the_engine_lacks_says_so_when_called(call: Callable[[], Any]) -> None:
    with pytest.raises(NotImplementedError, match="can be wrapped but not called"):
        call()
