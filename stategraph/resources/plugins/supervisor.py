"""One plug-in, kept running: started, watched, restarted, replaced, stopped.

Rules
-----
* It is asked for its health every 30 seconds. One that says that it is not well has three chances; one that does not
  answer is replaced at once.
* A call that takes too long is cancelled, and the plug-in is asked for its health: one that is stuck does not answer.
  Three such calls without another that ends make it unhealthy too.
* One that is gone, or was not well three times, is started again with growing pauses, at most five times in ten
  minutes; then it has failed, until a person or a new declaration starts it.
* A new declaration starts a new instance; if that is well it takes the place of the old one, which ends its calls
  first. If not, the old one stays and nothing has happened.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

from stategraph.errors import ConfigurationError
from stategraph.resources.plugins import permissions
from stategraph.resources.plugins.api import Json, Offers
from stategraph.resources.plugins.errors import (
    IsolationUnavailable,
    PluginCallError,
    PluginError,
    PluginPermissionError,
    PluginStartError,
    PluginTimeout,
    PluginUnavailable,
)
from stategraph.resources.plugins.instance import Instance, Usage
from stategraph.resources.plugins.lifecycle import Happening, PluginState, RestartBudget, moved
from stategraph.resources.plugins.spec import PluginSpec
from stategraph.resources.plugins.statistics import Counters, PluginStatus, TokenBucket

#: Seconds that a health check may take.
HEALTH_S: Final = 10.0

#: Health checks that may fail before a plug-in is started again.
CHANCES: Final = 3

#: Share of the processor time of its limit after which a process is replaced.
_WORN: Final = 0.8

_RUNS: Final = (PluginState.RUNNING, PluginState.UNHEALTHY)
_ENDS: Final = (PluginState.STOPPING, PluginState.STOPPED)

_log = logging.getLogger(__name__)


class Reporter(Protocol):
    """Listener to moves and events of plug-ins."""

    def moved(self, plugin: Supervised, before: PluginState, detail: str) -> None:
        """Note a move from one state to another."""

    def published(self, plugin: Supervised, topic: str, event: Mapping[str, Json]) -> None:
        """Take an event of the plug-in."""


class Supervised:
    """A plug-in. Belongs to one event loop.

    Args:
        spec: Its declaration.
        make: Makes an instance of a declaration; raises if its code may not run here.
        reporter: Who is told of moves and events.
        budget: Its restarts.
        clock: Seconds, of a clock that never goes back.
        health_s: Seconds that a health check may take.
    """

    def __init__(
        self,
        spec: PluginSpec,
        make: Callable[[PluginSpec, Supervised], Instance],
        reporter: Reporter,
        *,
        budget: RestartBudget | None = None,
        clock: Callable[[], float] = time.monotonic,
        health_s: float = HEALTH_S,
    ) -> None:
        self.spec = spec
        self.state = PluginState.REGISTERED
        self.detail = ""
        self._make = make
        self._reporter = reporter
        self._budget = budget or RestartBudget()
        self._clock = clock
        self._health_s = health_s
        self._since = clock()
        self._instance: Instance | None = None
        self._count = Counters()
        self._bucket = TokenBucket()
        self._lock = asyncio.Lock()
        self._slots = asyncio.Semaphore(spec.limits.calls)
        self._wake = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._running: dict[Instance, int] = {}
        self._idle: dict[Instance, asyncio.Event] = {}
        self._sick = 0
        self._stuck = 0
        self._doubted = False

    @property
    def offers(self) -> Offers:
        """Everything that it registered; nothing while it does not run."""
        return self._instance.offers if self._instance is not None and self.state in _RUNS else Offers()

    def status(self) -> PluginStatus:
        """Return its figures."""
        count = self._count
        usage = Usage() if self._instance is None else self._instance.usage()
        return PluginStatus(
            self.spec.name,
            self.state,
            self.detail,
            self._clock() - self._since,
            self.spec.runs_in,
            count.generation,
            count.restarts,
            count.replaced,
            count.calls,
            count.failed,
            count.timed_out,
            count.running,
            count.quantile(0.5),
            count.quantile(0.99),
            count.events,
            count.dropped,
            usage,
        )

    def _move(self, happening: Happening, detail: str = "") -> None:
        before, self.state = self.state, moved(self.state, happening)
        self.detail, self._since = detail, self._clock()
        self._reporter.moved(self, before, detail)
        self._wake.set()

    # Start, replacement, stop.

    async def start(self) -> None:
        """Start it, unless it runs.

        Raises:
            PluginError: It did not start. If another attempt may help, there will be one.
            ConfigurationError: There is no such code.
        """
        async with self._lock:
            if self.state in (*_RUNS, PluginState.STARTING):
                return
            if self.state is PluginState.RESTARTING:
                raise PluginUnavailable(f"Plugin '{self.spec.name}' is being restarted: {self.detail}")
            self._budget.reset()
            self._move(Happening.START)
            try:
                self._instance = await self._started(self.spec)
            except BaseException as error:
                self._lost_at_start(error)
                raise
            self._well()
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def _started(self, spec: PluginSpec) -> Instance:
        """Return a new instance that is well."""
        instance = self._make(spec, self)
        self._count.generation += 1
        await instance.start()
        try:
            _check_offers(spec, instance.offers)
            await instance.call("health", "", None, self._health_s)
        except PluginPermissionError:
            await instance.stop()
            raise
        except (PluginCallError, PluginTimeout, PluginUnavailable) as error:
            await instance.stop()
            raise PluginStartError(f"Plugin '{spec.name}' started and is not well: {error}") from error
        except BaseException:
            await instance.stop()
            raise
        return instance

    def _well(self) -> None:
        self._sick = self._stuck = 0
        self._move(Happening.STARTED)

    def _lost_at_start(self, error: BaseException) -> None:
        """Note that it did not start; go on trying unless it would fail in the same way."""
        self._move(Happening.LOST, str(error))
        if isinstance(
            error, PluginPermissionError | IsolationUnavailable | ConfigurationError | asyncio.CancelledError
        ):
            self._move(Happening.EXHAUSTED, str(error))
        elif self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    async def update(self, spec: PluginSpec) -> None:
        """Replace it by one of another declaration, without losing a call.

        Args:
            spec: The declaration; the same one replaces the process alone.

        Raises:
            PluginError: The new one did not start, or is not well; the old one goes on.
            ConfigurationError: There is no such code.
        """
        async with self._lock:
            if self.state in _RUNS:
                new = await self._started(spec)
                old, self._instance = self._instance, new
                self._sick = self._stuck = 0
                self._count.replaced += 1
                self._take(spec)
                if self.state is PluginState.UNHEALTHY:
                    self._move(Happening.WELL, "replaced")
                else:
                    self._reporter.moved(self, self.state, "replaced")
                if old is not None:
                    self._spawn(self._drain(old))
                return
            self._take(spec)
            if self.state is PluginState.RESTARTING:
                self._move(Happening.EXHAUSTED, "its declaration has changed")
        await self.start()

    def _take(self, spec: PluginSpec) -> None:
        if spec.limits.calls != self.spec.limits.calls:
            self._slots = asyncio.Semaphore(spec.limits.calls)
        self.spec = spec

    async def _drain(self, old: Instance) -> None:
        """Let the calls of an instance end, within limits, and stop it."""
        if self._running.get(old):
            idle = self._idle[old] = asyncio.Event()
            try:
                async with asyncio.timeout(self.spec.limits.drain_s):
                    await idle.wait()
            except TimeoutError:
                _log.warning("Plugin '%s' is stopped with calls that did not end", self.spec.name)
            finally:
                del self._idle[old]
        await old.stop()

    async def stop(self) -> None:
        """Let its calls end, within limits, and stop it."""
        watching, self._watching = self._watching, None
        if watching is not None:
            watching.cancel()
            await asyncio.wait((watching,))
        async with self._lock:
            if self.state in _ENDS:
                return
            self._move(Happening.STOP)
            old, self._instance = self._instance, None
            if old is not None:
                await self._drain(old)
            if self._tasks:
                await asyncio.wait(self._tasks)
            self._move(Happening.ENDED)

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # Calls.

    async def call(self, kind: str, name: str, payload: Json, timeout_s: float | None = None) -> Json:
        """Call a function that it registered.

        Args:
            kind: `tool`, `reconcile`, `finalize` or `hook`.
            name: The name of what was registered.
            payload: The arguments of a tool by name, else the argument; JSON.
            timeout_s: Seconds that the call may take, waiting for a free place included; None: the limit of the
                declaration, which is also the longest.

        Raises:
            PluginUnavailable: It does not run.
            PluginTimeout: It took too long.
            PluginCallError: The function raised.
        """
        most = self.spec.limits.call_s
        limit = most if timeout_s is None else min(most, timeout_s)
        slots = self._slots
        if slots.locked():
            began = self._clock()
            try:
                async with asyncio.timeout(limit):
                    await slots.acquire()
            except TimeoutError:
                raise PluginTimeout(
                    f"Plugin '{self.spec.name}' has {self.spec.limits.calls} calls already, and none ended in "
                    f"{limit:g} s"
                ) from None
            limit = max(0.001, limit - (self._clock() - began))
        else:
            await slots.acquire()
        try:
            return await self._called(kind, name, payload, limit)
        finally:
            slots.release()

    async def _called(self, kind: str, name: str, payload: Json, timeout_s: float) -> Json:
        instance = self._instance
        if instance is None or self.state not in _RUNS:
            because = f": {self.detail}" if self.detail else ""
            raise PluginUnavailable(f"Plugin '{self.spec.name}' is {self.state}{because}")
        count = self._count
        count.running += 1
        self._running[instance] = self._running.get(instance, 0) + 1
        began = self._clock()
        try:
            result = await instance.call(kind, name, payload, timeout_s)
        except PluginTimeout:
            count.timed_out += 1
            self._stuck += 1
            self._doubted = True
            self._wake.set()
            raise
        except PluginUnavailable:
            count.failed += 1
            self._doubted = True
            self._wake.set()
            raise
        except PluginError:
            count.failed += 1
            raise
        finally:
            count.running -= 1
            count.calls += 1
            count.durations.append(self._clock() - began)
            self._running[instance] -= 1
            if not self._running[instance]:
                del self._running[instance]
                if instance in self._idle:
                    self._idle[instance].set()
        self._stuck = 0
        return result

    def tell(self, topic: str, event: Json) -> None:
        """Tell it an event of the bus, if it listens to its topic."""
        if self._instance is not None and self.state in _RUNS:
            try:
                self._instance.tell(topic, event)
            except PluginError as error:
                _log.warning("Plugin '%s' was not told of '%s': %s", self.spec.name, topic, error)

    # Told by instances, see `Watcher`.

    def published(self, topic: str, event: Mapping[str, Json]) -> None:
        """Take an event that it published."""
        self._count.events += 1
        if "events:publish" in self.spec.permissions and self._bucket.take(self._clock()):
            self._reporter.published(self, topic, event)
        else:
            self._count.dropped += 1

    def lost(self, instance: Instance, why: str) -> None:
        """Note that an instance is gone."""
        if instance is self._instance and self.state in _RUNS:
            self._instance = None
            self._move(Happening.LOST, why)
            self._spawn(instance.stop())

    # Watching.

    async def _watch(self) -> None:
        while self.state not in (PluginState.FAILED, *_ENDS):
            if self.state is PluginState.RESTARTING:
                await self._restart()
                continue
            try:
                # Not `wait_for`: that of Python 3.11 forgets a cancellation that comes with the event.
                async with asyncio.timeout(self.spec.health_s):
                    await self._wake.wait()
            except TimeoutError:
                self._doubted = True
            self._wake.clear()
            if self._doubted and self.state in _RUNS:
                self._doubted = False
                await self._look()
        if self._watching is asyncio.current_task():
            self._watching = None

    async def _look(self) -> None:
        """Ask it for its health, and draw the consequences."""
        instance = self._instance
        if instance is None:
            return
        try:
            await instance.call("health", "", None, self._health_s)
            problem = f"{self._stuck} calls took too long, and none ended since" if self._stuck >= CHANCES else ""
        except PluginTimeout:
            self.lost(instance, f"it does not answer: no sign of health within {self._health_s:g} s")
            return
        except PluginUnavailable as error:
            self.lost(instance, str(error))
            return
        except PluginError as error:
            problem = f"it is not well: {error}"
        if instance is not self._instance or self.state not in _RUNS:
            return
        if not problem:
            self._sick = 0
            if self.state is PluginState.UNHEALTHY:
                self._move(Happening.WELL)
            await self._recycle(instance)
            return
        self._sick += 1
        if self._sick >= CHANCES or self._stuck >= CHANCES:
            self.lost(instance, problem)
        elif self.state is PluginState.RUNNING:
            self._move(Happening.SICK, problem)

    async def _recycle(self, instance: Instance) -> None:
        """Replace a process that has nearly used up its processor time."""
        most = self.spec.limits.cpu_s
        used = instance.usage().cpu_s
        if most is not None and used is not None and used > _WORN * most:
            try:
                await self.update(self.spec)
            except (PluginError, ConfigurationError) as error:
                _log.warning("Plugin '%s' could not be replaced: %s", self.spec.name, error)

    async def _restart(self) -> None:
        """Start it again after a pause; the last attempt that fails is its end."""
        wait = self._budget.take(self._clock())
        if wait is None:
            self._move(Happening.EXHAUSTED, f"it was restarted too often; at last: {self.detail}")
            return
        await asyncio.sleep(wait)
        async with self._lock:
            if self.state is not PluginState.RESTARTING:
                return
            self._count.restarts += 1
            self._move(Happening.START)
            try:
                self._instance = await self._started(self.spec)
            except Exception as error:  # any error: it stays on record and the next attempt follows
                self._lost_at_start(error)
                return
            except BaseException:
                self._move(Happening.LOST, "it was stopped while it started")
                raise
            self._well()


def _check_offers(spec: PluginSpec, offers: Offers) -> None:
    """Check that a plug-in registered only what it may, whatever its own process has checked.

    Raises:
        PluginPermissionError: It did not.
    """
    for kind, names in (
        ("tool", offers.tools),
        ("controller", offers.controllers),
        ("hook", [each.event for each in offers.hooks]),
        ("subscription", offers.topics),
    ):
        for name in names:
            permissions.check_registered(spec.name, kind, name, spec.permissions)
