"""Execution policies of single tools: time limits, retries, the longest result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import UnionType

from stategraph.types import RetryPolicy


def _is_number(value: object, kind: type | UnionType) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True)
class ToolPolicy:
    """An execution policy of a tool.

    Attributes:
        timeout_s: Seconds that one attempt may take; None: no limit. Needs an async run.
        retry: Retry policies, of which the first match applies; none: the model is told at once.
        max_result_chars: Limit for its result; None for the agent's.
    """

    timeout_s: float | None = None
    retry: RetryPolicy | Sequence[RetryPolicy] = ()
    max_result_chars: int | None = None

    def __post_init__(self) -> None:
        if self.timeout_s is not None and not (_is_number(self.timeout_s, int | float) and self.timeout_s > 0):
            raise ValueError(f"timeout_s must be greater than 0 seconds, not {self.timeout_s!r}; None: no limit")
        if self.max_result_chars is not None and not (
            _is_number(self.max_result_chars, int) and self.max_result_chars >= 1
        ):
            raise ValueError(f"max_result_chars must be at least 1, not {self.max_result_chars!r}")
        several = [self.retry] if isinstance(self.retry, RetryPolicy) else self.retry
        if not isinstance(several, Sequence) or not all(isinstance(each, RetryPolicy) for each in several):
            raise ValueError(f"retry must be a RetryPolicy or a list of them, not {self.retry!r:.60}")

    @property
    def retries(self) -> tuple[RetryPolicy, ...]:
        """The policies in order."""
        return (self.retry,) if isinstance(self.retry, RetryPolicy) else tuple(self.retry)

    @property
    def needs_task(self) -> bool:
        """True if the engine has to watch the tool's attempts."""
        return self.timeout_s is not None or bool(self.retry)
