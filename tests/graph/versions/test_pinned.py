"""Threads that go on with the version of the graph that began them, as langchain-ai/docs#3546 and #3843 ask for."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, ConfigurationError, GraphVersionError, Migration, StateGraph
from stategraph import interrupt as ask
from tests.conftest import Driver
from tests.graph.versions.test_migrations import THREAD, Old


def make(version: str, saver: Any = None, **options: Any) -> Any:
    builder = StateGraph(Old).add_node("ask", lambda state: {"log": [f"{version}: {ask('?')}"]})
    builder.add_node("end", lambda state: {"log": [f"{version}: end"]}).add_edge(START, "ask").add_edge("ask", "end")
    return builder.compile(saver, version=version, **options)


def test_a_thread_in_flight_ends_with_the_version_that_began_it(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(make("1", saver), {"log": ["in"]}, THREAD)
    graph = make("2", saver, migrations=[Migration("1", "2")], pinned={"1": make("1")})
    assert driver.get_state(graph, THREAD).next == ("ask",)
    assert driver.stream(graph, Command(resume="yes"), THREAD) == [
        {"ask": {"log": ["1: yes"]}},
        {"end": {"log": ["1: end"]}},
    ]
    assert driver.history(graph, THREAD)[0].metadata["graph_version"] == "1"
    # New input is a new run, with the newest version.
    driver.invoke(graph, {"log": ["again"]}, THREAD)
    assert driver.get_state(graph, THREAD).metadata["graph_version"] == "2"
    ended = driver.invoke(graph, Command(resume="ok"), THREAD)
    assert ended["log"] == ["in", "1: yes", "1: end", "again", "2: ok", "2: end"]


def test_new_input_on_a_thread_in_flight_begins_with_the_newest_version(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(make("1", saver), {"log": ["in"]}, THREAD)
    graph = make("2", saver, migrations=[Migration("1", "2")], pinned={"1": make("1")})
    driver.invoke(graph, {"log": ["again"]}, THREAD)
    assert driver.invoke(graph, Command(resume="ok"), THREAD)["log"] == ["in", "again", "2: ok", "2: end"]


def test_without_a_migration_a_thread_stays_with_its_version_for_good(driver: Driver) -> None:
    saver = InMemorySaver()
    driver.invoke(make("1", saver), {"log": ["in"]}, THREAD)
    graph = make("2", saver, pinned={"1": make("1")})
    driver.invoke(graph, {"log": ["again"]}, THREAD)
    driver.update_state(graph, THREAD, {"log": ["edited"]}, as_node="ask")
    assert driver.invoke(graph, None, THREAD)["log"] == ["in", "again", "edited", "1: end"]
    assert driver.get_state(graph, THREAD).metadata["graph_version"] == "1"
    other: Any = {"configurable": {"thread_id": "other"}}
    driver.invoke(graph, {"log": []}, other)
    assert driver.get_state(graph.with_config(tags=["x"]), other).metadata["graph_version"] == "2"
    with pytest.raises(GraphVersionError):
        driver.get_state(make("3", saver, pinned={"2": make("2")}), THREAD)


def test_a_pinned_graph_goes_on_inside_of_another(driver: Driver) -> None:
    saver = InMemorySaver()

    def outer(inner: Any) -> Any:
        return StateGraph(Old).add_node("inside", inner).add_edge(START, "inside").compile(saver)

    driver.invoke(outer(make("1")), {"log": ["in"]}, THREAD)
    graph = outer(make("2", migrations=[Migration("1", "2")], pinned={"1": make("1")}))
    assert driver.invoke(graph, Command(resume="yes"), THREAD)["log"][-2:] == ["1: yes", "1: end"]


def test_pinned_graphs_are_checked() -> None:
    with pytest.raises(ConfigurationError, match="is a graph of version '1', below one of version '3'"):
        make("3", pinned={"2": make("1")})
    builder = StateGraph(Old).add_node("a", lambda state: {}).add_edge(START, "a")
    with pytest.raises(ConfigurationError, match="pass `version`"):
        builder.compile(pinned={"1": make("1")})
    with pytest.raises(ConfigurationError, match="expected a compiled graph"):
        builder.compile(version="2", pinned={"1": builder})  # type: ignore[dict-item]
