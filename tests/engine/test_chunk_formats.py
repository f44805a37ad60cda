"""What a caller sees of a chunk, for each way of asking for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from stategraph.engine.streams.modes import state_part
from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.streams.projection import Format
from stategraph.graph.state import StateGraph


class Mappers(NamedTuple):
    output_mapper: Callable[[Any], Any] | None
    state_mapper: Callable[[Any], Any] | None


CHUNK: Any = (("inner",), "values", 1)


def form(modes: Any, printed: Any = (), *, subgraphs: bool = False, version: Any = "v1") -> Format:
    return Format(modes, printed, subgraphs, version)


@pytest.mark.parametrize(
    ("asked", "seen"),
    [
        (form("values"), 1),
        (form(["values"]), ("values", 1)),
        (form(["updates", "values"]), ("values", 1)),
        (form("values", subgraphs=True), (("inner",), 1)),
        (form(["values"], subgraphs=True), (("inner",), "values", 1)),
        (form(("values",)), 1),
        (form(("values",), subgraphs=True), (("inner",), 1)),
        (form("updates"), NOTHING),
        (form(["updates"], subgraphs=True), NOTHING),
        (form([]), NOTHING),
    ],
)
def test_a_chunk_is_shown_as_it_was_asked_for(asked: Format, seen: Any) -> None:
    assert asked.show(CHUNK) == seen
    assert asked.viewer()(CHUNK) == seen


def test_a_typed_part_names_what_it_is_and_where_it_is_from() -> None:
    for modes in ("custom", ["custom"]):
        part = form(modes, version="v2").viewer()((("inner",), "custom", 1))
        assert part == {"type": "custom", "ns": ("inner",), "data": 1}
    assert form("custom", version="v2").viewer()(CHUNK) is NOTHING


def test_payloads_stand_alone_where_one_mode_was_asked_for_by_its_name_and_nothing_else() -> None:
    assert form("values").bare
    others = [
        form(["values"]),
        form("values", ("updates",)),
        form("values", subgraphs=True),
        form("values", version="v2"),
    ]
    assert not any(other.bare for other in others)


def test_modes_are_produced_that_are_shown_or_printed() -> None:
    assert form("values").wanted() == {"values"}
    assert form("values", "updates").wanted() == {"values", "updates"}
    assert form(["values", "tasks"], ["updates", "values"]).wanted() == {"values", "tasks", "updates"}
    assert form([], "updates").wanted() == {"updates"}
    assert form([]).wanted() == form((), ()).wanted() == frozenset()


def test_a_printed_mode_is_printed_with_the_graph_that_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert form("updates", ("values",), subgraphs=True).show(CHUNK) is NOTHING
    printed = capsys.readouterr().out
    assert "[values]" in printed
    assert "[graph=('inner',)]" in printed
    assert printed.endswith(" 1\n")
    for asked, chunk in (
        (form("values", "values"), CHUNK),
        (form("values", "values", subgraphs=True), ((), *CHUNK[1:])),
    ):
        asked.show(chunk)
        printed = capsys.readouterr().out
        assert "[values]" in printed
        assert "graph=" not in printed
    form("values", "updates").show(CHUNK)
    assert capsys.readouterr().out == ""


def test_chunks_of_a_run_that_shows_them_while_nodes_run_look_the_same(driver: Any) -> None:
    graph = StateGraph(dict).add_node("n", lambda state: {"a": 1}).add_edge("__start__", "n").compile()
    lazy = driver.stream(graph, {"a": 0}, stream_mode="updates")
    graph.stream_eager = True
    assert driver.stream(graph, {"a": 0}, stream_mode="updates") == lazy == [{"n": {"a": 1}}]
    assert driver.stream(graph, {"a": 0}, stream_mode=["updates"]) == [("updates", {"n": {"a": 1}})]
    assert driver.invoke(graph, {"a": 0}) == {"a": 1}


def test_a_state_that_is_no_mapping_is_shown_as_it_is() -> None:
    mappers = Mappers(None, lambda values: "mapped")
    assert state_part("checkpoints", (), 5, mappers)["data"] == 5
    whole = {"values": {"a": 1}, "next": ("n",)}
    assert state_part("checkpoints", (), whole, mappers)["data"] == {"values": "mapped", "next": ("n",)}
    part = state_part("debug", (), {"type": "checkpoint", "payload": whole}, mappers)
    assert part["data"]["payload"]["values"] == "mapped"
    early = {"values": {"a": 1}, "next": ("__start__",)}
    assert state_part("checkpoints", (), early, mappers)["data"] is early
    assert state_part("checkpoints", (), whole, Mappers(None, None))["data"] is whole
