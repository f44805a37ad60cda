"""Rate limits of models: token buckets that the runs of a runtime share.

A bucket is found by the registry of models that a runtime shares, and by what the limit says; runs without a runtime
share those of the process. Calls wait in the order in which they came.
"""

from __future__ import annotations

import threading
from typing import Final
from weakref import WeakKeyDictionary

from langchain_core.rate_limiters import BaseRateLimiter

from stategraph.agent.ports import ModelRegistry
from stategraph.agent.settings.model_settings import Limiter, RateLimit
from stategraph.engine.config import environment


class TokenBucket(BaseRateLimiter):
    """A rate limiter by the clock of the run.

    Args:
        limit: How many calls it lets through.
    """

    def __init__(self, limit: RateLimit) -> None:
        self._per_second = limit.requests_per_minute / 60
        self._burst = limit.burst
        self._level = float(limit.burst)
        self._seen_at: float | None = None
        self._lock = threading.Lock()

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take a token, waiting for it in a thread; without waiting, return whether there was one."""
        if wait_s := self._take(blocking):
            environment.current().clock.sleep(wait_s)
        return wait_s is not None

    async def aacquire(self, *, blocking: bool = True) -> bool:
        """Take a token, waiting for it; a caller that is cancelled gives it back."""
        due_s = self._take(blocking)
        if due_s is None:
            return False
        try:
            if due_s:
                await environment.current().clock.asleep(due_s)
        except BaseException:
            self._give_back()
            raise
        return True

    def _take(self, blocking: bool) -> float | None:
        """Take a token that is there or will be; return the seconds until then, None if it is not to be waited for."""
        now = environment.current().clock.monotonic()
        with self._lock:
            since = 0.0 if self._seen_at is None else max(0.0, now - self._seen_at)
            level = min(self._burst, self._level + since * self._per_second)
            if level < 1 and not blocking:
                return None
            self._seen_at, self._level = now, level - 1
            return max(0.0, -self._level / self._per_second)

    def _give_back(self) -> None:
        with self._lock:
            self._level += 1


#: Buckets of the process at most, for runs without a runtime; the oldest are forgotten.
_MOST: Final = 1024

_of_registries: WeakKeyDictionary[ModelRegistry, dict[object, TokenBucket]] = WeakKeyDictionary()
_of_process: dict[object, TokenBucket] = {}
_lock = threading.Lock()


def limiter(limit: Limiter | None, provider: str, model: str, registry: ModelRegistry | None) -> BaseRateLimiter | None:
    """Return the rate limiter of a model; None if it has no limit.

    Args:
        limit: What the host says; a limiter of its own is returned as it is.
        provider: The provider's name.
        model: The model's name.
        registry: The registry of models that runs share; None: they share none.
    """
    if not isinstance(limit, RateLimit):
        return limit
    key = (limit.key or (provider, model), limit.requests_per_minute, limit.burst)
    with _lock:
        buckets = _buckets(registry)
        if key not in buckets:
            buckets[key] = TokenBucket(limit)
            if len(buckets) > _MOST:
                del buckets[next(iter(buckets))]
        return buckets[key]


def _buckets(registry: ModelRegistry | None) -> dict[object, TokenBucket]:
    try:
        return _of_process if registry is None else _of_registries.setdefault(registry, {})
    except TypeError:  # a host's class without weak references
        return _of_process
