"""The compact form on PostgreSQL: what is executed to save and to read, for sync and async savers.

Rules
-----
* A save is planned for what this process knows of the thread, and stored if the database knows the same, in one
  statement. If not, what is known is read again, and the save planned anew.
* Whoever plans or reads has a connection first and the conversation's lock then, so nobody who has the lock waits for a
  connection.
* What fails, or is cancelled, is forgotten: nothing is known of the thread until it is read again.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from weakref import WeakValueDictionary

from langgraph.checkpoint.base import CheckpointTuple, writes_sort_key
from psycopg import errors

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.config.procedures import Enter, Procedure
from stategraph.savers.compact import records
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.decoder import Decoder
from stategraph.savers.compact.found import WriteFound, written
from stategraph.savers.compact.known import Known, KnownThreads
from stategraph.savers.compact.nodes import Run
from stategraph.savers.compact.plan import Plan, plan, thread_of
from stategraph.savers.postgres import reading
from stategraph.savers.postgres.connections import execute_after
from stategraph.savers.postgres.libpq import has_sqlstate
from stategraph.savers.postgres.rows import CHANGED, NOTHING, Rows, Statement, check_of, claims
from stategraph.savers.postgres.schema import Form, Mode

T = TypeVar("T")

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Limit for what is remembered of the values of threads."""

_ATTEMPTS: Final = 100
"""Tries to plan a save while other processes save to the same thread."""

_PAGE: Final = 256
"""Ancestors of a checkpoint that are read at once."""

Place = tuple[str, str, str]
"""Thread, namespace and checkpoint."""


class Shared:
    """State that a saver and its copies share.

    Args:
        mode: The form of what will be written, as it was asked for.
        make_lock: Makes the lock of a conversation.

    Attributes:
        mode: As above.
        form: What the tables are like, once that is known.
    """

    def __init__(self, mode: Mode | None, make_lock: Callable[[], Any]) -> None:
        self.mode = mode
        self.form: Form | None = None
        self._make_lock = make_lock
        self._known = KnownThreads(_MOST_BYTES)
        self._locks: WeakValueDictionary[str, Any] = WeakValueDictionary()
        self._mutex = threading.Lock()

    def lock(self, thread_id: str) -> Any:
        """Return the lock of a conversation; there is one as long as somebody has it."""
        with self._mutex:
            lock = self._locks.get(thread_id)
            if lock is None:
                lock = self._locks[thread_id] = self._make_lock()
            return lock

    def known(self, thread_id: str) -> Known | None:
        """Return what is known of a thread."""
        with self._mutex:
            return self._known.get(thread_id)

    def keep(self, thread_id: str, known: Known) -> None:
        """Keep what is known of a thread."""
        with self._mutex:
            self._known.keep(thread_id, known)

    def bound(self, thread_id: str) -> None:
        """Forget a thread that takes too much; see `KnownThreads.bound`."""
        with self._mutex:
            self._known.bound(thread_id)

    def forget(self, thread_id: str) -> None:
        """Forget a thread."""
        with self._mutex:
            self._known.forget(thread_id)


class Session:
    """The compact form over one cursor.

    Args:
        cursor: Executes, sync or async.
        pipe: The pipeline that its connection is in all along; None if it is in none.
        shared: What is known.
        coder: Encodes and decodes.
        keeps: Whether what was stored stays so; otherwise nothing is remembered of it.
    """

    def __init__(self, cursor: Any, pipe: Any, shared: Shared, coder: Coder, *, keeps: bool) -> None:
        self._cursor = cursor
        self._pipe = pipe
        self._shared = shared
        self._coder = coder
        self._keeps = keeps

    def _rows(self, statement: str, parameters: Any) -> Procedure[list[Mapping[str, Any]]]:
        yield partial(self._cursor.execute, statement, parameters)
        found: list[Mapping[str, Any]] = yield self._cursor.fetchall
        return found

    def locked(self, thread_id: str, use: Callable[[Session], Procedure[T]]) -> Procedure[T]:
        """Perform a procedure with a conversation's lock; if it fails, the thread is forgotten."""
        yield Enter(self._shared.lock(thread_id))
        try:
            done = yield from use(self)
        except BaseException:
            self._shared.forget(thread_id)
            raise
        if not self._keeps:
            self._shared.forget(thread_id)
        return done

    # Saving.

    def save(self, saves: Sequence[Save], before: Sequence[Statement] | None = None) -> Procedure[int]:
        """Store saves of one thread, up to the first that cannot be encoded, and return how many.

        Args:
            saves: The saves.
            before: Statements that come first in the same transaction; then all saves are stored, or none. None: there
                are none.

        Raises:
            Exception: The first one cannot be encoded; or any, if all are to be stored.
        """
        thread_id = thread_of(saves[0])
        for _ in range(_ATTEMPTS):
            known = self._shared.known(thread_id)
            if known is None:
                known = yield from self._learn(thread_id, saves[0])
            made = plan(saves, self._coder, known)
            if made.error is not None and (before is not None or not made.stored):
                raise made.error
            if (yield from self._store(made, known, before)):
                self._shared.keep(thread_id, known)
                self._shared.bound(thread_id)
                return made.stored
            self._shared.forget(thread_id)
        raise errors.SerializationFailure(
            f"Thread '{thread_id}' was changed by others each of the {_ATTEMPTS} times that a save was tried: try again"
        )

    def _store(self, made: Plan, known: Known, before: Sequence[Statement] | None) -> Procedure[bool]:
        if not known.id:
            known.epoch = secrets.randbits(62)
        rows = Rows()
        rows.add_plan(made)
        check = check_of(before)
        statement = rows.claiming(made, fails=before is not None and check is None, check=check) or check
        if before is not None and check is None:
            try:
                yield from execute_after(self._cursor, self._pipe, before, statement or NOTHING)
            except Exception as error:
                if not has_sqlstate(error, CHANGED):
                    raise
                return False
        elif statement is not None:
            yield partial(self._cursor.execute, *statement)
        if not claims(made):
            return True
        claimed = yield self._cursor.fetchall
        if claimed and claimed[0]["id"]:
            known.id = claimed[0]["id"]
        return bool(claimed)

    def _learn(self, thread_id: str, save: Save) -> Procedure[Known]:
        """Learn of a thread what a save is going to refer to: the checkpoint that it follows."""
        conf = save[1][0]["configurable"]
        if parent_id := conf.get("checkpoint_id"):
            yield from self.load((thread_id, conf.get("checkpoint_ns", ""), parent_id))
            known = self._shared.known(thread_id)
            if known is not None:
                return known
        return (yield from self._known(thread_id))

    # Reading.

    def load(self, place: tuple[str, str, str | None]) -> Procedure[CheckpointTuple | Place | None]:
        """Load a checkpoint that something may be saved after.

        Args:
            place: Thread, namespace and checkpoint; None for the newest one.

        Returns:
            The checkpoint; None if there is none; its place if it is one that their saver has to read.
        """
        thread_id = place[0]
        for attempt in range(3):
            known = self._shared.known(thread_id)
            statement = reading.NEWEST if place[2] is None else reading.ONE
            epoch = known.epoch if known is not None and known.id else None
            given = place if place[2] is not None else place[:2]
            rows = yield from self._rows(statement, (epoch, *given))
            if not rows:
                return None
            found = reading.found_in(rows[0])
            if reading.is_old(found.row):
                return (thread_id, place[1], found.row["checkpoint_id"])
            known = reading.known_of(found.row, known, self._coder)
            further = reading.further_of(found.row["values"] or ())
            if (yield from self._complete(known, found.refs, further)) or attempt == 2:
                self._shared.keep(thread_id, known)
                return reading.checkpoint_of(found, known, self._coder, is_start=True)
            self._shared.forget(thread_id)  # somebody has pruned it meanwhile
        raise AssertionError("the last attempt returns")

    def decode(self, row: Mapping[str, Any]) -> Procedure[CheckpointTuple | Place | None]:
        """Return a checkpoint that was listed; as `load`."""
        place = (row["thread_id"], row["checkpoint_ns"], row["checkpoint_id"])
        if reading.is_old(row):
            return place
        found = reading.found_in(row)
        known = reading.known_of(row, self._shared.known(place[0]), self._coder)
        if (yield from self._complete(known, found.refs)):
            self._shared.keep(place[0], known)
            return reading.checkpoint_of(found, known, self._coder, is_start=False)
        self._shared.forget(place[0])
        return (yield from self.load(place))

    def _complete(self, known: Known, refs: Iterable[str | None], further: Iterable[Run] = ()) -> Procedure[bool]:
        """Have the values that rows refer to, and those that these refer to; False if some are not there any more."""
        missing = reading.needed(known, refs, further)
        while missing:
            further = yield from self._fetch(known, missing)
            if known.missing(missing):
                return False
            missing = reading.needed(known, (), further)
        return True

    def _fetch(self, known: Known, runs: Sequence[Run]) -> Procedure[list[Run]]:
        firsts, lasts = [run[0] for run in runs], [run[1] for run in runs]
        rows = yield from self._rows(reading.VALUES, (firsts, lasts, known.id, known.epoch))
        values = [tuple(row.values()) for row in rows]
        for number, kind, value, _ in values:
            known.learn(number, *self._coder.open(kind, value))
        return reading.further_of(values)

    def histories(self, place: tuple[str, str, str], channels: Sequence[str]) -> Procedure[dict[str, Any] | None]:
        """Return for each channel the writes since its last value, the oldest first, and this value.

        Returns:
            None if their saver has to tell, as a checkpoint in the plain form is among them.
        """
        thread_id, namespace, checkpoint_id = place
        ids: dict[str, list[str]] = {channel: [] for channel in channels}
        seeds: dict[str, tuple[str | None, Any]] = {}
        seen = {checkpoint_id}
        start: str | None = checkpoint_id
        while start is not None and len(seeds) < len(ids):
            given = {"thread": thread_id, "ns": namespace, "id": start, "most": _PAGE}
            rows = yield from self._rows(reading.ANCESTORS, given)
            start = None
            for row in rows:
                if row["checkpoint_id"] in seen:
                    continue
                if len(seeds) == len(ids):
                    break
                if row["body"] is None:
                    return None
                seen.add(row["checkpoint_id"])
                start = row["checkpoint_id"] if len(rows) > _PAGE else None
                self._look_into(row, ids, seeds)
        return (yield from self._told((thread_id, namespace), ids, seeds))

    def _look_into(
        self, row: Mapping[str, Any], ids: Mapping[str, list[str]], seeds: dict[str, tuple[str | None, Any]]
    ) -> None:
        looking = [channel for channel in ids if channel not in seeds]
        opened = records.open_checkpoint(
            self._coder, row["checkpoint_id"], self._coder.open(row["type"], row["body"])[1]
        )
        for channel in looking:
            ids[channel].append(row["checkpoint_id"])
            if opened.nodes and channel in opened.nodes:
                seeds[channel] = (row["refs"], opened.nodes[channel])

    def _known(self, thread_id: str) -> Procedure[Known]:
        rows = yield from self._rows(reading.THREAD, (thread_id,))
        return Known(*rows[0].values()) if rows else Known()

    def _told(
        self,
        place: tuple[str, str],
        ids: Mapping[str, list[str]],
        seeds: Mapping[str, tuple[str | None, Any]],
    ) -> Procedure[dict[str, Any]]:
        thread_id, namespace = place
        every = sorted({each for several in ids.values() for each in several})
        rows = yield from self._rows(reading.WRITES_OF, (thread_id, namespace, every, list(ids)))
        writes: dict[tuple[str, str], list[WriteFound]] = {}
        for row in rows:
            found_in, *values = row.values()
            write = WriteFound(*values)
            if found_in in ids[write.channel]:
                writes.setdefault((write.channel, found_in), []).append(write)
        refs = [write.refs for several in writes.values() for write in several] + [refs for refs, _ in seeds.values()]
        known = self._shared.known(thread_id) or (yield from self._known(thread_id))
        if not (yield from self._complete(known, refs)):
            known = yield from self._known(thread_id)  # somebody has pruned the thread
            yield from self._complete(known, refs)
        self._shared.keep(thread_id, known)
        decoder = Decoder(self._coder, known.values)
        told: dict[str, Any] = {}
        for channel, several in ids.items():
            found = [
                write
                for each in reversed(several)
                for write in sorted(
                    writes.get((channel, each), ()), key=lambda w: writes_sort_key(w.task_path, w.task_id, w.position)
                )
            ]
            told[channel] = {"writes": [written(write, self._coder, decoder) for write in found]}
            if channel in seeds:
                told[channel]["seed"] = decoder.value(seeds[channel][1])
        return told
