"""Compares what was seen with what was recorded, and says in words where they part.

Two kinds of rows come to a host. Most are sent by the producer, in line with what it does; `on_chat_model_end`,
`on_tool_start` and `on_tool_end` came, in JavaScript, from a consumer of its own stream of events. Within each kind the
order is the same in every recording of a scenario, and is compared exactly. Between the kinds it shifted by a row or
two from one recording to the next: so far may a row of the second kind stray among those of the first.

Where agents run side by side, only the order within each agent is the same in every recording. The node that a row came
from, and what else handlers are told of it, is compared where the recording has a node: what that engine sent outside
of its nodes came without.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.golden.projection import Json

_STREAMED = frozenset({"on_chat_model_end", "on_tool_start", "on_tool_end"})
_STRAY_ROWS = 2
_MISSING = "<nothing>"


def first_differences(recorded: Mapping[str, Json], seen: Mapping[str, Json], *, side_by_side: bool) -> list[str]:
    """Say where two projections part, the first place of each part; empty if nowhere.

    Args:
        recorded: What is expected.
        seen: What a run gave.
        side_by_side: Whether agents ran at the same time.
    """
    found = list(_events(recorded["events"], seen["events"], side_by_side))
    expected, got = recorded["final"], seen["final"]
    for name in dict.fromkeys((*expected, *got)):
        found += _first(expected.get(name, _MISSING), got.get(name, _MISSING), f"final.{name}")
    asked, sent = recorded["requests"], seen["requests"]
    if side_by_side:
        asked, sent = sorted(asked, key=_model), sorted(sent, key=_model)
    return [*found, *_first(asked, sent, "requests")]


def _model(request: Mapping[str, Json]) -> str:
    # Which of two agents asks first is for the machine to say; each has a model of its own.
    return str(request["model"])


def _events(recorded: Sequence[Json], seen: Sequence[Json], side_by_side: bool) -> Iterator[str]:
    if not side_by_side:
        yield from _lane(recorded, seen, "events")
        return
    for node in dict.fromkeys(row["node"] for row in (*recorded, *seen)):
        lane = [[row for row in rows if row["node"] == node] for rows in (recorded, seen)]
        yield from _lane(*lane, f"events of {node or 'the run itself'}")


def _lane(recorded: Sequence[Json], seen: Sequence[Json], where: str) -> Iterator[str]:
    parted = False
    for kind in (False, True):
        expected, got = ([row for row in rows if (row["event"] in _STREAMED) is kind] for rows in (recorded, seen))
        for text in _rows(expected, got, f"{where} ({'streamed' if kind else 'in line'})"):
            parted = True
            yield text
    if not parted:
        yield from _strays(recorded, seen, where)


def _rows(expected: Sequence[Json], got: Sequence[Json], where: str) -> Iterator[str]:
    for position, (wanted, row) in enumerate(zip(expected, got, strict=False)):
        if wanted["event"] != row["event"]:
            names = [_names(rows, position) for rows in (expected, got)]
            yield f"{where}, row {position}: expected {names[0]}; got {names[1]}"
            return
        if wanted["node"] is None:
            row = {**row, "node": None, "meta": wanted["meta"]}
        if differing := _first(wanted, row, f"{where}, row {position}: {wanted['event']}"):
            yield from differing
            return
    if len(expected) != len(got):
        end = min(len(expected), len(got))
        names = [_names(rows, end) or "the end" for rows in (expected, got)]
        yield f"{where}, row {end}: expected {names[0]}; got {names[1]}"


def _names(rows: Sequence[Json], position: int) -> str:
    return ", ".join(_title(row) for row in rows[position : position + 3])


def _title(row: Mapping[str, Json]) -> str:
    data = row["data"] if isinstance(row["data"], dict) else {}
    marks = [str(data[name]) for name in ("id", "type", "status") if name in data]
    return f"{row['event']}({' '.join(marks)})" if marks else str(row["event"])


def _strays(recorded: Sequence[Json], seen: Sequence[Json], where: str) -> Iterator[str]:
    for position, (wanted, got) in enumerate(zip(_places(recorded), _places(seen), strict=True)):
        if abs(wanted[1] - got[1]) > _STRAY_ROWS:
            yield f"{where}: {wanted[0]} number {position} came after {got[1]} other rows, recorded after {wanted[1]}"


def _places(rows: Sequence[Json]) -> list[tuple[str, int]]:
    """The rows of the second kind, with how many rows of the first came before each."""
    places: list[tuple[str, int]] = []
    before = 0
    for row in rows:
        if row["event"] in _STREAMED:
            places.append((row["event"], before))
        else:
            before += 1
    return places


def _first(expected: Json, got: Json, where: str) -> list[str]:
    """The first place where two JSON values differ, as a list of none or one."""
    match expected, got:
        case dict(), dict():
            for name in (*expected, *(name for name in got if name not in expected)):
                if found := _first(expected.get(name, _MISSING), got.get(name, _MISSING), f"{where}.{name}"):
                    return found
            return []
        case list(), list():
            for index, (wanted, each) in enumerate(zip(expected, got, strict=False)):
                if found := _first(wanted, each, f"{where}[{index}]"):
                    return found
            if len(expected) == len(got):
                return []
            shorter = min(len(expected), len(got))
            more = expected[shorter:] or got[shorter:]
            kind = "missing" if len(expected) > len(got) else "not recorded"
            return [f"{where}: {len(got)} entries, expected {len(expected)}; {kind}: {_short(more[0])}"]
        case _:
            same = expected == got and isinstance(expected, bool) == isinstance(got, bool)
            return [] if same else [f"{where}: expected {_short(expected)}, got {_short(got)}"]


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 400 else f"{text[:400]} ... ({len(text)} characters)"
