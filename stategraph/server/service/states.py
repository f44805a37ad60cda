"""States of threads: read, changed from outside of a run, listed, copied.

Rules
-----
* A state is read with the thread's graph, named by `graph_id` in the thread's metadata; where only one graph is
  served, a thread without that is its.
* A change has the thread to itself: while a run waits or goes on there, it is refused, and no run begins meanwhile.
* A checkpoint is named by its id, and by its namespace where it is that of a graph inside of the graph.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

from langchain_core.runnables import RunnableConfig

from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple, Saver
from stategraph.errors import ConfigurationError, InvalidUpdateError
from stategraph.server.service.port import Graphs
from stategraph.server.service.runs.requests import command_of
from stategraph.server.service.values import Caller, ConflictError, MalformedError, NotFoundError
from stategraph.types import StateSnapshot, StateUpdate
from stategraph.workers.holding import hold
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy

#: Keys that name a checkpoint.
_PLACE: Final = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")

#: The state of a thread that has none.
NOTHING: Final[StateSnapshot] = StateSnapshot({}, (), {}, None, None, None, (), ())


@dataclass(slots=True)
class Storage:
    """Counts and sizes of what is stored of a thread.

    Attributes:
        checkpoints: How many checkpoints.
        checkpoint_bytes: Their bytes, without values.
        values: How many values of channels, each version once.
        channels: Bytes of values by channels.
        writes: How many writes of tasks.
        write_bytes: Their bytes.
    """

    checkpoints: int = 0
    checkpoint_bytes: int = 0
    values: int = 0
    channels: dict[str, int] = field(default_factory=dict)
    writes: int = 0
    write_bytes: int = 0


class States:
    """The states of threads.

    Args:
        graphs: The graphs.
        registry: Says which threads are busy.
        saver: Keeps the checkpoints.
    """

    def __init__(self, graphs: Graphs, registry: RunRegistry, saver: Saver) -> None:
        self._graphs = graphs
        self._registry = registry
        self._saver = saver

    def graph_of(self, metadata: Mapping[str, Any]) -> str | None:
        """Return the graph of a thread by its metadata; None if nobody knows it."""
        known = self._graphs.ids()
        named = metadata.get("graph_id")
        if named is None:
            return known[0] if len(known) == 1 else None
        return str(named)

    async def read(
        self,
        caller: Caller,
        thread_id: str,
        graph_id: str | None,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        subgraphs: bool = False,
    ) -> StateSnapshot:
        """Return the state of a thread.

        Raises:
            NotFoundError: The graph is not served.
        """
        if graph_id is None:
            return NOTHING
        config = config_at(thread_id, checkpoint)
        async with self._graphs.open(graph_id, config, access="threads.read", caller=caller) as graph:
            state: StateSnapshot = await graph.aget_state(config, subgraphs=subgraphs)
            return state

    async def history(
        self,
        caller: Caller,
        thread_id: str,
        graph_id: str | None,
        *,
        limit: int,
        before: Mapping[str, Any] | None,
        metadata: Mapping[str, Any] | None,
        checkpoint: Mapping[str, Any] | None,
    ) -> list[StateSnapshot]:
        """List the states of a thread, the newest first."""
        if graph_id is None:
            return []
        config = config_at(thread_id, checkpoint)
        earlier = None if before is None else config_at(thread_id, before)
        async with self._graphs.open(graph_id, config, access="threads.read", caller=caller) as graph:
            found = graph.aget_state_history(config, filter=dict(metadata or {}) or None, before=earlier, limit=limit)
            async with aclosing(found) as states:
                return [state async for state in states]

    async def update(
        self,
        caller: Caller,
        thread_id: str,
        graph_id: str,
        values: Any,
        as_node: str | None,
        checkpoint: Mapping[str, Any] | None,
    ) -> Mapping[str, Any]:
        """Write to a thread as a node would; return the config of the new checkpoint."""
        config = config_at(thread_id, checkpoint)
        config["configurable"]["graph_id"] = graph_id
        async with self._alone(caller, thread_id, graph_id, config) as graph:
            written: Mapping[str, Any] = await graph.aupdate_state(config, values, as_node=as_node)
            return written

    async def write_steps(
        self, caller: Caller, thread_id: str, graph_id: str, supersteps: Sequence[Mapping[str, Any]]
    ) -> None:
        """Write several steps to a thread, each of updates beside each other."""
        config = config_at(thread_id, None)
        config["configurable"]["graph_id"] = graph_id
        steps = [[_update(each) for each in step.get("updates", ())] for step in supersteps]
        async with self._alone(caller, thread_id, graph_id, config) as graph:
            await graph.abulk_update_state(config, steps)

    @asynccontextmanager
    async def _alone(self, caller: Caller, thread_id: str, graph_id: str, config: RunnableConfig) -> AsyncIterator[Any]:
        """Open the graph of a thread that nobody else writes to meanwhile."""
        try:
            async with (
                hold(self._registry, thread_id, on_conflict="reject") as held,
                self._graphs.open(graph_id, config, access="threads.update", caller=caller) as graph,
            ):
                yield graph.copy({"checkpointer": held.fence(self._saver)})
        except ThreadBusy as error:
            raise ConflictError(f"Thread '{thread_id}' is busy: wait for its run, or cancel it") from error
        except (InvalidUpdateError, ValueError, TypeError, ConfigurationError) as error:
            raise MalformedError(str(error)) from error

    async def copy(self, source: str, target: str) -> None:
        """Copy all checkpoints of a thread, with what tasks wrote, to another one of which nothing is stored."""
        async with aclosing(cast("Any", self._saver.alist({"configurable": {"thread_id": source}}))) as listing:
            everything: list[CheckpointTuple] = [each async for each in listing]
        for saved in sorted(everything, key=lambda each: str(each.checkpoint["id"])):
            await self._copy_one(saved, target)

    async def _copy_one(self, saved: CheckpointTuple, target: str) -> None:
        checkpoint = saved.checkpoint
        namespace = saved.config["configurable"].get("checkpoint_ns", "")
        parent = (saved.parent_config or {}).get("configurable", {}).get("checkpoint_id")
        metadata = dict(cast("Mapping[str, Any]", saved.metadata))
        if "thread_id" in metadata:
            metadata["thread_id"] = target
        place = config_at(target, {"checkpoint_ns": namespace, "checkpoint_id": parent})
        stored = await self._saver.aput(place, checkpoint, cast("Any", metadata), checkpoint["channel_versions"])
        writes: dict[str, list[tuple[str, Any]]] = {}
        for task_id, channel, value in saved.pending_writes or ():
            writes.setdefault(task_id, []).append((channel, value))
        for task_id, several in writes.items():
            await self._saver.aput_writes(stored, several, task_id)

    async def has(self, thread_id: str, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a checkpoint of a thread is stored."""
        return await self._saver.aget_tuple(config_at(thread_id, checkpoint)) is not None

    async def storage(self, thread_id: str) -> Storage:
        """Measure what is stored of a thread, by what its values take when they are serialised."""
        found = Storage()
        known: set[tuple[str, str, Any]] = set()
        async with aclosing(cast("Any", self._saver.alist({"configurable": {"thread_id": thread_id}}))) as listing:
            async for saved in listing:
                place = saved.config["configurable"].get("checkpoint_ns", "")
                checkpoint = dict(saved.checkpoint)
                values = checkpoint.pop("channel_values")
                found.checkpoints += 1
                found.checkpoint_bytes += self._bytes([checkpoint, saved.metadata])
                for channel, value in values.items():
                    version = (place, channel, saved.checkpoint["channel_versions"].get(channel))
                    if version not in known:
                        known.add(version)
                        found.channels[channel] = found.channels.get(channel, 0) + self._bytes(value)
                for _, _, value in saved.pending_writes or ():
                    found.writes += 1
                    found.write_bytes += self._bytes(value)
        found.values = len(known)
        return found

    def _bytes(self, value: Any) -> int:
        return len(self._saver.serde.dumps_typed(value)[1])

    async def erase(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread."""
        await self._saver.adelete_thread(thread_id)

    async def keep_latest(self, thread_id: str) -> None:
        """Delete the checkpoints of a thread but the newest, and what it needs.

        Raises:
            MalformedError: The saver cannot.
        """
        prune = getattr(self._saver, "aprune", None)
        if prune is None:
            raise MalformedError(f"A saver of type {type(self._saver).__name__} cannot delete single checkpoints")
        await prune([thread_id], strategy="keep_latest")


def config_at(thread_id: str, checkpoint: Mapping[str, Any] | None) -> RunnableConfig:
    """Return the config that names a thread, or one of its checkpoints."""
    named = {key: checkpoint[key] for key in _PLACE if checkpoint and checkpoint.get(key) is not None}
    if checkpoint is None:
        named["checkpoint_ns"] = ""
    return {"configurable": {"thread_id": thread_id, **named}}


def _update(given: Mapping[str, Any]) -> StateUpdate:
    command = given.get("command")
    values = given.get("values") if command is None else command_of(command)
    return StateUpdate(cast("Any", values), given.get("as_node"), given.get("task_id"))


def graph_needed(graph_id: str | None, thread_id: str) -> str:
    """Return a thread's graph.

    Raises:
        MalformedError: Nobody knows it.
    """
    if graph_id is None:
        raise MalformedError(
            f"Thread '{thread_id}' has no assigned graph ID. This usually occurs when no runs have been made on this "
            "particular thread. This operation requires a graph ID. Please ensure a run has been made for the thread "
            "or manually update the thread metadata (by setting the 'graph_id' field) before running this operation."
        )
    return graph_id


def missing(thread_id: str) -> NotFoundError:
    """Return the error that there is no such thread."""
    return NotFoundError(f"Thread with ID {thread_id} not found")
