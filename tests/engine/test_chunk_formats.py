"""What a caller sees of a chunk, for each way of asking for it."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.engine.streams.payloads import NOTHING
from stategraph.engine.streams.projection import Format

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
