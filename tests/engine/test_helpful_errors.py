"""Errors name who did what, where, what there is instead, and a way out; class and code stay LangGraph's."""

from __future__ import annotations

import dataclasses
import logging
import operator
import sys
import threading
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from stategraph import END, START, Command, Interrupt, Send, StateGraph, entrypoint, interrupt, task
from stategraph.core import explain
from stategraph.errors import EmptyInputError, GraphRecursionError, InvalidUpdateError
from tests.conftest import Driver

CODE = "errors/"


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: Any


def side_by_side(*nodes: tuple[str, Any], saver: Any = None) -> Any:
    builder = StateGraph(State)
    for name, work in nodes:
        builder.add_node(name, work).add_edge(START, name)
    return builder.compile(checkpointer=saver)


def thread(name: str = "1") -> Any:
    return {"configurable": {"thread_id": name}}


# -- two writers of one value --------------------------------------------------------------------------------------


def test_a_concurrent_update_names_the_channel_both_writers_and_both_ways_out(driver: Driver) -> None:
    graph = side_by_side(("one", lambda _: {"answer": 1}), ("two", lambda _: {"answer": 2}), ("ok", lambda _: None))
    with pytest.raises(InvalidUpdateError) as caught:
        driver.invoke(graph, {"log": []})
    message, help_line = str(caught.value).split("\n")
    assert "At key 'answer'" in message
    assert message.endswith("The writers: node 'one', node 'two'.")
    assert "Annotated" in message and "single node" in message
    assert help_line.endswith(f"{CODE}INVALID_CONCURRENT_GRAPH_UPDATE")


def test_a_concurrent_update_counts_the_packets_of_one_node(driver: Driver) -> None:
    builder = StateGraph(State).add_node("one", lambda _: {"answer": 1})
    builder.add_conditional_edges(START, lambda _: [Send("one", {})] * 3, ["one"])
    with pytest.raises(InvalidUpdateError, match=r"The writers: node 'one' \(3 times\)\."):
        driver.invoke(builder.compile(), {"log": []})


def test_a_lone_node_that_writes_twice_is_named(driver: Driver) -> None:
    graph = side_by_side(("one", lambda _: [Command(update={"answer": 1}), Command(update={"answer": 2})]))
    with pytest.raises(InvalidUpdateError, match=r"The writers: node 'one' \(2 times\)\."):
        driver.invoke(graph, {"log": []})


# -- nodes that are not there --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [
        lambda _: Command(goto="summarise"),
        lambda _: Command(goto=Send("summarise", {})),
    ],
    ids=["goto", "packet"],
)
def test_a_jump_to_an_unknown_node_says_what_was_meant(
    way: Any, driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    builder = StateGraph(State).add_node("start", way).add_node("summarize", lambda _: None).add_node("other", way)
    graph = builder.add_edge(START, "start").compile()
    with caplog.at_level(logging.WARNING, "stategraph"):
        driver.invoke(graph, {"log": []})
    (record,) = caplog.records
    assert "'summarise'" in record.getMessage()
    assert "Did you mean 'summarize'?" in record.getMessage()
    assert "The graph's nodes are: other, start, summarize" in record.getMessage()


def test_the_writer_of_an_unknown_goto_is_named(caplog: pytest.LogCaptureFixture) -> None:
    graph = side_by_side(("one", lambda _: Command(goto="nowhere")))
    graph.invoke({"log": []})
    assert "Node 'one' goes to 'nowhere', which is no node of this graph" in caplog.text


@pytest.mark.parametrize("broken", ["edge", "router", "interrupt"])
def test_an_unknown_node_in_the_graph_itself_is_refused_with_the_nearest_name(broken: str) -> None:
    builder = StateGraph(State).add_node("research", lambda _: None).add_edge(START, "research")
    if broken == "edge":
        builder.add_edge("research", "reserch")
    elif broken == "router":
        builder.add_conditional_edges("research", lambda _: "x", {"x": "reserch"})
    with pytest.raises(ValueError, match=r"reserch.*Did you mean 'research'\? The graph's nodes are: research"):
        builder.compile(interrupt_before=["reserch"] if broken == "interrupt" else None)


def test_a_long_list_of_names_is_cut() -> None:
    text = explain.what_there_is("nothing like it", tuple(f"n{i:02}" for i in range(20)))
    assert text == f"The graph's nodes are: {', '.join(f'n{i:02}' for i in range(12))} and 8 more"


# -- nothing that can be written -----------------------------------------------------------------------------------


@pytest.mark.parametrize("returned", [5, ["a"], "text"], ids=["number", "list", "text"])
def test_a_node_that_returns_no_update_is_told_what_it_may_return(returned: Any, driver: Driver) -> None:
    graph = side_by_side(("one", lambda _: returned))
    with pytest.raises(InvalidUpdateError) as caught:
        driver.invoke(graph, {"log": []})
    message, help_line = str(caught.value).split("\n")
    assert message.startswith(f"Expected dict, got {returned}")
    assert f"Node 'one' returned a value of type {type(returned).__name__};" in message
    assert "any of the keys answer, log, a Command" in message
    assert help_line.endswith(f"{CODE}INVALID_GRAPH_NODE_RETURN_VALUE")


def test_an_input_that_is_no_update_is_called_the_input(driver: Driver) -> None:
    with pytest.raises(InvalidUpdateError, match="The input is a value of type int; what is expected is a dict"):
        driver.invoke(side_by_side(("one", lambda _: None)), 5)


def test_a_run_without_input_is_told_that_there_is_nothing_to_continue(driver: Driver) -> None:
    with pytest.raises(EmptyInputError, match=r"Received no input for __start__.*no run to continue: pass an input"):
        driver.invoke(side_by_side(("one", lambda _: None)), None)


# -- values that cannot be stored ----------------------------------------------------------------------------------


class Message:
    """Not storable, as it is no dataclass."""


@dataclasses.dataclass
class Letter:
    content: Any


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_value_that_cannot_be_stored_is_named_by_its_path(driver: Driver, durability: Any) -> None:
    value = {"items": [1, Letter(content=(Message(),))]}
    graph = side_by_side(("one", lambda _: {"answer": value}), saver=InMemorySaver())
    with pytest.raises(TypeError) as caught:
        driver.invoke(graph, {"log": []}, thread(), durability=durability)
    message = str(caught.value)
    assert message.startswith("Type is not msgpack serializable: ")
    assert "The value at answer['items'][1].content[0], of type" in message
    assert ".Message, was written" in message and "to channel 'answer'" in message
    assert "UntrackedValue" in message
    if durability != "exit":
        assert "by node 'one'" in message


def test_a_lock_in_a_task_s_result_is_found() -> None:
    @task
    def lock() -> Any:
        return {"lock": threading.Lock()}

    @entrypoint(checkpointer=InMemorySaver())
    def graph(_: Any) -> Any:
        return lock().result()

    with pytest.raises(TypeError, match=r"\['lock'\], of type _thread\.lock"):
        graph.invoke(1, thread())


class Faulty(JsonPlusSerializer):
    def dumps_typed(self, obj: Any) -> Any:
        raise ValueError("no disk")


def test_no_value_is_blamed_for_a_serialiser_that_stores_nothing(driver: Driver) -> None:
    graph = side_by_side(("one", lambda _: {"answer": 1}), saver=InMemorySaver(serde=Faulty()))
    with pytest.raises(ValueError, match=r"^no disk$"):
        driver.invoke(graph, {"log": []}, thread())


class _FailingSaver(InMemorySaver):
    def put(self, *args: Any, **options: Any) -> Any:
        raise ConnectionError("gone")


def test_no_value_is_blamed_for_a_saver_that_is_gone(driver: Driver) -> None:
    graph = side_by_side(("one", lambda _: {"answer": 1}), saver=_FailingSaver())
    with pytest.raises(ConnectionError, match=r"^gone$"):
        driver.invoke(graph, {"log": []}, thread())


def test_a_value_that_would_come_back_as_a_dict_is_warned_of_once(
    driver: Driver, caplog: pytest.LogCaptureFixture
) -> None:
    @dataclasses.dataclass
    class Local:
        x: int = 1

    graph = side_by_side(("one", lambda _: {"answer": {"kept": [Local()]}}), saver=InMemorySaver())
    with caplog.at_level(logging.WARNING, "stategraph"):
        for name in "ab":
            driver.invoke(graph, {"log": []}, thread(name))
    (record,) = [record for record in caplog.records if record.name.startswith("stategraph")]
    assert record.getMessage().startswith("Node 'one' wrote to channel 'answer' a value that no checkpoint keeps")
    assert record.getMessage().endswith("Local comes back as dict")
    assert " at answer['kept'][0] " in record.getMessage()


def test_a_wait_is_not_warned_of_before_anybody_imports_the_module_it_names(
    driver: Driver, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, Interrupt.__module__, raising=False)
    graph = side_by_side(("asks", lambda _: interrupt("?")), saver=InMemorySaver())
    driver.invoke(graph, {}, thread())
    assert [record for record in caplog.records if record.name.startswith("stategraph")] == []


def test_values_that_do_come_back_are_not_warned_of(driver: Driver, caplog: pytest.LogCaptureFixture) -> None:
    values = [Letter("x"), {"a": [Letter(None)]}, {2}, {"b": {"c": None}}, HumanMessage("hi")]
    graph = side_by_side(("one", lambda _: {"answer": values}), saver=InMemorySaver())
    driver.invoke(graph, {"log": []}, thread())
    assert [record for record in caplog.records if record.name.startswith("stategraph")] == []


# -- too many steps ------------------------------------------------------------------------------------------------


def test_the_recursion_limit_names_the_limit_the_setting_and_the_nodes_of_the_loop(driver: Driver) -> None:
    builder = StateGraph(State).add_node("think", lambda _: None).add_node("act", lambda _: None)
    builder.add_edge(START, "think").add_edge("think", "act")
    builder.add_conditional_edges("act", lambda _: "think", ["think", END])
    with pytest.raises(GraphRecursionError) as caught:
        driver.invoke(builder.compile(), {"log": []}, {"recursion_limit": 6})
    message, help_line = str(caught.value).split("\n")
    assert message.startswith("Recursion limit of 6 reached without hitting a stop condition.")
    assert "`recursion_limit` config key" in message
    assert "The last step ran 'act', the next one would run 'think'" in message
    assert help_line.endswith(f"{CODE}GRAPH_RECURSION_LIMIT")


# -- the words themselves ------------------------------------------------------------------------------------------


def test_an_error_without_a_message_of_its_own_gets_a_note() -> None:
    error = KeyError("a", "b")
    explain.add_words(error, "More.")
    assert error.args == ("a", "b")
    assert error.__notes__ == ["More."]


def test_nothing_is_said_about_a_channel_that_the_message_does_not_name() -> None:
    error = InvalidUpdateError("At key 'x': no")
    explain.name_writers(error, {"y": [1, 2]}, (), ())
    assert str(error) == "At key 'x': no"


@pytest.mark.parametrize(
    ("message", "longer"),
    [
        ("It failed", "It failed. More."),
        ("It failed.", "It failed. More."),
        ("Why?", "Why? More."),
        ("It failed \n", "It failed. More."),
        ("It failed\nFor troubleshooting, see x", "It failed. More.\nFor troubleshooting, see x"),
    ],
)
def test_a_sentence_is_added_after_one_full_stop(message: str, longer: str) -> None:
    error = ValueError(message)
    explain.add_words(error, "More.")
    assert str(error) == longer
