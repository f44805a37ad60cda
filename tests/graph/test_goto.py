"""Where a command goes: nodes by name, packets, several of them, or nowhere in any of the ways to say so."""

from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from stategraph.constants import END, START
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.graph.state import StateGraph
from stategraph.types import Command, Send

NOTHING = [None, "", (), [], set(), {}, 0, False, [None], ["", None]]
SENSELESS = [3, 2.5, True, b"b", object, ["b", 3], [["b"]], [Command(goto="b")]]
THREAD: Any = {"configurable": {"thread_id": "1"}}


def log(before: list[str], new: list[str]) -> list[str]:
    return before + new


class State(TypedDict, total=False):
    log: Annotated[list[str], log]


def builder(first: Any, last: str = END) -> StateGraph[Any, Any, Any, Any]:
    graph = StateGraph(State).add_node("a", first).add_node("b", lambda _: {"log": ["b"]})
    return graph.add_edge(START, "a").add_edge("a", last)


@pytest.mark.parametrize("goto", NOTHING, ids=repr)
def test_a_node_whose_command_goes_nowhere_follows_its_edges(driver: Any, goto: Any, caplog: Any) -> None:
    graph = builder(lambda _: Command(update={"log": ["a"]}, goto=goto), "b").compile()
    assert driver.invoke(graph, {"log": []}) == {"log": ["a", "b"]}
    assert caplog.records == []


@pytest.mark.parametrize("goto", NOTHING, ids=repr)
def test_an_answer_whose_command_goes_nowhere_resumes(driver: Any, goto: Any, caplog: Any) -> None:
    graph = builder(lambda _: {"log": [interrupt("who?")]}).compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    answer = Command(resume="Ada", update={"log": ["told"]}, goto=goto)
    assert driver.invoke(graph, answer, THREAD) == {"log": ["told", "Ada"]}
    assert caplog.records == []


@pytest.mark.parametrize("goto", NOTHING, ids=repr)
def test_an_edit_whose_command_goes_nowhere_leaves_the_edges_next(driver: Any, goto: Any) -> None:
    graph = builder(lambda _: None, "b").compile(checkpointer=InMemorySaver())
    driver.update_state(graph, THREAD, Command(update={"log": ["edit"]}, goto=goto), as_node="a")
    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"log": ["edit"]}, ("b",))


def test_a_command_for_the_parent_may_go_nowhere(driver: Any) -> None:
    inner = builder(lambda _: Command(graph=Command.PARENT, update={"log": ["inner"]}, goto=None)).compile()
    assert driver.invoke(builder(inner, "b").compile(), {"log": []}) == {"log": ["inner", "b"]}


@pytest.mark.parametrize("goto", ["b", ["b", None], ("b",), {"b"}, Send("b", {}), [Send("b", {}), ""]], ids=repr)
def test_a_command_goes_where_it_says_from_a_node_and_as_input(driver: Any, goto: Any) -> None:
    graph = builder(lambda _: Command(goto=goto)).compile()
    assert driver.invoke(graph, {"log": []}) == {"log": ["b"]}
    waiting = builder(lambda _: {"log": [interrupt("who?")]}).compile(checkpointer=InMemorySaver())
    driver.invoke(waiting, {"log": []}, THREAD)
    assert sorted(driver.invoke(waiting, Command(resume="a", goto=goto), THREAD)["log"]) == ["a", "b"]


@pytest.mark.parametrize("goto", SENSELESS, ids=repr)
def test_a_senseless_goto_is_refused_in_a_sentence(driver: Any, goto: Any) -> None:
    message = r"expected Send/str, got \w+: .* Give the name of a node, a Send or a list of these; leave goto out"
    with pytest.raises(TypeError, match=message):
        driver.invoke(builder(lambda _: Command(goto=goto)).compile(), {"log": []})
    graph = builder(lambda _: {"log": [interrupt("who?")]}).compile(checkpointer=InMemorySaver())
    driver.invoke(graph, {"log": []}, THREAD)
    with pytest.raises(TypeError, match=message):
        driver.invoke(graph, Command(resume="Ada", goto=goto), THREAD)
