"""The value that says how far the compaction of a conversation has got."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FadingTier:
    """The degree to which results are shortened: the rung, and whether those answered already are masked."""

    rung: int = 0
    masking: bool = False
