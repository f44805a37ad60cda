"""Savers on PostgreSQL, in the compact form, or in the plain one on the tables of `langgraph-checkpoint-postgres`.

Rules
-----
* A save, or all saves that wait, is one statement: one round trip, one transaction.
* There is no lock around a pool: each call takes a connection of its own. A single connection has its lock.
* A connection that was lost is replaced, if it is one of a pool, and the call made once more.
* What is in the plain form is read by the savers of that package, which these are subclasses of.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import partial
from typing import Any, ClassVar, Final, Self, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import (
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    DeltaChannelHistory,
)
from langgraph.checkpoint.postgres import PostgresSaver as TheirSaver
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver as TheirAsyncSaver
from langgraph.checkpoint.postgres.base import BasePostgresSaver
from langgraph.checkpoint.serde.base import SerializerProtocol
from psycopg import AsyncConnection, Connection, DatabaseError, errors
from psycopg.rows import dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config.procedures import Enter, Procedure, aperform, perform
from stategraph.errors import ConfigurationError
from stategraph.savers.compact.coder import Coder
from stategraph.savers.compact.found import config_of, config_of_put
from stategraph.savers.compact.plan import thread_of
from stategraph.savers.methods import Opening, awaited, from_thread, performed
from stategraph.savers.postgres.chains import ErasedError, chained
from stategraph.savers.postgres.compact import Session, Shared
from stategraph.savers.postgres.connections import again, execute_after, is_away, is_pool, pool_settings
from stategraph.savers.postgres.explaining import SET_UP, connecting
from stategraph.savers.postgres.reading import listing
from stategraph.savers.postgres.rows import NOTHING, Statement, check_of, of_all_saves, of_saves
from stategraph.savers.postgres.schema import (
    COMPACT,
    FORM,
    LOCK,
    PAUSE,
    TABLES,
    UNLOCK,
    VERSION,
    WIDE,
    Form,
    Mode,
    checked,
    deletion,
    form_of,
)
from stategraph.savers.upkeep.saver import Upkeep
from stategraph.savers.upkeep.tables import PostgresTables
from stategraph.savers.upkeep.words import POSTGRES, Statements

T = TypeVar("T")

_SETUPS: Final = len(BasePostgresSaver.MIGRATIONS) + len(COMPACT) + 4
"""Tries to make the tables beside savers of the package, which know no lock: each that fails finds one more made."""

_TURNS: Final = 200
"""Pauses before the tables are made without the lock: behind a pooler that shares sessions it may be held for good."""

_MADE_MEANWHILE: Final = (
    errors.UniqueViolation,
    errors.DuplicateTable,
    errors.DuplicateColumn,
    errors.DuplicateObject,
    errors.DeadlockDetected,
    errors.InternalError_,
    errors.UndefinedTable,
)
"""Errors of a process that makes tables beside another one."""


def _rows(cursor: Any, statement: str) -> Procedure[list[Any]]:
    """Execute a statement and return its rows."""
    yield partial(cursor.execute, statement)
    return cast("list[Any]", (yield cursor.fetchall))


class _Saver(Upkeep, BasePostgresSaver):
    """Decides for both savers what is executed, as procedures."""

    conn: Any
    pipe: Any
    lock: Any
    _theirs: ClassVar[type[Any]]
    _pool: ClassVar[type[Any]]
    _connect: ClassVar[Callable[..., Any]]
    _new_lock: ClassVar[Callable[[], Any]]
    _mark: ClassVar[str] = ""
    _made_coder: Coder | None = None
    _words = POSTGRES
    _tables = PostgresTables()

    def __init__(
        self, conn: Any, pipe: Any = None, serde: SerializerProtocol | None = None, *, mode: Mode | None = None
    ) -> None:
        checked(mode)
        self._theirs.__init__(self, conn, pipe, serde or StrictSerializer())
        self._shared = Shared(mode, type(self)._new_lock)
        if is_pool(conn):
            self.lock = nullcontext()

    @classmethod
    def from_conn_string(
        cls,
        conn_string: str,
        *,
        pipeline: bool = False,
        serde: SerializerProtocol | None = None,
        mode: Mode | None = None,
    ) -> Opening[Self]:
        """Open a saver on a pool of connections, in a `with` statement, or `async with`.

        Args:
            conn_string: The address of the database.
            pipeline: Whether to use one connection instead, in pipeline mode all the time.
            serde: Serialises values; a `StrictSerializer` if None.
            mode: As for the class.

        Raises:
            ConfigurationError: The address is not one that libpq can read; on entering.
            psycopg.OperationalError: There is no connection; on entering, with the reason.
        """
        look = partial(connecting, cls._connect, conn_string)
        if pipeline:
            opening = cls._theirs.from_conn_string(conn_string, pipeline=True)
            return Opening(opening, lambda theirs: cls(theirs.conn, theirs.pipe, serde, mode=mode), look)
        pool = cls._pool(conn_string, **pool_settings(conn_string))
        return Opening(pool, lambda connections: cls(connections, None, serde, mode=mode), look)

    # Statements.

    def _call(self, name: str, *arguments: Any, **named: Any) -> Procedure[Any]:
        """Call their method."""
        theirs = getattr(self._theirs, self._mark + name)
        method = partial(theirs, self, *arguments, **named)

        def call() -> Procedure[Any]:
            return (yield method)

        return (yield from again(self.conn, call))

    def _execute(self, *statements: Statement) -> Procedure[None]:
        """Execute statements."""
        cursor = yield from self._taken()
        for statement, parameters in statements:
            yield partial(cursor.execute, statement, parameters)

    def _execute_after(self, before: Sequence[Statement], statement: Statement) -> Procedure[None]:
        """Execute a statement in one transaction with others."""
        cursor = yield from self._taken()
        yield from execute_after(cursor, self.pipe, before, statement)

    def _fetch(self, statement: str, parameters: tuple[Any, ...] = ()) -> Procedure[list[Any]]:
        """Execute a statement and return its rows."""

        def fetch() -> Procedure[list[Any]]:
            cursor = yield from self._taken()
            yield partial(cursor.execute, statement, parameters)
            return cast("list[Any]", (yield cursor.fetchall))

        return (yield from again(self.conn, fetch))

    def _within(self, use: Callable[[Session], Procedure[T]]) -> Procedure[T]:
        """Perform a procedure that has a cursor for itself."""

        def begin() -> Procedure[T]:
            cursor = yield from self._taken()
            keeps = is_pool(self.conn) or self.conn.autocommit
            return (yield from use(Session(cursor, self.pipe, self._shared, self._coder(), keeps=keeps)))

        return (yield from again(self.conn, begin))

    def _locked(self, thread_id: str, use: Callable[[Session], Procedure[T]]) -> Procedure[T]:
        """Perform a procedure that has a cursor and a conversation for itself."""
        return (yield from self._within(lambda session: session.locked(thread_id, use)))

    def _coder(self) -> Coder:
        coder = self._made_coder
        if coder is None or coder.serde is not self.serde:
            coder = self._made_coder = Coder(self.serde)
        return coder

    def _taken(self) -> Procedure[Any]:
        """Take a cursor, which is given back when the procedure ends."""
        if self.pipe is None and is_pool(self.conn):
            connection = yield Enter(self.conn.connection())
            return connection.cursor(binary=True, row_factory=dict_row)
        return (yield Enter(cast("Any", self)._cursor(pipeline=self.pipe is not None)))

    @property
    def serialises_whole(self) -> bool:
        """Return whether each value is stored as the serializer makes it: in a database with the plain form alone."""
        form = self._shared.form
        return form is not None and not form.wide

    # Tables.

    def _formed(self) -> Procedure[Form]:
        """Return what the tables are like.

        Raises:
            psycopg.errors.UndefinedTable: There are none yet.
        """
        shared = self._shared
        if shared.form is None:
            rows = yield from self._fetch(FORM)
            form = form_of(shared.mode, **rows[0])
            if not rows[0]["made"]:
                raise errors.UndefinedTable(SET_UP)
            if form.mode == "compact" and not form.wide:
                raise ConfigurationError(
                    "The database has no tables for the compact form yet: call the saver's setup() once, or open "
                    "it with mode='plain'"
                )
            shared.form = form
        return shared.form

    def _setup(self) -> Procedure[None]:
        """Make the tables, and add what the mode needs; may be repeated, also by several processes at once."""
        yield from self._setup_in(self._shared.mode)

    def _setup_in(self, mode: Mode | None) -> Procedure[None]:
        for attempt in range(_SETUPS):
            try:
                yield from again(self.conn, partial(self._make, mode))
                break
            except _MADE_MEANWHILE:
                if attempt == _SETUPS - 1:
                    raise
        self._shared.form = None
        yield from self._formed()

    def _make(self, mode: Mode | None) -> Procedure[None]:
        """Make the tables that are missing, while no other saver does."""
        cursor = yield Enter(cast("Any", self)._cursor())
        rows = yield from _rows(cursor, FORM)
        adds = form_of(mode, **rows[0]).mode == "compact" and not rows[0]["wide"]
        if not adds and rows[0]["made"]:
            versions = yield from _rows(cursor, VERSION)
            if versions[0]["version"] == len(self.MIGRATIONS) - 1:
                return
        locked = False
        for _ in range(_TURNS if self.pipe is None else 0):  # a pipeline would keep its snapshot, too
            locked = (yield from _rows(cursor, LOCK))[0]["mine"]
            if locked:
                break
            yield from _rows(cursor, PAUSE)
        try:
            yield self._theirs(cursor.connection, self.pipe).setup
            for statement in COMPACT if adds else ():
                yield partial(cursor.execute, statement)
        finally:
            if locked:
                with suppress(DatabaseError):  # the lock is lost with its connection
                    yield from _rows(cursor, UNLOCK)

    # Writing.

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Procedure[RunnableConfig]:
        """Store a checkpoint.

        In the compact form a channel that is not among `new_versions`, and has the version that it had in the
        checkpoint before, is stored as it was there.
        """
        yield from self._save([("put", (config, checkpoint, metadata, new_versions))])
        return config_of_put((config, checkpoint))

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Procedure[None]:
        """Store what a task has written."""
        yield from self._save([("put_writes", (config, writes, task_id, task_path))])

    def _put_together(self, saves: Sequence[Save]) -> Procedure[int]:
        """Store saves of one thread, in order, as one transaction; see `SavesTogether`."""
        try:
            return (yield from self._save(saves))
        except DatabaseError as error:
            if len(saves) == 1 or isinstance(error, ErasedError) or is_away(error):
                raise
        # What the database refuses is in one of them: the first one is stored, or fails, alone.
        return (yield from self._save(saves[:1]))

    @chained
    def _save(self, saves: Sequence[Save]) -> Procedure[int]:
        form = yield from self._formed()
        if form.mode == "compact":
            return (yield from self._locked(thread_of(saves[0]), lambda session: session.save(saves)))
        rows, stored = of_saves(self.serde, saves)
        if (statement := rows.statement(wide=form.wide)) is not None:
            yield from again(self.conn, partial(self._execute, statement))
        return stored

    @chained
    def _put_within(self, saves: Sequence[Save], before: Sequence[Statement]) -> Procedure[RunnableConfig | None]:
        """Store saves of one thread in one transaction with other statements, all of them or nothing.

        Args:
            saves: At least one.
            before: The other statements, each with its parameters; they come first.

        Returns:
            The config of a checkpoint, if it is the only save; else None.
        """
        form = yield from self._formed()
        if form.mode == "compact":
            yield from self._locked(thread_of(saves[0]), lambda session: session.save(saves, before))
        else:
            check = check_of(before)
            statement = of_all_saves(self.serde, saves).statement(wide=form.wide, check=check)
            if check is not None:
                yield from again(self.conn, partial(self._execute, statement or check))
            else:
                yield from again(self.conn, partial(self._execute_after, before, statement or NOTHING))
        return config_of_put(saves[0][1]) if len(saves) == 1 and saves[0][0] == "put" else None

    def _delete(self, thread_id: str) -> Procedure[None]:
        """Delete all checkpoints and writes of a thread, and their values."""
        statement = yield from self._deletion(thread_id)
        yield from again(self.conn, partial(self._execute, statement))

    def _delete_within(self, thread_id: str, before: Sequence[Statement]) -> Procedure[None]:
        """Delete a thread in one transaction with other statements, which come first."""
        statement = yield from self._deletion(thread_id)
        yield from again(self.conn, partial(self._execute_after, before, statement))

    def _deletion(self, thread_id: str) -> Procedure[Statement]:
        form = yield from self._formed()
        self._shared.forget(str(thread_id))
        return deletion((*TABLES, *WIDE) if form.wide else TABLES, str(thread_id))

    def forget(self, thread_id: str) -> None:
        """Forget what is remembered of a thread, as a save that was reported as stored has not become so."""
        self._shared.forget(str(thread_id))

    # Upkeep.

    def _has_tables(self) -> Procedure[bool]:
        """Return whether a saver has made its tables."""
        return bool((yield from self._fetch("SELECT 1 AS found WHERE to_regclass('checkpoints') IS NOT NULL")))

    def _kept_up(self, begin: Callable[[], Statements[T]], *, writes: bool = True) -> Procedure[T]:
        """Perform statements as one transaction."""

        def perform_all() -> Procedure[T]:
            cursor = yield Enter(cast("Any", self)._cursor())
            cursor.row_factory = tuple_row
            yield Enter(cursor.connection.transaction())
            statements = begin()
            try:
                statement, parameters = next(statements)
                while True:
                    yield partial(cursor.execute, statement.replace("?", "%s"), parameters)
                    rows = (yield cursor.fetchall) if statement.startswith("SELECT") else ()
                    statement, parameters = statements.send(rows)
            except StopIteration as end:
                return cast("T", end.value)

        if self.pipe is not None:
            raise ConfigurationError(
                "A saver in pipeline mode has no transactions of its own: open another one for the upkeep"
            )
        return (yield from again(self.conn, perform_all))

    def _alone(self, statements: Sequence[str]) -> Procedure[None]:
        """Execute statements outside of a transaction."""
        for statement in statements:
            yield from again(self.conn, partial(self._execute, (statement, ())))

    def _formed_as(self, mode: Mode) -> Procedure[None]:
        """Have the tables of a form."""
        self._shared.mode = self._shared.mode and mode
        self._shared.form = None
        if mode == "compact":
            yield from self._setup_in(mode)

    def _prune(self, thread_ids: Any = None, *, strategy: str | None = None, **numbers: Any) -> Procedure[Any]:
        """Delete checkpoints that are not needed any more; see `Upkeep`."""
        form = yield from self._formed()
        if not form.wide and not numbers.keys() - {"observer"} and thread_ids is not None:
            return (yield from self._call("prune", thread_ids, strategy=strategy or "keep_latest"))
        return (yield from super()._prune(thread_ids, strategy=strategy, **numbers))

    # Reading.

    def _get_tuple(self, config: RunnableConfig) -> Procedure[CheckpointTuple | None]:
        """Load a checkpoint with its pending writes; with no id in the config the newest of its namespace."""
        form = yield from self._formed()
        found: CheckpointTuple | None
        if form.wide:
            conf = config["configurable"]
            place = (str(conf["thread_id"]), conf.get("checkpoint_ns", ""), conf.get("checkpoint_id") or None)
            loaded = yield from self._locked(place[0], lambda session: session.load(place))
            if loaded is None or isinstance(loaded, CheckpointTuple):
                return loaded
            config = config_of(*loaded)
        found = yield from self._call("get_tuple", config)
        return found

    def _get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Procedure[Mapping[str, DeltaChannelHistory]]:
        """Load what delta channels are rebuilt from."""
        if not channels:
            return {}
        form = yield from self._formed()
        found: Mapping[str, DeltaChannelHistory] | None = None
        if form.wide:
            if not config["configurable"].get("checkpoint_id"):
                newest = yield from self._get_tuple(config)
                if newest is None:
                    return {channel: {"writes": []} for channel in channels}
                config = newest.config
            conf = config["configurable"]
            place = (str(conf["thread_id"]), conf.get("checkpoint_ns", ""), str(conf["checkpoint_id"]))
            found = yield from self._locked(place[0], lambda session: session.histories(place, channels))
            if found is None:
                return (yield from self._walked(config, channels))
        else:
            found = yield from self._call("get_delta_channel_history", config=config, channels=channels)
        return found

    def _walked(self, config: RunnableConfig, channels: Sequence[str]) -> Procedure[Mapping[str, DeltaChannelHistory]]:
        """Load histories of a thread in both forms, from one checkpoint to the one before."""
        writes: dict[str, list[Any]] = {channel: [] for channel in channels}
        seeds: dict[str, Any] = {}
        tip = yield from self._get_tuple(config)
        before = None if tip is None else tip.parent_config
        while before is not None and len(seeds) < len(writes):
            found = yield from self._get_tuple(before)
            if found is None:
                break
            values = found.checkpoint["channel_values"]
            for channel in [each for each in writes if each not in seeds]:
                writes[channel] += [each for each in reversed(found.pending_writes or ()) if each[1] == channel]
                if channel in values:
                    seeds[channel] = values[channel]
            before = found.parent_config
        return {
            channel: cast("Any", {"writes": several[::-1], **({"seed": seeds[channel]} if channel in seeds else {})})
            for channel, several in writes.items()
        }

    def _listed(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Procedure[Any]:
        """Return the rows of the checkpoints that are asked for; or the checkpoints, if their saver lists them."""
        form = yield from self._formed()
        where, parameters = self._search_where(config, filter, before)
        if form.wide:
            return (yield from self._fetch(listing(where, limit), tuple(parameters)))
        yield from self._fetch("SELECT 1")
        theirs = getattr(self._theirs, self._mark + "list")
        return theirs(self, config, filter=filter, before=before, limit=limit)

    def _decoded(self, row: Mapping[str, Any]) -> Procedure[CheckpointTuple | None]:
        """Return a checkpoint that was listed; None if it is not there any more."""
        decoded = yield from self._locked(row["thread_id"], lambda session: session.decode(row))
        if decoded is None or isinstance(decoded, CheckpointTuple):
            return decoded
        found: CheckpointTuple | None = yield from self._call("get_tuple", config_of(*decoded))
        return found


class PostgresSaver(_Saver, TheirSaver):  # type: ignore[misc]
    """Stores checkpoints in PostgreSQL, for callers that wait.

    Args:
        conn: A pool of connections, or a connection, with `autocommit`.
        pipe: The pipeline that the connection is in all the time, if it is.
        serde: Serialises values; a `StrictSerializer` if None.
        mode: "compact" or "plain", the form of what will be written; None for that of the database. Both are read.
    """

    _theirs = TheirSaver
    _new_lock = threading.Lock
    _pool = ConnectionPool
    _connect = Connection.connect

    setup = performed(_Saver._setup)
    put = performed(_Saver._put)
    put_together = performed(_Saver._put_together)
    put_within = performed(_Saver._put_within)
    put_writes = performed(_Saver._put_writes)
    get_tuple = performed(_Saver._get_tuple)
    get_delta_channel_history = performed(_Saver._get_delta_channel_history)
    delete_thread = performed(_Saver._delete)
    delete_thread_within = performed(_Saver._delete_within)
    prune = performed(_Saver._prune)
    has_tables = performed(_Saver._has_tables)
    has_thread = performed(_Saver._has_thread)
    size = performed(_Saver._size)
    vacuum = performed(_Saver._vacuum)
    convert = performed(_Saver._convert)

    def list(self, config: RunnableConfig | None, **options: Any) -> Iterator[CheckpointTuple]:
        """List checkpoints, the newest first; with the options of `langgraph.checkpoint.postgres.PostgresSaver`."""
        for each in perform(self._listed(config, **options)):
            found = each if isinstance(each, CheckpointTuple) else perform(self._decoded(each))
            if found is not None:
                yield found

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Say which saver async callers need.

        Raises:
            NotImplementedError: Always.
        """
        raise NotImplementedError(
            "PostgresSaver is for sync calls, such as invoke and get_state; for ainvoke and aget_state open an "
            "AsyncPostgresSaver"
        )


class AsyncPostgresSaver(_Saver, TheirAsyncSaver):  # type: ignore[misc]
    """Stores checkpoints in PostgreSQL, for callers on an event loop; it belongs to the one that it was made in.

    Args:
        conn: A pool of connections, or a connection, with `autocommit`.
        pipe: The pipeline that the connection is in all the time, if it is.
        serde: Serialises values; a `StrictSerializer` if None.
        mode: "compact" or "plain", the form of what will be written; None for that of the database. Both are read.
    """

    _theirs = TheirAsyncSaver
    _new_lock = asyncio.Lock
    _pool = AsyncConnectionPool
    _connect = AsyncConnection.connect
    _mark = "a"

    setup = awaited(_Saver._setup)
    aput = awaited(_Saver._put)
    aput_together = awaited(_Saver._put_together)
    aput_within = awaited(_Saver._put_within)
    aput_writes = awaited(_Saver._put_writes)
    aget_tuple = awaited(_Saver._get_tuple)
    aget_delta_channel_history = awaited(_Saver._get_delta_channel_history)
    adelete_thread = awaited(_Saver._delete)
    adelete_thread_within = awaited(_Saver._delete_within)
    aprune = awaited(_Saver._prune)
    ahas_tables = awaited(_Saver._has_tables)
    ahas_thread = awaited(_Saver._has_thread)
    asize = awaited(_Saver._size)
    avacuum = awaited(_Saver._vacuum)
    aconvert = awaited(_Saver._convert)

    async def alist(self, config: RunnableConfig | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints, the newest first; with the options of `langgraph.checkpoint.postgres.PostgresSaver`."""
        rows = await aperform(self._listed(config, **options))
        if not isinstance(rows, list):  # their saver lists them
            async for theirs in rows:
                yield theirs
            return
        for row in rows:
            if (found := await aperform(self._decoded(row))) is not None:
                yield found

    async def _load_checkpoint_tuple(self, value: Any) -> CheckpointTuple:
        # A thread would cost more than it saves: decoding holds the interpreter in either.
        return TheirSaver._load_checkpoint_tuple(cast("Any", self), value)

    # Calls from other threads than that of the event loop.

    put = from_thread("put", aput)
    put_together = from_thread("put_together", aput_together)
    put_writes = from_thread("put_writes", aput_writes)
    prune = from_thread("prune", aprune)
    has_thread = from_thread("has_thread", ahas_thread)
    size = from_thread("size", asize)
    vacuum = from_thread("vacuum", avacuum)
    convert = from_thread("convert", aconvert)
