"""Two states beside each other: the places whose values are not the same.

- Objects are compared by their names, lists of messages by the messages' ids, and other lists by what they have in
  common at both ends and in the longest run between.
- Two long texts are compared by lines.
- Of many differences the first are told, and that there are more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

from stategraph.engine.state.account.shown import is_message

#: Differences that are told.
MOST: Final = 200

#: Levels that are looked into; what is deeper is compared as a whole.
_DEEPEST: Final = 40

#: Items of two lists, multiplied, up to which their longest common runs are looked for.
_COMPARED: Final = 250_000

#: Characters of two texts, and lines of each, up to which they are compared by lines, and lines that are told. The time
#: that this takes grows with the square of the lines.
_LONGEST: Final = 200_000
_MOST_LINES: Final = 2_000
_LINES: Final = 200

Kind: TypeAlias = Literal["added", "removed", "changed"]

_SIDES: Final[Mapping[Kind, tuple[str, ...]]] = {"added": ("new",), "removed": ("old",), "changed": ("old", "new")}

_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class Difference:
    """A place whose value is not the same.

    Attributes:
        path: Where it is, as in `messages[2].content`.
        kind: What has happened there.
        old: The value before; None if it is added.
        new: The value after; None if it is removed.
    """

    path: str
    kind: Kind
    old: Any = None
    new: Any = None

    def sides(self) -> dict[str, Any]:
        """Return the values that there are: `old`, `new` or both."""
        values = {"old": self.old, "new": self.new}
        return {side: values[side] for side in _SIDES[self.kind]}

    def lines(self) -> list[str] | None:
        """Return what has changed in a text by lines, as a unified diff writes it; None if that says nothing."""
        return _lines(self.old, self.new) if self.kind == "changed" else None


@dataclass(frozen=True, slots=True)
class Differences:
    """The differences of two states.

    Attributes:
        found: The first of them.
        more: Whether there are more.
    """

    found: Sequence[Difference]
    more: bool

    @classmethod
    def of(cls, old: Mapping[str, Any], new: Mapping[str, Any], most: int = MOST) -> Differences:
        """Compare two states, as JSON; a value that is null is as good as one that is not there.

        Args:
            old: The one.
            new: The other.
            most: Differences that are told at most.
        """
        before, after = ({name: value for name, value in each.items() if value is not None} for each in (old, new))
        found = list(islice(_differences(before, after, "", 0), most + 1))
        return cls(found[:most], len(found) > most)


def _differences(old: Any, new: Any, path: str, depth: int) -> Iterator[Difference]:
    if old is _ABSENT:
        yield Difference(path, "added", new=new)
    elif new is _ABSENT:
        yield Difference(path, "removed", old=old)
    elif _same(old, new):
        return
    elif isinstance(old, Mapping) and isinstance(new, Mapping) and depth < _DEEPEST:
        for name in dict.fromkeys([*new, *old]):
            inner = f"{path}.{name}" if path else str(name)
            yield from _differences(old.get(name, _ABSENT), new.get(name, _ABSENT), inner, depth + 1)
    elif isinstance(old, list) and isinstance(new, list) and depth < _DEEPEST:
        for at, before, after in _pairs(old, new):
            yield from _differences(before, after, f"{path}[{at}]", depth + 1)
    else:
        yield Difference(path, "changed", old, new)


def _same(old: Any, new: Any) -> bool:
    """Compare as JSON: true is not 1."""
    if old != new:
        return False
    return not _has_numbers(old) or json.dumps(old) == json.dumps(new)


def _has_numbers(value: Any) -> bool:
    """Return whether a value may be equal to another one that is not the same."""
    if isinstance(value, str):
        return False
    if isinstance(value, Mapping):
        return any(_has_numbers(each) for each in value.values())
    return not isinstance(value, list) or any(_has_numbers(each) for each in value)


def _pairs(old: Sequence[Any], new: Sequence[Any]) -> Iterator[tuple[int, Any, Any]]:
    """Yield the values of two lists that belong together, with the position to name them by."""
    before, after = _ids(old), _ids(new)
    if before is not None and after is not None and before and after:
        places = {key: at for at, key in enumerate(before)}
        known = set(after)
        for at, key in enumerate(before):
            if key not in known:
                yield at, old[at], _ABSENT
        for at, key in enumerate(after):
            yield at, old[places[key]] if key in places else _ABSENT, new[at]
        return
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    yield from _between(old[start : len(old) - end], new[start : len(new) - end], start)


def _between(old: Sequence[Any], new: Sequence[Any], start: int) -> Iterator[tuple[int, Any, Any]]:
    blocks: Sequence[tuple[str, int, int, int, int]] = [("replace", 0, len(old), 0, len(new))]
    if len(old) * len(new) <= _COMPARED:
        before, after = ([json.dumps(each, sort_keys=True) for each in side] for side in (old, new))
        blocks = SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    for tag, old_start, old_end, new_start, new_end in blocks:
        if tag == "equal":
            continue
        olds, news = old[old_start:old_end], new[new_start:new_end]
        for at in range(max(len(olds), len(news))):
            was = olds[at] if at < len(olds) else _ABSENT
            now = news[at] if at < len(news) else _ABSENT
            yield start + (old_start if now is _ABSENT else new_start) + at, was, now


def _common(old: Sequence[Any], new: Sequence[Any]) -> int:
    """Return how many values two lists have in common at their beginning."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if not _same(one, other)), min(len(old), len(new)))


def _ids(values: Sequence[Any]) -> list[str] | None:
    """Return the ids of messages; None if one has none, or they are no messages."""
    found = [str(each.get("id") or "") if is_message(each) else "" for each in values]
    return None if not all(found) or len(set(found)) != len(found) else found


def _lines(old: object, new: object) -> list[str] | None:
    """Return what has changed in a text by lines, as a unified diff writes it; None if that says nothing."""
    if not isinstance(old, str) or not isinstance(new, str) or len(old) + len(new) > _LONGEST:
        return None
    if "\n" not in old and "\n" not in new:
        return None
    before, after = old.splitlines(), new.splitlines()
    if max(len(before), len(after)) > _MOST_LINES:
        return None
    found = unified_diff(before, after, lineterm="", n=2)
    return list(islice(found, 2, 2 + _LINES))
