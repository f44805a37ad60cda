"""Handlers are told the same directly as by langchain-core: which events, in which order, in which context."""

from __future__ import annotations

import asyncio
import logging
import operator
import random
import threading
from collections.abc import Callable
from contextlib import nullcontext
from contextvars import ContextVar
from itertools import combinations
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID, uuid4

import anyio
import pytest
from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
)
from langchain_core.callbacks.manager import AsyncCallbackManagerForChainRun, CallbackManagerForChainRun
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig, RunnableLambda
from langchain_core.tracers.base import BaseTracer
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.runs.adriver import AsyncDriver
from stategraph.engine.streams.modes import MODES
from stategraph.engine.tracing import telling
from stategraph.engine.tracing.children import child_manager, late_child_manager
from stategraph.errors import NodeCancelledError
from stategraph.graph.func import task
from stategraph.graph.message import add_messages
from stategraph.graph.state import StateGraph
from stategraph.types import Command, RetryPolicy, Send

if TYPE_CHECKING:
    from tests.conftest import Driver


class State(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]
    messages: Annotated[list[Any], add_messages]


EMPTY: Any = {"seen": [], "messages": []}


# -- what is heard -------------------------------------------------------------


class Log:
    """Everything that a run's handlers were told, in one order, without what is random."""

    def __init__(self) -> None:
        self.lines: list[Any] = []
        self._numbers: dict[UUID | None, int | None] = {None: None}

    def number(self, run_id: UUID | None) -> int | None:
        return self._numbers.setdefault(run_id, len(self._numbers))

    def add(self, who: str, event: str, args: Any, told: dict[str, Any]) -> None:
        metadata = {key: value for key, value in (told.get("metadata") or {}).items() if "checkpoint_ns" not in key}
        said = repr(args[-1]) if isinstance(args[-1], BaseException) else args[-1]
        ids = (self.number(told["run_id"]), self.number(told.get("parent_run_id")))
        self.lines.append((who, event, ids, told.get("name"), told.get("tags"), metadata, said))

    def of(self, who: str) -> list[Any]:
        return [line for line in self.lines if line[0] == who]


EVENTS = ("on_chain_start", "on_chain_end", "on_chain_error")


def methods(kind: str, log: Log, name: str, breaks: str) -> dict[str, Any]:
    """The methods of a handler of some kind, which break at one event."""

    def plain(event: str) -> Any:
        def method(self: Any, *args: Any, **told: Any) -> None:
            log.add(name, event, args, told)
            if event == breaks:
                raise RuntimeError(f"{name} breaks")

        return method

    def awaited(event: str) -> Any:
        async def method(self: Any, *args: Any, **told: Any) -> None:
            log.add(name, event, args, told)
            if kind == "waits":
                with anyio.fail_after(5):  # belongs to a task
                    await asyncio.sleep(0)
                    await anyio.sleep(0.001)
            if event == breaks:
                raise RuntimeError(f"{name} breaks")

        return method

    def returning(event: str) -> Any:
        """A sync method that returns a coroutine."""
        return lambda self, *args, **told: awaited(event)(self, *args, **told)

    make = {"async": awaited, "waits": awaited, "inline async": awaited, "returns": returning}.get(kind, plain)
    return {event: make(event) for event in EVENTS}


def handler(kind: str, log: Log, name: str, *, breaks: str = "", raises: bool = False) -> Any:
    """Make a handler.

    Args:
        kind: How it hears: "sync", "async", "waits", "inline", "inline async", "returns", "ignores" or "silent".
        log: What it writes to.
        name: What it is called there.
        breaks: The event at which it raises.
        raises: Whether the run is to fail with that.
    """
    is_async = kind in ("async", "waits", "inline async")
    own = {} if kind == "silent" else methods(kind, log, name, breaks)
    own |= {"run_inline": kind.startswith("inline"), "raise_error": raises}
    if kind == "ignores":
        own["ignore_chain"] = property(lambda self: True)
    return type(f"Handler{name}", (AsyncCallbackHandler if is_async else BaseCallbackHandler,), own)()


KINDS = ("sync", "async", "waits", "inline", "inline async", "ignores", "silent")
IN_ORDER = frozenset(("async", "inline", "inline async", "ignores", "silent"))
"""Kinds that are told at once, so that their events have one order among them."""


# -- what runs -----------------------------------------------------------------


def node(word: str, *, waits: bool = False, fails: bool = False) -> Any:
    """A node for sync and async runs."""
    update = {"seen": [word], "messages": [AIMessage(word, id=word)]}

    def work(_: Any) -> Any:
        if fails:
            raise ValueError("no")
        return update

    async def awork(_: Any) -> Any:
        if waits:
            await asyncio.sleep(0)
        return work(None)

    return RunnableCallable(work, awork, name=word, trace=False)


def chain(**options: Any) -> Any:
    builder = StateGraph(State).add_node("a", node("a", waits=True)).add_node("b", node("b", **options))
    builder.add_node("c", node("c")).add_edge(START, "a").add_edge("a", "b")
    return builder.add_conditional_edges("b", lambda state: "c", ["c", END])


def fanned() -> Any:
    builder = StateGraph(State).add_node("x", node("x")).add_node("y", node("y", waits=True)).add_node("z", node("z"))
    for name in ("x", "y", "z"):
        builder.add_edge(START, name)
    return builder


def nested() -> Any:
    builder = StateGraph(State).add_node("in", chain().compile()).add_node("d", node("d"))
    return builder.add_edge(START, "in").add_edge("in", "d")


def sent() -> Any:
    builder = StateGraph(State).add_node("w", node("w"))
    return builder.add_conditional_edges(START, lambda _: [Send("w", EMPTY)], ["w"])


def commanding() -> Any:
    builder = StateGraph(State).add_node("a", lambda _: Command(goto="b", update={"seen": ["a"]}))
    return builder.add_node("b", node("b")).add_edge(START, "a")


def talking() -> Any:
    """A model in a node, asked for a whole answer."""

    def fresh() -> Any:
        return GenericFakeChatModel(messages=iter([AIMessage("one two", id="said")]))

    def ask(state: Any) -> Any:
        return {"messages": [fresh().invoke([HumanMessage("hi", id="h")])]}

    async def aask(state: Any) -> Any:
        return {"messages": [await fresh().ainvoke([HumanMessage("hi", id="h")])]}

    builder = StateGraph(State).add_node("ask", RunnableCallable(ask, aask, name="ask", trace=False))
    return builder.add_node("b", node("b")).add_edge(START, "ask").add_edge("ask", "b")


def failing() -> Any:
    return chain(fails=True)


GRAPHS = (chain, fanned, nested, sent, commanding, talking, failing)


@pytest.fixture
def generally(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Have langchain-core tell everybody, and each step be run as a separate asyncio task."""

    def switch() -> None:
        monkeypatch.setattr(telling, "is_ordinary", lambda kind: False)
        never = property(lambda self: False, lambda self, value: None)
        monkeypatch.setattr(AsyncDriver, "_goes_ahead", never, raising=False)

    return switch


def run(driver: Driver, make: Any, config: RunnableConfig, **options: Any) -> list[Any]:
    """Run a graph; returns its chunks, and what it failed with."""
    chunks: list[Any] = []
    graph = make().compile()

    async def read() -> None:
        async for chunk in graph.astream(EMPTY, config, **options):
            chunks.append(chunk)

    try:
        if driver.name == "async":
            asyncio.run(read())
        else:
            chunks.extend(graph.stream(EMPTY, config, **options))
    except (ValueError, RuntimeError) as error:
        chunks.append(repr(error))
    return chunks


# -- handlers ------------------------------------------------------------------


@pytest.mark.parametrize("make", GRAPHS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("kinds", [*((kind,) for kind in KINDS), *combinations(KINDS, 2)], ids="+".join)
def test_handlers_hear_the_same_directly_as_through_langchain(
    driver: Driver, generally: Callable[[], None], make: Any, kinds: tuple[str, ...]
) -> None:
    def hear() -> tuple[list[Any], Log]:
        log = Log()
        handlers = [handler(kind, log, str(place)) for place, kind in enumerate(kinds)]
        said = run(driver, make, {"callbacks": handlers, "tags": ["t"], "metadata": {"m": 1}}, stream_mode="updates")
        return said, log

    directly, log = hear()
    generally()
    expected, through_langchain = hear()
    takes_turns = driver.name == "async" and {"async", "inline", "inline async"}.issuperset(kinds)
    if make is not fanned or takes_turns:
        assert directly == expected
        for place in range(len(kinds)):
            assert log.of(str(place)) == through_langchain.of(str(place))
        if IN_ORDER.issuperset(kinds):
            assert log.lines == through_langchain.lines
    else:
        assert sorted(map(repr, directly)) == sorted(map(repr, expected))
        assert sorted(map(repr, without_ids(log))) == sorted(map(repr, without_ids(through_langchain)))


def without_ids(log: Log) -> list[Any]:
    return [(who, event, *rest) for who, event, _, *rest in log.lines]


def with_one_in_a_thread(drawings: list[tuple[str, str, bool]]) -> list[tuple[str, str, bool]]:
    """Have no handler told in a thread if another one ends the run: nothing waits for it then."""
    ends = [place for place, (_, breaks, raises) in enumerate(drawings) if breaks and raises]
    if not ends:
        return drawings
    return [
        ("async" if kind == "sync" and ends != [place] else kind, breaks, raises)
        for place, (kind, breaks, raises) in enumerate(drawings)
    ]


@pytest.mark.parametrize("seed", range(60))
def test_handlers_that_break_are_logged_or_fail_the_run_alike(
    driver: Driver, generally: Callable[[], None], caplog: pytest.LogCaptureFixture, seed: int
) -> None:
    drawn = random.Random(seed)
    drawings = [
        (drawn.choice((*KINDS, "returns")), drawn.choice(("", *EVENTS)), drawn.random() < 0.5)
        for _ in range(drawn.randint(1, 4))
    ]
    if driver.name == "async":
        # langchain-core would leave what these return unawaited.
        drawings = [("async" if kind == "returns" else kind, breaks, raises) for kind, breaks, raises in drawings]
        drawings = with_one_in_a_thread(drawings)
    make = drawn.choice((chain, failing, commanding))

    def hear() -> tuple[Any, ...]:
        log = Log()
        handlers = [
            handler(kind, log, str(place), breaks=breaks, raises=raises)
            for place, (kind, breaks, raises) in enumerate(drawings)
        ]
        caplog.clear()
        with caplog.at_level(logging.WARNING, logger="langchain_core.callbacks.manager"):
            said = run(driver, make, {"callbacks": handlers}, stream_mode="updates")
        return said, [log.of(str(place)) for place in range(len(drawings))], sorted(caplog.messages)

    directly = hear()
    generally()
    assert directly == hear()


def test_tracers_record_the_same_tree(driver: Driver, generally: Callable[[], None]) -> None:
    class Tracer(BaseTracer):
        def __init__(self) -> None:
            super().__init__()
            self.roots: list[Any] = []

        def _persist_run(self, run: Any) -> None:
            self.roots.append(run)

    def tree(run: Any) -> Any:
        return run.name, run.run_type, run.tags, run.error and run.error.split("(")[0], [*map(tree, run.child_runs)]

    def record(make: Any) -> list[Any]:
        tracer = Tracer()
        run(driver, make, {"callbacks": [tracer, AsyncCallbackHandler(), BaseCallbackHandler()]})
        return [tree(root) for root in tracer.roots]

    directly = [record(make) for make in GRAPHS if make is not fanned]
    generally()
    assert directly == [record(make) for make in GRAPHS if make is not fanned]
    assert all(len(roots) == 1 for roots in directly)


# -- stream modes --------------------------------------------------------------


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        left_out = (
            "id",
            "timestamp",
            "config",
            "parent_config",
            "langgraph_checkpoint_ns",
            "checkpoint_ns",
            "callbacks",
        )
        return {key: comparable(item) for key, item in value.items() if key not in left_out}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    if isinstance(value, AIMessage):
        return (type(value).__name__, value.content)
    return repr(value) if isinstance(value, BaseException) else value


@pytest.mark.parametrize("subgraphs", [False, True], ids=["root", "subgraphs"])
@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), *combinations(MODES, 2)], ids="+".join)
def test_stream_modes_show_the_same_with_steps_that_are_run_ahead(
    driver: Driver, generally: Callable[[], None], modes: tuple[str, ...], subgraphs: bool
) -> None:
    def show() -> list[Any]:
        shown = []
        for make in GRAPHS:
            for kinds in ((), ("async",), ("waits", "inline")):
                log = Log()
                handlers = [handler(kind, log, str(place)) for place, kind in enumerate(kinds)]
                chunks = run(driver, make, {"callbacks": handlers}, stream_mode=list(modes), subgraphs=subgraphs)
                if make is fanned or (make is nested and subgraphs):
                    chunks = sorted(map(repr, comparable([chunk[-1] for chunk in chunks])))
                shown.append(
                    (make.__name__, comparable([chunk[-2:] if isinstance(chunk, tuple) else chunk for chunk in chunks]))
                )
                shown += [log.of(str(place)) for place in range(len(kinds)) if make is not fanned]
        return shown

    directly = show()
    generally()
    for one, other in zip(directly, show(), strict=True):
        assert one == other


# -- what waits ----------------------------------------------------------------


@pytest.fixture
def nobody_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No handler is known to wait at ends."""
    monkeypatch.setattr(telling, "_wait_at_ends", set())


@pytest.mark.anyio
@pytest.mark.usefixtures("nobody_known")
async def test_a_handler_that_waits_is_told_in_one_task_from_its_beginning_to_its_end() -> None:
    tasks: list[tuple[str, bool]] = []

    class Waits(AsyncCallbackHandler):
        raise_error = True

        async def on_chain_start(self, *args: Any, **told: Any) -> None:
            await self._hear("start")

        async def on_chain_end(self, *args: Any, **told: Any) -> None:
            await self._hear("end")

        async def _hear(self, event: str) -> None:
            begun_in = asyncio.current_task()
            with anyio.fail_after(5):
                await anyio.sleep(0.001)
            tasks.append((event, asyncio.current_task() is begun_in))

    for _ in range(2):
        await chain().compile().ainvoke(EMPTY, {"callbacks": [Waits(), Waits()]})
    assert {event for event, _ in tasks} == {"start", "end"}
    assert all(same for _, same in tasks)


@pytest.mark.anyio
async def test_a_handler_may_wait_for_what_another_one_is_told() -> None:
    class First(AsyncCallbackHandler):
        async def on_chain_start(self, *args: Any, **told: Any) -> None:
            await asyncio.wait_for(second.told.wait(), 5)

        on_chain_end = on_chain_start

    class Second(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.told = asyncio.Event()

        async def on_chain_start(self, *args: Any, **told: Any) -> None:
            self.told.set()

        on_chain_end = on_chain_start

    for _ in range(2):
        second = Second()
        await chain().compile().ainvoke(EMPTY, {"callbacks": [First(), second]})


@pytest.mark.anyio
@pytest.mark.usefixtures("nobody_known")
@pytest.mark.parametrize("times", [1, 2], ids=["unknown", "known"])
async def test_all_are_told_an_end_that_a_cancellation_cuts_short(times: int) -> None:
    class Slow(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.begun, self.go_on, self.told = asyncio.Event(), asyncio.Event(), asyncio.Event()
            self.error: BaseException | None = None

        async def on_chain_end(self, *args: Any, **told: Any) -> None:
            try:
                # One that is known to wait is told in a task of its own, which the scope belongs to.
                with anyio.fail_after(5) if times == 2 else nullcontext():
                    self.begun.set()
                    await self.go_on.wait()
            except BaseException as error:
                self.error = error
            self.told.set()

    for number in range(times):
        slow, other = Slow(), Slow()
        running = asyncio.create_task(chain().compile().ainvoke(EMPTY, {"callbacks": [slow, other]}))
        await asyncio.wait_for(slow.begun.wait(), 5)
        await asyncio.wait_for(other.begun.wait(), 5)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        for handler in (slow, other):
            handler.go_on.set()
            await asyncio.wait_for(handler.told.wait(), 5)
        if times == 1 or number == 1:
            assert slow.error is other.error is None


@pytest.mark.anyio
async def test_a_cancellation_reaches_what_handlers_wait_for_at_a_start() -> None:
    begun, left = [asyncio.Event(), asyncio.Event()], [asyncio.Event(), asyncio.Event()]

    class Waits(AsyncCallbackHandler):
        def __init__(self, number: int) -> None:
            self.number = number

        async def on_chain_start(self, *args: Any, parent_run_id: Any = None, **told: Any) -> None:
            if parent_run_id is not None:
                begun[self.number].set()
                try:
                    await asyncio.Event().wait()
                finally:
                    left[self.number].set()

    running = asyncio.create_task(chain().compile().ainvoke(EMPTY, {"callbacks": [Waits(0), Waits(1)]}))
    for event in begun:
        await asyncio.wait_for(event.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    for event in left:
        await asyncio.wait_for(event.wait(), 5)


@pytest.mark.anyio
@pytest.mark.parametrize("kind", ["async", "sync", "waits"])
async def test_nobody_is_left_out_by_one_that_fails_the_run(kind: str) -> None:
    log = Log()
    loud = handler("async", log, "loud", breaks="on_chain_start", raises=True)
    other = handler(kind, log, "other")
    with pytest.raises(RuntimeError, match="loud breaks"):
        await chain().compile().ainvoke(EMPTY, {"callbacks": [loud, other]})
    assert [line[1] for line in log.of("other")][:1] == ["on_chain_start"]


# -- threads and contexts --------------------------------------------------------

_mark: ContextVar[str] = ContextVar("mark", default="unmarked")


@pytest.mark.anyio
async def test_sync_handlers_of_an_async_run_are_told_in_threads_beside_each_other() -> None:
    meet = threading.Barrier(2)
    threads: set[int] = set()

    class Meets(BaseCallbackHandler):
        raise_error = True

        def on_chain_start(self, *args: Any, **told: Any) -> None:
            threads.add(threading.get_ident())
            meet.wait(5)

        on_chain_end = on_chain_start

    await chain().compile().ainvoke(EMPTY, {"callbacks": [Meets(), Meets()]})
    assert threading.get_ident() not in threads


@pytest.mark.anyio
@pytest.mark.parametrize(("kind", "seen"), [("async", "unmarked"), ("inline", "marked")])
async def test_only_what_an_inline_handler_sets_is_seen_by_the_node(kind: str, seen: str) -> None:
    def mark(self: Any, *args: Any, **told: Any) -> None:
        _mark.set("marked")

    async def amark(self: Any, *args: Any, **told: Any) -> None:
        _mark.set("marked")

    found: list[str] = []

    async def look(_: Any) -> None:
        found.append(_mark.get())

    base, method = (AsyncCallbackHandler, amark) if kind == "async" else (BaseCallbackHandler, mark)
    own = {"on_chain_start": method, "run_inline": kind == "inline"}
    marking = type("Marking", (base,), own)
    graph = StateGraph(State).add_node("look", look).add_edge(START, "look").compile()
    await graph.ainvoke(EMPTY, {"callbacks": [marking(), AsyncCallbackHandler()]})
    assert found == [seen]


@pytest.mark.anyio
async def test_what_an_inline_handler_sets_at_an_end_is_not_seen_by_the_next_node() -> None:
    class Marking(BaseCallbackHandler):
        run_inline = True

        def on_chain_end(self, *args: Any, **told: Any) -> None:
            _mark.set("marked")

    found: list[str] = []

    async def look(_: Any) -> None:
        found.append(_mark.get())

    graph = StateGraph(State).add_sequence([("one", look), ("two", look)]).add_edge(START, "one").compile()
    await graph.ainvoke(EMPTY, {"callbacks": [Marking()]})
    assert found == ["unmarked", "unmarked"]


# -- instrumentations ------------------------------------------------------------


@pytest.mark.parametrize("event", ["on_chain_start", "on_chain_end"])
def test_a_wrapped_method_of_a_manager_is_called(driver: Driver, monkeypatch: pytest.MonkeyPatch, event: str) -> None:
    kinds = {
        ("sync", "on_chain_start"): CallbackManager,
        ("async", "on_chain_start"): AsyncCallbackManager,
        ("sync", "on_chain_end"): CallbackManagerForChainRun,
        ("async", "on_chain_end"): AsyncCallbackManagerForChainRun,
    }
    kind, calls = kinds[driver.name, event], []
    method: Any = getattr(kind, event)

    def wrapper(self: Any, *args: Any, **told: Any) -> Any:
        calls.append(args)
        return method(self, *args, **told)

    monkeypatch.setattr(kind, event, wrapper)
    driver.invoke(chain().compile(), EMPTY, {"callbacks": [BaseCallbackHandler()]})
    assert len(calls) == 5  # the graph, three nodes and a router


# -- managers of children --------------------------------------------------------


def run_manager(kind: Any) -> Any:
    return kind(
        run_id=uuid4(),
        handlers=[],
        inheritable_handlers=[BaseCallbackHandler()],
        parent_run_id=uuid4(),
        tags=["own"],
        inheritable_tags=["t"],
        metadata={},
        inheritable_metadata={"m": 1},
    )


def fields_of(manager: BaseCallbackManager) -> dict[str, Any]:
    names = ("handlers", "inheritable_handlers", "parent_run_id", "tags", "inheritable_tags", "metadata")
    return {name: getattr(manager, name) for name in (*names, "inheritable_metadata")}


@pytest.mark.parametrize("kind", [CallbackManagerForChainRun, AsyncCallbackManagerForChainRun])
def test_a_late_manager_is_like_one_that_is_made_at_once(kind: Any) -> None:
    run = run_manager(kind)
    at_once = child_manager(run, "tag")
    assert fields_of(late_child_manager(run, "tag")) == fields_of(at_once)
    for late in (late_child_manager(run, "tag"), late_child_manager(run, "tag")):
        assert isinstance(late, type(at_once))
        for copied in (late.copy(), late.merge(type(at_once)([])), type(at_once).configure(late)):
            assert type(copied) is type(at_once)
            assert copied.parent_run_id == run.run_id
            assert {*copied.handlers} == {*at_once.handlers}
        late.add_handler(BaseCallbackHandler())  # as a node may do
        assert len(late.handlers) == len(late.copy().handlers) == 2
    assert len(run.inheritable_handlers) == 1
    with pytest.raises(AttributeError, match="has no attribute 'unknown'"):
        late_child_manager(run).unknown  # noqa: B018


def test_a_handler_that_a_node_adds_to_its_manager_hears_what_the_node_calls(driver: Driver) -> None:
    log = Log()
    added = handler("inline", log, "added")

    def call(_: Any, config: RunnableConfig) -> None:
        config["callbacks"].add_handler(added)  # type: ignore[union-attr]
        RunnableLambda(lambda x: x, name="called").invoke(1, config)

    graph = StateGraph(State).add_node("n", call).add_edge(START, "n").compile()
    driver.invoke(graph, EMPTY, {"callbacks": [BaseCallbackHandler()]})
    assert [(event, name) for _, event, _, name, *_ in log.lines] == [
        ("on_chain_start", "called"),
        ("on_chain_end", None),
    ]


async def nothing(_: Any) -> None:
    """A node."""


# -- steps that are run ahead of their reader --------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["messages", "custom"])
async def test_steps_of_which_nothing_is_shown_share_an_asyncio_task(mode: Any) -> None:
    tasks: list[Any] = []

    async def note(_: Any) -> None:
        tasks.append(asyncio.current_task())

    builder = StateGraph(State)
    for name in "abc":
        builder.add_node(name, note)
    graph = builder.add_sequence([("d", note), ("e", note)]).add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
    [chunk async for chunk in graph.add_edge("c", "d").compile().astream(EMPTY, stream_mode=mode)]
    assert len(tasks) == 5
    assert len({*tasks}) == 1
    assert asyncio.current_task() not in tasks


@pytest.mark.anyio
@pytest.mark.parametrize("durability", [None, "sync", "async", "exit"])
async def test_no_step_begins_before_what_the_one_before_shows_was_taken(durability: Any) -> None:
    begun: list[str] = []

    def noting(word: str) -> Any:
        async def note(_: Any) -> Any:
            begun.append(word)
            return {"messages": [AIMessage(word, id=word)]}

        return note

    builder = StateGraph(State).add_sequence([(word, noting(word)) for word in "abc"]).add_edge(START, "a")
    options: Any = {"durability": durability, "config": {"configurable": {"thread_id": "t"}}} if durability else {}
    graph = builder.compile(checkpointer=InMemorySaver() if durability else None)
    seen = []
    async for message, _ in graph.astream(EMPTY, stream_mode="messages", **options):
        seen.append(message.content)
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == seen
    assert seen == ["a", "b", "c"]


@pytest.mark.anyio
async def test_no_step_begins_while_the_reader_holds_what_the_one_before_said_earlier() -> None:
    begun: list[str] = []

    async def says(_: Any) -> None:
        get_stream_writer()("said")
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def next_one(_: Any) -> None:
        begun.append("next")

    graph = StateGraph(State).add_sequence([("says", says), ("next", next_one)]).add_edge(START, "says").compile()
    async for _ in graph.astream(EMPTY, stream_mode="custom"):
        for _ in range(20):
            await asyncio.sleep(0)
        assert begun == []
    assert begun == ["next"]


def refuse(old: Any, new: Any) -> Any:
    if new == "bad":
        raise ValueError("refused")
    return new


class Refusing(TypedDict, total=False):
    value: Annotated[str, refuse]


@pytest.mark.anyio
async def test_what_a_step_says_is_shown_before_it_fails_to_be_applied() -> None:
    async def says(_: Any) -> Any:
        get_stream_writer()("said")
        return {"value": "bad"}

    graph = StateGraph(Refusing).add_sequence([("none", nothing), ("says", says)]).add_edge(START, "none").compile()
    chunks = []
    with pytest.raises(ValueError, match="refused"):
        async for chunk in graph.astream({"value": "x"}, stream_mode="custom"):
            chunks.append(chunk)
    assert chunks == ["said"]


@pytest.mark.anyio
async def test_a_reader_that_leaves_stops_the_node_that_runs_ahead() -> None:
    left: list[str] = []

    async def says_and_waits(_: Any, config: RunnableConfig) -> None:
        get_stream_writer()("here")
        try:
            await asyncio.Event().wait()
        finally:
            left.append("left")

    builder = StateGraph(State).add_sequence([("n", nothing), ("w", says_and_waits)]).add_edge(START, "n")
    stream = builder.compile().astream(EMPTY, stream_mode="custom")
    assert await anext(stream) == "here"
    await stream.aclose()
    assert left == ["left"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "expected"), [(ValueError("no"), ValueError), (asyncio.CancelledError(), NodeCancelledError)], ids=repr
)
async def test_what_a_node_that_runs_ahead_raises_is_the_runs(error: BaseException, expected: Any) -> None:
    async def fail(_: Any) -> None:
        raise error

    graph = StateGraph(State).add_sequence([("n", nothing), ("f", fail)]).add_edge(START, "n").compile()
    with pytest.raises(expected):
        [chunk async for chunk in graph.astream(EMPTY, stream_mode="messages")]


@pytest.mark.anyio
async def test_a_step_that_cannot_be_applied_fails_the_run_after_those_before_were_shown() -> None:
    class Once(TypedDict):
        value: int

    async def good(_: Any) -> Any:
        return {"value": 1}

    async def wrong(_: Any) -> Any:
        return ["no dict"]

    graph = StateGraph(Once).add_sequence([("g", good), ("w", wrong)]).add_edge(START, "g").compile()
    chunks = []
    with pytest.raises(Exception, match="dict"):
        async for chunk in graph.astream({"value": 0}, stream_mode=["updates", "messages"]):
            chunks.append(chunk)
    assert chunks == [("updates", {"g": {"value": 1}})]


@pytest.mark.anyio
async def test_a_node_that_runs_ahead_may_call_tasks_and_be_tried_again() -> None:
    attempts: list[int] = []

    @task
    async def add(x: int) -> int:
        await asyncio.sleep(0)
        return x + 1

    async def calls(_: Any) -> Any:
        attempts.append(1)
        if len(attempts) == 1:
            raise ConnectionError("again")
        return {"seen": [str(await add(1))]}

    builder = StateGraph(State).add_node("n", nothing)
    builder.add_node("c", calls, retry_policy=RetryPolicy(initial_interval=0.001, jitter=False)).add_node("m", nothing)
    graph = builder.add_edge(START, "n").add_edge("n", "c").add_edge("c", "m").compile()
    modes: Any = ["values", "messages"]
    chunks = [chunk async for chunk in graph.astream(EMPTY, stream_mode=modes)]
    assert chunks[-1][1]["seen"] == ["2"]
    assert len(attempts) == 2
