"""Summaries among stored parts: which messages one stands for, and what that means for token counts.

- The newest summary with a text counts.
- If it names the first message that it does not stand for, and that comes no later than itself, everything from there
  on stays. Otherwise it stands for everything before its own place.
- The count of a stored message that lost its beginning is reduced by the text that is left, if all of it is text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stategraph.run.history.stored_parts import FOR_READERS, is_empty_text, message_id, text_of


class HistorySummary(NamedTuple):
    """The summary of the messages before those that are returned.

    Attributes:
        text: The summary.
        token_count: Its tokens; 0 if they were not stored.
    """

    text: str
    token_count: int


class TokenAdjustment(NamedTuple):
    """A count that was reduced because a summary stands for the beginning of a message.

    Attributes:
        original: The count before.
        adjusted: The count after.
        remaining_chars: Characters that are left.
        total_chars: Characters that there were, those of the summary included.
    """

    original: int
    adjusted: int
    remaining_chars: int
    total_chars: int


@dataclass(frozen=True, slots=True)
class Boundary:
    """The place from which on messages stay.

    Attributes:
        summary: Stands for all before; None: nothing does.
        first: The first stored message that stays, at least in part.
        skip: How many of its parts are gone.
    """

    summary: HistorySummary | None = None
    first: int = 0
    skip: int = 0


def boundary(payload: Sequence[Mapping[str, Any]]) -> Boundary:
    """Find the newest summary, and what it stands for."""
    for position in reversed(range(len(payload))):
        content = payload[position].get("content")
        for index, part in reversed(list(enumerate(content if isinstance(content, list) else ()))):
            if part is None or part.get("type") != "summary" or not (text := _text(part)):
                continue
            tokens = part.get("tokenCount")
            counted = tokens if isinstance(tokens, int | float) and not isinstance(tokens, bool) else 0
            summary = HistorySummary(text, int(counted))
            retained = _retained(payload, part, position)
            return Boundary(summary, position, index + 1) if retained is None else Boundary(summary, retained)
    return Boundary()


def _text(part: Mapping[str, Any]) -> str:
    blocks = part.get("content")
    said = blocks if isinstance(blocks, str) else "".join(map(text_of, blocks or ()))
    return said.strip() or text_of(part).strip()


def _retained(payload: Sequence[Mapping[str, Any]], part: Mapping[str, Any], position: int) -> int | None:
    """Return the message that a summary names as the first that it does not stand for."""
    coverage = part.get("coverage")
    named = coverage.get("retainedFromMessageId") if isinstance(coverage, Mapping) else None
    if not isinstance(named, str) or not named.strip():
        return None
    known = (index for index in range(position, -1, -1) if message_id(payload[index]) == named.strip())
    return next(known, None)


def adjusted(tokens: int, parts: Sequence[Mapping[str, Any] | None], skip: int) -> TokenAdjustment | None:
    """Reduce the count of a message whose first parts a summary stands for; None if it stays as it is.

    Args:
        tokens: The count of the whole message.
        parts: Its parts.
        skip: How many of them are gone.
    """
    total = remaining = 0
    for index, part in enumerate(parts):
        stays = index >= skip
        if part is None or part.get("type") in FOR_READERS or is_empty_text(part):
            # The text of the summary is part of what was counted.
            total += len(text_of(part)) if part is not None and not stays and part.get("type") == "summary" else 0
            continue
        size = len(text_of(part)) + len(part.get("thinking") or "")
        if part.get("type") not in ("text", "thinking") or (stays and not size):
            return None
        total += size
        remaining += size if stays else 0
    if skip >= len(parts) or not total:
        return None
    return TokenAdjustment(tokens, max(1, int(tokens * remaining / total + 0.5)), remaining, total)
