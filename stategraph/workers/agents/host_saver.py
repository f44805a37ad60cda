"""A saver that lives with the host: a run in a worker reads and writes its thread through the host's saver.

So a run in a worker may use any saver, also one in memory, and needs no address of a database. What is written is
encoded twice, once for the way and once by the saver itself; a worker that opens the database itself (see
`MultiProcessRuntime`'s `store`) saves that.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from random import random
from typing import Any, Literal, TypeAlias

from langchain_core.runnables import RunnableConfig

from stategraph.engine.checkpoints.saver_interfaces import BaseCheckpointSaver, Checkpoint, CheckpointTuple, Saver
from stategraph.engine.checkpoints.serializer import StrictSerializer
from stategraph.errors import TransferError
from stategraph.workers.execution import JobPort

Versions: TypeAlias = Literal["numbers", "texts"]

#: The name of the call by which workers reach a saver.
CALL = "saver"


def versions_of(saver: Saver) -> Versions:
    """Return how a saver numbers versions of channels: workers number them in the same way.

    Raises:
        TransferError: In another way than workers can.
    """
    first = saver.get_next_version(None, None)
    if isinstance(first, int):
        return "numbers"
    if isinstance(first, str) and first.partition(".")[0] == f"{1:032}":
        return "texts"
    raise TransferError(
        f"The checkpointer of type {type(saver).__name__} numbers versions in a way of its own ({first!r}), which "
        "workers cannot follow; make it in the workers with stategraph.workers.imported(...)"
    )


class HostSaver(BaseCheckpointSaver[Any]):
    """The worker's side.

    Args:
        port: The run's way to its host.
        versions: How versions of channels are numbered.
    """

    def __init__(self, port: JobPort, versions: Versions) -> None:
        super().__init__(serde=StrictSerializer())
        self._port = port
        self._versions = versions

    def get_next_version(self, current: Any, channel: None) -> Any:
        """Return the version after one."""
        if self._versions == "numbers":
            return 1 if current is None else current + 1
        before = 0 if current is None else int(str(current).partition(".")[0])
        return f"{before + 1:032}.{random():016}"

    async def aget_tuple(self, config: RunnableConfig) -> Any:
        """Return a checkpoint, see the base class."""
        return await self._port.call(CALL, ["get", _plain(config)])

    async def alist(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, object] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> AsyncIterator[CheckpointTuple]:
        """Return the checkpoints of a thread, see the base class."""
        for each in await self._port.call(CALL, _listing(config, filter, before, limit)):
            yield each

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: Mapping[str, object],
        new_versions: Mapping[str, object],
    ) -> Any:
        """Store a checkpoint, see the base class."""
        return await self._port.call(CALL, ["put", _plain(config), checkpoint, metadata, new_versions])

    async def aput_writes(
        self, config: RunnableConfig | None, writes: Sequence[tuple[str, object]], task_id: str, task_path: str = ""
    ) -> None:
        """Store what a task wrote, see the base class."""
        await self._port.call(CALL, ["put_writes", _plain(config), list(writes), task_id, task_path])

    async def adelete_thread(self, thread_id: str) -> None:
        """Forget a thread, see the base class."""
        await self._port.call(CALL, ["delete", thread_id])

    # From threads of the run: graphs that a sync node calls.

    def get_tuple(self, config: RunnableConfig) -> Any:
        """Like `aget_tuple`."""
        return self._port.call_from_thread(CALL, ["get", _plain(config)])

    def list(
        self,
        config: RunnableConfig | None,
        *,
        filter: dict[str, object] | None = None,
        before: RunnableConfig | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Like `alist`."""
        yield from self._port.call_from_thread(CALL, _listing(config, filter, before, limit))

    def put(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: Mapping[str, object],
        new_versions: Mapping[str, object],
    ) -> Any:
        """Like `aput`."""
        return self._port.call_from_thread(CALL, ["put", _plain(config), checkpoint, metadata, new_versions])

    def put_writes(
        self, config: RunnableConfig | None, writes: Sequence[tuple[str, object]], task_id: str, task_path: str = ""
    ) -> None:
        """Like `aput_writes`."""
        self._port.call_from_thread(CALL, ["put_writes", _plain(config), [*writes], task_id, task_path])

    def delete_thread(self, thread_id: str) -> None:
        """Like `adelete_thread`."""
        self._port.call_from_thread(CALL, ["delete", thread_id])


def _listing(
    config: RunnableConfig | None, filter: object, before: RunnableConfig | None, limit: int | None
) -> list[object]:
    return ["list", _plain(config), filter, _plain(before), limit]


async def serve(saver: Saver, value: Sequence[Any]) -> Any:
    """Do for a worker what it asks of the host's saver.

    Args:
        saver: The saver.
        value: What `HostSaver` sent.
    """
    match value:
        case ["get", config]:
            return await saver.aget_tuple(config)
        case ["list", config, where, before, limit]:
            return [each async for each in saver.alist(config, filter=where, before=before, limit=limit)]
        case ["put", config, checkpoint, metadata, versions]:
            return await saver.aput(config, checkpoint, metadata, versions)
        case ["put_writes", config, writes, task_id, task_path]:
            return await saver.aput_writes(config, writes, task_id, task_path)
        case ["delete", thread_id]:
            return await saver.adelete_thread(thread_id)
    raise LookupError(f"A saver has no operation {value[0]!r}")


def _plain(config: RunnableConfig | None) -> dict[str, object] | None:
    """Return a config as savers use it: the engine keeps live objects in it."""
    if config is None:
        return None
    configurable = config.get("configurable") or {}
    kept = {
        key: value
        for key, value in configurable.items()
        if not key.startswith("__") and isinstance(value, str | int | float | bool | None)
    }
    plain: dict[str, object] = {"configurable": kept}
    if config.get("metadata"):
        plain["metadata"] = dict(config["metadata"])
    return plain
