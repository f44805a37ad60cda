"""In messages mode a router's run is started only if something called in it is to be heard."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.runnables import RunnableConfig
from typing_extensions import TypedDict

from stategraph import END, START, StateGraph
from stategraph.engine.config.context import get_config
from stategraph.engine.streams.messages import StreamMessagesHandler
from stategraph.engine.tracing.children import AsyncLateRun, LateRun, SyncLateRun


class State(TypedDict):
    count: int


def graph_with(router: Any) -> Any:
    builder = StateGraph(State).add_node("work", lambda state: {"count": state["count"] + 1})
    return builder.add_edge(START, "work").add_conditional_edges("work", router, [END]).compile()


def streamed(graph: Any, prefix: str) -> list[Any]:
    async def drain() -> list[Any]:
        return [chunk async for chunk in graph.astream({"count": 0}, stream_mode="messages")]

    return asyncio.run(drain()) if prefix else list(graph.stream({"count": 0}, stream_mode="messages"))


def model() -> Any:
    return GenericFakeChatModel(messages=iter([AIMessage("to the end")]))


both = pytest.mark.parametrize("prefix", ["", "a"])


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[LateRun, bool]]:
    """The runs of routers that nobody wanted to be told of, each with a way to see whether it was started."""
    made: list[Any] = []
    for kind in (SyncLateRun, AsyncLateRun):

        def noted(self: LateRun, *args: Any) -> None:
            made.append(self)
            LateRun.__init__(self, *args)

        monkeypatch.setattr(kind, "__init__", noted)
    return made


@both
def test_a_router_that_calls_nothing_starts_no_run(prefix: str, started: list[Any]) -> None:
    assert streamed(graph_with(lambda _: END), prefix) == []
    assert ["started" in vars(run) for run in started] == [False]


@both
def test_what_a_router_calls_is_heard(prefix: str, started: list[Any]) -> None:
    def ask(_: State, config: RunnableConfig) -> str:
        model().invoke("where?", config)
        return END

    chunks = streamed(graph_with(ask), prefix)
    assert "".join(message.content for message, _ in chunks) == "to the end"
    assert {metadata["langgraph_node"] for _, metadata in chunks} == {"work"}
    assert ["started" in vars(run) for run in started] == [True]


@both
def test_what_a_router_calls_has_the_same_run_around_it_each_time(prefix: str, started: list[Any]) -> None:
    parents = []

    def ask(_: State) -> str:
        callbacks: Any = get_config()["callbacks"]
        parents.extend([callbacks.parent_run_id, callbacks.parent_run_id, callbacks.copy().parent_run_id])
        return END

    streamed(graph_with(ask), prefix)
    assert len(set(parents)) == 1
    (run,) = started
    assert parents[0] == run.run_id
    assert run.parent_run_id not in (None, run.run_id)


@both
def test_a_router_that_is_named_like_its_node_is_told_of(prefix: str, started: list[Any]) -> None:
    def work(_: State) -> str:
        return END

    assert streamed(graph_with(work), prefix) == []
    assert started == []


@both
def test_a_router_that_fails_ends_the_run(prefix: str) -> None:
    def fail(_: State) -> str:
        raise ValueError("no way")

    with pytest.raises(ValueError, match="no way"):
        streamed(graph_with(fail), prefix)


def test_a_handler_that_is_told_of_chains_in_its_own_way_is_told_of_all() -> None:
    class Own(StreamMessagesHandler):
        def on_chain_end(self, outputs: object, **kwargs: Any) -> None:
            super().on_chain_end(outputs, **kwargs)

    there = {"langgraph_node": "work"}
    ours, own = (kind(lambda _: None, False) for kind in (StreamMessagesHandler, Own))
    assert [ours.hears_chain(name, there) for name in ("work", "router", None)] == [True, False, False]
    assert own.hears_chain("router", there)
    assert ours.hears_chain("router", {}) and ours.hears_chain("router", None)
