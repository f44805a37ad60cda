"""A budget for requests that are sent a second time.

When everything fails, sending all requests again doubles the load on what is left. So each request earns a part of a
retry, and retries are paid for from that (as in Finagle's and Envoy's retry budgets).
"""

from __future__ import annotations


class RetryBudget:
    """A budget of retries. Used by one event loop.

    Args:
        ratio: Retries for each request, in the long run.
        at_least: Retries that are there at the beginning, so that the first requests may be sent again.
        at_most: Retries that can be saved.
    """

    def __init__(self, *, ratio: float = 0.2, at_least: float = 10.0, at_most: float = 100.0) -> None:
        if not 0 <= ratio <= 1:
            raise ValueError(f"The ratio of retries is {ratio}; expected a number from 0 to 1")
        self._ratio = ratio
        self._most = max(at_least, at_most)
        self._left = at_least

    @property
    def left(self) -> float:
        """Retries that may be made now."""
        return self._left

    def earn(self) -> None:
        """Note a request."""
        self._left = min(self._most, self._left + self._ratio)

    def spend(self) -> bool:
        """Take one retry, and return whether there was one."""
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True
