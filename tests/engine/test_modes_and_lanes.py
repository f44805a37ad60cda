"""A stream mode tells the same with a saver, where every step goes the long way, and without."""

from __future__ import annotations

import operator
from itertools import combinations
from typing import Annotated, Any, TypedDict, get_args

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.streams.events.conversation import MessagesTransformer
from stategraph.engine.streams.events.modes import ModeTransformer
from stategraph.engine.streams.modes import MODES, Mode
from stategraph.errors import IgnoredInputError
from stategraph.types import StreamMode
from tests.conftest import Driver

NAMES = ("values", "updates", "tasks", "checkpoints", "debug", "custom", "messages", "tools")


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    last: str


def one(state: State) -> State:
    get_stream_writer()("one writes")
    return {"log": ["one"], "last": "one"}


def build(saver: Any, *, strict: bool = False) -> Any:
    builder = StateGraph(State)
    builder.add_node("one", one)
    builder.add_node("two", lambda state: Command(goto="three", update={"log": ["two"]}), destinations=("three",))
    builder.add_node("three", lambda state: None)
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("three", END)
    return builder.compile(checkpointer=saver, strict=strict)


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


@pytest.mark.parametrize("modes", [*((mode,) for mode in NAMES), *combinations(NAMES, 2)], ids="+".join)
def test_a_mode_alone_and_beside_another_tells_the_same_with_and_without_a_saver(
    driver: Driver, modes: tuple[str, ...]
) -> None:
    stored = [chunk for chunk in streamed(driver, InMemorySaver(), list(modes)) if not about_checkpoints(chunk)]
    assert stored or {"checkpoints", "messages", "tools"}.issuperset(modes)
    assert streamed(driver, None, list(modes)) == stored


def test_a_mode_that_is_added_to_the_table_shows_the_same_with_and_without_a_saver(
    driver: Driver, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = Mode(
        name="ends", ended=lambda subject, end: (end.task.name, [name for name, _ in end.writes if name == "log"])
    )
    begins = Mode(name="begins", started=lambda subject, task: task.name)
    for mode in (ends, begins):
        monkeypatch.setitem(MODES, mode.name, mode)

    ended = [["one", ["log"]], ["two", ["log"]], ["three", []]]
    assert streamed(driver, None, "ends") == streamed(driver, InMemorySaver(), "ends") == ended
    assert streamed(driver, None, "begins") == streamed(driver, InMemorySaver(), "begins") == ["one", "two", "three"]
    both = streamed(driver, None, ["ends", "begins"])
    assert both == streamed(driver, InMemorySaver(), ["ends", "begins"])
    assert [mode for mode, _ in both] == ["begins", "ends"] * 3


def test_the_names_that_type_checkers_know_are_those_of_the_table() -> None:
    # "tools" is a mode of LangGraph's too that its type does not name.
    assert {*get_args(StreamMode), "tools"} == {*MODES}
    assert all(name == mode.name for name, mode in MODES.items())


def test_stream_events_can_show_every_mode_but_that_of_tools() -> None:
    transformers = [MessagesTransformer, *ModeTransformer.__subclasses__()]
    assert {mode for each in transformers for mode in each.required_stream_modes} == {*MODES} - {"tools"}


def test_a_strict_graph_knows_every_mode_of_the_table_and_refuses_others(driver: Driver) -> None:
    graph = build(None, strict=True)
    for name in MODES:
        driver.stream(graph, {"log": []}, stream_mode=[name])
    with pytest.raises(IgnoredInputError, match="Did you mean 'updates'"):
        driver.stream(graph, {"log": []}, stream_mode=["updaets"])
