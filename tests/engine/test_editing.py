"""Writing to a thread from outside: what routers are given, and threads that were not made by a run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.runtime import Runtime
from stategraph.graph.state import StateGraph

if TYPE_CHECKING:
    from tests.conftest import Driver

THREAD: RunnableConfig = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    n: int
    note: str


@dataclass
class Plain:
    way: str = "b"


class Model(BaseModel):
    way: str = "b"


@dataclass
class Demanding:
    way: str


def routed(router: Any, **options: Any) -> Any:
    schema = options.pop("context_schema", None)
    builder = (
        StateGraph(State, context_schema=schema).add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"n": 2})
    )
    builder.add_edge(START, "a").add_conditional_edges("a", router, ["b", END])
    return builder.compile(checkpointer=InMemorySaver(), **options)


@pytest.mark.parametrize("schema", [Plain, Model])
def test_a_router_gets_the_default_context_when_a_thread_is_edited(driver: Driver, schema: Any) -> None:
    def router(state: State, runtime: Runtime[Any]) -> str:
        return str(runtime.context.way)

    graph = routed(router, context_schema=schema)
    driver.update_state(graph, THREAD, {"n": 7}, as_node="a")
    assert driver.get_state(graph, THREAD).next == ("b",)


def test_a_router_gets_the_store_the_config_and_the_thread_when_a_thread_is_edited(driver: Driver) -> None:
    seen: list[Any] = []

    def router(state: State, store: BaseStore, config: RunnableConfig, runtime: Runtime[Any]) -> str:
        assert runtime.execution_info is not None
        seen.extend((store is runtime.store, runtime.context, runtime.execution_info.thread_id))
        runtime.stream_writer("is dropped")
        found = store.get(("ways",), config["configurable"]["thread_id"])
        return str(found.value["way"]) if found else END

    store = InMemoryStore()
    store.put(("ways",), "1", {"way": "b"})
    graph = routed(router, store=store, context_schema=Demanding)
    driver.update_state(graph, THREAD, {"n": 7}, as_node="a")
    assert driver.get_state(graph, THREAD).next == ("b",)
    assert seen == [True, None, "1"]


@pytest.mark.parametrize("versions", [{"n": 1, "note": 1}, {"n": "00000000000000000000000000000002.0.5", "note": 1}])
def test_a_thread_with_channel_versions_of_other_types_can_be_read(driver: Driver, versions: Any) -> None:
    graph = routed(lambda _: END)
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = {"n": 1, "note": "by hand"}
    checkpoint["channel_versions"] = versions
    address: RunnableConfig = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    graph.checkpointer.put(address, checkpoint, {"source": "update", "step": 0, "parents": {}}, versions)
    assert driver.get_state(graph, THREAD).values == {"n": 1, "note": "by hand"}
    assert [state.values for state in driver.history(graph, THREAD)] == [{"n": 1, "note": "by hand"}]
