"""Values that a checkpoint cannot hold: named when storing them has failed.

Why a save failed is only looked for once it has failed. What would come back changed is found by
`stategraph.engine.checkpoints.round_trip`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from stategraph.core import explain

_DEPTH: Final = 24
_LEAST_STORED: Final = -(2**63)
_MOST_STORED: Final = 2**64 - 1


def has_large_integer(value: Any) -> bool:
    """Return whether JSON has an integer of more than 64 bits, so that no checkpoint can store it."""
    left: list[Any] = [value]
    seen: set[int] = set()  # a value may hold itself
    while left:
        each = left.pop()
        if isinstance(each, int):
            if not _LEAST_STORED <= each <= _MOST_STORED:
                return True
        elif isinstance(each, (Mapping, list, tuple)) and id(each) not in seen:
            seen.add(id(each))
            left.extend(each.values() if isinstance(each, Mapping) else each)
    return False


def is_nested_deeper(value: Any, levels: int) -> bool:
    """Return whether objects and lists of JSON stand in each other more than so many levels deep."""
    level: list[Any] = [value]
    for _ in range(levels):
        inner = (part for each in level for part in (each.values() if isinstance(each, Mapping) else each))
        # One that stands at several places is looked at once: a value may hold itself.
        level = list({id(each): each for each in inner if isinstance(each, (Mapping, list, tuple))}.values())
        if not level:
            return False
    return True


def explain_failure(
    error: BaseException, serde: object, values: Iterable[tuple[str, object]], writer: str | None
) -> None:
    """Say which value it was that could not be stored.

    Args:
        error: What the saver raised; its message is added to.
        serde: The saver's serialiser, or None.
        values: What was to be stored, by channel.
        writer: The node that wrote it; None if that is not known.
    """
    if serde is None or not _can_store(serde, 0):
        return
    for channel, value in values:
        found = _culprit(serde, value, channel, _DEPTH)
        if found is not None:
            path, what = found
            kind = type(what)
            by = f" by node '{writer}'" if writer else ""
            explain.add_words(
                error,
                f"The value at {path}, of type {kind.__module__}.{kind.__qualname__}, was written{by} to channel "
                f"'{channel}' and cannot be stored in a checkpoint. {_way_out(what)}",
            )
            return


def _way_out(value: object) -> str:
    if isinstance(value, int) and has_large_integer(value):
        return "Whole numbers are stored from -2**63 to 2**64 - 1; give a greater one as a text."
    return (
        "Return plain data, a dataclass or a pydantic model instead, keep the object out of the state (in the run's "
        "context, say), or declare the key as an UntrackedValue."
    )


def _can_store(serde: Any, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:  # any error of the serialiser or the value's own code
        return False
    return True


def _culprit(serde: object, value: object, path: str, depth: int) -> tuple[str, object] | None:
    """Return the innermost value that cannot be stored, with its path; None if this one can."""
    if _can_store(serde, value):
        return None
    if depth > 0:
        for step, part in _parts(value):
            found = _culprit(serde, part, f"{path}{step}", depth - 1)
            if found is not None:
                return found
    return path, value


def _parts(value: object) -> Iterator[tuple[str, object]]:
    """Yield the parts that a serialiser takes a value apart into, each with its path in Python's notation."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield f"[{key!r}]", part
    elif isinstance(value, (Sequence, set, frozenset)) and not isinstance(value, (str, bytes, bytearray)):
        for index, part in enumerate(value):
            yield f"[{index}]", part
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield f".{field.name}", getattr(value, field.name, None)
    elif hasattr(value, "model_dump"):
        for name, part in vars(value).items():
            yield f".{name}", part
