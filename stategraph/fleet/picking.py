"""Picking one of several endpoints for a request.

Rules
-----
* An endpoint that is drained, unhealthy or left alone by its breaker is passed over, and so is one that was tried
  before.
* A pick takes the same time for ten endpoints and for a thousand: `least_outstanding` and `latency` compare two that
  are drawn at random (Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001) where there are more
  than a handful.
* `sticky` gives a key to the same endpoint as long as that takes requests, and moves few keys when endpoints come and
  go: points on a ring (Karger et al., "Consistent Hashing and Random Trees", 1997).
"""

from __future__ import annotations

import hashlib
import heapq
import random
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal, Protocol, TypeAlias

from stategraph.fleet.standing import Standing

Strategy: TypeAlias = Literal["round_robin", "weighted", "least_outstanding", "latency", "sticky"]

#: Up to so many endpoints are all compared.
ALL_COMPARED: Final = 4

#: Points on the ring for each unit of weight, and the most for one endpoint.
_POINTS: Final = 40
_MOST_POINTS: Final = 400

_NOBODY: Final[frozenset[Standing]] = frozenset()


class Picker(Protocol):
    """Picks one of the endpoints that it was made for."""

    def pick(self, now: float, tried: Collection[Standing] = _NOBODY, key: str = "") -> Standing | None:
        """Return an endpoint that takes requests; None if there is none.

        Args:
            now: The time.
            tried: Endpoints that are passed over.
            key: What sticks to an endpoint, such as the id of a thread; only `sticky` looks at it.
        """


def picker(strategy: Strategy, members: Sequence[Standing], draw: Callable[[], float] = random.random) -> Picker:
    """Return a picker of endpoints.

    Args:
        strategy: `round_robin`, one after the other; `weighted`, each in proportion to its weight, evenly spread;
            `least_outstanding`, the one with fewer requests under way; `latency`, the one that answers sooner;
            `sticky`, by a key.
        members: The endpoints.
        draw: Returns random numbers from 0 to 1, as `random.random` does.
    """
    if strategy == "round_robin":
        return RoundRobin(members)
    if strategy == "weighted":
        return Weighted(members)
    if strategy == "sticky":
        return Sticky(members)
    return TwoChoices(members, _BY_OUTSTANDING if strategy == "least_outstanding" else _BY_LATENCY, draw)


class RoundRobin:
    """One after the other."""

    def __init__(self, members: Sequence[Standing]) -> None:
        self._members = tuple(members)
        self._next = 0

    def pick(self, now: float, tried: Collection[Standing] = _NOBODY, key: str = "") -> Standing | None:
        """Return the next endpoint, see `Picker`."""
        members, count = self._members, len(self._members)
        for _ in range(count):
            self._next = at = (self._next + 1) % count
            found = members[at]
            if found.takes_requests(now) and found not in tried:
                return found
        return None


class Weighted:
    """Each in proportion to its weight, evenly spread: the one whose turn is due (stride scheduling, Waldspurger)."""

    def __init__(self, members: Sequence[Standing]) -> None:
        weights = [(at, each.endpoint.weight, each) for at, each in enumerate(members) if each.endpoint.weight]
        self._turns = [(1.0 / weight, at, 1.0 / weight, each) for at, weight, each in weights]
        heapq.heapify(self._turns)

    def pick(self, now: float, tried: Collection[Standing] = _NOBODY, key: str = "") -> Standing | None:
        """Return the endpoint whose turn it is, see `Picker`."""
        turns, passed = self._turns, []
        found: Standing | None = None
        while turns:
            due, at, stride, each = turns[0]
            if each.takes_requests(now) and each not in tried:
                heapq.heapreplace(turns, (due + stride, at, stride, each))
                found = each
                break
            passed.append(heapq.heappop(turns))
        for due, at, stride, each in passed:
            # One that is passed over does not save its turns: it would get all requests at once when it is back.
            heapq.heappush(turns, (max(due, turns[0][0] if turns else due), at, stride, each))
        return found


class TwoChoices:
    """The better of two that are drawn at random; of a few, the best of all."""

    def __init__(
        self, members: Sequence[Standing], cost: Callable[[Standing], float], draw: Callable[[], float]
    ) -> None:
        self._members = tuple(members)
        self._cost = cost
        self._draw = draw

    def pick(self, now: float, tried: Collection[Standing] = _NOBODY, key: str = "") -> Standing | None:
        """Return the better endpoint, see `Picker`."""
        members, count = self._members, len(self._members)
        if count > ALL_COMPARED:
            # Two different ones, without a list of all: the second is drawn from the others.
            first = int(self._draw() * count)
            second = int(self._draw() * (count - 1))
            second += second >= first
            one, other = members[first], members[second]
            if one.takes_requests(now) and other.takes_requests(now) and one not in tried and other not in tried:
                return one if self._cost(one) <= self._cost(other) else other
        able = [each for each in members if each.takes_requests(now) and each not in tried]
        if len(able) > ALL_COMPARED:
            able = [able[int(self._draw() * len(able))], able[int(self._draw() * len(able))]]
        if not able:
            return None
        least = min(map(self._cost, able))
        best = [each for each in able if self._cost(each) <= least]
        return best[int(self._draw() * len(best))]


def _outstanding(each: Standing) -> float:
    return (each.outstanding + 1) / each.endpoint.weight


def _latency(each: Standing) -> float:
    return each.latency_s * (each.outstanding + 1) / each.endpoint.weight


_BY_OUTSTANDING: Final = _outstanding
_BY_LATENCY: Final = _latency


class Sticky:
    """The same endpoint for the same key."""

    def __init__(self, members: Sequence[Standing]) -> None:
        self._count = len(members)
        ring = sorted((point, at) for at, each in enumerate(members) for point in _points(each))
        self._points = [point for point, _ in ring]
        self._owners = [members[at] for _, at in ring]

    def pick(self, now: float, tried: Collection[Standing] = _NOBODY, key: str = "") -> Standing | None:
        """Return the endpoint of the key, or the next one on the ring that takes requests; see `Picker`."""
        owners, count = self._owners, len(self._owners)
        if not owners:
            return None
        at = bisect_left(self._points, _hash(key)) % count
        refused: set[Standing] = set()
        for offset in range(count):
            found = owners[(at + offset) % count]
            if found in refused:
                continue
            if found.takes_requests(now) and found not in tried:
                return found
            refused.add(found)
            if len(refused) == self._count:
                break
        return None


def _points(each: Standing) -> Iterable[int]:
    count = min(each.endpoint.weight * _POINTS, _MOST_POINTS)
    return (_hash(f"{each.endpoint.key}#{number}") for number in range(count))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
