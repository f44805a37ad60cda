"""The error of a run that has reached one of its limits."""

from __future__ import annotations

from typing import Any


class LimitReachedError(Exception):
    """A run has reached one of its limits, and its settings say that this raises.

    Attributes:
        limit: The limit, by its field of `RunLimits`.
        allowed: What it allows, in the unit of that field.
        used: What the run has used of it.
    """

    def __init__(self, limit: str, allowed: float, used: float) -> None:
        """Name a limit.

        Args:
            limit: The limit, by its field of `RunLimits`.
            allowed: What it allows.
            used: What the run has used of it.
        """
        over = "" if used >= allowed else ", and what comes next would exceed it"
        super().__init__(
            f"The run has reached its limit {limit}={allowed:g}: it has used {used:g}{over}. To let it take more, "
            f"raise RunLimits({limit}=...); to have it end, or ask a person, set on_limit to 'end' or 'ask'"
        )
        self.limit = str(limit)
        self.allowed = allowed
        self.used = used

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by content, with notes."""
        return type(self), (self.limit, self.allowed, self.used), self.__dict__
