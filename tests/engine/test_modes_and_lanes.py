"""A stream mode tells the same with a saver, where every step goes the long way, and without."""

from __future__ import annotations

import operator
import re
from dataclasses import fields
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, TypedDict, get_args

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph, stream_parts
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.streams.events.modes import UpdatesTransformer, transformer_of
from stategraph.engine.streams.modes import MODES, Display, Mode
from stategraph.engine.streams.payloads import NOTHING
from stategraph.errors import IgnoredInputError
from stategraph.stream_parts import StreamMode
from tests.conftest import Driver

ROOT = Path(__file__).resolve().parents[2]


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


@pytest.mark.parametrize("modes", [*((mode,) for mode in MODES), *combinations(MODES, 2)], ids="+".join)
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


def words_in(text: str, part: str, word: str) -> set[str]:
    """Return the words in the parts of a text, both found by patterns."""
    parts = re.findall(part, text, re.DOTALL | re.MULTILINE)
    return set(re.findall(word, "".join(parts)))


def test_every_text_that_lists_the_modes_lists_those_of_the_table() -> None:
    source = Path(stream_parts.__file__).read_text(encoding="utf-8")
    assert words_in(source, r'^StreamMode = .*?"""(.*?)"""', r"`(\w+)`") == {*MODES}
    page = (ROOT / "docs" / "event-stream.md").read_text(encoding="utf-8")
    assert words_in(page, r"^\| (`[^|]*) \|", r"`(\w+)`") == {*MODES, "subgraphs", "lifecycle"}


def test_every_fact_that_a_mode_can_show_is_collected_to_be_shown() -> None:
    about_the_mode = {"name", "source", "feed", "part", "sent_as", "decoded"}
    about_the_run = {"watch", "in_nodes", "feeds"}
    assert {field.name for field in fields(Mode)} - about_the_mode == {*Display._fields} - about_the_run


def test_stream_events_shows_every_mode_by_its_name() -> None:
    others = MODES.keys() - {"values", "messages"}
    kinds = [transformer_of(mode) for mode in others]
    assert kinds == [transformer_of(mode) for mode in others]
    run = build(InMemorySaver()).stream_events(
        {"log": []}, {"configurable": {"thread_id": "1"}}, version="v3", transformers=kinds
    )
    assert run.output["log"] == ["one", "two"]
    assert others <= run.extensions.keys()
    assert transformer_of("updates") is UpdatesTransformer


def test_a_transformer_is_refused_for_modes_that_every_event_stream_shows_and_for_no_mode() -> None:
    for mode in ("values", "messages"):
        with pytest.raises(ValueError, match=f"Every event stream shows the stream mode '{mode}'"):
            transformer_of(mode)
    for nothing in ("tool", 3, None):
        with pytest.raises(ValueError, match="There is no stream mode"):
            transformer_of(nothing)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"no stream mode 'tool'\. Did you mean 'tools'\?"):
        transformer_of("tool")


def test_stream_events_shows_a_mode_that_is_added_to_the_table_without_a_class_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(MODES, "begins", Mode(name="begins", started=lambda subject, task: task.name))
    run = build(None).stream_events({"log": []}, version="v3", transformers=[transformer_of("begins")])
    assert list(run.begins) == ["one", "two", "three"]


def even_lengths(name: str) -> Mode:
    """Make a mode that shows the length of the log after steps where it is even."""

    def shown(subject: Any) -> Any:
        length = len(subject.state.read("log"))
        return NOTHING if length % 2 else length

    return Mode(name=name, values=shown)


@pytest.mark.parametrize("saver", [None, InMemorySaver], ids=["nothing stored", "stored"])
def test_a_mode_of_values_may_show_nothing_of_a_step(
    driver: Driver, monkeypatch: pytest.MonkeyPatch, saver: Any
) -> None:
    monkeypatch.setitem(MODES, "evens", even_lengths("evens"))
    store = saver and saver()
    for thread, (modes, version) in enumerate([("evens", "v1"), (["evens"], "v1"), ("evens", "v2")]):
        config = {"configurable": {"thread_id": str(thread)}}
        chunks = driver.stream(build(store), {"log": []}, config, stream_mode=modes, version=version)
        payloads = [each["data"] if version == "v2" else each if modes == "evens" else each[1] for each in chunks]
        assert payloads == [0, 2]


@pytest.mark.parametrize("mode", ["values", "evens"])
def test_the_last_state_is_shown_once_it_is_stored_in_every_mode_that_shows_states(
    monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    class Full(InMemorySaver):
        def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
            if metadata["step"] == 1:
                raise OSError("full")
            return super().put(config, checkpoint, metadata, new_versions)

    monkeypatch.setitem(MODES, "evens", even_lengths("evens"))
    graph = StateGraph(State).add_node("two", lambda state: {"log": ["a", "b"]}).add_edge(START, "two")
    seen: list[Any] = []
    modes: Any = [mode, "updates"]
    config: Any = {"configurable": {"thread_id": "t"}}
    with pytest.raises(OSError, match="full"):
        seen.extend(
            graph.compile(checkpointer=Full()).stream({"log": []}, config, stream_mode=modes, durability="async")
        )
    assert [shown for shown, _ in seen] == [mode, "updates"]


def test_a_strict_graph_knows_every_mode_of_the_table_and_refuses_others(driver: Driver) -> None:
    graph = build(None, strict=True)
    for name in MODES:
        driver.stream(graph, {"log": []}, stream_mode=[name])
    with pytest.raises(IgnoredInputError, match="Did you mean 'updates'"):
        driver.stream(graph, {"log": []}, stream_mode=["updaets"])
