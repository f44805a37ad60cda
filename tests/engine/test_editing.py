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
from stategraph.core.channels import LastValue
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.config.runtime import Runtime
from stategraph.engine.engine import StateGraphEngine
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import InvalidUpdateError
from stategraph.graph.state import StateGraph
from stategraph.types import Command, StateUpdate

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


# -- what is refused, and forks ------------------------------------------


@pytest.mark.parametrize(
    ("supersteps", "error", "message"),
    [
        ([], ValueError, "No supersteps provided"),
        ([[StateUpdate({"log": ["1"]}, "a")], []], ValueError, "No updates provided"),
        ([[StateUpdate({"log": ["1"]}, "z")]], InvalidUpdateError, "Node z does not exist"),
        ([[StateUpdate(None, END), StateUpdate(None, "a")]], InvalidUpdateError, "when clearing state"),
        ([[StateUpdate({}, "__input__"), StateUpdate({}, "a")]], InvalidUpdateError, "when updating as input"),
        ([[StateUpdate(None, "__copy__"), StateUpdate({}, "a")]], InvalidUpdateError, "Cannot copy checkpoint with"),
        ([[StateUpdate(None, "__copy__")]], InvalidUpdateError, "Cannot copy a non-existent checkpoint"),
        ([[StateUpdate(None, "__input__")]], InvalidUpdateError, "Received no input writes for"),
    ],
)
def test_updates_that_cannot_be_are_refused_and_leave_the_thread_alone(
    driver: Driver, supersteps: Any, error: Any, message: str
) -> None:
    graph = noting()
    with pytest.raises(error, match=message):
        bulk_update(driver, graph, supersteps)
    assert driver.history(graph, THREAD) == []


def test_a_graph_of_another_place_is_not_updated(driver: Driver) -> None:
    elsewhere: RunnableConfig = {"configurable": {"thread_id": "1", "checkpoint_ns": "below:123"}}
    with pytest.raises(ValueError, match="Subgraph below not found"):
        driver.update_state(noting(), elsewhere, {"log": ["1"]}, as_node="a")


def test_updating_needs_a_checkpointer(driver: Driver) -> None:
    graph = StateGraph(Notes).add_node("a", lambda _: {}).add_edge(START, "a").compile()
    for call in (driver.update_state, driver.get_state):
        with pytest.raises(ValueError, match="No checkpointer set"):
            call(graph, THREAD, *([{"log": []}] if call == driver.update_state else []))


def test_the_only_node_need_not_be_named(driver: Driver) -> None:
    graph = StateGraph(Notes).add_node("a", lambda _: {}).add_edge(START, "a").compile(checkpointer=InMemorySaver())
    driver.update_state(graph, THREAD, {"log": ["1"]})
    assert driver.get_state(graph, THREAD).values == {"log": ["1"]}


def test_the_first_update_of_a_thread_is_its_input_unless_it_names_a_node(driver: Driver) -> None:
    graph = noting()
    driver.update_state(graph, THREAD, {"log": ["1"]})
    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["1"]}, ("a", "b"))


def test_a_node_that_writes_nothing_cannot_be_stood_for(driver: Driver) -> None:
    silent = StateGraphEngine(
        nodes={"n": PregelNode(channels="in", triggers=["in"])},
        channels={"in": LastValue(int)},
        input_channels="in",
        output_channels="in",
        checkpointer=InMemorySaver(),
    )
    with pytest.raises(InvalidUpdateError, match="Node n has no writers"):
        driver.update_state(silent, THREAD, {"log": []}, as_node="n")


def test_a_copy_is_a_sibling_that_goes_on_by_itself(driver: Driver) -> None:
    graph = noting(interrupt_before=["c"])
    driver.invoke(graph, {"log": ["in"]}, THREAD)
    original = driver.get_state(graph, THREAD)
    driver.update_state(graph, original.config, None, as_node="__copy__")
    copy = driver.get_state(graph, THREAD)

    assert copy.config != original.config
    assert (copy.values, copy.next, copy.parent_config) == (original.values, original.next, original.parent_config)
    assert (copy.metadata["source"], copy.metadata["step"]) == ("fork", original.metadata["step"] + 1)
    assert driver.invoke(graph, None, THREAD) == {"log": ["in", "a", "b", "c"]}
    assert driver.get_state(graph, original.config).next == ("c",)


def test_a_copy_may_be_updated_as_its_next_nodes(driver: Driver) -> None:
    graph = noting()
    driver.invoke(graph, {"log": ["in"]}, THREAD)
    start = [state for state in driver.history(graph, THREAD) if state.next == ("a", "b")][-1]
    driver.update_state(graph, start.config, [({"log": ["A"]}, "a"), ({"log": ["B"]}, "b")], as_node="__copy__")

    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["in", "A", "B"]}, ("c",))
    assert state.metadata["source"] == "update"
    fork = driver.get_state(graph, state.parent_config)
    assert fork.metadata["source"] == "fork"
    # The updates stand for the tasks that come next, so these show what they came to.
    assert [(task.name, task.result) for task in fork.tasks] == [("a", {"log": ["A"]}), ("b", {"log": ["B"]})]
    assert driver.invoke(graph, None, THREAD) == {"log": ["in", "A", "B", "c"]}
    assert driver.get_state(graph, start.config).values == {"log": ["in"]}


def test_what_a_copy_is_to_be_updated_with_is_a_list_of_pairs(driver: Driver) -> None:
    graph = noting()
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(InvalidUpdateError, match="Invalid update item: 3 when copying checkpoint"):
        driver.update_state(graph, THREAD, [3], as_node="__copy__")


def test_an_update_shows_as_the_result_of_the_task_that_it_stands_for(driver: Driver) -> None:
    graph = noting(interrupt_before=["c"])
    driver.invoke(graph, {"log": ["in"]}, THREAD)
    before = driver.get_state(graph, THREAD)
    driver.update_state(graph, THREAD, {"log": ["C"]}, as_node="c")
    (task,) = driver.get_state(graph, before.config).tasks
    assert (task.name, task.id, task.result) == ("c", before.tasks[0].id, {"log": ["C"]})


def test_an_update_of_an_older_checkpoint_leaves_its_other_child_alone(driver: Driver) -> None:
    graph = noting(interrupt_before=["c"])
    driver.invoke(graph, {"log": ["in"]}, THREAD)
    before = driver.get_state(graph, THREAD)
    driver.invoke(graph, None, THREAD)
    driver.update_state(graph, before.config, {"log": ["C"]}, as_node="c")

    assert driver.get_state(graph, THREAD).values == {"log": ["in", "a", "b", "C"]}
    children = [state for state in driver.history(graph, THREAD) if state.parent_config == before.config]
    assert sorted(state.values["log"][-1] for state in children) == ["C", "c"]
    (task,) = driver.get_state(graph, before.config).tasks
    assert task.result == {"log": ["c"]}


def test_ending_by_hand_keeps_what_a_command_brought_while_a_question_waited(driver: Driver) -> None:
    builder = StateGraph(Notes).add_node("a", lambda _: {"log": [interrupt("?")]}).add_edge(START, "a")
    graph = builder.compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": ["in"]}, THREAD)
    driver.invoke(graph, Command(update={"log": ["said"]}), THREAD)
    assert driver.get_state(graph, THREAD).next == ("a",)
    driver.update_state(graph, THREAD, None, as_node=END)
    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["in", "said"]}, ())


def test_an_update_keeps_the_ids_of_enclosing_checkpoints(driver: Driver) -> None:
    below = StateGraph(Notes).add_node("x", lambda _: {"log": [str(interrupt("?"))]}).add_edge(START, "x").compile()
    outer = StateGraph(Notes).add_node("below", below).add_edge(START, "below").compile(checkpointer=InMemorySaver())
    driver.invoke(outer, {"log": []}, THREAD)
    (task,) = driver.get_state(outer, THREAD).tasks
    updated = driver.update_state(outer, task.state, {"log": ["by hand"]}, as_node="x")

    inside = driver.get_state(outer, updated)
    assert (inside.values, inside.next) == ({"log": ["by hand"]}, ())
    parents = inside.config["configurable"]["checkpoint_map"]
    assert parents[""] == driver.get_state(outer, THREAD).config["configurable"]["checkpoint_id"]
    assert inside.metadata["parents"] == {"": parents[""]}


def test_an_answer_counts_as_the_input_of_a_thread_that_had_none(driver: Driver) -> None:
    saver = InMemorySaver()
    builder = StateGraph(State).add_node("a", lambda _: {"n": 1}).add_node("b", lambda _: {"n": 2})
    graph = builder.add_edge(START, "a").add_edge("a", "b").compile(checkpointer=saver)
    driver.update_state(graph, THREAD, {"n": 7}, as_node="a")
    edited = saver.get_tuple(THREAD)
    assert edited is not None and "__input__" not in edited.checkpoint["versions_seen"]
    driver.invoke(graph, Command(resume="yes"), THREAD)
    after = saver.get_tuple(THREAD)
    assert after is not None and after.checkpoint["versions_seen"]["__input__"] == {}
