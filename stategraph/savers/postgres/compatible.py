"""Savers on the tables and bytes of `langgraph-checkpoint-postgres`, which that package's savers open too.

Rules
-----
* A save, or all saves that wait, is one statement: one round trip, one transaction.
* There is no lock around a pool: each call takes a connection of its own. A single connection has its lock.
* A connection that was lost is replaced, if it is one of a pool, and the call made once more.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, ClassVar, Self, cast

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
from psycopg import DatabaseError
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from stategraph.engine.checkpoints.saver_interfaces import Save
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.engine.config.procedures import Enter, Procedure, aperform, perform
from stategraph.savers.methods import Opening, awaited, from_thread, performed
from stategraph.savers.postgres.connections import again, is_away, is_pool, pool_settings
from stategraph.savers.postgres.rows import Rows, of_saves


class _Saver(BasePostgresSaver):
    """Decides for both savers what is executed, as procedures."""

    conn: Any
    pipe: Any
    lock: Any
    _theirs: ClassVar[type[Any]]
    _pool: ClassVar[type[Any]]
    _mark: ClassVar[str] = ""

    def __init__(self, conn: Any, pipe: Any = None, serde: SerializerProtocol | None = None) -> None:
        self._theirs.__init__(self, conn, pipe, serde or StrictSerializer())
        if is_pool(conn):
            self.lock = nullcontext()

    @classmethod
    def from_conn_string(
        cls, conn_string: str, *, pipeline: bool = False, serde: SerializerProtocol | None = None
    ) -> Opening[Self]:
        """Open a saver on a pool of connections, in a `with` statement, or `async with`.

        Args:
            conn_string: The address of the database.
            pipeline: Whether to use one connection instead, in pipeline mode all the time.
            serde: Serialises values; a `StrictSerializer` if None.
        """
        if pipeline:
            opening = cls._theirs.from_conn_string(conn_string, pipeline=True)
            return Opening(opening, lambda theirs: cls(theirs.conn, theirs.pipe, serde))
        return Opening(cls._pool(conn_string, **pool_settings(conn_string)), lambda pool: cls(pool, None, serde))

    def _call(self, name: str, *arguments: Any, **named: Any) -> Procedure[Any]:
        """Call their method."""
        method = partial(getattr(self._theirs, self._mark + name), self, *arguments, **named)

        def call() -> Procedure[Any]:
            return (yield method)

        return (yield from again(self.conn, call))

    def _execute(self, statement: str, parameters: tuple[Any, ...] = ()) -> Procedure[None]:
        cursor = yield Enter(cast("Any", self)._cursor(pipeline=self.pipe is not None))
        yield partial(cursor.execute, statement, parameters)

    def _put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> Procedure[RunnableConfig]:
        """Store a checkpoint."""
        yield from self._save(("put", (config, checkpoint, metadata, new_versions)))
        conf = config["configurable"]
        place = {"thread_id": conf["thread_id"], "checkpoint_ns": conf.get("checkpoint_ns", "")}
        return {"configurable": {**place, "checkpoint_id": checkpoint["id"]}}

    def _put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> Procedure[None]:
        """Store what a task has written."""
        yield from self._save(("put_writes", (config, writes, task_id, task_path)))

    def _put_together(self, saves: Sequence[Save]) -> Procedure[int]:
        """Store saves of one thread, in order, as one transaction; see `SavesTogether`."""
        rows, stored = of_saves(self.serde, saves)
        try:
            yield from self._store(rows)
        except DatabaseError as error:
            if stored == 1 or is_away(error):
                raise
            # What the database refuses is in one of them: the first one is stored, or fails, alone.
            return (yield from self._put_together(saves[:1]))
        return stored

    def _save(self, save: Save) -> Procedure[None]:
        yield from self._store(of_saves(self.serde, [save])[0])

    def _store(self, rows: Rows) -> Procedure[None]:
        statement = rows.statement()
        if statement is not None:
            yield from again(self.conn, partial(self._execute, *statement))

    def _get_tuple(self, config: RunnableConfig) -> Procedure[CheckpointTuple | None]:
        """Load a checkpoint with its pending writes."""
        found: CheckpointTuple | None = yield from self._call("get_tuple", config)
        return found

    def _get_delta_channel_history(
        self, *, config: RunnableConfig, channels: Sequence[str]
    ) -> Procedure[Mapping[str, DeltaChannelHistory]]:
        """Load what delta channels are rebuilt from."""
        found: Mapping[str, DeltaChannelHistory] = yield from self._call(
            "get_delta_channel_history", config=config, channels=channels
        )
        return found

    def _delete_thread(self, thread_id: str) -> Procedure[None]:
        """Delete all checkpoints and writes of a thread."""
        yield from self._call("delete_thread", thread_id)

    def _listed(self, *arguments: Any, **named: Any) -> Procedure[Any]:
        """Return the checkpoints that theirs lists, which asks the server for them when the first one is taken."""
        if is_pool(self.conn):
            yield from again(self.conn, partial(self._execute, "SELECT 1"))
        return getattr(self._theirs, self._mark + "list")(self, *arguments, **named)


class PostgresSaver(_Saver, TheirSaver):  # type: ignore[misc]
    """Stores checkpoints in PostgreSQL, for callers that wait.

    Args:
        conn: A pool of connections, or a connection, with `autocommit`.
        pipe: The pipeline that the connection is in all the time, if it is.
        serde: Serialises values; a `StrictSerializer` if None.
    """

    _theirs = TheirSaver
    _pool = ConnectionPool

    put = performed(_Saver._put)
    put_together = performed(_Saver._put_together)
    put_writes = performed(_Saver._put_writes)
    get_tuple = performed(_Saver._get_tuple)
    get_delta_channel_history = performed(_Saver._get_delta_channel_history)
    delete_thread = performed(_Saver._delete_thread)

    def list(self, *arguments: Any, **named: Any) -> Iterator[CheckpointTuple]:
        """List checkpoints, the newest first; as of `langgraph.checkpoint.postgres.PostgresSaver`."""
        yield from perform(self._listed(*arguments, **named))


class AsyncPostgresSaver(_Saver, TheirAsyncSaver):  # type: ignore[misc]
    """Stores checkpoints in PostgreSQL, for callers on an event loop; it belongs to the one that it was made in.

    Args:
        conn: A pool of connections, or a connection, with `autocommit`.
        pipe: The pipeline that the connection is in all the time, if it is.
        serde: Serialises values; a `StrictSerializer` if None.
    """

    _theirs = TheirAsyncSaver
    _pool = AsyncConnectionPool
    _mark = "a"

    aput = awaited(_Saver._put)
    aput_together = awaited(_Saver._put_together)
    aput_writes = awaited(_Saver._put_writes)
    aget_tuple = awaited(_Saver._get_tuple)
    aget_delta_channel_history = awaited(_Saver._get_delta_channel_history)
    adelete_thread = awaited(_Saver._delete_thread)

    async def alist(self, *arguments: Any, **named: Any) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints, the newest first; as of `langgraph.checkpoint.postgres.aio.AsyncPostgresSaver`."""
        async for found in await aperform(self._listed(*arguments, **named)):
            yield found

    async def _load_checkpoint_tuple(self, value: Any) -> CheckpointTuple:
        # A thread would cost more than it saves: decoding holds the interpreter in either.
        return TheirSaver._load_checkpoint_tuple(cast("Any", self), value)

    # Calls from other threads than that of the event loop.

    put = from_thread("put", aput)
    put_together = from_thread("put_together", aput_together)
    put_writes = from_thread("put_writes", aput_writes)
