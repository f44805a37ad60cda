"""`AuditLog`: takes events without holding up the caller, and stores them in order.

    async with AuditLog("sqlite:///audit.db", keyring=Keyring.from_environment()) as log:
        await log.record(event, durable=True)

Guarantees
----------
* `durable=True` returns when the row is stored, or raises `AuditUnavailable`. This is for what is recorded before an
  action that is more than reading.
* Other events are queued, and stored within 200 ms or 256 rows. A process that is killed loses at most those of them
  that are not stored yet. Nothing is ever dropped while the process lives: an event that cannot be queued within a
  second is refused with `AuditUnavailable`.
* While the storage is away, the queue fills, and what is in it is stored when the storage is back.
* Events of one caller, and of one tenant, are stored in the order in which they were recorded.
* `close` stores what is queued; if it cannot, it says how many rows are lost.
"""

from __future__ import annotations

import asyncio
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from stategraph.core import explain
from stategraph.errors import ConfigurationError
from stategraph.governance.audit import preparing
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.audit.intake import Intake, Item
from stategraph.governance.audit.record import Record
from stategraph.governance.audit.storage import AuditStorage
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.audit.writer import Writer, close_at_exit
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.keyring import Keyring
from stategraph.governance.redaction import Redactor

CLOSE_S: Final = 30.0
"""Seconds that `close` gives the storage."""


_MOST: Final = 10**9
_LONGEST_S: Final = 10**6


@dataclass(frozen=True, slots=True)
class AuditSettings:
    """Settings of a log.

    Attributes:
        queue: Events that are queued at most.
        batch: Rows that are stored at once.
        batch_s: Seconds until an event that is not durable is stored, if its batch does not become full.
        admission_s: Seconds that an event that is not durable waits for a place in the queue before it is refused.
        durable_s: Seconds that a durable event waits until it is stored before it is refused; None: no limit.
        data_characters: Characters of an event's data as JSON; texts in larger ones are cut.
        heads_file: A file that signed heads are added to: on another machine's disk, they prove the log's end against
            those who can write to the database. None: none.

    Raises:
        ConfigurationError: A number is none that it may be.
    """

    queue: int = 10_000
    batch: int = 256
    batch_s: float = 0.2
    admission_s: float = 1.0
    durable_s: float | None = 30.0
    data_characters: int = 64 * 1024
    heads_file: str | None = None

    def __post_init__(self) -> None:
        for name in ("queue", "batch", "data_characters"):
            self._check(name, int, 1, _MOST, "a whole number")
        for name in ("batch_s", "admission_s", "durable_s"):
            if name != "durable_s" or self.durable_s is not None:
                self._check(name, (int, float), 0, _LONGEST_S, "seconds as a number")

    def _check(self, name: str, kinds: Any, least: int, most: int, what: str) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            found = explain.shown(value)
            raise ConfigurationError(f"AuditSettings: {name} is {found}; expected {what} of {least} to {most:,}")


@dataclass(frozen=True, slots=True)
class AuditStatistics:
    """Figures of a log, at one moment.

    Attributes:
        queued: Events in the queue.
        waiting: Events that wait for a place in it.
        stored: Rows that this process stored.
        refused: Events that were refused.
        retries: Times that a batch was tried again.
        failure: What the storage said last, while it is away; empty: it is there.
    """

    queued: int
    waiting: int
    stored: int
    refused: int
    retries: int
    failure: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A caller that waits for an item.

    Attributes:
        item: The item.
        future: Resolved when the caller may go on.
        seconds: For how long it waits; None: no limit.
    """

    item: Item
    future: Future[None]
    seconds: float | None


def _retrieve(future: asyncio.Future[None]) -> None:
    """Take note of an error that comes after the caller has stopped waiting; it was told another one."""
    if not future.cancelled():
        future.exception()


class AuditLog:
    """Takes events and stores them; an `AuditSink`. Thread-safe, and usable from any event loop.

    A log is made in the process that uses it. It starts a thread with the first event, and is to be closed.

    Args:
        storage: The storage, or its address: `sqlite:///audit.db`, `postgresql://...` or `jsonl:///folder`.
        redactor: Hides secrets; None: one with its defaults.
        keyring: Encrypts data and signs heads; None: neither.
        settings: The settings.
        now: A clock, in microseconds since 1970.

    Attributes:
        storage: The storage.
        redactor: The redactor, to register secrets with.
    """

    def __init__(
        self,
        storage: AuditStorage | str,
        *,
        redactor: Redactor | None = None,
        keyring: Keyring | None = None,
        settings: AuditSettings = AuditSettings(),
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.storage = storage_at(storage) if isinstance(storage, str) else storage
        self.redactor = redactor or Redactor()
        self._settings = settings
        self._refused = 0
        self._intake = Intake(settings.queue, settings.batch, settings.batch_s)
        self._writer = Writer(self._intake, self.storage, keyring, settings.heads_file, now)
        self._finalizer = weakref.finalize(self, close_at_exit, self._writer)

    @property
    def keyring(self) -> Keyring | None:
        """The keyring; a new one may be set at any time, as after a rotation."""
        return self._writer.keyring

    @keyring.setter
    def keyring(self, keyring: Keyring | None) -> None:
        self._writer.keyring = keyring

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event.

        Args:
            event: What happened.
            durable: Return only when it is stored, as before an action that is more than reading.

        Raises:
            AuditUnavailable: It cannot be taken or stored; an action that depends on it must not begin. A durable
                event that was refused after `durable_s` may be stored all the same, if the storage had it already.
            ConfigurationError: The event has no tenant or id, a time without a zone, or a type that is not known.
        """
        large = event.data and preparing.is_large(event.data)
        await self._stored(
            self._put(await asyncio.to_thread(self._prepare, event) if large else self._prepare(event), durable)
        )

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        """Take an event in a thread without an event loop; see `record`."""
        self._stored_sync(self._put(self._prepare(event), durable))

    async def _stored(self, item: Item | None) -> None:
        """Wait for an item, for as long as its kind is waited for."""
        waiting = item and self._awaited(item)
        if waiting:
            future = asyncio.wrap_future(waiting.future)
            future.add_done_callback(_retrieve)
            try:
                await asyncio.wait({future}, timeout=waiting.seconds)
            except asyncio.CancelledError:
                self._intake.withdraw(waiting.item)  # nobody knows of it: it must not say that an action began
                raise
            self._conclude(waiting)

    def _stored_sync(self, item: Item | None) -> None:
        """Wait for an item in a thread."""
        if item and (waiting := self._awaited(item)):
            with suppress(TimeoutError), self._withdrawing(waiting.item):
                waiting.future.exception(waiting.seconds)
            self._conclude(waiting)

    @contextmanager
    def _withdrawing(self, item: Item) -> Iterator[None]:
        """Withdraw an item if the block is left by Ctrl-C or the like."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self._intake.withdraw(item)
            raise

    def _prepare(self, event: AuditEvent) -> Record:
        return preparing.prepare(event, self.redactor, self.keyring, self._settings.data_characters)

    def _put(self, record: Record | None, durable: bool) -> Item:
        try:
            self._writer.start()
            item = Item(record, urgent=durable)
            self._intake.put(item)
        except AuditUnavailable:
            self._refused += 1
            raise
        return item

    def _awaited(self, item: Item) -> _Waiting | None:
        """Return what a caller waits for; None: nothing."""
        if item.done is not None:
            return _Waiting(item, item.done, self._settings.durable_s)
        return None if item.admitted is None else _Waiting(item, item.admitted, self._settings.admission_s)

    def _conclude(self, waiting: _Waiting) -> None:
        """Return if what was waited for has come.

        Raises:
            AuditUnavailable: It has not.
        """
        if not waiting.future.done():
            away = f" The storage is away: {self._writer.failure}" if self._writer.failure else ""
            if self._intake.withdraw(waiting.item):
                self._refused += 1
                raise AuditUnavailable(
                    f"The audit log did not take the event in time, and does not have it: {len(self._intake)} are "
                    f"queued.{away or ' The storage is too slow'}"
                )
        if waiting.future.done():  # also if it came at this moment
            error = waiting.future.exception()
        else:
            error = AuditUnavailable(
                f"The audit log has not stored the event in time; it may be stored yet.{away or ' The storage is slow'}"
            )
        if error is not None:
            self._refused += 1
            raise error

    async def flush(self) -> None:
        """Wait until all that was recorded is stored.

        Raises:
            AuditUnavailable: It was not within `durable_s`; it is still queued, unless the log was closed.
        """
        await self._stored(self._mark())

    def flush_sync(self) -> None:
        """Wait until all that was recorded is stored; see `flush`."""
        self._stored_sync(self._mark())

    def _mark(self) -> Item | None:
        """Put a mark behind all that was recorded; None if there is nothing that could be waited for."""
        return None if self._intake.is_closed else self._put(None, True)

    def statistics(self) -> AuditStatistics:
        """Return the figures of this moment."""
        writer = self._writer
        return AuditStatistics(
            len(self._intake),
            self._intake.in_line,
            writer.stored,
            self._refused,
            writer.retries,
            writer.failure,
        )

    def close(self, timeout_s: float = CLOSE_S) -> None:
        """Store what was recorded, sign the ends of the chains, and close the storage. May be called again.

        Args:
            timeout_s: Seconds that the storage is given.

        Raises:
            AuditUnavailable: It could not be stored; the message says how many rows are lost.
        """
        if not self._finalizer.detach():
            return
        lost = self._writer.close(timeout_s)
        if lost:
            raise AuditUnavailable(
                f"The audit log was closed and {lost} rows are not known to be stored in {self.storage.name}: "
                f"{self._writer.failure or 'the storage did not answer in time'}"
            )

    async def aclose(self, timeout_s: float = CLOSE_S) -> None:
        """Close the log without holding up the event loop; see `close`."""
        await asyncio.to_thread(self.close, timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)
