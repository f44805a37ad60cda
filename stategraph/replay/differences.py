"""Differences between a recording and a replay, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Final

from stategraph.replay import codec
from stategraph.replay.codec import Json
from stategraph.replay.facts import node_of

_SHOWN: Final = 300
_PLACES: Final = 6
_NOTHING: Final = object()


def shown(value: Json) -> str:
    """Return JSON as a text that is not too long to be read."""
    if value is _NOTHING:
        return "nothing"
    text = codec.text(value)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 20]}... ({len(text):,} characters)"


def between(recorded: Json, now: Json) -> str:
    """Return lines that say where two values differ, and how."""
    found = list(_places(recorded, now, ""))
    lines = [
        f"  {path or 'value'}\n    recorded: {shown(before)}\n    now:      {shown(after)}"
        for path, before, after in found[:_PLACES]
    ]
    if len(found) > _PLACES:
        lines.append(f"  and {len(found) - _PLACES} more differences")
    return "\n".join(lines)


def _places(before: Json, after: Json, path: str) -> Iterator[tuple[str, Json, Json]]:
    """Yield the deepest places that differ; the order of keys is a difference, too."""
    if isinstance(before, dict) and isinstance(after, dict):
        inner = list(_in_dicts(before, after, path))
        if inner or list(before) == list(after):
            yield from inner
        else:
            yield path, list(before), list(after)
    elif isinstance(before, list) and isinstance(after, list):
        yield from _in_lists(before, after, path)
    elif _differ(before, after):
        yield path, before, after


def _in_dicts(before: Json, after: Json, path: str) -> Iterator[tuple[str, Json, Json]]:
    for name in [*before, *(name for name in after if name not in before)]:
        yield from _places(before.get(name, _NOTHING), after.get(name, _NOTHING), f"{path}.{name}" if path else name)


def _in_lists(before: Json, after: Json, path: str) -> Iterator[tuple[str, Json, Json]]:
    """Yield the places in lists that differ; of lists of different lengths the first one alone."""
    for number, (one, other) in enumerate(zip_longest(before, after, fillvalue=_NOTHING)):
        if len(before) == len(after):
            yield from _places(one, other, f"{path}[{number}]")
        elif _differ(one, other):
            yield f"{path}[{number}]", one, other
            return


def _differ(before: Json, after: Json) -> bool:
    return before is _NOTHING or after is _NOTHING or codec.text(before) != codec.text(after)


def of_fact(line: Mapping[str, Json]) -> str:
    """Return a fact as the rest of a sentence."""
    step = "" if line["step"] is None else f" in step {line['step']}"
    if line["kind"] == "planned":
        names = ", ".join(name for name, _ in line["tasks"]) or "nothing"
        return f"{names} began{step}"
    return f"node '{node_of(dict(line))}' ended{step}"


def of_facts(recorded: Mapping[str, Json], now: Mapping[str, Json]) -> str:
    """Return what two facts differ in that stand in the same place."""
    if recorded["kind"] == now["kind"] == "settled" and recorded["task"] == now["task"]:
        told = between(_by_channel(recorded["writes"]), _by_channel(now["writes"]))
        return f"Node '{node_of(dict(now))}' wrote something else in step {now['step']} than in the recording:\n{told}"
    before, after = of_fact(recorded), of_fact(now)
    if before == after:
        return f"Other tasks than in the recording, though {after}:\n{between(dict(recorded), dict(now))}"
    return f"The graph went another way than in the recording:\n  recorded: {before}\n  now:      {after}"


def _by_channel(writes: Json) -> Json:
    """Return writes by their channels, if none is written twice."""
    channels = [channel for channel, _ in writes]
    return dict(writes) if len(set(channels)) == len(channels) else writes
