"""A stream mode tells the same with a saver, where every step goes the long way, and without."""

from __future__ import annotations

import operator
from functools import cache
from itertools import combinations
from typing import Annotated, Any, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.runs import execution
from stategraph.engine.streams import projection
from tests.conftest import Driver

MODES = ("values", "updates", "tasks", "checkpoints", "debug", "custom", "messages")


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    last: str


def one(state: State) -> State:
    get_stream_writer()("one writes")
    return {"log": ["one"], "last": "one"}


def build(saver: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("one", one)
    builder.add_node("two", lambda state: Command(goto="three", update={"log": ["two"]}), destinations=("three",))
    builder.add_node("three", lambda state: None)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("three", END)
    return builder.compile(checkpointer=saver)


CHANGING = frozenset(("id", "timestamp", "config", "parent_config", "metadata"))
"""What differs from run to run, or says whether anything is stored."""


def comparable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items() if key not in CHANGING}
    if isinstance(value, list | tuple):
        return [comparable(item) for item in value]
    return value


def streamed(driver: Driver, saver: Any, modes: Any) -> list[Any]:
    config = {"configurable": {"thread_id": "t"}}
    return [comparable(chunk) for chunk in driver.stream(build(saver), {"log": []}, config, stream_mode=modes)]


def about_checkpoints(chunk: Any) -> bool:
    return bool(chunk[0] == "checkpoints" or (chunk[0] == "debug" and chunk[1]["type"] == "checkpoint"))


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), *combinations(MODES, 2)], ids="+".join)
def test_a_mode_alone_and_beside_another_tells_the_same_with_and_without_a_saver(
    driver: Driver, modes: tuple[str, ...]
) -> None:
    stored = [chunk for chunk in streamed(driver, InMemorySaver(), list(modes)) if not about_checkpoints(chunk)]
    assert stored or modes in [("checkpoints",), ("messages",), ("checkpoints", "messages")]
    assert streamed(driver, None, list(modes)) == stored


def test_a_mode_that_is_added_hears_of_every_task_with_and_without_a_saver(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, told = projection.watch_for, projection.Projector.settled

    @cache
    def watch_for(modes: frozenset[str]) -> Any:
        return known(modes)._replace(settled=True) if "ends" in modes else known(modes)

    def settled(self: Any, fact: Any) -> None:
        told(self, fact)
        self._send("ends", fact.task.name)

    monkeypatch.setattr(execution, "watch_for", watch_for)
    monkeypatch.setattr(projection.Projector, "settled", settled)

    assert streamed(driver, None, "ends") == streamed(driver, InMemorySaver(), "ends") == ["one", "two", "three"]
