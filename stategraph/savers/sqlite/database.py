"""The one connection of a saver, and who has it.

Rules
-----
* Whoever gets the connection does all that waits for it: saves that came in the meantime, from any run and any thread,
  become one transaction. Each of them succeeds or fails alone.
* Async callers hand their work to a thread of the process's pool; however many wait, it is one thread.
* A read is a transaction of its own: it sees all of a save or nothing.
* A connection belongs to the process that opened it: SQLite's locks do not go along with a fork.
"""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby, islice
from typing import Any, Final, cast

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.tasks import threads
from stategraph.engine.tasks.posting import Mailbox, mailbox
from stategraph.savers import sqlite_files
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.found import config_of_put
from stategraph.savers.compact.known import Known, KnownThreads
from stategraph.savers.compact.plan import Plan, plan, thread_of
from stategraph.savers.sqlite.connections import lock_of, path_of
from stategraph.savers.sqlite.in_place import MOST, MOST_BYTES, InPlace
from stategraph.savers.sqlite.reading import Reader
from stategraph.savers.sqlite.schema import Mode, Schema, prepare
from stategraph.savers.sqlite.writing import Statements, check_chains, put_values, thread_row

Inside = Callable[[sqlite3.Connection], object]
"""Something else that belongs to a transaction; it raises to have it undone, and is called again if that is redone."""

_PAGES: Final = 1000
"""Pages of the write-ahead log after which SQLite moves it into the file; its own default."""

_TO_WRITE: Final = "BEGIN IMMEDIATE"

_MOST_BYTES: Final = 64 * 1024 * 1024
"""Limit for what is remembered of the values of threads."""


class Work:
    """Something to be done with the connection.

    Attributes:
        is_done: Whether it was done.
        result: Its result.
        error: The exception that it raised.
        told: Called once it is done, in the thread that did it.
        is_quick: Whether it takes microseconds: a few rows by their keys.
    """

    __slots__ = ("error", "is_done", "is_quick", "result", "told")

    def __init__(self) -> None:
        self.told: Callable[[], None] | None = None
        self.is_quick = False
        self.is_done = False
        self.result: Any = None
        self.error: BaseException | None = None

    def end(self) -> None:
        """Take note that it is done."""
        self.is_done = True
        if self.told is not None:
            self.told()

    def outcome(self) -> Any:
        """Return its result, or raise its exception."""
        if self.error is not None:
            raise self.error
        return self.result


class Read(Work):
    """A read, in a transaction of its own; the result is what the call returns.

    Attributes:
        call: Reads.
    """

    __slots__ = ("call",)

    def __init__(self, call: Callable[[Reader], object]) -> None:
        super().__init__()
        self.call = call


class Write(Work):
    """Saves of one thread; the result is the number of those that were stored, the first ones up to one that failed.

    Attributes:
        saves: Methods and their arguments.
        coder: Encodes.
        inside: Something else that belongs to the transaction, before the saves; it is all there is, if there are none,
            and its result the result.
        then: Called in the thread that did it, once it was committed and its caller was told; never raises.
        thread_id: The thread, once the saves were looked at.
        is_whole: Whether they are stored all or not at all.
    """

    __slots__ = ("coder", "inside", "saves", "then", "thread_id")
    is_whole = False

    def __init__(
        self,
        saves: Sequence[Save],
        coder: Coder,
        inside: Inside | None = None,
        then: Callable[[], None] | None = None,
    ) -> None:
        super().__init__()
        self.is_quick = bool(saves)
        self.then = then
        self.saves = saves
        self.coder = coder
        self.inside = inside
        self.thread_id: str | None = None

    def end(self) -> None:
        """Take note that it is done."""
        super().end()
        if self.then is not None and self.error is None:
            self.then()


class Whole(Write):
    """Saves of one thread that are stored all or not at all."""

    __slots__ = ()
    is_whole = True


class Put(Write):
    """A checkpoint of one thread; the result is the config that addresses it."""

    __slots__ = ()

    def outcome(self) -> Any:
        """Return the config, or raise the exception."""
        super().outcome()
        return config_of_put(self.saves[0][1])


class Database:
    """A connection to SQLite.

    Args:
        connection: The connection; used in one thread at a time, but in any.
        mode: As for the savers.

    Attributes:
        connection: The connection.
        lock: Held by who uses it.
        path: The file; an empty text for a database in memory.
        owned: Whether nobody else closes the connection.
        in_place: Decides whether async callers have what takes microseconds done in their event loop; None: a thread
            does everything.
    """

    def __init__(self, connection: sqlite3.Connection, mode: Mode | None) -> None:
        self.connection = connection
        self.lock = lock_of(connection)
        self.path = path_of(connection)
        self.owned = False
        self.in_place: InPlace | None = None
        self._process = os.getpid()
        self._mode: Mode | None = mode
        self._schema: Schema | None = None
        self._known = KnownThreads(_MOST_BYTES)
        self._waiting: deque[Work] = deque()
        self._worker = threads.SingleWorker()  # for async callers
        self._due: Mailbox | None = None  # of the loop that is about to do what waits
        self._is_in_loop = False
        self._has_begun = False
        self._busy_ms = 0

    def schema(self) -> Schema:
        """Return what the tables are like, and make them before.

        Raises:
            ConfigurationError: The file has tables of another program under the same names.
            sqlite3.Error: The file cannot be used; the message says why.
        """
        with self._alone():
            return self._prepared()[0]

    def do(self, work: Work) -> Any:
        """Do something, and whatever else waits; return its result.

        Raises:
            BaseException: It failed, and left nothing behind.
        """
        self._check_process()
        self._waiting.append(work)
        with self.lock:
            if not work.is_done:
                self._drain()
        return work.outcome()

    def alone(self, statements: Sequence[str]) -> None:
        """Execute statements outside of a transaction, with the connection for itself."""
        with self._alone():
            self._prepared()
            self._settle_transaction()
            for statement in statements:
                self.connection.execute(statement).fetchall()

    def close(self) -> None:
        """Do all that waits, of callers too that were cancelled, and close the connection; not after a fork."""
        self.owned = False
        if os.getpid() != self._process:
            return
        with self.lock:
            self._drain()
            self.connection.close()

    def close_unheld(self) -> None:
        """Close the connection, but leave it to another saver that has it in use; for the garbage collector.

        The collector may run anywhere, also in the thread that has the lock: whoever waited for it would wait for ever.
        """
        if self.lock.acquire(blocking=False):
            try:
                with suppress(sqlite3.Error):
                    self._drain()
                    self.connection.close()
            finally:
                self.lock.release()

    def __del__(self) -> None:
        if not getattr(self, "owned", False) or os.getpid() != self._process:
            return
        file = f"'{self.path}'" if self.path else "a database in memory"
        warnings.warn(
            f"A saver on {file} was not closed: open it in a 'with' or 'async with' statement, or call its close()",
            ResourceWarning,
            source=self,
            stacklevel=1,
        )
        self.close_unheld()

    def form(self, mode: Mode) -> None:
        """Have the tables of a form from now on."""
        with self._alone():
            self._mode, self._schema = mode, None
            self._prepared()

    def forget(self, thread_id: str) -> None:
        """Forget what is known of a thread."""
        with self.lock:
            self._known.forget(thread_id)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Have the connection for oneself."""
        self._check_process()
        with self.lock:
            try:
                yield
            except Exception as error:
                sqlite_files.explain(error, self.path)
                raise

    def _check_process(self) -> None:
        if os.getpid() != self._process:
            file = f"'{self.path}'" if self.path else "a database in memory"
            raise sqlite3.ProgrammingError(
                f"The saver on {file} was opened by process {self._process}, and this is process {os.getpid()}, which "
                "was forked from it: SQLite allows no connection to be used by both. Open a saver in each process"
            )

    async def hand_over(self, work: Work) -> Any:
        """Have something done in another thread; return its result. Being cancelled does not undo it.

        Raises:
            BaseException: It failed, and left nothing behind.
        """
        self._check_process()
        letters = mailbox()
        answer = letters.future()
        work.told = partial(letters.settle, answer)
        self._waiting.append(work)
        if self.in_place is None or not (work.is_quick and self.in_place.is_fast()):
            self._drain_soon()
        elif self._due is not letters:
            letters.soon(self._drain_in_place, self.in_place)
            self._due = letters
        await answer
        return work.outcome()

    def _drain_soon(self) -> None:
        """Have all that waits done in another thread."""
        self._worker.begin(self._waiting, self._drain_alone)

    def _drain_alone(self) -> None:
        with self.lock:
            self._drain()

    def _drain_in_place(self, how: InPlace) -> None:
        """Do what waits in the event loop, unless that takes long, or would have to wait for anybody."""
        self._due = None
        try:
            if self._waiting and self.lock.acquire(blocking=False):
                try:
                    with how.timed():
                        self._drain_quick()
                finally:
                    self.lock.release()
        finally:
            if self._waiting:
                self._drain_soon()

    def _drain_quick(self) -> None:
        coming = list(islice(self._waiting, MOST))
        if not all(work.is_quick for work in coming):
            return
        try:
            self._is_in_loop = True
            writes = any(isinstance(work, Write) for work in coming)
            if self._is_at_hand() and (not writes or self._began_at_once()):
                self._drain(len(coming))
        finally:
            self._has_begun = self._is_in_loop = False
            with suppress(sqlite3.Error):  # it was closed
                if self.connection.in_transaction:  # nothing could be written
                    self.connection.rollback()

    def _is_at_hand(self) -> bool:
        """Return whether the tables are known, and have not been changed: to prepare them may have to wait."""
        try:
            self._settle_transaction()
            return self._schema is not None and self._schema_version() == self._version
        except sqlite3.Error:  # a thread meets it again, and tells those who wait
            return False

    def _began_at_once(self) -> bool:
        """Begin a transaction that writes; False if another connection has the file's one lock for that."""
        connection = self.connection
        try:
            connection.execute("PRAGMA busy_timeout=0").close()
            try:
                connection.execute(_TO_WRITE)
            finally:
                connection.execute(f"PRAGMA busy_timeout={self._busy_ms}").close()
        except sqlite3.Error:  # a thread waits for the lock, or meets the error again
            return False
        self._has_begun = True
        return True

    def _drain(self, most: int | None = None) -> None:
        """Do all that waits, or so much of it, in order; saves that follow each other in one transaction."""
        taken: list[Work] = []
        put_off: list[Write] = []
        try:
            while self._waiting and len(taken) != most:
                taken.append(self._waiting.popleft())
            taken.sort(key=_is_read)  # who waits for a read has not seen anything of what is written meanwhile
            for is_write, several in groupby(taken, lambda work: isinstance(work, Write)):
                if is_write:
                    writes = cast("list[Write]", [*several])
                    if not self._write_all(writes):
                        put_off = writes
                    continue
                for read in cast("Iterator[Read]", several):
                    self._read(read)
        finally:
            self._waiting.extendleft(reversed(put_off))
            for work in taken:
                if not (work.is_done or work in put_off):
                    work.error = work.error or RuntimeError("The thread that was about to do this was interrupted")
                    work.end()

    # What is done, with the lock held.

    def _prepared(self) -> tuple[Schema, Reader, Statements]:
        if self._schema is None:
            self._schema = prepare(self.connection, self._mode)
            self._reader = Reader(self.connection, self._schema, self._known)
            self._statements = Statements(has_refs=self._schema.has_refs)
            self._version = self._schema_version()
        return self._schema, self._reader, self._statements

    def _schema_version(self) -> int:
        return int(self.connection.execute("PRAGMA schema_version").fetchone()[0])

    def _begin(self, statement: str) -> tuple[Schema, Reader, Statements]:
        """Begin a transaction; return what the tables are like in it, as another process may have converted them."""
        while True:
            prepared = self._prepared()
            if self._has_begun and statement == _TO_WRITE:
                self._has_begun = False
            else:
                self._settle_transaction()
                self.connection.execute(statement)
            if self._schema_version() == self._version:
                return prepared
            self.connection.rollback()
            self._schema = None

    def _read(self, work: Read) -> None:
        try:
            reader = self._begin("BEGIN")[1]
            try:
                work.result = work.call(reader)
            finally:
                self.connection.rollback()
        except Exception as error:  # kept for the caller to raise
            sqlite_files.explain(error, self.path)
            work.error = error
        work.end()

    def work_in_place(self, in_place: InPlace | None) -> None:
        """Have async callers do what takes microseconds in their event loop, or not any more (None)."""
        with self._alone():
            ((self._busy_ms,),) = self.connection.execute("PRAGMA busy_timeout").fetchall()
            # Else whoever commits moves the log into the file now and then.
            self.connection.execute(f"PRAGMA wal_autocheckpoint={_PAGES if in_place is None else 0}").close()
            self.connection.execute(f"PRAGMA journal_size_limit={-1 if in_place is None else MOST_BYTES}").close()
            self.in_place = in_place

    def _write_all(self, writes: Sequence[Write]) -> bool:
        """Do what callers ask for, and tell them; False if it is left to a thread, as the event loop would wait."""
        try:
            if not self._stored(writes):
                return False
        except Exception as error:  # kept for the callers to raise
            sqlite_files.explain(error, self.path)
            for write in writes:
                write.error = write.error or error
        except BaseException:  # an interrupt of this thread: it is nobody else's
            for write in writes:
                self._forget(write)
            raise
        for write in writes:
            if write.error is not None:
                self._forget(write)
            elif write.thread_id is not None:
                self._known.bound(write.thread_id)
            write.end()
        if self.in_place is not None:
            self.in_place.written()
        return True

    def _stored(self, writes: Sequence[Write]) -> bool:
        """Do what callers ask for in a transaction, and commit that; False if nothing was done, see `_write_all`."""
        schema = self._prepared()[0]
        # Encoding needs no lock of the file, so it comes before.
        plans = self._plans(writes)
        if self._begin(_TO_WRITE)[0] is not schema:
            for write in writes:
                self._forget(write)
            plans = self._plans(writes)
        try:
            if len(writes) == 1:
                self._write_alone(writes[0], plans[0])
            elif not self._write_together(writes, plans):
                if self._is_in_loop and not self._began_at_once():
                    for write in writes:
                        self._forget(write)
                        write.error = None
                    return False
                self._write_one_by_one(writes)
            self.connection.commit()
        finally:
            if self.connection.in_transaction:
                self.connection.rollback()
        return True

    def _settle_transaction(self) -> None:
        """Commit what the owner of the connection has begun with it."""
        if self.connection.in_transaction:
            self.connection.commit()

    def _forget(self, write: Write) -> None:
        if write.thread_id is not None:
            self._known.forget(write.thread_id)

    def _plans(self, writes: Sequence[Write]) -> list[Plan | None]:
        """Encode the saves of callers; what one of them fails with is noted in its write."""
        plans: list[Plan | None] = []
        for write in writes:
            planned = None
            if write.error is None:
                try:
                    planned = self._planned(write)
                except Exception as error:  # kept for its caller to raise
                    write.error = error
                    self._forget(write)
            plans.append(planned)
        return plans

    def _planned(self, write: Write) -> Plan | None:
        """Encode saves; None if there is nothing to encode."""
        if not write.saves:
            return None
        schema, reader, _ = self._prepared()
        thread_id = write.thread_id = thread_of(write.saves[0])
        if schema.mode == "plain":
            return plan(write.saves, write.coder, None)
        known = self._known.get(thread_id) or self._learnt(reader, thread_id, write)
        made = plan(write.saves, write.coder, known)
        self._known.keep(thread_id, known)
        return made

    def _learnt(self, reader: Reader, thread_id: str, write: Write) -> Known:
        """Learn of a thread what its saves are going to refer to: the values of the checkpoint that they follow."""
        row = thread_row(self.connection, thread_id)
        if row is None:
            return Known()
        conf = write.saves[0][1][0]["configurable"]
        parent_id = conf.get("checkpoint_id")
        found = reader.find(thread_id, conf.get("checkpoint_ns", ""), parent_id) if parent_id else None
        return reader.values(thread_id, write.coder, [] if found is None else [found.refs])

    def _write_alone(self, write: Write, planned: Plan | None) -> None:
        """Do what the only caller asks for; what it raises ends the transaction."""
        if write.error is None:
            self._write_planned(write, planned)

    def _write_together(self, writes: Sequence[Write], plans: Sequence[Plan | None]) -> bool:
        """Do what all callers ask for; if one of them fails, undo all, end the transaction, and return False."""
        try:
            for write, planned in zip(writes, plans, strict=True):
                if write.error is None:
                    self._write_planned(write, planned)
        except Exception:  # the failure is met again, and noted for its caller
            self.connection.rollback()
            return False
        return True

    def _write_one_by_one(self, writes: Sequence[Write]) -> None:
        """Do what callers ask for in a new transaction, in which each of them succeeds or fails alone."""
        for write in writes:
            self._forget(write)
        self._begin(_TO_WRITE)
        for write, planned in zip(writes, self._plans(writes), strict=True):
            if write.error is None:
                self._write_within(write, planned)

    def _write_within(self, write: Write, planned: Plan | None) -> None:
        """Do what one caller asks for; if it fails, none of it is left."""
        execute = self.connection.execute
        execute("SAVEPOINT save")
        try:
            self._write_planned(write, planned)
        except Exception as error:
            if not self.connection.in_transaction:
                raise  # SQLite has undone all of it by itself, as where the disk is full
            sqlite_files.explain(error, self.path)
            write.error = error
            execute("ROLLBACK TO save")
            self._forget(write)
        execute("RELEASE save")

    def _write_planned(self, write: Write, planned: Plan | None) -> None:
        if write.inside is not None:
            write.result = write.inside(self.connection)
        if planned is None:
            return
        _, _, statements = self._prepared()
        if planned.known is not None and not self._put_values(planned):
            # Another process has saved something of this thread, or deleted it. Nobody else can now.
            self._known.forget(planned.thread_id)
            planned = cast("Plan", self._planned(write))
            if not self._put_values(planned):
                raise sqlite3.IntegrityError(f"Thread '{planned.thread_id}' changes while it is locked")
        if planned.error is not None and (write.is_whole or not planned.stored):
            raise planned.error
        check_chains(self.connection, planned.thread_id, planned.rows)
        statements.rows(self.connection, planned.thread_id, planned.rows)
        write.result = planned.stored

    def _put_values(self, planned: Plan) -> bool:
        known = self._known.get(planned.thread_id)
        return known is not None and known is planned.known and put_values(self.connection, planned, known)


def _is_read(work: Work) -> bool:
    return isinstance(work, Read)
