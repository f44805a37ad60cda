"""The port of signals, and its front: who watches what, in this process, over one connection.

Rules
-----
* To publish never waits and never fails: signals are kept in a set and sent together, at once if none was sent just
  before, else after `PAUSE_S`. What the connection cannot take is kept, within a limit, until there is one again.
* Everybody who waits is woken when the connection comes or goes: signals may have been missed meanwhile.
* A waiter always has a time limit of its own. The bus makes it look earlier, and is never what it relies on.
* The connection lives in a thread with an event loop of its own, so that registries may be used from any loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import anyio

from stategraph.engine.tasks.posting import mailbox
from stategraph.workers.wakeups.signals import Signal, SignalKind, Topic
from stategraph.workers.wakeups.waiting import until_first

logger = logging.getLogger("stategraph.workers")

#: Time between two sendings.
PAUSE_S: Final = 0.01

#: Signals that wait for a connection; further ones are dropped, and those who wait for them look by themselves.
MOST_PENDING: Final = 10_000

#: Pauses between tries to connect, each of them shortened at random by up to a half.
FIRST_PAUSE_S: Final = 0.2
LONGEST_PAUSE_S: Final = 10.0

#: Not that of the program, which may count on its numbers: this is drawn in a thread of the bus.
_chance = random.Random()

#: Time that `close` gives the last signals.
CLOSE_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class BusHealth:
    """A bus at one moment.

    Attributes:
        kind: `polling`, `postgres` or `nats`.
        is_live: Whether signals are heard now.
        last_error: Why the connection was lost, or could not be made; None if neither happened.
    """

    kind: str
    is_live: bool
    last_error: str | None


class Wakes:
    """The wake-ups of one waiter. Belongs to the event loop in which it is made.

    Attributes:
        owes_look: Whether it was told of something since it last waited, and may not have looked for it.
        may_be_more: Set by a waiter for work that leaves because it has enough.
    """

    def __init__(self) -> None:
        self.owes_look = False
        self.may_be_more = False
        try:
            self._mailbox = mailbox()
        except RuntimeError:  # another kind of event loop: its waiters look by themselves
            self._event: asyncio.Event | None = None
        else:
            self._event = asyncio.Event()

    @property
    def is_due(self) -> bool:
        """True if it was woken and has not waited since."""
        return self._event is not None and self._event.is_set()

    def wake(self) -> None:
        """Wake the waiter, from any thread; without effect when its event loop has ended."""
        if self._event is None:
            return
        if self._mailbox.is_here():
            self._event.set()
            return
        with contextlib.suppress(RuntimeError):
            self._mailbox.post(self._event.set)

    async def wait(self, timeout_s: float) -> bool:
        """Wait for the next wake-up, or for so long; a wake-up that came since the last wait counts.

        Returns:
            Whether it was woken.
        """
        if self._event is None:
            await anyio.sleep(timeout_s)
            return False
        with anyio.move_on_after(timeout_s):
            await self._event.wait()
        woken = self._event.is_set()
        self._event.clear()
        self.owes_look = False
        return woken


class Bus(Protocol):
    """Carries signals between processes. Thread-safe."""

    @property
    def is_live(self) -> bool:
        """True if signals are heard now, so that waiters need to look seldom."""

    def publish(self, signals: Iterable[Signal]) -> None:
        """Signal something, after the transaction that it tells of. Never waits, never raises."""

    def watch(self, topics: Iterable[Topic]) -> AbstractContextManager[Wakes]:
        """Hear signals for a block: first watch, then look, then wait."""

    def health(self) -> BusHealth:
        """Return the state of the bus."""

    def close(self) -> None:
        """Send the last signals, and close the connection. Blocks for a moment."""


class Polling:
    """No bus: waiters look at the database by themselves."""

    is_live = False

    def publish(self, signals: Iterable[Signal]) -> None:
        """Do nothing."""

    @contextmanager
    def watch(self, topics: Iterable[Topic]) -> Iterator[Wakes]:
        """Return wake-ups that never come."""
        del topics
        yield Wakes()

    def health(self) -> BusHealth:
        """Return the state of the bus."""
        return BusHealth("polling", is_live=False, last_error=None)

    def close(self) -> None:
        """Do nothing."""


class Connection(Protocol):
    """One connection of a bus, from its opening to its loss. Belongs to the event loop of the bus."""

    async def open(self) -> None:
        """Connect, so that signals are heard.

        Raises:
            Exception: That failed; the message says why, without secrets.
        """

    async def listen(self, topics: Collection[Topic]) -> None:
        """Hear these topics from now on, and no others."""

    async def send(self, signals: Sequence[Signal]) -> None:
        """Send signals."""

    async def lost(self) -> None:
        """Wait until the connection is lost, and raise why."""

    async def close(self) -> None:
        """Close the connection; what was sent goes out before."""


class ConnectedBus:
    """A bus with a connection, that is made when it is first used and again when it is lost.

    Args:
        kind: Its name in `health`.
        connect: Makes a connection, given what to call with each topic that is heard.
        tells_one: Whether one of those who wait for work hears a signal, and not all of them.
    """

    def __init__(
        self, kind: str, connect: Callable[[Callable[[Topic], None]], Connection], *, tells_one: bool = False
    ) -> None:
        self._kind = kind
        self._tells_one = tells_one
        self._connect = connect
        self._lock = threading.Lock()
        self._watching: dict[Topic, set[Wakes]] = {}
        self._pending: dict[Signal, None] = {}
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed: asyncio.Event | None = None
        self._closing = False
        self._is_live = False
        self._is_told = False
        self._last_error: str | None = None

    # For those who signal and wait.

    @property
    def is_live(self) -> bool:
        """True if signals are heard now."""
        return self._is_live

    def publish(self, signals: Iterable[Signal]) -> None:
        """Signal something, see `Bus.publish`."""
        with self._lock:
            for signal in signals:
                if len(self._pending) < MOST_PENDING:
                    self._pending[signal] = None
            if self._pending:
                self._notice_change()

    @contextmanager
    def watch(self, topics: Iterable[Topic]) -> Iterator[Wakes]:
        """Hear signals for a block, see `Bus.watch`."""
        wakes, watched = Wakes(), tuple(topics)
        with self._lock:
            for topic in watched:
                self._watching.setdefault(topic, set()).add(wakes)
            self._notice_change()
        try:
            yield wakes
        finally:
            with self._lock:
                for topic in watched:
                    self._watching[topic].discard(wakes)
                    if not self._watching[topic]:
                        del self._watching[topic]
                self._notice_change()
            # It was told of work in the place of another one, or several signals were one.
            if wakes.owes_look or (wakes.may_be_more and self._tells_one):
                self.publish(Signal(*topic) for topic in watched if topic[0] is SignalKind.WORK)

    def health(self) -> BusHealth:
        """Return the state of the bus."""
        return BusHealth(self._kind, self._is_live, self._last_error)

    def close(self) -> None:
        """Send the last signals and close the connection, see `Bus.close`."""
        with self._lock:
            self._closing = True
            thread = self._thread
            if thread is not None:
                self._notice_change()
        if thread is not None:
            thread.join(CLOSE_S)

    def _notice_change(self) -> None:
        """Have the connection look at what is watched and pending; called with the lock held."""
        if self._thread is None and not self._closing:
            self._thread = threading.Thread(target=self._main, name=f"stategraph {self._kind} bus", daemon=True)
            self._thread.start()
        elif self._loop is not None and self._changed is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._changed.set)

    # In the thread of the bus.

    def _main(self) -> None:
        asyncio.run(self._stay_connected())

    async def _stay_connected(self) -> None:
        changed = asyncio.Event()
        changed.set()
        with self._lock:
            self._loop, self._changed = asyncio.get_running_loop(), changed
        pause_s = FIRST_PAUSE_S
        while not self._is_done():
            connection = self._connect(self._heard)
            opened_at: float | None = None
            try:
                await connection.open()
                opened_at = time.monotonic()
                self._set_live(True)
                changed.set()
                await until_first(self._send(connection, changed), connection.lost())
            except Exception as error:  # whatever the client raises: waiters look by themselves meanwhile
                self._note(error)
            finally:
                if opened_at is not None and time.monotonic() - opened_at > pause_s:  # else it may be refused each time
                    pause_s = FIRST_PAUSE_S
                self._set_live(False)
                await _close(connection)
            if not self._closing:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._until_closing(changed), pause_s * _chance.uniform(0.5, 1.0))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                return

    def _is_done(self) -> bool:
        return self._closing and not self._pending

    async def _until_closing(self, changed: asyncio.Event) -> None:
        while not self._closing:
            await changed.wait()
            changed.clear()

    async def _send(self, connection: Connection, changed: asyncio.Event) -> None:
        """Send and listen until the bus is closed."""
        listened: frozenset[Topic] = frozenset()
        while True:
            await changed.wait()
            changed.clear()
            with self._lock:
                closing = self._closing
                topics = frozenset(self._watching)
            if topics != listened and not closing:
                await connection.listen(topics)
                self._wake(topics - listened)  # what was signalled before the server knew
                listened = topics
            with self._lock:
                batch, self._pending = self._pending, {}
            if batch:
                try:
                    await connection.send(list(batch))
                except BaseException:
                    self.publish(batch)
                    raise
            if closing:
                return
            await asyncio.sleep(PAUSE_S)

    def _heard(self, topic: Topic) -> None:
        self._wake((topic,), owes_look=topic[0] is SignalKind.WORK)

    def _wake(self, topics: Iterable[Topic], *, owes_look: bool = False) -> None:
        with self._lock:
            waiters = [each for topic in topics for each in self._watching.get(topic, ())]
        for wakes in waiters:
            wakes.owes_look |= owes_look
            wakes.wake()

    def _set_live(self, is_live: bool) -> None:
        if is_live is not self._is_live:
            self._is_live = is_live
            self._is_told = self._is_told and not is_live
            with self._lock:
                topics = tuple(self._watching)
            self._wake(topics)

    def _note(self, error: Exception) -> None:
        self._last_error = f"{type(error).__name__}: {error}"
        if not self._is_told:  # once, not with every try
            logger.warning("The %s bus is away, and waiters look by themselves: %s", self._kind, self._last_error)
        self._is_told = True


async def _close(connection: Connection) -> None:
    try:
        await asyncio.wait_for(connection.close(), CLOSE_S / 2)
    except Exception as error:  # it is given up anyway
        logger.debug("A connection of the bus could not be closed: %r", error)
