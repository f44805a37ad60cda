"""Threads in the middle of branches, without a barrier, that a later version of the graph goes on with."""

from __future__ import annotations

import itertools
import operator
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, Migration, StateGraph
from stategraph import interrupt as ask
from stategraph.graph.versions.checking import acheck_thread
from stategraph.savers import SqliteSaver
from tests import sqlite
from tests.conftest import Driver

THREAD: Any = {"configurable": {"thread_id": "t"}}


class Old(TypedDict, total=False):
    name: str
    log: Annotated[list[str], operator.add]


class New(TypedDict, total=False):
    title: str
    notes: Annotated[list[str], operator.add]


class Branches:
    """A question beside a chain of three nodes, and a node behind both.

    Attributes:
        ran: The nodes that ran, in the order of their ends.
    """

    def __init__(self, key: str, names: tuple[str, str, str, str, str] = ("ask", "a", "b", "c", "join")) -> None:
        self.ran: list[str] = []
        self._key, self._names = key, names

    def _node(self, name: str, value: Any) -> Any:
        def node(state: Any) -> Any:
            entry = value(state)
            self.ran.append(name)
            return {self._key: [entry]}

        return node

    def compile(self, schema: Any, version: str, saver: Any, **options: Any) -> Any:
        question, *chain, join = self._names
        builder = StateGraph(schema)
        builder.add_node(question, self._node(question, lambda state: f"{ask('sure?')} of {len(state[self._key])}"))
        for name in (*chain, join):
            builder.add_node(name, self._node(name, lambda state, name=name: f"{name} of {version}"))
        builder.add_edge(START, question).add_edge(START, chain[0]).add_edge(question, join).add_edge(chain[-1], join)
        for one, other in itertools.pairwise(chain):
            builder.add_edge(one, other)
        return builder.compile(saver, version=version, scheduling="dataflow", **options)


@pytest.fixture(params=["memory", "sqlite"])
def saver(request: pytest.FixtureRequest, driver: Driver) -> Any:
    if request.param == "memory":
        return InMemorySaver()
    if driver.name == "async":
        pytest.skip("the saver is sync")
    return SqliteSaver(sqlite.connection())


def begun(driver: Driver, saver: Any) -> Any:
    """Begin a thread with version 1; returns its question."""
    old = Branches("log").compile(Old, "1", saver)
    (question,) = driver.invoke(old, {"name": "Ada", "log": []}, THREAD)["__interrupt__"]
    return question


def test_renamed_keys_and_values_leave_every_branch_where_it_was(driver: Driver, saver: Any) -> None:
    question = begun(driver, saver)
    new = Branches("notes")
    migration = Migration("1", "2", keys={"name": "title", "log": "notes"})
    graph = new.compile(New, "2", saver, migrations=[migration])
    state = driver.get_state(graph, THREAD)
    assert (state.values, state.next) == ({"title": "Ada", "notes": ["a of 1", "b of 1", "c of 1"]}, ("ask",))
    assert [each.id for each in state.interrupts] == [question.id]
    result = driver.invoke(graph, Command(resume={question.id: "yes"}), THREAD)
    assert result["notes"] == ["a of 1", "yes of 0", "b of 1", "c of 1", "join of 2"]
    assert new.ran == ["ask", "join"]


def test_what_was_written_in_each_branch_is_migrated(driver: Driver, saver: Any) -> None:
    question = begun(driver, saver)
    new = Branches("log")
    louder = Migration(
        "1",
        "2",
        updates=lambda update: {key: [each.upper() for each in value] for key, value in update.items()},
    )
    graph = new.compile(Old, "2", saver, migrations=[louder])
    result = driver.invoke(graph, Command(resume={question.id: "yes"}), THREAD)
    assert result["log"] == ["A OF 1", "yes of 0", "B OF 1", "C OF 1", "join of 2"]
    assert new.ran == ["ask", "join"]


def test_with_renamed_nodes_the_first_of_each_branch_counts_and_what_was_behind_it_runs_again(
    driver: Driver, saver: Any
) -> None:
    question = begun(driver, saver)
    new = Branches("log", ("confirm", "first", "second", "third", "finish"))
    renamed = {"ask": "confirm", "a": "first", "b": "second", "c": "third", "join": "finish"}
    graph = new.compile(Old, "2", saver, migrations=[Migration("1", "2", nodes=renamed)])
    state = driver.get_state(graph, THREAD)
    assert state.values["log"] == ["a of 1"]
    assert [each.id for each in state.interrupts] == [question.id]
    result = driver.invoke(graph, Command(resume={question.id: "yes"}), THREAD)
    # In the order of the names of today.
    assert result["log"] == ["yes of 0", "a of 1", "second of 2", "third of 2", "finish of 2"]
    assert sorted(new.ran) == ["confirm", "finish", "second", "third"]


def test_a_pinned_graph_goes_on_with_its_branches(driver: Driver, saver: Any) -> None:
    question = begun(driver, saver)
    old, new = Branches("log"), Branches("log")
    pinned = {"1": old.compile(Old, "1", None)}
    graph = new.compile(Old, "2", saver, migrations=[Migration("1", "2")], pinned=pinned)
    result = driver.invoke(graph, Command(resume={question.id: "yes"}), THREAD)
    assert result["log"] == ["a of 1", "yes of 0", "b of 1", "c of 1", "join of 1"]
    assert (old.ran, new.ran) == (["ask", "join"], [])


def test_an_update_in_the_middle_stores_the_migrated_branches(driver: Driver, saver: Any) -> None:
    begun(driver, saver)
    new = Branches("notes")
    graph = new.compile(New, "2", saver, migrations=[Migration("1", "2", keys={"name": "title", "log": "notes"})])
    driver.update_state(graph, THREAD, {"notes": ["edited"]}, as_node="ask")
    state = driver.get_state(graph, THREAD)
    assert state.metadata["graph_version"] == "2"
    assert state.values["notes"] == ["a of 1", "b of 1", "c of 1", "edited"]
    assert driver.invoke(graph, None, THREAD)["notes"][-1] == "join of 2"
    assert new.ran == ["join"]


@pytest.mark.anyio
async def test_a_thread_in_the_middle_of_branches_is_checked_before_a_release() -> None:
    saver = InMemorySaver()
    await Branches("log").compile(Old, "1", saver).ainvoke({"name": "Ada", "log": []}, THREAD)
    fits = Branches("log").compile(Old, "2", saver, migrations=[Migration("1", "2")])
    assert (await acheck_thread(fits, saver, "t")).verdict == "migrates"
    breaks = Branches("log", ("confirm", "a", "b", "c", "join"))
    found = await acheck_thread(breaks.compile(Old, "2", saver, migrations=[Migration("1", "2")]), saver, "t")
    assert found.verdict == "breaks"
