"""Replays from a checkpoint inside a nested graph go on from there, whatever kind of channel holds the state."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import START, Command, StateGraph, interrupt
from stategraph.core.channels.delta import DeltaChannel
from stategraph.engine.compile.managed import ManagedValue, RemainingSteps
from tests.conftest import Driver

CONFIG: Any = {"configurable": {"thread_id": "1"}}


def appended(value: list[str], updates: Sequence[list[str]]) -> list[str]:
    return [*value, *(item for update in updates for item in update)]


class Plain(TypedDict):
    log: Annotated[list[str], operator.add]


class Delta(TypedDict):
    log: Annotated[list[str], DeltaChannel(appended)]


class Nested:
    """first -> sub(a -> b -> c) -> last, where `c` may ask."""

    def __init__(self, state: Any, *, asks: bool) -> None:
        self.ran: list[str] = []
        inner = StateGraph(state)
        for name in "abc":
            inner.add_node(name, self._node(name, asks=asks and name == "c"))
        inner.add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")
        outer = StateGraph(state).add_node("first", self._node("first")).add_node("sub", inner.compile())
        outer.add_node("last", self._node("last"))
        outer.add_edge(START, "first").add_edge("first", "sub").add_edge("sub", "last")
        self.saver = InMemorySaver()
        self.graph = outer.compile(checkpointer=self.saver)

    def _node(self, name: str, *, asks: bool = False) -> Callable[[Any], Any]:
        def run(state: Any) -> Any:
            self.ran.append(name)
            if asks:
                interrupt("go on?")
            return {"log": [name]}

        return run

    def namespaces(self) -> set[str]:
        return {saved.config["configurable"]["checkpoint_ns"] for saved in self.saver.list(CONFIG)} - {""}

    def history(self, driver: Driver, ns: str) -> list[Any]:
        return driver.history(self.graph, {"configurable": {"thread_id": "1", "checkpoint_ns": ns}})

    def before_b(self, driver: Driver) -> Any:
        (ns,) = self.namespaces()
        (config,) = [state.config for state in self.history(driver, ns) if state.next == ("b",)]
        return config

    def take_ran(self) -> list[str]:
        ran, self.ran = self.ran, []
        return ran


WHOLE = ["in", "first", "in", "first", "a", "b", "c", "last"]


@pytest.mark.parametrize("state", [Plain, Delta])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_the_nodes_before_do_not_run_again(driver: Driver, state: Any, durability: Any) -> None:
    nested = Nested(state, asks=False)
    driver.invoke(nested.graph, {"log": ["in"]}, CONFIG)
    place = nested.before_b(driver)
    nested.take_ran()
    assert driver.invoke(nested.graph, None, place, durability=durability)["log"] == WHOLE
    assert nested.take_ran() == ["b", "c", "last"]
    assert driver.get_state(nested.graph, CONFIG).values["log"] == WHOLE


@pytest.mark.parametrize("state", [Plain, Delta])
@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_a_question_on_the_way_is_answered_where_the_replay_stands(driver: Driver, state: Any, durability: Any) -> None:
    nested = Nested(state, asks=True)
    driver.invoke(nested.graph, {"log": ["in"]}, CONFIG)
    place = nested.before_b(driver)
    nested.take_ran()
    driver.invoke(nested.graph, None, place, durability=durability)
    assert nested.take_ran() == ["b", "c"]
    (waiting,) = driver.get_state(nested.graph, CONFIG, subgraphs=True).tasks
    assert waiting.state.values["log"] == ["in", "first", "a", "b"]
    assert driver.invoke(nested.graph, Command(resume="yes"), CONFIG, durability=durability)["log"] == WHOLE
    assert nested.take_ran() == ["c", "last"]


@pytest.mark.parametrize("state", [Plain, Delta])
def test_the_old_history_stays_and_the_new_one_stands_by_itself(driver: Driver, state: Any) -> None:
    nested = Nested(state, asks=False)
    driver.invoke(nested.graph, {"log": ["in"]}, CONFIG)
    (old,) = nested.namespaces()
    before = [(s.config["configurable"]["checkpoint_id"], s.values) for s in nested.history(driver, old)]
    driver.invoke(nested.graph, None, nested.before_b(driver))
    after = [(s.config["configurable"]["checkpoint_id"], s.values) for s in nested.history(driver, old)]
    assert after == before
    (new,) = nested.namespaces() - {old}
    replayed = nested.history(driver, new)
    assert [s.values["log"][-1] for s in replayed] == ["c", "b", "a"]
    assert replayed[-1].metadata["source"] == "fork"
    assert replayed[-1].parent_config is None


def test_a_replay_can_be_replayed_from_inside(driver: Driver) -> None:
    nested = Nested(Plain, asks=False)
    driver.invoke(nested.graph, {"log": ["in"]}, CONFIG)
    (old,) = nested.namespaces()
    driver.invoke(nested.graph, None, nested.before_b(driver))
    (new,) = nested.namespaces() - {old}
    (place,) = [s.config for s in nested.history(driver, new) if s.next == ("c",)]
    nested.take_ran()
    assert driver.invoke(nested.graph, None, place)["log"] == WHOLE
    assert nested.take_ran() == ["c", "last"]


def test_a_named_checkpoint_that_is_gone_starts_the_nested_graph_afresh(driver: Driver) -> None:
    nested = Nested(Plain, asks=False)
    driver.invoke(nested.graph, {"log": ["in"]}, CONFIG)
    place = nested.before_b(driver)
    (ns,) = nested.namespaces()
    nested.saver.storage["1"].pop(ns)
    nested.take_ran()
    assert driver.invoke(nested.graph, None, place)["log"] == WHOLE
    assert nested.take_ran() == ["a", "b", "c", "last"]


class Unfinished(ManagedValue[float]):
    """The share of the steps that is left, of which there is always one to begin."""

    @staticmethod
    def get(scratchpad: Any) -> float:
        return 1 / (scratchpad.stop - scratchpad.step)


class Limited(TypedDict):
    log: Annotated[list[str], operator.add]
    left: RemainingSteps
    share: Annotated[float, Unfinished]


def test_a_replay_inside_gives_its_nodes_all_the_steps_that_are_left(driver: Driver) -> None:
    seen: list[tuple[int, float]] = []

    def sub(state: Limited) -> Any:
        seen.append((state["left"], state["share"]))
        return inner.invoke({"log": []})

    inner = StateGraph(Plain).add_node("asks", lambda state: {"log": [interrupt("go on?")]}).add_edge(START, "asks")
    inner = inner.compile()
    outer = StateGraph(Limited).add_node("sub", sub).add_edge(START, "sub").compile(checkpointer=InMemorySaver())
    driver.invoke(outer, {"log": []}, {**CONFIG, "recursion_limit": 8})
    (task,) = driver.get_state(outer, CONFIG, subgraphs=True).tasks
    driver.invoke(outer, None, {**task.state.config, "recursion_limit": 8})
    assert [left for left, _ in seen] == [7, 8]
