"""Virtual time for asyncio: hours of timeouts and back-off in milliseconds.

Rules of :class:`VirtualTimeLoop`: when nothing is ready to run, time jumps to
the next timer. It does not jump while work goes on that the loop cannot see
the end of: calls in :meth:`run_in_executor`, sections marked with
:meth:`FakeClock.busy`, and I/O that arrives within a short real grace period.
"""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

GRACE_S = 0.002
"""Real time given to sockets and foreign threads before virtual time jumps."""

_RESOLUTION_S = 1e-6
"""How close to its time a timer is due; more than the rounding of a date, of 0.2 microseconds."""

_REAL_SLICE_S = 0.05
"""Duration of one real wait while foreign work is running."""


class FakeClock:
    """A clock that moves only when told to, or when an idle loop jumps.

    It can be read and moved from any thread, and given to code that takes a
    clock or a sleep function as an argument. It is also a clock for graphs
    (``stategraph.engine.ports.Clock``), put in place by :meth:`for_runs`.

    Args:
        start_s: The first reading; for code that asks for the date, seconds since the epoch.
        grace_s: Real time that a loop of this clock waits for I/O before it jumps.

    Example:
        >>> import asyncio
        >>> clock = FakeClock()
        >>> clock.run(asyncio.sleep(3600))
        >>> clock.now()
        3600.0
    """

    def __init__(self, start_s: float = 0.0, *, grace_s: float = GRACE_S) -> None:
        self.grace_s = grace_s
        self.sleeps: list[float] = []
        """Every sleep through :meth:`sleep` and :meth:`asleep`, in order, in seconds."""
        self._now = start_s
        self._busy = 0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Return the current reading in seconds; stands in for ``time.monotonic``."""
        return self._now

    def time(self) -> float:
        """Return the current reading as seconds since the epoch; stands in for ``time.time``."""
        return self._now

    def monotonic(self) -> float:
        """Return the current reading in seconds, see :meth:`now`."""
        return self._now

    def advance(self, seconds_s: float) -> None:
        """Move the clock forward.

        Raises:
            ValueError: `seconds_s` is negative.
        """
        if seconds_s < 0:
            raise ValueError(f"a clock cannot go back by {-seconds_s:g} s")
        with self._lock:
            self._now += seconds_s

    def sleep(self, seconds_s: float) -> None:
        """Stand in for ``time.sleep``: note the wait and move on at once."""
        self.advance(self._noted(seconds_s))

    async def asleep(self, seconds_s: float) -> None:
        """Stand in for ``asyncio.sleep``: note the wait and let the time pass.

        On a loop of this clock timers that come earlier fire first; on any other loop time moves on at once.
        """
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop) and loop.clock is self:
            await asyncio.sleep(self._noted(seconds_s))
        else:
            self.sleep(seconds_s)
            await asyncio.sleep(0)

    def _noted(self, seconds_s: float) -> float:
        """Note a sleep, and return how long it lasts."""
        self.sleeps.append(seconds_s)
        return max(seconds_s, 0.0)

    @contextlib.contextmanager
    def for_runs(self) -> Iterator[None]:
        """Be the clock of the graphs of this engine that are run in the ``with`` block, sync or async.

        Pauses between attempts take no real time, and dates (of checkpoints, of attempts) are this clock's.
        """
        from stategraph.engine.config import environment  # the kit works without this engine too

        with environment.use(environment.current()._replace(clock=self)):
            yield

    @property
    def is_busy(self) -> bool:
        """True while work outside the loop is running, so that time must not jump."""
        return self._busy > 0

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Keep time from jumping while real work goes on in another thread."""
        self._shift(1)
        try:
            yield
        finally:
            self._shift(-1)

    def _shift(self, by: int) -> None:
        with self._lock:
            self._busy += by

    def new_loop(self) -> VirtualTimeLoop:
        """Return a new event loop on this clock; also fits ``asyncio.Runner(loop_factory=...)``."""
        return VirtualTimeLoop(self)

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run `main` to its end in virtual time, as ``asyncio.run`` does in real time."""
        with asyncio.Runner(loop_factory=self.new_loop) as runner:
            return runner.run(main)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose :meth:`time` is a :class:`FakeClock`."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        super().__init__(_JumpingSelector(self.clock))
        # A timer is due if it comes within the clock's resolution: with the machine's nanosecond, which is nothing when
        # added to the seconds since the epoch, a clock that shows a date would reach a timer and never pass it.
        self._clock_resolution = _RESOLUTION_S

    def time(self) -> float:
        """Return the clock's reading, not the machine's."""
        return self.clock.now()

    def run_in_executor(self, executor: Any, func: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]
        """Run a function in an executor, as every loop does; time stands still until it has returned."""
        self.clock._shift(1)
        try:
            future = super().run_in_executor(executor, func, *args)
        except BaseException:
            self.clock._shift(-1)
            raise
        future.add_done_callback(lambda _: self.clock._shift(-1))
        return future

    async def shutdown_default_executor(self, *timeout: Any, **named: Any) -> None:
        """Wait until the executor's threads have ended, as every loop does; time stands still meanwhile."""
        with self.clock.busy():
            await super().shutdown_default_executor(*timeout, **named)


class _JumpingSelector(selectors.BaseSelector):
    """A selector that moves a clock instead of waiting for a timer."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._real = selectors.DefaultSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._real.unregister(fileobj)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        return self._real.modify(fileobj, events, data)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._real.get_map()

    def close(self) -> None:
        self._real.close()

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout <= 0:
            # No timer is pending, or something is ready: there is nothing to jump over.
            return self._real.select(timeout)
        ready = self._real.select(self._clock.grace_s)
        while not ready and self._clock.is_busy:
            ready = self._real.select(_REAL_SLICE_S)
        if not ready:
            self._clock.advance(timeout)
        return ready
