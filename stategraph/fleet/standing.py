"""The standing of an endpoint: requests under way, time to the first byte, failures.

Rules
-----
* Failures in a row open the breaker: nothing is sent for a while. Then one request is let through; its end decides.
* The time to the first byte is an average that forgets: what was seen ten seconds ago counts a third.
* All times are seconds of one clock that only goes forward.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Final, Literal

from stategraph.fleet.endpoint import AgentEndpoint

#: By how much what was seen before counts less: after this time to a third (1/e), in seconds.
DECAY_S: Final = 10.0

BreakerState = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerSettings:
    """Rules by which an endpoint is left alone.

    Attributes:
        failures: So many in a row open the breaker.
        within_s: If the first of them was no longer ago than this.
        open_s: For how long nothing is sent then.
    """

    failures: int = 5
    within_s: float = 30.0
    open_s: float = 10.0


class Standing:
    """An endpoint and how it does. Used by one event loop.

    Args:
        endpoint: The endpoint.
        breaker: When it is left alone.

    Attributes:
        endpoint: The endpoint as it was last registered.
        outstanding: Requests that are under way.
        latency_s: The average time to the first byte; 0 as long as none was seen.
        healthy: What its last health checks say; True before the first one.
        requests: How many were sent to it.
        failed: How many of them failed.
        heard_at: When something was last heard of it.
    """

    __slots__ = (
        "_breaker",
        "_failures",
        "_probing",
        "_sampled_at",
        "endpoint",
        "failed",
        "healthy",
        "heard_at",
        "latency_s",
        "open_until",
        "outstanding",
        "requests",
    )

    def __init__(self, endpoint: AgentEndpoint, breaker: BreakerSettings) -> None:
        self.endpoint = endpoint
        self.outstanding = 0
        self.latency_s = 0.0
        self.healthy = True
        self.requests = 0
        self.failed = 0
        self.heard_at = -math.inf
        self.open_until = 0.0
        self._breaker = breaker
        self._failures: deque[float] = deque(maxlen=breaker.failures)
        self._probing = False
        self._sampled_at = 0.0

    def takes_requests(self, now: float) -> bool:
        """Return whether a request may be sent to it."""
        if not self.healthy or not self.endpoint.weight:
            return False
        return not self.open_until or (now >= self.open_until and not self._probing)

    def breaker(self, now: float) -> BreakerState:
        """Return the state of its breaker."""
        if not self.open_until:
            return "closed"
        return "open" if now < self.open_until else "half_open"

    def begin(self) -> None:
        """Note that a request is sent to it."""
        self.requests += 1
        self.outstanding += 1
        self._probing = bool(self.open_until)

    def answer(self, took_s: float, now: float) -> None:
        """Note the first byte of an answer."""
        self._sample(took_s, now)
        self.heard_at = now
        self._failures.clear()
        self.open_until = 0.0
        self._probing = False

    def fail(self, now: float, waited_s: float = 0.0) -> bool:
        """Note that a request failed, and return whether that opened the breaker.

        Args:
            now: The time.
            waited_s: How long a request was waited for that timed out; counts as the time to a first byte.
        """
        self.failed += 1
        if waited_s:
            self._sample(waited_s, now)
        self._failures.append(now)
        was_open, first = bool(self.open_until), self._failures[0]
        is_full = len(self._failures) == self._breaker.failures and now - first <= self._breaker.within_s
        if was_open or is_full:
            self.open_until = now + self._breaker.open_s
            self._probing = False
        return is_full and not was_open

    def end(self) -> None:
        """Note that a request is over, however it ended."""
        self.outstanding -= 1

    def abandon(self) -> None:
        """Note that the caller went away before anything was heard: the endpoint is neither better nor worse."""
        self._probing = False

    def pass_over(self) -> None:
        """Note that a request that had begun was not sent to it after all."""
        self.requests -= 1
        self._probing = False

    def _sample(self, took_s: float, now: float) -> None:
        kept = math.exp(-max(0.0, now - self._sampled_at) / DECAY_S) if self._sampled_at else 0.0
        self.latency_s = self.latency_s * kept + took_s * (1.0 - kept)
        self._sampled_at = now
