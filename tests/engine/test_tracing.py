"""What callback handlers are told of a run: which runs there are, whose children they are, and how they end."""

from __future__ import annotations

import asyncio
import operator
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import pytest
from langchain_core._api.deprecation import LangChainDeprecationWarning
from langchain_core.callbacks import AsyncCallbackHandler, AsyncCallbackManager, BaseCallbackHandler, CallbackManager
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.runnable_config import (
    get_async_callback_manager_for_config,
    get_callback_manager_for_config,
)
from stategraph.engine.streams.messages import StreamMessagesHandler
from stategraph.engine.streams.tools import StreamToolCallHandler
from stategraph.engine.tasks import traced_attempt
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.engine.tracing.children import child_manager
from stategraph.errors import GraphInterrupt
from stategraph.graph.func import entrypoint, task
from stategraph.graph.state import StateGraph
from stategraph.types import Command, RetryPolicy, Send, TracePolicy

if TYPE_CHECKING:
    from tests.conftest import Driver


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


EMPTY: Any = {"seen": []}


class Run:
    """One run as it was told."""

    def __init__(self, inputs: Any, run_id: UUID, parent_run_id: UUID | None, told: dict[str, Any]) -> None:
        self.inputs = inputs
        self.id = run_id
        self.parent_id = parent_run_id
        self.name: str | None = told["name"]
        self.tags: list[str] = told["tags"]
        self.metadata: dict[str, Any] = dict(told["metadata"])
        self.output: Any = None
        self.error: BaseException | None = None
        self.ends = 0


class Told:
    """The runs that a handler was told of, in the order of their starts."""

    raise_error = True

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def start(self, inputs: Any, *, run_id: UUID, parent_run_id: UUID | None, **told: Any) -> None:
        self.runs.append(Run(inputs, run_id, parent_run_id, told))

    def end(self, run_id: UUID, output: Any = None, error: BaseException | None = None) -> None:
        [run] = [run for run in self.runs if run.id == run_id]
        run.output, run.error = output, error
        run.ends += 1

    def tree(self) -> list[str]:
        """A line for each run: indented below its parent, with its own tags."""
        depth = {None: -1}
        lines = []
        for run in self.runs:
            depth[run.id] = depth[run.parent_id] + 1
            lines.append("  " * depth[run.id] + " ".join([str(run.name), *run.tags]))
        return lines

    def run(self, name: str) -> Run:
        [run] = [run for run in self.runs if run.name == name]
        return run

    def facts(self) -> list[Any]:
        """Everything that was told, without what is random."""
        order: dict[UUID | None, int | None] = {None: None}
        order.update((run.id, number) for number, run in enumerate(self.runs))
        return [
            (
                run.name,
                order[run.parent_id],
                run.tags,
                {key: value for key, value in run.metadata.items() if not key.endswith("checkpoint_ns")},
                run.inputs,
                run.output,
                type(run.error),
                run.ends,
            )
            for run in self.runs
        ]


class Listener(Told, BaseCallbackHandler):
    def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
        self.start(inputs, **told)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self.end(run_id, outputs)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.end(run_id, error=error)


class AsyncListener(Told, AsyncCallbackHandler):
    async def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
        self.start(inputs, **told)

    async def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
        self.end(run_id, outputs)

    async def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        self.end(run_id, error=error)


def listening(*handlers: Any, **config: Any) -> RunnableConfig:
    return {"callbacks": list(handlers), **config}  # type: ignore[typeddict-item]


def says(word: str) -> Callable[[Any], Any]:
    return lambda _: {"seen": [word]}


def to_b(state: State) -> str:
    return "b"


def routed() -> Any:
    builder = StateGraph(State).add_node("a", says("a")).add_node("b", says("b")).add_edge(START, "a")
    return builder.add_conditional_edges("a", to_b, ["b", END]).compile()


def one_node(node: Any, **options: Any) -> Any:
    return StateGraph(State).add_node("n", node, **options).add_edge(START, "n").compile()


def subgraph() -> Any:
    return StateGraph(State).add_node("sub", routed()).add_edge(START, "sub").compile()


def fanned() -> Any:
    builder = StateGraph(State).add_node("w", says("w"))
    return builder.add_conditional_edges(START, lambda _: [Send("w", {"x": 1})], ["w"]).compile(name="fan")


def failing() -> Any:
    def fail(_: Any) -> None:
        raise ValueError("no")

    return one_node(fail)


def chained() -> Any:
    return one_node(RunnableLambda(says("x"), name="first") | RunnableLambda(lambda x: x, name="second"))


def calling_a_traced_function() -> Any:
    return one_node(RunnableCallable(says("x"), name="called"))


def returning_a_runnable() -> Any:
    return one_node(lambda _: RunnableLambda(says("x"), name="inside"))


def functional() -> Any:
    @task
    def add(x: int, *, y: int = 1) -> int:
        return x + y

    @entrypoint()
    def workflow(x: int) -> int:
        return add(x, y=2).result()

    return workflow


def commanding() -> Any:
    builder = StateGraph(State).add_node("a", lambda _: Command(goto="b", update={"seen": ["a"]}))
    return builder.add_node("b", says("b")).add_edge(START, "a").compile()


# -- the tree ------------------------------------------------------------------


def test_a_node_is_a_run_of_the_graph_and_a_router_a_run_of_its_node(driver: Driver) -> None:
    told = Listener()
    driver.invoke(routed(), EMPTY, listening(told))
    assert told.tree() == [
        "LangGraph",
        "  a graph:step:1",
        "    to_b seq:step:3",
        "  b graph:step:2",
    ]
    assert [run.inputs for run in told.runs] == [EMPTY, EMPTY, {"seen": ["a"]}, {"seen": ["a"]}]
    assert [run.output for run in told.runs] == [{"seen": ["a", "b"]}, {"seen": ["a"]}, "b", {"seen": ["b"]}]
    assert {run.ends for run in told.runs} == {1}


def test_a_router_behind_plain_edges_is_numbered_as_if_each_edge_were_a_step(driver: Driver) -> None:
    def to_end(_: State) -> str:
        return END

    builder = StateGraph(State)
    for name in "abcd":
        builder.add_node(name, says(name))
    builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").add_edge(["a", "b"], "d")
    graph = builder.add_conditional_edges("a", to_b, ["b"]).add_conditional_edges("a", to_end, [END]).compile()
    told = Listener()
    driver.invoke(graph, EMPTY, listening(told))
    assert [run.tags for run in told.runs if run.name in ("to_b", "to_end")] == [["seq:step:6"], ["seq:step:7"]]


def test_a_subgraph_is_a_child_of_its_node(driver: Driver) -> None:
    told = Listener()
    driver.invoke(subgraph(), EMPTY, listening(told, tags=["mine"]))
    assert told.tree() == [
        "LangGraph mine",
        "  sub graph:step:1 mine",
        "    LangGraph seq:step:1 mine",
        "      a graph:step:1 mine",
        "        to_b seq:step:3 mine",
        "      b graph:step:2 mine",
    ]


def test_what_a_node_calls_is_its_child_without_being_given_the_config(driver: Driver) -> None:
    def node(_: Any) -> Any:
        return {"seen": [RunnableLambda(lambda _: "x", name="inside").invoke(1)]}

    told = Listener()
    driver.invoke(one_node(node), EMPTY, listening(told))
    assert told.tree() == ["LangGraph", "  n graph:step:1", "    inside seq:step:1"]


def test_the_steps_of_a_sequence_are_steps_of_its_node(driver: Driver) -> None:
    told = Listener()
    driver.invoke(chained(), EMPTY, listening(told))
    assert told.tree() == ["LangGraph", "  n graph:step:1", "    first seq:step:1", "    second seq:step:2"]


def test_a_function_that_is_to_be_traced_is_a_child_of_its_node(driver: Driver) -> None:
    told = Listener()
    driver.invoke(calling_a_traced_function(), EMPTY, listening(told))
    assert told.tree() == ["LangGraph", "  n graph:step:1", "    called seq:step:1"]


def test_a_called_function_is_a_child_of_its_caller_with_its_arguments_by_name(driver: Driver) -> None:
    told = Listener()
    assert driver.invoke(functional(), 1, listening(told)) == 3
    assert told.tree() == ["LangGraph", "  workflow graph:step:0", "    add seq:step:1"]
    assert told.run("add").inputs == {"x": 1, "y": 2}


def test_config_names_the_run_and_describes_all_of_it(driver: Driver) -> None:
    told, run_id = Listener(), uuid4()
    config = listening(told, run_name="mine", run_id=run_id, tags=["t"], metadata={"m": 1})
    config["configurable"] = {"thread_id": "x"}
    driver.invoke(routed().with_config(metadata={"g": 1}), EMPTY, config)
    root, node, router, _ = told.runs
    assert (root.name, root.id, root.tags) == ("mine", run_id, ["t"])
    assert root.metadata == {"m": 1, "g": 1, "thread_id": "x", "ls_integration": "langgraph"}
    for run in (node, router):
        assert root.metadata.items() <= run.metadata.items()
        assert run.metadata["langgraph_node"] == "a"
        assert run.metadata["langgraph_step"] == 1
        assert run.id != run_id


def test_tags_and_metadata_of_a_node_are_its_runs_own(driver: Driver) -> None:
    told = Listener()
    graph = StateGraph(State).add_node("a", says("a"), metadata={"own": 1}).add_node("b", says("b"))
    driver.invoke(graph.add_edge(START, "a").add_edge("a", "b").compile(), EMPTY, listening(told))
    assert [run.metadata.get("own") for run in told.runs] == [None, 1, None]


# -- how runs end ----------------------------------------------------------------


def test_a_failure_ends_every_run_around_it_with_the_error(driver: Driver) -> None:
    told = Listener()
    with pytest.raises(ValueError, match="no") as caught:
        driver.invoke(failing(), EMPTY, listening(told))
    assert [(run.name, run.error, run.ends) for run in told.runs] == [
        ("LangGraph", caught.value, 1),
        ("n", caught.value, 1),
    ]


def test_every_attempt_is_a_run_of_its_own(driver: Driver) -> None:
    errors: list[Exception] = [ValueError("no")]

    def node(_: Any) -> Any:
        if errors:
            raise errors.pop()
        return {"seen": ["x"]}

    told = Listener()
    policy = RetryPolicy(initial_interval=0, jitter=False, retry_on=ValueError)
    driver.invoke(one_node(node, retry_policy=policy), EMPTY, listening(told))
    assert told.tree() == ["LangGraph", "  n graph:step:1", "  n graph:step:1"]
    assert [type(run.error) for run in told.runs] == [type(None), ValueError, type(None)]


def test_an_interrupt_ends_the_nodes_run_with_an_error_and_the_graphs_without(driver: Driver) -> None:
    graph = one_node(lambda _: {"seen": [interrupt("?")]})
    graph.checkpointer = InMemorySaver()
    first, second = Listener(), Listener()
    where = {"thread_id": "t"}
    driver.invoke(graph, EMPTY, listening(first, configurable=where))
    driver.invoke(graph, Command(resume="!"), listening(second, configurable=where))
    assert [type(run.error) for run in first.runs] == [type(None), GraphInterrupt]
    assert [run.output for run in second.runs] == [{"seen": ["!"]}, {"seen": ["!"]}]


@pytest.mark.anyio
async def test_cancelling_a_run_ends_it_for_who_listens() -> None:
    reached, told = asyncio.Event(), AsyncListener()

    async def node(_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    running = asyncio.create_task(one_node(node).ainvoke(EMPTY, listening(told)))
    await asyncio.wait_for(reached.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert [(run.name, type(run.error), run.ends) for run in told.runs] == [
        ("LangGraph", asyncio.CancelledError, 1),
        ("n", asyncio.CancelledError, 1),
    ]


# -- one way and the other ----------------------------------------------------------

GRAPHS = [
    routed,
    subgraph,
    fanned,
    failing,
    chained,
    calling_a_traced_function,
    returning_a_runnable,
    functional,
    commanding,
]


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_handlers_hear_the_same_whether_steps_are_called_directly_or_by_the_runnable(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    direct: list[bool] = []
    original = traced_attempt.sequence_of

    def noted(body: Any) -> Any:
        sequence = original(body)
        direct.append(sequence is not None)
        return sequence

    def hear() -> list[Any]:
        told, graph = Listener(), make()
        try:
            driver.invoke(graph, 1 if make is functional else EMPTY, listening(told, tags=["t"], metadata={"m": 1}))
        except ValueError:
            pass
        return told.facts()

    monkeypatch.setattr(traced_attempt, "sequence_of", noted)
    directly = hear()
    assert len(directly) > 1
    # A sequence in a node and a function that is traced are left to the Runnable.
    assert set(direct) == {make not in (chained, calling_a_traced_function)}
    monkeypatch.setattr(traced_attempt, "sequence_of", lambda _: None)
    assert hear() == directly


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
def test_one_handler_hears_what_several_hear(make: Any) -> None:
    async def hear(*others: Any) -> list[Any]:
        told = AsyncListener()
        try:
            await make().ainvoke(1 if make is functional else EMPTY, listening(told, *others))
        except ValueError:
            pass
        return told.facts()

    assert asyncio.run(hear()) == asyncio.run(hear(AsyncListener(), Listener()))


def test_a_run_that_is_seen_is_run_no_differently(driver: Driver) -> None:
    for make in (routed, subgraph, fanned, chained, returning_a_runnable, commanding):
        assert driver.invoke(make(), EMPTY, listening(Listener())) == driver.invoke(make(), EMPTY)


def test_tracers_alone_get_replaced_payloads(driver: Driver) -> None:
    from langchain_core.tracers.base import BaseTracer

    class Tracer(BaseTracer):
        def __init__(self) -> None:
            super().__init__()
            self.recorded: Any = None

        def _persist_run(self, run: Any) -> None:
            self.recorded = run.child_runs[0]

    tracer, told = Tracer(), Listener()
    policy = TracePolicy(process_inputs=lambda _: "in", process_outputs=lambda _: "out")
    driver.invoke(one_node(says("x"), trace_policy=policy), EMPTY, listening(tracer, told))
    assert (tracer.recorded.inputs, tracer.recorded.outputs) == ({"input": "in"}, {"output": "out"})
    assert (told.run("n").inputs, told.run("n").output) == (EMPTY, {"seen": ["x"]})


# -- handlers of async runs -----------------------------------------------------------

_marked: ContextVar[str] = ContextVar("marked", default="nothing")


@pytest.mark.anyio
async def test_what_a_handler_sets_in_its_context_stays_there() -> None:
    class Marking(AsyncListener):
        async def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
            _marked.set("by the handler")
            await super().on_chain_start(serialized, inputs, **told)

    async def node(_: Any) -> Any:
        return {"seen": [_marked.get()]}

    assert await one_node(node).ainvoke(EMPTY, listening(Marking())) == {"seen": ["nothing"]}


@pytest.mark.anyio
async def test_an_ending_that_is_being_told_survives_cancellation() -> None:
    telling, told = asyncio.Event(), asyncio.Event()
    go_on = asyncio.Event()

    class Slow(AsyncListener):
        async def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
            telling.set()
            await go_on.wait()
            told.set()

    running = asyncio.create_task(routed().ainvoke(EMPTY, listening(Slow())))
    await asyncio.wait_for(telling.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go_on.set()
    await asyncio.wait_for(told.wait(), 5)


@pytest.mark.anyio
async def test_a_sync_handler_does_not_block_the_loop() -> None:
    threads: set[int] = set()

    class Where(Listener):
        def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> None:
            threads.add(threading.get_ident())

        def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> None:
            threads.add(threading.get_ident())

    await routed().ainvoke(EMPTY, listening(Where()))
    assert threads
    assert threading.get_ident() not in threads


@pytest.mark.parametrize("kind", [Listener, AsyncListener])
def test_a_handlers_failure_is_the_runs_only_if_it_says_so(kind: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Broken(kind):  # type: ignore[misc]
        def on_chain_start(self, serialized: Any, inputs: Any, **told: Any) -> Any:
            raise RuntimeError("broken")

        def on_chain_end(self, outputs: Any, *, run_id: UUID, **_: Any) -> Any:
            return None

        def on_chain_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> Any:
            return None

    quiet, loud = Broken(), Broken()
    quiet.raise_error = False
    assert asyncio.run(routed().ainvoke(EMPTY, listening(quiet))) == {"seen": ["a", "b"]}
    assert "RuntimeError('broken')" in caplog.text
    with pytest.raises(RuntimeError, match="broken"):
        asyncio.run(routed().ainvoke(EMPTY, listening(loud)))


@pytest.mark.anyio
async def test_events_of_a_run_can_be_streamed() -> None:
    events = [event async for event in routed().astream_events(EMPTY, version="v2")]
    assert [(event["event"], event["name"]) for event in events] == [
        ("on_chain_start", "LangGraph"),
        ("on_chain_start", "a"),
        ("on_chain_start", "to_b"),
        ("on_chain_end", "to_b"),
        ("on_chain_stream", "a"),
        ("on_chain_end", "a"),
        ("on_chain_stream", "LangGraph"),
        ("on_chain_start", "b"),
        ("on_chain_stream", "b"),
        ("on_chain_end", "b"),
        ("on_chain_stream", "LangGraph"),
        ("on_chain_end", "LangGraph"),
    ]
    assert events[-1]["data"] == {"output": {"seen": ["a", "b"]}}


# -- managers -------------------------------------------------------------------------


def described(manager: Any) -> dict[str, Any]:
    return {"type": type(manager), **vars(manager)}


@pytest.mark.parametrize("kind", [CallbackManagerForChainRun, AsyncCallbackManagerForChainRun])
@pytest.mark.parametrize("tag", [None, "t", "new"])
def test_a_child_is_what_langchain_would_make_of_it(kind: Any, tag: str | None) -> None:
    handler, other = Listener(), Listener()
    run = kind(
        run_id=uuid4(),
        handlers=[handler],
        inheritable_handlers=[handler, other, handler],
        parent_run_id=uuid4(),
        tags=["own", "t"],
        inheritable_tags=["t", "u"],
        metadata={"own": 1},
        inheritable_metadata={"m": {"deep": 1}},
    )
    assert described(child_manager(run, tag)) == described(run.get_child(tag))


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        (CallbackManager, get_callback_manager_for_config),
        (AsyncCallbackManager, get_async_callback_manager_for_config),
    ],
)
def test_a_manager_takes_on_what_a_config_says_and_stays_as_it_was(kind: Any, make: Any) -> None:
    manager = kind(
        handlers=[Listener()],
        inheritable_handlers=[],
        parent_run_id=uuid4(),
        tags=["graph:step:1", "t"],
        inheritable_tags=["t"],
        metadata={"a": 1, "lc_versions": {"x": "1"}},
        inheritable_metadata={"lc_versions": {"x": "1"}},
    )
    tags, metadata = ["t", "u"], {"b": 2, "lc_versions": {"y": "2"}}
    expected, before = manager.copy(), described(manager.copy())
    expected.add_tags(tags)
    expected.add_metadata(metadata)
    assert described(make({"callbacks": manager, "tags": tags, "metadata": metadata})) == described(expected)
    assert described(manager) == before


@pytest.mark.parametrize("heard", [True, False], ids=["heard", "unheard"])
def test_the_manager_of_a_node_is_of_the_kind_of_the_run_whether_or_not_anybody_listens(
    driver: Driver, heard: bool
) -> None:
    is_async = driver.name == "async"
    kinds: list[tuple[str, bool]] = []

    def note(name: str, config: RunnableConfig) -> None:
        kinds.append((name, isinstance(config["callbacks"], AsyncCallbackManager)))
        assert isinstance(config["callbacks"], AsyncCallbackManager | CallbackManager)

    def plain(state: State, config: RunnableConfig) -> None:
        note("plain", config)
        RunnableLambda(lambda _, config: note("called", config)).invoke(1)

    async def awaited(state: State, config: RunnableConfig) -> None:
        note("awaited", config)
        run: Any = await config["callbacks"].on_chain_start({}, {}, name="own")  # type: ignore[union-attr,misc]
        await run.on_chain_end({})

    def route(state: State, config: RunnableConfig) -> str:
        note("route", config)
        return END

    inner = StateGraph(State).add_node("plain", plain).add_edge(START, "plain")
    graph = StateGraph(State).add_node("inner", inner.compile()).add_edge(START, "inner")
    if is_async:
        graph.add_node("awaited", awaited).add_edge("inner", "awaited").add_conditional_edges("awaited", route)
    else:
        graph.add_conditional_edges("inner", route)
    driver.invoke(graph.compile(), EMPTY, {"callbacks": [BaseCallbackHandler()] if heard else None})
    expected = [("plain", is_async), ("called", False)]
    expected += [("awaited", True), ("route", True)] if is_async else [("route", False)]
    assert kinds == expected


@pytest.mark.anyio
async def test_older_versions_of_events_are_those_of_langchain() -> None:
    async def parents(version: Any) -> set[bool]:
        events = routed().astream_events({"seen": []}, version=version)
        return {bool(event["parent_ids"]) async for event in events}

    assert await parents("v2") == {True, False}
    with pytest.warns(LangChainDeprecationWarning, match="version='v1' is deprecated"):
        assert await parents("v1") == {False}


@pytest.mark.parametrize("kind", [StreamMessagesHandler, StreamToolCallHandler])
def test_what_feeds_a_stream_leaves_alone_what_other_runnables_stream(kind: Any) -> None:
    feed, chunks = kind([].append, True), iter("ab")
    assert feed.tap_output_iter(uuid4(), chunks) is chunks
    assert feed.tap_output_aiter(uuid4(), chunks) is chunks


class OwnRunManager(CallbackManagerForChainRun):
    """A run manager of a host's own class."""


def test_the_child_of_a_run_of_a_hosts_own_class_is_made_by_that_class() -> None:
    run = OwnRunManager(
        run_id=uuid4(), handlers=[], inheritable_handlers=[Listener()], tags=[], inheritable_tags=["t"], metadata={}
    )
    assert described(child_manager(run, "new")) == described(run.get_child("new"))
