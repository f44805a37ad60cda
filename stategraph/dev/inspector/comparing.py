"""Two branches, or two runs, beside each other: which steps they share, and how their states differ step by step.

Steps stand beside each other by what ran in them, so that one that only one side has (an edit, another round of a loop)
has nothing at its side, and what comes after it is compared with its like. So are messages, whatever their ids: another
run gives the same words another id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Any, Final

from stategraph.dev.inspector import steps, values
from stategraph.dev.inspector.differences import Differences
from stategraph.dev.inspector.graphs import Graph
from stategraph.dev.inspector.steps import Step
from stategraph.dev.inspector.values import Json

#: Steps of each side that are compared.
MOST: Final = 40

#: Differences that are told of each pair of steps.
_TOLD: Final = 20


async def compared(graph: Graph, one: Step, other: Step) -> Json:
    """Return two branches, from where they part to the steps that are given.

    In one thread they part behind the newest step that both have; in two threads they are compared from the input of
    the last turn on.

    Args:
        graph: The compiled graph.
        one: The last step of the one.
        other: The last step of the other.
    """
    lines = [await steps.line(graph, each, MOST) for each in (one, other)]
    shared = None
    if one.place == other.place:
        known = {each.id for each in lines[1]}
        shared = next((each for each in lines[0] if each.id in known), None)
    begins = [_after(line, shared) if shared else _turn(line) for line in lines]
    return {
        "shared": None if shared is None else shared.row(),
        "pairs": await asyncio.to_thread(_pairs, *begins),
        "cut": shared is None and any(len(line) == MOST for line in lines),
    }


def _pairs(one: Sequence[Step], other: Sequence[Step]) -> list[Json]:
    return [_pair(*each) for each in _aligned(one, other)]


def _after(line: Sequence[Step], shared: Step) -> list[Step]:
    """Return the steps after one that is shared, the oldest first."""
    at = next(at for at, each in enumerate(line) if each.id == shared.id)
    return list(line[:at][::-1])


def _turn(line: Sequence[Step]) -> list[Step]:
    at = next((at for at, each in enumerate(line) if each.begins_turn), len(line) - 1)
    return list(line[: at + 1][::-1])


def _aligned(one: Sequence[Step], other: Sequence[Step]) -> Iterator[tuple[Step | None, Step | None]]:
    """Yield the steps of two branches by what ran in them; None: one of them has no such step."""
    matcher = SequenceMatcher(None, [_key(each) for each in one], [_key(each) for each in other], autojunk=False)
    for tag, begins, ends, begins_there, ends_there in matcher.get_opcodes():
        here, there = one[begins:ends], other[begins_there:ends_there]
        if tag == "equal":
            yield from zip(here, there, strict=True)
        else:
            yield from ((each, None) for each in here)
            yield from ((None, each) for each in there)


def _key(step: Step) -> tuple[str, ...]:
    ran = tuple(sorted(task.name for task in step.ran()))
    return ran or (step.source,)


def _pair(one: Step | None, other: Step | None) -> Json:
    """Return two steps as JSON, with what is not the same in their states; one of them may be missing."""
    pair: dict[str, Any] = {"a": one and one.row(), "b": other and other.row(), "differences": None}
    if one is not None and other is not None:
        found = Differences.of(*(_without_ids(values.state_of(each.state.values)) for each in (one, other)))
        told = Differences(found.found[:_TOLD], found.more or len(found.found) > _TOLD)
        pair |= {"differences": told.to_json(), "count": len(found.found)}
    return pair


def _without_ids(state: Json) -> Json:
    """Return a state whose messages have no ids of their own or of calls."""
    return {
        name: [_nameless(each) for each in value] if values.is_conversation(value) else value
        for name, value in state.items()
    }


def _nameless(message: Json) -> Json:
    found = {key: value for key, value in message.items() if key not in ("id", "tool_call_id")}
    if calls := values.calls_of(message):
        found["tool_calls"] = [{key: value for key, value in each.items() if key != "id"} for each in calls]
    return found
