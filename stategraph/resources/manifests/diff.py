"""Compare what a file says of a resource with what is stored, knowing what was applied before.

Rules
-----
* Three values decide, as `store.merging` has it: the last one that was applied, the stored one, the new one. A field
  that the new value leaves out is removed if the last one had it; otherwise something else has set it, and it is kept.
* Lists are values: a new list replaces the stored one. To be shown, elements with an `id` or a `name` are compared by
  it, so that a step that was put in front does not change all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

Fields: TypeAlias = Mapping[str, object]
Place: TypeAlias = tuple[str | int, ...]
Kind: TypeAlias = Literal["added", "removed", "changed", "kept"]

#: Fields that name an element of a list, the first that all elements have.
_NAMES: Final = ("id", "name", "type")


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference between a stored value and a new one.

    Attributes:
        path: The field, as in `spec.steps[find].timeout`; an element of a list by its id or name, else its position.
        kind: Whether the field is new, goes, has another value, or is kept although the new value leaves it out.
        old: The stored value; None for a new field.
        new: The new value; None for one that goes.
        place: Where it stands in the new value: keys and positions. A field that goes has the place of what had it.
    """

    path: str
    kind: Kind
    old: object
    new: object
    place: Place


def differences(last: Fields | None, stored: Fields, new: Fields, within: str = "spec") -> list[Difference]:
    """Return how a new value differs from the stored one, field by field, in the order of the new value.

    Args:
        last: The value that was applied last; None: nothing was.
        stored: The present value.
        new: The new value.
        within: The name of the whole, with which paths begin; empty: they begin with the first field.
    """
    return list(_of_mappings(last or {}, stored, new, within, (within,) if within else ()))


def _of_mappings(
    last: Fields,
    stored: Fields,
    new: Fields,
    path: str,
    place: Place,
) -> Iterator[Difference]:
    for key, value in new.items():
        at, where = _below(path, key), (*place, key)
        if key not in stored:
            yield Difference(at, "added", None, value, where)
        else:
            yield from _of_values(last.get(key), stored[key], value, at, where)
    for key, value in stored.items():
        if key not in new:
            yield Difference(_below(path, key), "removed" if key in last else "kept", value, None, place)


def _of_values(last: object, stored: object, new: object, path: str, place: Place) -> Iterator[Difference]:
    if isinstance(stored, Mapping) and isinstance(new, Mapping):
        yield from _of_mappings(last if isinstance(last, Mapping) else {}, stored, new, path, place)
    elif isinstance(stored, list) and isinstance(new, list):
        yield from _of_lists(stored, new, path, place)
    elif stored != new or isinstance(stored, bool) is not isinstance(new, bool):
        yield Difference(path, "changed", stored, new, place)


def _of_lists(stored: Sequence[object], new: Sequence[object], path: str, place: Place) -> Iterator[Difference]:
    before, after = _by_name(stored, new)
    for at, (key, value) in enumerate(after.items()):
        where = (*place, at)
        if key not in before:
            yield Difference(f"{path}[{key}]", "added", None, value, where)
        else:  # a list is one value: nothing in it was set by something else
            yield from _of_values(before[key], before[key], value, f"{path}[{key}]", where)
    for key, value in before.items():
        if key not in after:
            yield Difference(f"{path}[{key}]", "removed", value, None, place)
    if [key for key in before if key in after] != [key for key in after if key in before]:
        yield Difference(path, "changed", list(before), list(after), place)


def _by_name(
    stored: Sequence[object], new: Sequence[object]
) -> tuple[Mapping[str | int, object], Mapping[str | int, object]]:
    """Return the elements of two lists by the field that tells them apart, else by their positions."""
    elements = [dict(each) for each in (*stored, *new) if isinstance(each, Mapping)]
    if elements and len(elements) == len(stored) + len(new):
        for name in _NAMES:
            names = [each.get(name) for each in elements]
            before, after = names[: len(stored)], names[len(stored) :]
            if all(isinstance(each, str) for each in names):
                if len(set(before)) < len(before) or len(set(after)) < len(after):
                    break  # two of one name: it is not known which one was meant
                return dict(zip(map(str, before), stored, strict=True)), dict(zip(map(str, after), new, strict=True))
    return dict(enumerate(stored)), dict(enumerate(new))


def _below(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key
