"""Differences between two states, as paths and values.

Lists of messages are compared by the ids of the messages, other lists by position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from stategraph.cli.style import Style
from stategraph.cli.values import in_a_line, message_in_a_line

_ABSENT: Final = object()

#: Characters of a value in a line.
_MOST: Final = 300


@dataclass(frozen=True, slots=True)
class Difference:
    """A value that is not the same in two states.

    Attributes:
        path: Where it is, as in `messages[2].content`.
        old: The value before; nothing if it was not there.
        new: The value after; nothing if it is gone.
    """

    path: str
    old: object = _ABSENT
    new: object = _ABSENT

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON: `old` and `new` are left out where there is no value."""
        sides = {"old": self.old, "new": self.new}
        return {"path": self.path, **{name: value for name, value in sides.items() if value is not _ABSENT}}


def differences(old: object, new: object, path: str = "") -> list[Difference]:
    """Return the differences between two values of JSON, in the order of the new one."""
    return list(_differences(old, new, path))


def _differences(old: object, new: object, path: str) -> Iterator[Difference]:
    if old == new and type(old) is type(new):
        return
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*new, *old]):
            yield from _differences(old.get(key, _ABSENT), new.get(key, _ABSENT), f"{path}.{key}" if path else str(key))
    elif isinstance(old, list) and isinstance(new, list):
        for at, (before, after) in enumerate(_pairs(old, new)):
            yield from _differences(before, after, f"{path}[{at}]")
    else:
        yield Difference(path, old, new)


def _pairs(old: Sequence[Any], new: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return the values of two lists that belong together; what is gone comes last."""
    keys_old, keys_new = _ids(old), _ids(new)
    if keys_old is None or keys_new is None:
        most = max(len(old), len(new))
        absent = [_ABSENT] * most
        return list(zip([*old, *absent][:most], [*new, *absent][:most], strict=True))
    before = dict(zip(keys_old, old, strict=True))
    pairs = [(before.get(key, _ABSENT), value) for key, value in zip(keys_new, new, strict=True)]
    return [*pairs, *((value, _ABSENT) for key, value in before.items() if key not in keys_new)]


def _ids(values: Sequence[Any]) -> list[str] | None:
    """Return the ids of messages; None if one has none, or they are no messages."""
    found = [each.get("id") if isinstance(each, Mapping) else None for each in values]
    if any(not isinstance(each, str) for each in found) or len(set(found)) != len(found):
        return None
    return [str(each) for each in found]


def as_text(found: Sequence[Difference], style: Style) -> str:
    """Return differences for people: a line with + for what is new, - for what is gone."""
    lines = []
    for each in found:
        if each.old is not _ABSENT:
            lines.append(style.removed(f"- {each.path}: {_short(each.old)}"))
        if each.new is not _ABSENT:
            lines.append(style.added(f"+ {each.path}: {_short(each.new)}"))
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("type"), str) and "content" in value:
        return message_in_a_line(value, _MOST)
    return in_a_line(value if not isinstance(value, str) else f'"{value}"', _MOST)
