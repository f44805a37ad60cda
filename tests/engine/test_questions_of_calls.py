"""What tasks ask that a node calls, several at once."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, StateGraph, interrupt, task
from stategraph.engine.compile.task_functions import call, recorded_result
from tests.conftest import Driver

THREAD = {"configurable": {"thread_id": "t"}}


class State(TypedDict, total=False):
    answers: list[str]


@task
def ask(question: str) -> Any:
    return interrupt(question)


def ask_all(state: State) -> State:
    called = [ask(question) for question in ("one?", "two?", "three?")]
    return {"answers": [each.result() for each in called]}


def one_node(name: str, node: Any) -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(State)
    builder.add_node(name, node)
    builder.add_edge(START, name)
    return builder


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_all_that_is_asked_at_once_inside_a_nested_graph_is_listed_once_and_answered_in_one_go(
    driver: Driver, durability: str
) -> None:
    inner = one_node("asks", ask_all).compile()
    graph = one_node("inner", inner).compile(checkpointer=InMemorySaver())

    asked = driver.invoke(graph, {}, THREAD, durability=durability)["__interrupt__"]
    assert [question.value for question in asked] == ["one?", "two?", "three?"]
    assert driver.get_state(graph, THREAD).interrupts == tuple(asked)

    answers = {question.id: question.value[:-1] for question in asked}
    result = driver.invoke(graph, Command(resume=answers), THREAD, durability=durability)
    assert result == {"answers": ["one", "two", "three"]}


def test_what_was_asked_in_an_earlier_step_of_a_nested_graph_is_not_listed_again(driver: Driver) -> None:
    def ask_two(state: State) -> State:
        return {"answers": [ask("four?").result()]}

    builder = one_node("asks", ask_all)
    builder.add_node("asks_again", ask_two)
    builder.add_edge("asks", "asks_again")
    graph = one_node("inner", builder.compile()).compile(checkpointer=InMemorySaver())
    asked = driver.invoke(graph, {}, THREAD)["__interrupt__"]

    again = driver.invoke(graph, Command(resume={question.id: "yes" for question in asked}), THREAD)
    assert [question.value for question in again["__interrupt__"]] == ["four?"]


def note(said: str) -> str:
    return said


def other(said: str) -> str:
    return said


def test_what_the_next_call_returned_before_a_pause_can_be_looked_at_without_calling_it(driver: Driver) -> None:
    seen: list[Any] = []

    def node(state: State) -> State:
        seen.append((recorded_result(note), recorded_result(other)))
        first = call(note, f"run {len(seen)}").result()
        seen.append((recorded_result(note), recorded_result(other)))
        call(other, first).result()
        return {"answers": [first, interrupt("go on?"), recorded_result(note)]}

    graph = one_node("node", node).compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {}, THREAD)
    result = driver.invoke(graph, Command(resume="yes"), THREAD)
    assert result == {"answers": ["run 1", "yes", None]}
    assert seen == [(None, None), (None, None), ("run 1", None), (None, "run 1")]
