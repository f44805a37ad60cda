"""The savers: what LangGraph's interface asks for, over one database."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, aclosing, closing
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    BaseCheckpointSaver,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
)
from langgraph.checkpoint.base import ChannelVersions as Versions
from langgraph.checkpoint.serde.base import SerializerProtocol

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config.procedures import Procedure, aperform, perform
from stategraph.engine.tasks import threads
from stategraph.savers import sqlite_files
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.found import config_of_put
from stategraph.savers.methods import in_thread, performed
from stategraph.savers.sqlite import deleting, filters
from stategraph.savers.sqlite.connections import connect, taken
from stategraph.savers.sqlite.database import Database, Inside, Put, Read, Whole, Work, Write
from stategraph.savers.sqlite.history import histories
from stategraph.savers.sqlite.in_place import InPlace
from stategraph.savers.sqlite.lent import LentDatabase, is_lent
from stategraph.savers.sqlite.reading import Reader
from stategraph.savers.sqlite.schema import Mode, checked
from stategraph.savers.sqlite.writing import ErasedError
from stategraph.savers.upkeep.saver import Upkeep, drive
from stategraph.savers.upkeep.sizes import Size
from stategraph.savers.upkeep.tables import SqliteTables
from stategraph.savers.upkeep.words import SQLITE, Statements

T = TypeVar("T")


class SqliteSaver(Upkeep, BaseCheckpointSaver[str]):
    """Stores checkpoints in a SQLite file; all methods also in their async form.

    A new file gets the compact form, in which the bytes grow with the data of a thread. A file of
    `langgraph-checkpoint-sqlite` keeps its form, so that package's savers go on reading it.

    Args:
        conn: A connection made with `check_same_thread=False`. The saver has it for itself.
        serde: Serialises values; a `StrictSerializer` if None, which rebuilds no class that it was not told of. This
            engine tells it the classes in a graph's schemas; under another one name them yourself.
        mode: "compact" or "plain", the form of what will be written; None for that of the file. Both are read.

    Raises:
        ConfigurationError: The connection is one of another library, or makes rows of its own kind; or the mode is
            another word.
    """

    def __init__(
        self, conn: sqlite3.Connection, *, serde: SerializerProtocol | None = None, mode: Mode | None = None
    ) -> None:
        super().__init__(serde=StrictSerializer() if serde is None else serde)
        self._database = self._database_of(conn, checked(mode))
        self._coder = Coder(self.serde)

    def _database_of(self, conn: sqlite3.Connection, mode: Mode | None) -> Database:
        return Database(taken(conn), mode)

    @property
    def conn(self) -> sqlite3.Connection:
        """The connection."""
        return self._database.connection

    @property
    def lock(self) -> threading.Lock:
        """Held by whoever uses the connection."""
        return self._database.lock

    @classmethod
    def _opened(cls, path: str, serde: SerializerProtocol | None, mode: Mode | None) -> Self:
        """Open a saver that has to be closed."""
        checked(mode)
        connection = connect(path)
        try:
            saver = cls(connection, serde=serde, mode=mode)
        except BaseException:
            connection.close()
            raise
        saver._database.owned = True
        return saver

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, serde: SerializerProtocol | None = None, mode: Mode | None = None
    ) -> AbstractContextManager[Self]:
        """Open a saver on a file, for a `with` statement that closes it at its end.

        Args:
            conn_string: The path of the file, with `~` for the home directory; `:memory:`; or an address of SQLite's
                own, such as `file:runs.db?mode=ro`.
            serde: As for the class.
            mode: As for the class.

        Raises:
            ConfigurationError: The mode is another word, or the path is empty.
            sqlite3.OperationalError: The file cannot be opened; the message says why.
        """
        return closing(cls._opened(conn_string, serde, mode))

    def close(self) -> None:
        """Close the connection, once nobody uses it and all that was asked for is done."""
        self._database.close()

    @property
    def mode(self) -> Mode:
        """The form of what will be written."""
        return self._database.schema().mode

    def setup(self) -> Any:
        """Make the tables; every other method does so by itself."""
        self._database.do(Read(lambda _: None))

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> SqliteSaver:
        """Return a saver on the same connection that may also bring back further classes."""
        twin = super().with_allowlist(extra_allowlist)
        if twin is self or not isinstance(twin, SqliteSaver):
            return self
        twin._coder = Coder(twin.serde)
        return twin

    def get_next_version(self, current: str | None, channel: None) -> str:
        """Return the version of a channel after a write; as the savers of `langgraph-checkpoint-sqlite` number them."""
        number = 0 if current is None else int(str(current).split(".")[0])
        return f"{number + 1:032}.{random.random():016}"

    # Reading.

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint with its pending writes; with no id in the config the newest of its thread."""
        return cast("CheckpointTuple | None", self._database.do(self._getting(config)))

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint with its pending writes; with no id in the config the newest of its thread."""
        return cast("CheckpointTuple | None", await self._database.hand_over(self._getting(config)))

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List checkpoints, the newest first. One that is deleted in the meantime is left out.

        Raises:
            ValueError: A key of the filter holds something else than letters, digits, dots, dashes and underscores.
        """
        loaded = (
            self._database.do(self._loading(place))
            for place in self._database.do(self._listing(config, filter, before, limit))
        )
        yield from (found for found in loaded if found is not None)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints; as `list`, with the same options."""
        for place in await self._database.hand_over(self._listing(config, **options)):
            found = await self._database.hand_over(self._loading(place))
            if found is not None:
                yield found

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Load what delta channels are rebuilt from."""
        return cast("Mapping[str, Any]", self._database.do(self._looking_back(config, channels)) if channels else {})

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Load what delta channels are rebuilt from."""
        if not channels:
            return {}
        return cast("Mapping[str, Any]", await self._database.hand_over(self._looking_back(config, channels)))

    # Writing.

    def put(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: Versions
    ) -> RunnableConfig:
        """Store a checkpoint.

        In the compact form a channel that is not among `new_versions`, and has the version that it had in the
        checkpoint before, is stored as it was there.
        """
        saving = self._put(config, checkpoint, metadata, new_versions)
        return cast("RunnableConfig", self._database.do(saving))

    async def aput(
        self, config: RunnableConfig, checkpoint: Checkpoint, metadata: CheckpointMetadata, new_versions: Versions
    ) -> RunnableConfig:
        """Store a checkpoint; as `put`."""
        return cast(
            "RunnableConfig",
            await self._database.hand_over(self._put(config, checkpoint, metadata, new_versions)),
        )

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written."""
        self._database.do(self._put_writes(config, writes, task_id, task_path))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written."""
        await self._database.hand_over(self._put_writes(config, writes, task_id, task_path))

    def put_together(self, saves: Sequence[Save]) -> int:
        """Store saves of one thread in one transaction, the first of them that can be stored; returns how many.

        Raises:
            Exception: What the first one failed with; nothing was stored.
        """
        return perform(self._together(saves, self._database.do))

    async def aput_together(self, saves: Sequence[Save]) -> int:
        """Store saves of one thread in one transaction; as `put_together`."""
        return cast("int", await aperform(self._together(saves, self._database.hand_over)))

    def put_within(self, saves: Sequence[Save], inside: Inside) -> RunnableConfig | None:
        """Store saves of one thread in a transaction with something else, all of them or nothing.

        Args:
            saves: At least one.
            inside: Called with the connection before they are stored; what it raises is raised.

        Returns:
            The config of a checkpoint, if it is the only save; else None.
        """
        return _place_of(saves, self._database.do(Whole(saves, self._coder, inside)))

    async def aput_within(self, saves: Sequence[Save], inside: Inside) -> RunnableConfig | None:
        """Store saves of one thread in a transaction with something else; as `put_within`."""
        return _place_of(saves, await self._database.hand_over(Whole(saves, self._coder, inside)))

    def delete_thread_within(self, thread_id: str, inside: Inside) -> None:
        """Delete a thread in a transaction with something else, which is called before with the connection."""
        self._database.do(self._deletion(thread_id, inside))

    async def adelete_thread_within(self, thread_id: str, inside: Inside) -> None:
        """Delete a thread in a transaction with something else; as `delete_thread_within`."""
        await self._database.hand_over(self._deletion(thread_id, inside))

    async def atransact(
        self,
        inside: Callable[[sqlite3.Connection], T],
        *,
        writes: bool = True,
        then: Callable[[], None] | None = None,
        quick: bool = False,
    ) -> T:
        """Call something with the connection, in a transaction and another thread; return its result.

        Args:
            inside: It is not to end the transaction.
            writes: Whether it writes.
            then: If it writes, called in that thread once it was committed; it is not to raise.
            quick: Whether it takes microseconds; then it may be called in the event loop, see `work_in_place`.
        """
        work = Write([], self._coder, inside, then) if writes else Read(lambda _: inside(self.conn))
        work.is_quick = quick
        return cast("T", await self._database.hand_over(work))

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread, and their values."""
        self._database.do(self._deletion(thread_id))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of a thread, and their values."""
        await self._database.hand_over(self._deletion(thread_id))

    # Upkeep; see `Upkeep`.

    def _measure(self) -> Procedure[Size]:
        """Measure the database and its threads; the bytes on the disk are those of the file and its log."""
        found = yield from self._size()
        return replace(found, bytes=sqlite_files.bytes_on_disk(self._database.path) or found.bytes)

    _words = SQLITE
    _tables = SqliteTables()

    prune = performed(Upkeep._prune)  # type: ignore[arg-type]
    has_thread = performed(Upkeep._has_thread)
    size = performed(_measure)
    vacuum = performed(Upkeep._vacuum)
    convert = performed(Upkeep._convert)
    aprune = in_thread(prune)
    ahas_thread = in_thread(has_thread)
    asize = in_thread(size)
    avacuum = in_thread(vacuum)
    aconvert = in_thread(convert)

    def _kept_up(self, begin: Callable[[], Statements[T]], *, writes: bool = True) -> Procedure[T]:
        def inside(connection: sqlite3.Connection) -> T:
            return drive(begin(), lambda statement, given: connection.execute(statement, given).fetchall())

        work = Write([], self._coder, inside) if writes else Read(lambda _: inside(self.conn))
        return cast("T", (yield partial(self._database.do, work)))

    def _alone(self, statements: Sequence[str]) -> Procedure[None]:
        yield partial(self._database.alone, statements)

    def _formed_as(self, mode: Mode) -> Procedure[None]:
        yield partial(self._database.form, mode)

    def _delete(self, thread_id: str) -> Procedure[None]:
        yield partial(self.delete_thread, thread_id)

    def work_in_place(self, move_log: Callable[[], object] | None) -> None:
        """Have async callers store and load single checkpoints in their event loop, which is faster where many do.

        While the file is slow, or another connection writes, a thread does so, as it does by default.

        Args:
            move_log: Called from time to time, to have another thread move the write-ahead log into the file
                (`PRAGMA wal_checkpoint`), as the event loop does not; returns at once, and never raises. None: threads
                do everything.
        """
        database = self._database
        database.work_in_place(None if move_log is None else InPlace(move_log, database.path))

    def forget(self, thread_id: str) -> None:
        """Forget what is remembered of a thread."""
        self._database.forget(thread_id)

    # What is done with the connection.

    def _put(self, *arguments: object) -> Put:
        return Put([("put", arguments)], self._coder)

    def _put_writes(self, *arguments: object) -> Write:
        return Write([("put_writes", arguments)], self._coder)

    def _deletion(self, thread_id: str, inside: Inside | None = None) -> Write:
        def delete(connection: sqlite3.Connection) -> None:
            if inside is not None:
                inside(connection)
            deleting.delete_thread(str(thread_id), connection)

        return Write([], self._coder, delete)

    def _together(self, saves: Sequence[Save], how: Callable[[Work], Any]) -> Procedure[int]:
        try:
            stored: int = yield partial(how, Write(saves, self._coder))
        except Exception as error:
            # For a lock one of them would wait for as long, and of an erased thread no part is to be left.
            if len(saves) == 1 or isinstance(error, ErasedError) or _is_about_locks(error):
                raise
            stored = yield partial(how, Write(saves[:1], self._coder))
        return stored

    def _getting(self, config: RunnableConfig) -> Read:
        conf = config["configurable"]
        place = (str(conf["thread_id"]), conf.get("checkpoint_ns", ""), conf.get("checkpoint_id"))

        def get(reader: Reader) -> CheckpointTuple | None:
            found = reader.find(*place)
            return None if found is None else reader.load(found, self._coder, is_start=True)

        read = Read(get)
        read.is_quick = True
        return read

    def _loading(self, place: tuple[str, str, str]) -> Read:
        def load(reader: Reader) -> CheckpointTuple | None:
            found = reader.find(*place)
            return None if found is None else reader.load(found, self._coder, is_start=False)

        return Read(load)

    def _listing(
        self,
        config: RunnableConfig | None,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Read:
        condition, parameters = filters.where(config, filter, before)
        end = "" if limit is None else f" LIMIT {int(limit)}"
        statement = (
            "SELECT thread_id, checkpoint_ns, checkpoint_id FROM checkpoints"
            f"{condition} ORDER BY checkpoint_id DESC{end}"
        )
        return Read(lambda _: self.conn.execute(statement, parameters).fetchall())

    def _looking_back(self, config: RunnableConfig, channels: Sequence[str]) -> Read:
        conf = config["configurable"]
        thread_id, namespace = str(conf["thread_id"]), conf.get("checkpoint_ns", "")

        def look_back(reader: Reader) -> Mapping[str, Any]:
            found = reader.find(thread_id, namespace, conf.get("checkpoint_id"))
            if found is None:
                return {channel: {"writes": []} for channel in channels}
            return histories(reader, self.conn, self._coder, (thread_id, namespace, found.id), channels)

        return Read(look_back)


class AsyncSqliteSaver(SqliteSaver):
    """A `SqliteSaver` that is opened and set up in async code.

    Args:
        conn: As for a `SqliteSaver`, or a connection of `aiosqlite` to a file, open or not: the saver opens the file
            once more by a connection of its own, in the same way, at its first call, which has to be an async one.
        serde: As for a `SqliteSaver`.
        mode: As for a `SqliteSaver`.

    Raises:
        ConfigurationError: As for a `SqliteSaver`; by the first call, if the connection of `aiosqlite` is one to a
            database in memory.
    """

    def __init__(self, conn: Any, *, serde: SerializerProtocol | None = None, mode: Mode | None = None) -> None:
        super().__init__(conn, serde=serde, mode=mode)

    def _database_of(self, conn: Any, mode: Mode | None) -> Database:
        return LentDatabase(conn, mode) if is_lent(conn) else super()._database_of(conn, mode)

    @classmethod
    def from_conn_string(  # type: ignore[override]
        cls, conn_string: str, *, serde: SerializerProtocol | None = None, mode: Mode | None = None
    ) -> AbstractAsyncContextManager[Self]:
        """Open a saver on a file, for an `async with` statement; as `SqliteSaver.from_conn_string`."""
        return aclosing(cls._opened(conn_string, serde, mode))

    async def aclose(self) -> None:
        """Close the connection, once all that was asked for is done; the event loop is free meanwhile."""
        ending = threads.pool().submit(self.close)
        cancelled: asyncio.CancelledError | None = None
        while not ending.done():
            try:
                await asyncio.shield(ending)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def setup(self) -> None:
        """Make the tables; every other method does so by itself."""
        await self._database.hand_over(Read(lambda _: None))


def _is_about_locks(error: Exception) -> bool:
    code: int = getattr(error, "sqlite_errorcode", None) or 0  # the lowest byte is the kind, the next its variant
    return code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _place_of(saves: Sequence[Save], stored: object) -> RunnableConfig | None:
    return config_of_put(saves[0][1]) if stored == 1 and saves[0][0] == "put" else None
