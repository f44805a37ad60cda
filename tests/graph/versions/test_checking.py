"""Stored threads, checked against a new graph without running it."""

from __future__ import annotations

import asyncio
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Migration, Send, StateGraph
from stategraph import interrupt as ask
from stategraph.graph.versions.checking import Checked, acheck_thread
from tests.graph.versions.test_migrations import RENAMED, THREAD, Old, new_graph, old_graph, split
from tests.graph.versions.test_pinned import make


def checked(graph: Any, saver: Any) -> Checked:
    return asyncio.run(acheck_thread(graph, saver, "t"))


def waiting() -> InMemorySaver:
    saver = InMemorySaver()
    old_graph(saver).invoke({"name": "Ada Lovelace"}, THREAD)
    return saver


def test_a_migrated_thread_fits_and_is_left_as_it_is() -> None:
    saver = waiting()
    before = list(saver.list(THREAD))
    found = checked(new_graph(None), saver)
    assert (found.verdict, found.version, found.problems, found.warnings) == ("migrates", "1", (), ())
    assert list(saver.list(THREAD)) == before
    assert checked(old_graph(None), saver).verdict == "fits"
    assert checked(old_graph(None), InMemorySaver()).verdict == "empty"


def test_a_renamed_node_that_no_migration_names_breaks_the_thread() -> None:
    found = checked(new_graph(None, Migration("1", "2", state=split)), waiting())
    assert found.verdict == "breaks"
    told = "\n".join(found.problems)
    assert "The node 'ask' is next, and the graph has none of that name, only confirm, finish, other" in told
    assert "The question 'sure?' waits for an answer, and what asked it is not among the next tasks" in told


def test_a_missing_or_failing_migration_is_told() -> None:
    assert "no migrations" in checked(make("2"), waiting()).problems[0]
    failing = Migration("1", "2", state=lambda values: {"first": values["nme"]}, nodes=RENAMED)
    assert "KeyError: 'nme'" in checked(new_graph(None, failing), waiting()).problems[0]


def test_keys_that_are_lost_and_values_that_do_not_fit_are_warnings() -> None:
    class Tighter(TypedDict, total=False):
        name: int

    saver = InMemorySaver()
    one = StateGraph(Old).add_node("a", lambda state: {}).add_edge(START, "a")
    one.compile(saver).invoke({"name": "Ada", "log": ["x"]}, THREAD)
    found = checked(StateGraph(Tighter).add_node("a", lambda state: {}).add_edge(START, "a").compile(), saver)
    assert found.verdict == "fits"
    assert found.warnings[0] == "The value of 'log' is dropped: the state has no such key"
    assert found.warnings[1].startswith("The value of 'name' does not fit its type: Input should be a valid integer")


def test_packets_and_joins_that_nothing_would_take_are_told() -> None:
    saver = InMemorySaver()

    def graph(*names: str) -> Any:
        builder = StateGraph(Old).add_node("plan", lambda state: {})
        for name in names:
            builder.add_node(name, lambda arg: {"log": [ask("?")]})
        builder.add_edge(START, "plan")
        builder.add_conditional_edges("plan", lambda state: [Send(names[0], 1)], list(names))
        return builder.compile(saver)

    graph("work").invoke({}, THREAD)
    assert "The node 'work' is next" in checked(graph("later"), saver).problems[0]
    joined = InMemorySaver()
    graph_of_joins = old_graph(joined)
    graph_of_joins.invoke({"name": "Ada L"}, THREAD)
    graph_of_joins.update_state(THREAD, {"log": []}, as_node="side")
    problems = checked(new_graph(None, Migration("1", "2", state=split)), joined).problems
    assert any("The join 'join:ask+side:end' waits" in each for each in problems)


def test_graphs_inside_of_nodes_and_pinned_ones_are_looked_at() -> None:
    saver = InMemorySaver()

    def outer(inner: Any) -> Any:
        return StateGraph(Old).add_node("inside", inner).add_edge(START, "inside").compile(saver)

    outer(make("1")).invoke({"log": []}, THREAD)
    assert checked(outer(make("2", migrations=[Migration("1", "2")])), saver).verdict == "fits"
    problem = checked(outer(make("2")), saver).problems[0]
    assert problem.startswith("In node 'inside': Thread 't' was stored by version '1'")
    alone = InMemorySaver()
    make("1", alone).invoke({"log": []}, THREAD)
    assert checked(make("2", pinned={"1": make("1")}), alone).verdict == "pinned"


def test_a_question_of_a_node_with_other_edges_is_told() -> None:
    """Ids of tasks are made of what starts a node: one more join, and its question would be asked again."""

    def graph(joined: bool) -> Any:
        builder = StateGraph(Old).add_node("a", lambda state: {}).add_node("b", lambda state: {})
        builder.add_node("ask", lambda state: {"log": [ask("?")]})
        builder.add_edge(START, "a").add_edge(START, "b").add_edge("a", "ask")
        if joined:
            builder.add_edge(["a", "b"], "ask")
        return builder

    saver = InMemorySaver()
    graph(False).compile(saver).invoke({}, THREAD)
    assert "The question '?' waits" in checked(graph(True).compile(), saver).problems[0]
    versioned = graph(True).compile(version="2", migrations=[Migration("1", "2")])
    assert checked(versioned, saver).problems == ()
