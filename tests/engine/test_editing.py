"""Writing to a thread from outside: what routers are given, and threads that were not made by a run."""

from __future__ import annotations

import asyncio
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from pydantic import BaseModel
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.config.runtime import Runtime
from stategraph.errors import InvalidUpdateError
from stategraph.graph.state import StateGraph
from stategraph.types import StateUpdate

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


class Notes(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def noting(**options: Any) -> Any:
    builder = StateGraph(Notes).add_node("a", lambda _: {"log": ["a"]}).add_node("b", lambda _: {"log": ["b"]})
    builder.add_node("c", lambda _: {"log": ["c"]}).add_edge(START, "a").add_edge(START, "b")
    return builder.add_edge(["a", "b"], "c").compile(checkpointer=InMemorySaver(), **options)


def bulk_update(driver: Driver, graph: Any, supersteps: Any) -> Any:
    if driver.name == "sync":
        return graph.bulk_update_state(THREAD, supersteps)
    return asyncio.run(graph.abulk_update_state(THREAD, supersteps))


def test_updates_of_one_superstep_stand_for_nodes_that_ran_side_by_side(driver: Driver) -> None:
    graph = noting()
    both = [StateUpdate({"log": ["by hand"]}, "a"), StateUpdate({"log": ["as well"]}, "b")]
    bulk_update(driver, graph, [both])
    (state,) = driver.history(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["by hand", "as well"]}, ("c",))
    assert driver.invoke(graph, None, THREAD) == {"log": ["by hand", "as well", "c"]}


def test_each_superstep_is_a_checkpoint_of_its_own(driver: Driver) -> None:
    graph = noting()
    bulk_update(driver, graph, [[StateUpdate({"log": ["1"]}, "a")], [StateUpdate({"log": ["2"]}, "b")]])
    states = driver.history(graph, THREAD)
    assert [(state.values["log"], state.next) for state in states] == [(["1", "2"], ("c",)), (["1"], ())]
    steps = [state.metadata["step"] for state in states]
    assert steps[0] == steps[1] + 1


def test_updates_of_one_superstep_that_name_no_node_are_refused(driver: Driver) -> None:
    graph = noting()
    with pytest.raises(InvalidUpdateError, match="as_node is required"):
        bulk_update(driver, graph, [[StateUpdate({"log": ["1"]}, "a"), StateUpdate({"log": ["2"]})]])
    assert driver.history(graph, THREAD) == []


def test_an_update_that_names_no_node_is_refused_where_several_wrote_last(driver: Driver) -> None:
    graph = noting(interrupt_before=["c"])
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(InvalidUpdateError, match="Ambiguous"):
        bulk_update(driver, graph, [[StateUpdate({"log": ["by hand"]})]])
    state = driver.get_state(graph, THREAD)
    assert (state.values["log"], state.next) == (["a", "b"], ("c",))


def test_a_thread_without_checkpoints_is_ended_by_hand(driver: Driver) -> None:
    graph = noting()
    driver.update_state(graph, THREAD, None, as_node=END)
    (state,) = driver.history(graph, THREAD)
    assert (state.values, state.next, state.metadata["source"]) == ({"log": []}, (), "update")
