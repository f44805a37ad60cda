"""Merging of writes to fields of a state, by the words of manifests."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from stategraph.graph.message import add_messages
from stategraph.resources.compile.data import Data, Fields, Object


def append(before: list[Data], after: Data) -> list[Data]:
    """Add a list, or a single value, to the end of a list."""
    return [*before, *after] if isinstance(after, list) else [*before, after]


def union(before: list[Data], after: Data) -> list[Data]:
    """Add what is not there yet to the end of a list."""
    added = list(before)
    for each in after if isinstance(after, list) else [after]:
        if each not in added:
            added.append(each)
    return added


def update(before: Object, after: Fields) -> Object:
    """Merge a mapping into another one."""
    return {**before, **after}


def add(before: float, after: float) -> float:
    """Add numbers."""
    return before + after


def last(before: Data, after: Data) -> Data:
    """Take the last of several writes."""
    return after


REDUCERS: Final[Mapping[str, tuple[Any, Callable[[Any, Any], Any]]]] = {
    "append": (list, append),
    "union": (list, union),
    "update": (dict, update),
    "add": (float, add),
    "last": (Any, last),
    "messages": (list, add_messages),
}
"""The type and the reducer of a field, by its `merge`."""
