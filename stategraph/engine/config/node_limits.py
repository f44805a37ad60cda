"""Limits on how many attempts of a node run at a time, and how often one begins, for each key of their inputs.

Rules
-----
* They hold for all runs of this process, sync and async, on any thread and event loop; not across processes.
* Who came first, begins first, for each key by itself. A place is given up while a task waits for its next attempt.
* A node that runs a graph with limited nodes gives its place up while one of these waits for a place: no two can wait
  for each other. When that one begins, the node around it has its place again, though another may have taken it.
* A node inside a place of its own limits needs no second one.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextvars import Context, ContextVar, copy_context
from typing import Any, Final, TypeVar, cast

from stategraph.engine.config.context import await_in_context
from stategraph.engine.ports import Clock
from stategraph.errors import ConfigurationError

T = TypeVar("T")

_LOCK: Final = threading.RLock()
"""Held for a few steps and never while something waits; one for all limits, as places of several change together."""

_MOST_IDLE: Final = 256
"""Keys that are kept though nobody needs them, before they are looked through."""


class _Gate:
    """The places of one key.

    Attributes:
        size: How many there are.
        used: How many are taken, without those that were given up for a while.
        waiting: Those who wait, the first in front.
        starts: When the last attempts were allowed to begin, as many as the rate allows in a period.
    """

    __slots__ = ("size", "starts", "used", "waiting")

    def __init__(self, size: int | None, rate: int | None) -> None:
        self.size = math.inf if size is None else size
        self.used = 0
        self.waiting: deque[_Waiter] = deque()
        self.starts: deque[float] = deque(maxlen=rate or 1)

    def admit(self) -> None:
        """Give free places to those who wait."""
        while self.waiting and self.used < self.size:
            self.used += 1
            waiter = self.waiting.popleft()
            waiter.has_place = True
            for place in waiter.around:
                place.take_back()
            waiter.wake()


class _Place:
    """A place that an attempt has.

    Attributes:
        gate: Whose place.
        waiting_inside: How many attempts inside of this one wait for places.
    """

    __slots__ = ("gate", "waiting_inside")

    def __init__(self, gate: _Gate) -> None:
        self.gate = gate
        self.waiting_inside = 0

    def give_up(self) -> None:
        """Let others have it while an attempt inside waits."""
        self.waiting_inside += 1
        if self.waiting_inside == 1:
            self.gate.used -= 1
            self.gate.admit()

    def take_back(self) -> None:
        """Have it again, whoever has taken it, unless another attempt inside waits."""
        self.waiting_inside -= 1
        if self.waiting_inside == 0:
            self.gate.used += 1

    def leave(self) -> None:
        """Leave it for good."""
        with _LOCK:
            self.gate.used -= 1
            self.gate.admit()


class _Waiter:
    """An attempt that waits for a place.

    Attributes:
        around: The places of the attempts around it.
        has_place: Whether it was given one.
        wake: Wakes it, from any thread.
    """

    __slots__ = ("around", "has_place", "wake")

    def __init__(self, around: tuple[_Place, ...], wake: Callable[[], object]) -> None:
        self.around = around
        self.has_place = False
        self.wake = wake


_places: ContextVar[tuple[_Place, ...]] = ContextVar("stategraph_places", default=())
"""The places of the attempts around the running code."""


class NodeLimits:
    """Limits for `add_node(limits=...)`; nodes and graphs that are given the same object share them.

    Attributes:
        concurrency: Attempts that may run at a time. None: any number.
        rate: Attempts that may begin within any `per_s` seconds. None: any number.
        per_s: The period of `rate`, in seconds.
        key: Given the node's input, returns what the limits hold for: each value has its own. None: for all inputs.
    """

    def __init__(
        self,
        *,
        concurrency: int | None = None,
        rate: int | None = None,
        per_s: float = 1.0,
        key: Callable[[Any], Hashable] | None = None,
    ) -> None:
        """Set the limits; see the class.

        Raises:
            ConfigurationError: None is given, or one is no number above 0.
        """
        if concurrency is None and rate is None:
            raise ConfigurationError("NodeLimits without a limit: pass `concurrency`, or `rate` and `per_s`, or both")
        for name, value in (("concurrency", concurrency), ("rate", rate)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise ConfigurationError(f"{name} is {value!r}; expected a whole number above 0, or None for no limit")
        if not isinstance(per_s, int | float) or not math.isfinite(per_s) or per_s <= 0:
            raise ConfigurationError(f"per_s is {per_s!r}; expected seconds above 0")
        if key is not None and not callable(key):
            raise ConfigurationError(f"key is {key!r}; expected a function of the node's input")
        self.concurrency, self.rate, self.per_s, self.key = concurrency, rate, per_s, key
        self._gates: dict[Hashable, _Gate] = {}

    # -- an attempt ------------------------------------------------------

    def in_thread(self, input: object, clock: Clock, attempt: Callable[[], T]) -> T:
        """Make an attempt within the limits; the calling thread waits for its turn.

        Args:
            input: The node's input.
            clock: Tells the time, and lets it pass.
            attempt: Makes it.
        """
        gate = self._gate(input, clock)
        woken = threading.Event()
        place, waiter = self._come(gate, woken.set)
        try:
            if waiter is not None:
                woken.wait()
                place = _Place(gate)
            if (pause := self._pause(gate, clock)) > 0:
                clock.sleep(pause)
            return _around(place).run(attempt)
        finally:
            self._go(gate, place, waiter)

    async def on_loop(self, input: object, clock: Clock, attempt: Callable[[], Awaitable[T]]) -> T:
        """Make an attempt as `in_thread` does; the event loop goes on meanwhile."""
        gate = self._gate(input, clock)
        loop = asyncio.get_running_loop()
        turn: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not loop.is_closed():  # of one that was closed while it waited, nobody waits any more
                loop.call_soon_threadsafe(_resolve, turn)

        place, waiter = self._come(gate, wake)
        try:
            if waiter is not None:
                await turn
                place = _Place(gate)
            if (pause := self._pause(gate, clock)) > 0:
                await clock.asleep(pause)
            context = _around(place)
            return await await_in_context(context, cast("Coroutine[Any, Any, T]", context.run(attempt)))
        finally:
            self._go(gate, place, waiter)

    # -- places ----------------------------------------------------------

    def _gate(self, input: object, clock: Clock) -> _Gate:
        key = None if self.key is None else self.key(input)
        try:
            hash(key)
        except TypeError:
            raise TypeError(
                f"The key of NodeLimits returned a {type(key).__name__}; expected a value that can be hashed"
            ) from None
        with _LOCK:
            gate = self._gates.get(key)
            if gate is None:
                if len(self._gates) >= _MOST_IDLE:
                    self._forget(clock.monotonic())
                gate = self._gates[key] = _Gate(self.concurrency, self.rate)
            return gate

    def _forget(self, now: float) -> None:
        """Forget the keys that nobody uses, nor has used in the last period."""
        for key, gate in list(self._gates.items()):
            if not gate.used and not gate.waiting and not (gate.starts and gate.starts[-1] > now - self.per_s):
                del self._gates[key]

    def _come(self, gate: _Gate, wake: Callable[[], object]) -> tuple[_Place | None, _Waiter | None]:
        """Take a place, or begin to wait for one; neither, if the attempt is inside of a place that it may use."""
        around = _places.get()
        if self.concurrency is None or any(place.gate is gate for place in around):
            return None, None
        with _LOCK:
            if gate.used < gate.size and not gate.waiting:
                gate.used += 1
                return _Place(gate), None
            waiter = _Waiter(around, wake)
            gate.waiting.append(waiter)
            for place in around:
                place.give_up()
            return None, waiter

    def _pause(self, gate: _Gate, clock: Clock) -> float:
        """Return the seconds until the attempt may begin, which is noted."""
        if self.rate is None:
            return 0.0
        with _LOCK:
            now, starts = clock.monotonic(), gate.starts
            at = max(now, starts[0] + self.per_s) if len(starts) == self.rate else now
            starts.append(at)
        return at - now

    def _go(self, gate: _Gate, place: _Place | None, waiter: _Waiter | None) -> None:
        """Leave the place, or the line."""
        if place is not None:
            place.leave()
        elif waiter is not None:
            with _LOCK:
                if waiter.has_place:  # it was given one, and has not begun
                    _Place(gate).leave()
                    return
                gate.waiting.remove(waiter)
                for each in waiter.around:
                    each.take_back()


def _around(place: _Place | None) -> Context:
    """Return a context for what runs within a place."""
    context = copy_context()
    if place is not None:
        context.run(_places.set, (*_places.get(), place))
    return context


def _resolve(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)
