"""Lifecycle events: who hears them, and what a failing handler does."""

from __future__ import annotations

import asyncio
import logging
import operator
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import pytest
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager, CallbackManager
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import interrupt
from stategraph.constants import CONFIG_KEY_NODE_FINISHED, START, TAG_HIDDEN
from stategraph.engine.tracing.graph_callbacks import (
    AsyncGraphCallbackManager,
    GraphCallbackHandler,
    GraphCallbackManager,
    GraphInterruptEvent,
    GraphResumeEvent,
    get_async_graph_callback_manager_for_config,
    get_sync_graph_callback_manager_for_config,
)
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Interrupt

if TYPE_CHECKING:
    from tests.conftest import Driver

INTERRUPTED = GraphInterruptEvent(UUID(int=1), "interrupt_before", "c", ("sub:1",), (Interrupt(value="?", id="i"),))
RESUMED = GraphResumeEvent(UUID(int=1), "pending", "c", ())


class Recorder(GraphCallbackHandler):
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        self.heard.append(event)

    def on_resume(self, event: GraphResumeEvent) -> None:
        self.heard.append(event)


class AsyncRecorder(Recorder):
    async def on_interrupt(self, event: GraphInterruptEvent) -> None:  # type: ignore[override]
        self.heard.append(event)

    async def on_resume(self, event: GraphResumeEvent) -> None:  # type: ignore[override]
        self.heard.append(event)


class Failing(GraphCallbackHandler):
    def __init__(self, raise_error: bool) -> None:
        self.raise_error = raise_error

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        raise LookupError("in the handler")


class Deaf(BaseCallbackHandler):
    """A handler of another kind, which happens to have a method of that name."""

    def on_interrupt(self, event: Any) -> None:
        raise AssertionError("told of an event it did not ask for")


Tell = Callable[[Any], Any]


def tell_sync(callbacks: Any) -> GraphCallbackManager:
    manager = get_sync_graph_callback_manager_for_config({"callbacks": callbacks}, run_id=UUID(int=1))
    manager.on_interrupt(INTERRUPTED)
    manager.on_resume(RESUMED)
    return manager


def tell_async(callbacks: Any) -> AsyncGraphCallbackManager:
    manager = get_async_graph_callback_manager_for_config({"callbacks": callbacks}, run_id=UUID(int=1))

    async def tell() -> None:
        await manager.on_interrupt(INTERRUPTED)
        await manager.on_resume(RESUMED)

    asyncio.run(tell())
    return manager


@pytest.fixture(params=[tell_sync, tell_async], ids=["sync", "async"])
def tell(request: pytest.FixtureRequest) -> Tell:
    way: Tell = request.param
    return way


@pytest.mark.parametrize("handler", [Recorder(), AsyncRecorder()], ids=["sync handler", "async handler"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda h: [Deaf(), h],
        lambda h: (h,),
        lambda h: h,
        lambda h: CallbackManager([Deaf(), h]),
        lambda h: tell_sync(h),
    ],
    ids=["list", "tuple", "handler", "manager", "lifecycle manager"],
)
def test_only_lifecycle_handlers_hear_lifecycle_events(tell: Tell, wrap: Any, handler: Recorder) -> None:
    callbacks = wrap(handler)
    handler.heard.clear()
    manager = tell(callbacks)
    assert handler.heard == [INTERRUPTED, RESUMED]
    assert manager.handlers == [handler]
    assert manager.run_id == UUID(int=1)


def test_without_callbacks_nobody_hears(tell: Tell) -> None:
    assert tell(None).handlers == []


def test_a_failing_handler_is_logged_and_the_others_still_hear(tell: Tell, caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()
    with caplog.at_level(logging.WARNING):
        tell([Failing(raise_error=False), recorder])
    assert recorder.heard == [INTERRUPTED, RESUMED]
    assert "in the handler" in caplog.text


def test_a_failing_handler_stops_the_run_if_it_says_so(tell: Tell) -> None:
    with pytest.raises(LookupError, match="in the handler"):
        tell([Failing(raise_error=True)])


@pytest.mark.parametrize("wrong", ["text", b"bytes", 7, Deaf()])
def test_callbacks_of_another_type_are_refused(tell: Tell, wrong: Any) -> None:
    with pytest.raises(TypeError, match=type(wrong).__name__):
        tell(wrong)


def test_a_handler_of_another_kind_that_is_added_later_is_not_told(tell: Tell) -> None:
    # Instrumentation libraries add theirs to every manager there is.
    manager = GraphCallbackManager()
    manager.add_handler(Deaf(), inherit=True)
    manager.on_interrupt(INTERRUPTED)
    assert len(manager.handlers) == 1


@pytest.mark.parametrize("kind", [GraphCallbackManager, AsyncGraphCallbackManager])
def test_labels_and_parent_are_kept_by_configuring_and_copying(kind: Any) -> None:
    recorder = Recorder()
    given = CallbackManager(
        [recorder],
        [recorder, Deaf()],
        UUID(int=2),
        tags=["t"],
        inheritable_tags=["i"],
        metadata={"m": 1},
        inheritable_metadata={"n": 1},
    )

    def labels(manager: BaseCallbackManager) -> tuple[Any, ...]:
        return (
            manager.parent_run_id,
            manager.tags,
            manager.inheritable_tags,
            manager.metadata,
            manager.inheritable_metadata,
        )

    configured = kind.configure(given, run_id=UUID(int=3))
    assert labels(configured) == labels(configured.copy()) == labels(given)
    assert configured.inheritable_handlers == [recorder]
    assert [manager.run_id for manager in (configured, configured.copy(), configured.copy(run_id=None))] == [
        UUID(int=3),
        UUID(int=3),
        None,
    ]
    configured.add_tags(["own"])
    assert given.tags == ["t"]


class Talk(TypedDict, total=False):
    said: Annotated[list[Any], operator.add]


def test_a_run_tells_that_it_waits_and_that_it_goes_on(driver: Driver) -> None:
    builder = StateGraph(Talk).add_node("ask", lambda _: {"said": [interrupt("?")]}).add_edge(START, "ask")
    graph = builder.compile(checkpointer=InMemorySaver())
    recorders: list[Recorder] = [Recorder()] if driver.name == "sync" else [Recorder(), AsyncRecorder()]
    config: Any = {"configurable": {"thread_id": "1"}, "callbacks": recorders}
    driver.invoke(graph, {"said": []}, config)
    waiting = [list(recorder.heard) for recorder in recorders]
    driver.invoke(graph, Command(resume="yes"), config)
    for recorder, before in zip(recorders, waiting, strict=True):
        (asked,), (resumed,) = before, recorder.heard[1:]
        assert isinstance(asked, GraphInterruptEvent)
        assert [each.value for each in asked.interrupts] == ["?"]
        assert isinstance(resumed, GraphResumeEvent)
        assert resumed.checkpoint_id == asked.checkpoint_id


def test_a_run_that_starts_anew_tells_nothing(driver: Driver) -> None:
    graph = StateGraph(Talk).add_node("a", lambda _: {"said": ["a"]}).add_edge(START, "a").compile()
    recorder = Recorder()
    driver.invoke(graph, {"said": []}, {"callbacks": [recorder]})
    assert recorder.heard == []


def test_a_listener_in_the_config_hears_of_each_finished_node_that_is_not_hidden(driver: Driver) -> None:
    builder = StateGraph(Talk)
    for name in ("a", "b", "c"):
        builder.add_node(name, lambda _: {"said": ["x"]})
    graph = builder.add_edge(START, "a").add_edge("a", "b").add_edge("a", "c").compile()
    graph.nodes["b"].tags = [TAG_HIDDEN]
    heard: list[str] = []
    driver.invoke(graph, {"said": []}, {"configurable": {CONFIG_KEY_NODE_FINISHED: heard.append}})
    assert heard == ["a", "c"]


def test_a_manager_says_whether_it_is_awaited() -> None:
    assert AsyncGraphCallbackManager([]).is_async
    assert not GraphCallbackManager([]).is_async
