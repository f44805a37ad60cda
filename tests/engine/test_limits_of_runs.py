"""What a run checks before it begins, where its streams go, and what its handlers are told of pauses."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph import interrupt
from stategraph.constants import START
from stategraph.core.channels import UntrackedValue
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.tracing.graph_callbacks import GraphCallbackHandler
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Send

if TYPE_CHECKING:
    from tests.conftest import Driver


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


THREAD: Any = {"configurable": {"thread_id": "t"}}


def chain(*nodes: Any, **options: Any) -> Any:
    builder = StateGraph(State)
    for position, node in enumerate(nodes):
        builder.add_node(f"n{position}", node)
        builder.add_edge(f"n{position - 1}" if position else START, f"n{position}")
    return builder.compile(**options)


def plain(_: State) -> State:
    return {"n": 1, "log": ["plain"]}


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"recursion_limit": "7"}, TypeError, "recursion_limit is '7', of type str; expected a whole number"),
        ({"recursion_limit": 0}, ValueError, "recursion_limit must be at least 1"),
        ({"max_concurrency": 0}, ValueError, "max_concurrency is 0; expected a whole number from 1 on"),
        ({"max_concurrency": 1.5}, ValueError, "max_concurrency is 1.5; expected a whole number"),
    ],
)
def test_limits_that_are_none_are_refused(driver: Driver, config: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        driver.invoke(chain(plain), {"n": 0}, config)


def test_a_limit_of_two_steps_is_enough_for_one_node_behind_the_start(driver: Driver) -> None:
    assert driver.invoke(chain(plain), {"n": 0}, {"recursion_limit": 2, "max_concurrency": 1})["n"] == 1
    assert driver.invoke(chain(plain), {"n": 0}, {"recursion_limit": 2.0})["n"] == 1


def test_a_checkpointer_needs_a_thread(driver: Driver) -> None:
    with pytest.raises(ValueError, match="Checkpointer requires one or more of the following 'configurable' keys"):
        driver.invoke(chain(plain, checkpointer=InMemorySaver()), {"n": 0})


def test_a_thread_may_be_named_by_a_number(driver: Driver) -> None:
    graph = chain(plain, checkpointer=InMemorySaver())
    driver.invoke(graph, {"n": 0}, {"configurable": {"thread_id": 7}})
    assert driver.get_state(graph, {"configurable": {"thread_id": "7"}}).values["n"] == 1
    assert driver.get_state(graph, {"configurable": {"thread_id": 7}}).values["n"] == 1
    assert len(driver.history(graph, {"configurable": {"thread_id": 7}})) == 3


# -- custom streams ------------------------------------------------------


def speak(state: State) -> State:
    get_stream_writer()(f"said {state['n']}")
    return {"log": ["speak"]}


def test_what_a_nested_graph_writes_to_the_custom_stream_reaches_the_reader_of_subgraphs(driver: Driver) -> None:
    outer = chain(chain(speak))
    parts = driver.stream(outer, {"n": 3}, stream_mode="custom", subgraphs=True)
    ((ns, said),) = parts
    assert said == "said 3"
    assert [level.partition(":")[0] for level in ns] == ["n0"]
    assert driver.stream(outer, {"n": 3}, stream_mode="custom") == []
    assert driver.stream(outer, {"n": 3}, stream_mode="updates", subgraphs=True)[-1][1].keys() == {"n0"}


def test_a_nested_run_that_asked_for_its_own_custom_stream_keeps_it_to_itself() -> None:
    inner, heard = chain(speak), []

    def call(state: State, config: RunnableConfig) -> State:
        heard.extend(inner.stream({"n": 4}, config, stream_mode="custom"))
        return {"log": ["call"]}

    parts = list(chain(call).stream({"n": 0}, stream_mode=["custom", "updates"], subgraphs=True))
    assert heard == ["said 4"]
    assert [mode for _, mode, _ in parts if mode == "custom"] == []


def test_nobody_is_told_what_is_written_where_nobody_reads(driver: Driver) -> None:
    assert driver.invoke(chain(speak), {"n": 1})["log"] == ["speak"]
    assert driver.stream(chain(speak), {"n": 1}, stream_mode="updates") == [{"n0": {"log": ["speak"]}}]


# -- pauses --------------------------------------------------------------


class Pauses(GraphCallbackHandler):
    """Notes what graphs tell of pauses."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_interrupt(self, event: Any) -> None:
        self.told.append(("interrupt", event))

    def on_resume(self, event: Any) -> None:
        self.told.append(("resume", event))


def test_handlers_are_told_of_a_pause_and_of_going_on(driver: Driver) -> None:
    graph = chain(plain, lambda _: {"log": [interrupt("sure?")]}, checkpointer=InMemorySaver())
    pauses = Pauses()
    config = {**THREAD, "callbacks": [pauses]}
    driver.invoke(graph, {"n": 0}, config)
    assert driver.invoke(graph, Command(resume="yes"), config)["log"] == ["plain", "yes"]

    (asked, question), (resumed, going_on) = pauses.told
    assert (asked, resumed) == ("interrupt", "resume")
    assert [each.value for each in question.interrupts] == ["sure?"]
    assert (question.checkpoint_ns, going_on.checkpoint_ns) == ((), ())
    assert question.checkpoint_id == driver.history(graph, THREAD)[1].config["configurable"]["checkpoint_id"]
    assert going_on.checkpoint_id == question.checkpoint_id
    assert (question.status, going_on.status) == ("pending", "pending")
    assert question.run_id != going_on.run_id


def test_handlers_are_told_of_a_breakpoint(driver: Driver) -> None:
    graph = chain(plain, plain, checkpointer=InMemorySaver(), interrupt_before=["n1"])
    pauses = Pauses()
    driver.invoke(graph, {"n": 0}, {**THREAD, "callbacks": [pauses]})
    ((kind, event),) = pauses.told
    assert (kind, event.status, event.interrupts) == ("interrupt", "interrupt_before", ())


# -- threads with open steps ---------------------------------------------


def has_work_left(driver: Driver, graph: Any, config: Any) -> bool:
    import asyncio

    if driver.name == "sync":
        return graph.has_work_left(config)
    return asyncio.run(graph.ahas_work_left(config))


def test_a_thread_has_work_left_while_its_step_is_not_over(driver: Driver) -> None:
    graph = chain(plain, lambda _: {"log": [interrupt("sure?")]}, checkpointer=InMemorySaver())
    assert not has_work_left(driver, graph, THREAD)
    driver.invoke(graph, {"n": 0}, THREAD)
    assert has_work_left(driver, graph, THREAD)
    older = driver.history(graph, THREAD)[-1].config
    driver.invoke(graph, Command(resume="yes"), THREAD)
    assert not has_work_left(driver, graph, THREAD)
    # It is the latest checkpoint that counts, whichever is named.
    assert not has_work_left(driver, graph, older)


def test_a_nested_graph_has_work_left_of_its_own(driver: Driver) -> None:
    graph = chain(chain(plain, lambda _: {"log": [interrupt("sure?")]}), checkpointer=InMemorySaver())
    driver.invoke(graph, {"n": 0}, THREAD)
    (task,) = driver.get_state(graph, THREAD).tasks
    assert has_work_left(driver, graph, task.state)
    (inside,) = [state for state in driver.history(graph, task.state) if state.next == ("n1",)]
    assert inside.values["log"] == ["plain"]
    nested = driver.get_state(graph, THREAD, subgraphs=True).tasks[0].state
    assert (nested.next, nested.values["log"]) == (("n1",), ["plain"])


def test_an_empty_thread_has_an_empty_state(driver: Driver) -> None:
    state = driver.get_state(chain(plain, checkpointer=InMemorySaver()), THREAD)
    assert (state.values, state.next, state.tasks, state.interrupts) == ({}, (), (), ())
    assert (state.metadata, state.created_at, state.parent_config) == (None, None, None)


def test_the_history_can_be_cut_and_filtered(driver: Driver) -> None:
    graph = chain(plain, plain, checkpointer=InMemorySaver())
    driver.invoke(graph, {"n": 0}, THREAD)
    states = driver.history(graph, THREAD)
    assert [state.metadata["step"] for state in states] == [2, 1, 0, -1]
    assert [state.metadata["step"] for state in driver.history(graph, THREAD, limit=2)] == [2, 1]
    assert [state.metadata["step"] for state in driver.history(graph, THREAD, before=states[1].config)] == [0, -1]
    assert [state.metadata["step"] for state in driver.history(graph, THREAD, filter={"source": "input"})] == [-1]


# -- values that are kept nowhere ----------------------------------------


class Secretive(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    token: Annotated[str, UntrackedValue]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_values_that_no_checkpoint_stores_are_in_none_also_inside_packets(driver: Driver, durability: str) -> None:
    def worker(state: Any) -> Any:
        return {"log": [f"{state['n']} with {state.get('token')}"]}

    def ask(state: Any) -> Any:
        return {"log": [interrupt("go on?")]}

    builder = StateGraph(Secretive).add_node("first", lambda _: {"token": "secret", "log": ["first"]})
    builder.add_node("worker", worker).add_node("ask", ask).add_edge(START, "first").add_edge("worker", "ask")
    builder.add_conditional_edges(
        "first", lambda state: [Send("worker", {"n": n, "token": state["token"]}) for n in range(2)], ["worker"]
    )
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver)
    result = driver.invoke(graph, {"log": []}, THREAD, durability=durability)
    assert result["log"] == ["first", "0 with secret", "1 with secret"]
    stored = [saver.blobs.values(), *(writes.values() for writes in saver.writes.values())]
    assert "secret" not in repr([list(each) for each in stored if each]).replace("with secret", "")
    for state in driver.history(graph, THREAD):
        assert "token" not in state.values
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["log"][-1] == "yes"
