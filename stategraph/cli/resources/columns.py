"""Tables of resources: columns as wide as they are shown, and a colour for what is ready and what is not."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.cli.output import since
from stategraph.cli.style import Style, harmless

#: Characters that take two columns of a terminal (Unicode Standard Annex 11).
_WIDE: Final = frozenset("WF")

#: Ends a text whose end is left out.
_LEFT_OUT: Final = "..."

#: A column is not made narrower than this.
_NARROWEST: Final = 7


def width(text: str) -> int:
    """Return how many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(
        2 if unicodedata.east_asian_width(each) in _WIDE else 0 if unicodedata.combining(each) else 1 for each in text
    )


def padded(text: str, columns: int) -> str:
    """Return a text with spaces behind it, up to so many columns."""
    return text + " " * (columns - width(text))


def fitted(text: str, room: int) -> str:
    """Return a text of at most so many columns; the end of a longer one is left out."""
    if width(text) <= room:
        return text
    kept, taken = [], 0
    for each in text:
        taken += width(each)
        if taken > room - len(_LEFT_OUT):
            break
        kept.append(each)
    return "".join(kept).rstrip() + _LEFT_OUT


def columns(titles: Sequence[str], rows: Sequence[Sequence[str]], style: Style, room: int | None = None) -> str:
    """Return rows under their titles; the column `READY` is coloured where a person reads it.

    Args:
        titles: The titles.
        rows: The rows, each with a cell for each title.
        style: Colours texts, or does not.
        room: Columns of the terminal: the widest cells are shortened to fit; None: nothing is.
    """
    shown = [[harmless(" ".join(cell.split())) for cell in row] for row in rows]
    widths = [max(map(width, column)) for column in zip(titles, *shown, strict=True)]
    if room is not None:
        widths = _narrowed(widths, room, [width(each) for each in titles])
        shown = [[fitted(cell, size) for cell, size in zip(row, widths, strict=True)] for row in shown]
        titles = [fitted(title, size) for title, size in zip(titles, widths, strict=True)]
    lines = [" ".join(padded(title, size + 1) for title, size in zip(titles, widths, strict=True)).rstrip()]
    for row in shown:
        cells = [padded(cell, size + 1) for cell, size in zip(row, widths, strict=True)]
        if "READY" in titles:
            at = titles.index("READY")
            cells[at] = coloured(row[at], cells[at], style)
        lines.append(" ".join(cells).rstrip())
    return "\n".join(lines)


def _narrowed(widths: list[int], room: int, least: Sequence[int]) -> list[int]:
    """Return widths of columns that fit beside each other, with two spaces between them, as far as that is possible."""
    widths = list(widths)
    while sum(widths) + 2 * (len(widths) - 1) > room:
        rest = [index for index, size in enumerate(widths) if size > max(least[index], _NARROWEST)]
        if not rest:
            break
        widths[max(rest, key=lambda index: widths[index])] -= 1
    return widths


def coloured(status: str, text: str, style: Style) -> str:
    """Return a text in the colour of a condition's status: True, False or Unknown."""
    return {"True": style.added, "False": style.removed, "Unknown": style.asked}.get(status, str)(text)


def age(timestamp: str | None, now: datetime | None = None) -> str:
    """Return how long ago a time was, as in `3 min`; a dash for none.

    Args:
        timestamp: The time (RFC 3339).
        now: The present time; None: that of the clock.
    """
    if not timestamp:
        return "-"
    then = datetime.fromisoformat(timestamp)
    return since(((now or datetime.now(UTC)) - then).total_seconds())


def labels(given: Mapping[str, Any]) -> str:
    """Return labels in a cell, as in `app=kitchen,tier=front`."""
    return ",".join(f"{name}={value}" for name, value in given.items()) or "-"
