"""The saver of a run that has a lease: wrap the saver, keep the graph.

graph = graph.copy({"checkpointer": FencedSaver(saver, Guard(lease))})
"""

from __future__ import annotations

import asyncio
import sqlite3
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, Protocol, TypeVar, cast

import anyio.to_thread
from langchain_core.runnables import RunnableConfig

from stategraph.engine.checkpoints.saver_interfaces import (
    BaseCheckpointSaver,
    ChannelVersions,
    Checkpoint,
    CheckpointMetadata,
    CheckpointTuple,
    InMemorySaver,
    Save,
    Saver,
)
from stategraph.engine.config.procedures import Procedure, aperform, perform
from stategraph.errors import ConfigurationError
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.memory import FencedMemory
from stategraph.workers.fencing.postgres import AsyncFencedPostgres, FencedPostgres, FencedWithinPostgres
from stategraph.workers.fencing.same_database import refuse_another
from stategraph.workers.fencing.sqlite import AsyncFencedSqlite, FencedSqlite
from stategraph.workers.fencing.within import FencedWithin
from stategraph.workers.leases import LeaseLost
from stategraph.workers.registry.port import Database

T = TypeVar("T")


class _Sync(Protocol):
    def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any: ...


class _Async(Protocol):
    async def call(self, method: str, thread_id: str, base: str | None, arguments: tuple[Any, ...]) -> Any: ...


class FencedSaver(BaseCheckpointSaver[Any]):
    """A saver that writes only as long as a lease holds.

    Reading is the wrapped saver's. Maintenance (pruning, copying threads, deleting runs) is left to that one too.

    Args:
        saver: A saver of `stategraph.savers`, or a `SqliteSaver`, `AsyncSqliteSaver`, `PostgresSaver` or
            `AsyncPostgresSaver` of `langgraph-checkpoint`, on the registry's database, or an `InMemorySaver`.
        guard: Guards the writes.
        database: Where the registry is; needed for an `InMemorySaver` only. A saver that is known to be on another one
            is refused at once, and else by its first write.

    Raises:
        ConfigurationError: The saver is another one: its writes and the check cannot be one transaction.
    """

    def __init__(self, saver: Saver, guard: Guard, database: Database | None = None) -> None:
        # Not by the constructor of the base class, which examines the serializer for 0.2 ms: the saver's has done it.
        self.serde = saver.serde
        self.saver = saver
        self.guard = guard
        self._database = database
        kind = _kind(saver)
        if database is not None and kind is not None and not _is_checked(saver, database):
            refuse_another(saver, kind, database)
            _checked[saver] = weakref.ref(database)
        self._sync: _Sync | None = None
        self._async: _Async | None = None
        self.together: FencedWithin | None = None
        self._choose(kind, saver, guard, database)

    def _choose(self, kind: str | None, saver: Saver, guard: Guard, database: Database | None) -> None:
        match kind:
            case "memory" if database is not None:
                self._sync = FencedMemory(saver, guard, database)
            case "sqlite3" if hasattr(saver, "put_within"):
                self.together = FencedWithin(saver, guard)
            case "sqlite3":
                self._sync = FencedSqlite(saver, guard)
            case "aiosqlite":
                self._async = AsyncFencedSqlite(saver, guard)
            case "psycopg" | "psycopg async" if not saver.supports_pipeline:  # type: ignore[attr-defined]
                raise ConfigurationError("Fencing needs libpq 14 or newer, which has pipeline mode")
            case "psycopg" | "psycopg async" if hasattr(saver, "put_within") or hasattr(saver, "aput_within"):
                self.together = FencedWithinPostgres(saver, guard)
            case "psycopg":
                self._sync = FencedPostgres(saver, guard)
            case "psycopg async":
                self._async = AsyncFencedPostgres(saver, guard)
            case "memory":
                raise ConfigurationError(
                    "An InMemorySaver is fenced by the registry's database: FencedSaver(saver, guard, database)"
                )
            case _:
                raise ConfigurationError(
                    f"{type(saver).__name__} cannot be fenced: a write and the check of its lease have to be one "
                    "transaction. Use a saver of stategraph.savers, langgraph-checkpoint-sqlite or "
                    "langgraph-checkpoint-postgres on the registry's database"
                )
        if self.together is not None and self.together.can(""):
            self._sync = self.together

    # Reading.

    @property
    def config_specs(self) -> list[object]:
        """Options of the wrapped saver."""
        return self.saver.config_specs

    def get_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint with its pending writes."""
        return self.saver.get_tuple(config)

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """List checkpoints, the newest first."""
        return self.saver.list(config, filter=filter, before=before, limit=limit)

    def get_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Load what delta channels are rebuilt from."""
        return self.saver.get_delta_channel_history(config=config, channels=channels)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint with its pending writes."""
        return await self.saver.aget_tuple(config)

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, Any] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """List checkpoints, the newest first."""
        async for found in self.saver.alist(config, filter=filter, before=before, limit=limit):
            yield found

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Load what delta channels are rebuilt from."""
        return await self.saver.aget_delta_channel_history(config=config, channels=channels)

    def get_next_version(self, current: object, channel: None) -> object:
        """Return the version of a channel after a write."""
        return self.saver.get_next_version(current, channel)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> FencedSaver:
        """Return a saver that may also bring back further classes."""
        twin = self.saver.with_allowlist(extra_allowlist)
        if twin is self.saver:
            return self
        self._is_beside(twin)
        return FencedSaver(twin, self.guard, self._database)

    def _is_beside(self, twin: Saver) -> None:
        """Note that another saver on the same connection is on the same database."""
        if self._database is not None:
            _checked[twin] = weakref.ref(self._database)

    # Writing.

    @property
    def put_together(self) -> Callable[[Sequence[Save]], int] | None:
        """Stores several saves in one transaction; None if the wrapped saver cannot."""
        return None if self.together is None else partial(self._perform_together, self.together)

    @property
    def aput_together(self) -> Callable[[Sequence[Save]], Awaitable[int]] | None:
        """Stores several saves in one transaction; None if the wrapped saver cannot."""
        if self.together is None or not self.together.can("a"):
            return None
        return partial(self._aperform_together, self.together)

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return cast(RunnableConfig, self._call("put", config, (config, checkpoint, metadata, new_versions)))

    def put_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        self._call("put_writes", config, (config, writes, task_id, task_path))

    def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of the thread.

        Raises:
            LeaseLost: The run has lost its thread; nothing was deleted.
        """
        self._call("delete_thread", {"configurable": {"thread_id": thread_id}}, (thread_id,))

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store a checkpoint.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        return cast(RunnableConfig, await self._acall("put", config, (config, checkpoint, metadata, new_versions)))

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task has written.

        Raises:
            LeaseLost: The run has lost its thread; nothing was written.
        """
        await self._acall("put_writes", config, (config, writes, task_id, task_path))

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints and writes of the thread.

        Raises:
            LeaseLost: The run has lost its thread; nothing was deleted.
        """
        await self._acall("delete_thread", {"configurable": {"thread_id": thread_id}}, (thread_id,))

    def _perform_together(self, within: FencedWithin, saves: Sequence[Save]) -> int:
        if self._sync is None:
            return self._from_thread(self._aperform_together(within, saves))
        return perform(_first_that_can_be(saves, within.together))

    async def _aperform_together(self, within: FencedWithin, saves: Sequence[Save]) -> int:
        return await aperform(_first_that_can_be(saves, within.atogether))

    def _call(self, method: str, config: RunnableConfig, arguments: tuple[Any, ...]) -> Any:
        if self._sync is not None:
            with _explained():
                return self._sync.call(method, *_place(config), arguments)
        return self._from_thread(self._acall(method, config, arguments))

    def _from_thread(self, call: Coroutine[Any, Any, T]) -> T:
        # As the wrapped saver does it: in the loop that it was made in, which has to run in another thread.
        loop: asyncio.AbstractEventLoop = self.saver.loop  # type: ignore[attr-defined]
        return asyncio.run_coroutine_threadsafe(call, loop).result()

    async def _acall(self, method: str, config: RunnableConfig, arguments: tuple[object, ...]) -> Any:
        if self._async is not None:
            with _explained():
                return await self._async.call(f"a{method}", *_place(config), arguments)
        if self.together is not None and self.together.can("a"):
            with _explained():
                return await self.together.acall(method, *_place(config), arguments)
        if isinstance(self._sync, FencedMemory):
            return await anyio.to_thread.run_sync(self._sync.call, method, *_place(config), arguments)
        # Raises, as a sync saver of theirs has no async methods.
        return await getattr(self.saver, f"a{method}")(*arguments)


def _first_that_can_be(saves: Sequence[Save], store: Callable[[Sequence[Save]], Any]) -> Procedure[int]:
    """Store all saves or, if one of them fails, the first alone: whatever is noted with them was stored."""
    with _explained():
        try:
            stored: int = yield partial(store, saves)
        except LeaseLost:
            raise
        except Exception:
            if len(saves) == 1:
                raise
            stored = yield partial(store, saves[:1])
    return stored


#: The registry's database beside which a saver was found: to ask a connection waits for what it does.
_checked: Final[weakref.WeakKeyDictionary[Any, weakref.ref[Any]]] = weakref.WeakKeyDictionary()


def _is_checked(saver: Any, database: Database) -> bool:
    known = _checked.get(saver)
    return known is not None and known() is database


def _place(config: RunnableConfig) -> tuple[str, str | None]:
    """Return the thread that a config names, and its checkpoint."""
    named = config["configurable"]
    return str(named["thread_id"]), named.get("checkpoint_id")


@contextmanager
def _explained() -> Iterator[None]:
    """Say what is wrong if the registry's table is missed."""
    try:
        yield
    except Exception as error:
        if "sg_thread_fence" in str(error):
            error.add_note("The saver's database has no registry: open both on the same one")
        raise


def _kind(saver: Saver) -> str | None:
    """Say how a saver reaches its database, without importing what it is made of."""
    if isinstance(saver, InMemorySaver):
        return "memory"
    connection = getattr(saver, "conn", None)
    if isinstance(connection, sqlite3.Connection):
        return "sqlite3"
    for cls in type(connection).__mro__:
        match cls.__module__.partition(".")[0], cls.__name__:
            case "aiosqlite", "Connection":
                return "aiosqlite"
            case "psycopg" | "psycopg_pool", "Connection" | "ConnectionPool":
                return "psycopg"
            case "psycopg" | "psycopg_pool", "AsyncConnection" | "AsyncConnectionPool":
                return "psycopg async"
    return None
