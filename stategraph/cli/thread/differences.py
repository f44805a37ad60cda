"""Differences of two states in a terminal; which there are is told by `stategraph.engine.state.account`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.style import Style
from stategraph.cli.values import in_a_line, message_in_a_line

if TYPE_CHECKING:
    from stategraph.engine.state.account.differences import Difference

#: Differences of two states, and characters of a value in a line.
_MOST: Final = 10_000
_LONGEST: Final = 300


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Sequence[Difference]:
    """Return the differences between two states as JSON, in the order of the new one."""
    from stategraph.engine.state.account.differences import Differences

    return Differences.of(old, new, _MOST).found


def as_json(found: Sequence[Difference]) -> list[dict[str, Any]]:
    """Return differences as JSON: `old` and `new` are left out where there is no value."""
    return [{"path": each.path, **each.sides()} for each in found]


def as_text(found: Sequence[Difference], style: Style) -> str:
    """Return differences for people: a line with + for what is new, - for what is gone."""
    lines = []
    for each in found:
        sides = each.sides()
        if "old" in sides:
            lines.append(style.removed(f"- {each.path}: {_short(each.old)}"))
        if "new" in sides:
            lines.append(style.added(f"+ {each.path}: {_short(each.new)}"))
    return "\n".join(lines)


def _short(value: object) -> str:
    if isinstance(value, Mapping) and isinstance(value.get("type"), str) and "content" in value:
        return message_in_a_line(value, _LONGEST)
    return in_a_line(value if not isinstance(value, str) else f'"{value}"', _LONGEST)
