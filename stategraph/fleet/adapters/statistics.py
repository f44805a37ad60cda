"""Counts of a host: requests and how they ended, times, tokens."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

End = Literal["completed", "failed", "canceled", "input_required"]

#: Requests whose times are kept.
_RECENT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Times:
    """Times of the last thousand requests.

    Attributes:
        count: How many have one.
        p50_s: Half of them took no longer.
        p95_s: 95 of 100 took no longer.
        max_s: The longest.
    """

    count: int = 0
    p50_s: float = 0.0
    p95_s: float = 0.0
    max_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of a host since it started.

    Attributes:
        requests: Turns that were begun.
        active: Turns under way.
        completed: Turns that were answered.
        failed: Turns that ended with an error.
        canceled: Turns that a client cancelled.
        input_required: Turns that ended with a question.
        input_tokens: Tokens of prompts, where the framework says them.
        output_tokens: Tokens of answers, where the framework says them.
        first_byte: Times until the first piece of an answer.
        latency: Times until the end of an answer.
        uptime_s: Seconds since the start.
    """

    requests: int
    active: int
    completed: int
    failed: int
    canceled: int
    input_required: int
    input_tokens: int
    output_tokens: int
    first_byte: Times
    latency: Times
    uptime_s: float

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON."""
        return asdict(self)


class Counter:
    """Counts what a host does.

    Args:
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self._began = clock()
        self._requests = 0
        self._ends: dict[End, int] = {"completed": 0, "failed": 0, "canceled": 0, "input_required": 0}
        self._tokens = [0, 0]
        self._first: deque[float] = deque(maxlen=_RECENT)
        self._whole: deque[float] = deque(maxlen=_RECENT)

    @property
    def active(self) -> int:
        """Turns under way."""
        return self._requests - sum(self._ends.values())

    def begin(self) -> float:
        """Count a turn, and return when it began."""
        self._requests += 1
        return self.clock()

    def first(self, began: float) -> None:
        """Note the first piece of an answer."""
        self._first.append(self.clock() - began)

    def end(self, began: float, end: End) -> None:
        """Note the end of a turn."""
        self._ends[end] += 1
        self._whole.append(self.clock() - began)

    def take_tokens(self, input_tokens: int, output_tokens: int) -> None:
        """Count tokens."""
        self._tokens[0] += input_tokens
        self._tokens[1] += output_tokens

    def statistics(self) -> Statistics:
        """Return the counts."""
        return Statistics(
            requests=self._requests,
            active=self.active,
            **self._ends,
            input_tokens=self._tokens[0],
            output_tokens=self._tokens[1],
            first_byte=_times(self._first),
            latency=_times(self._whole),
            uptime_s=self.clock() - self._began,
        )


def _times(values: Sequence[float]) -> Times:
    if not values:
        return Times()
    ordered = sorted(values)
    last = len(ordered) - 1
    return Times(len(ordered), ordered[last // 2], ordered[round(last * 0.95)], ordered[last])
