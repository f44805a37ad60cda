"""The whole state of a thread in an export, and back into a saver: with it, an import goes on as the thread would.

An export of `stategraph.run.threads.transfer` has the conversation. This adds `values`, which readers see, and `state`:
the newest checkpoint with what its tasks wrote, and those of the graphs inside of nodes that go on from it, in the
order in which a saver takes them:

    {"namespace": "", "parent": None, "checkpoint": {...}, "metadata": {...}, "writes": [[TASK, CHANNEL, value], ...]}

with values as `tagged` has them. Nothing is imported because a file names it: a value of a class that is not known here
is stored as the bytes that it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.cli.thread import tagged
from stategraph.errors import ConfigurationError
from stategraph.run.threads import conversation, copying

STATE: Final = "state"

_PARTS: Final = {"namespace": str, "parent": str | None, "checkpoint": dict, "metadata": dict, "writes": list}


@dataclass(slots=True)
class _Recorder:
    """Stands in for a saver that a thread is copied to, and keeps what it is given."""

    saver: Any
    parts: list[dict[str, Any]] = field(default_factory=list)

    async def aget_tuple(self, config: Any) -> Any:
        """Load a checkpoint of the saver."""
        return await self.saver.aget_tuple(config)

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, versions: Any) -> None:
        """Keep a checkpoint."""
        del versions  # those of the checkpoint
        named = config["configurable"]
        stored = {"namespace": named.get("checkpoint_ns", ""), "parent": named.get("checkpoint_id")}
        self.parts.append({**stored, **self._json(checkpoint=checkpoint, metadata=dict(metadata)), "writes": []})

    async def aput_writes(self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str) -> None:
        """Keep what a task wrote, with the checkpoint before."""
        del config
        self.parts[-1]["writes"] += [[task_id, channel, self._json(value=value)["value"]] for channel, value in writes]

    def _json(self, **values: Any) -> dict[str, Any]:
        _, data = self.saver.serde.dumps_typed(values)
        shown: dict[str, Any] = tagged.as_json(data)
        return shown


async def state_of(saver: Any, index: Any, thread_id: str) -> list[dict[str, Any]]:
    """Return the state of a thread as JSON; nothing if none is stored.

    Args:
        saver: Its saver.
        index: The index of the saver.
        thread_id: The thread.
    """
    saved = await conversation.load(saver, index, thread_id)
    recorder = _Recorder(saver)
    if saved is not None:
        await copying.copy_state(recorder, saved, thread_id, thread_id)
    return recorder.parts


async def restore(saver: Any, state: object, thread_id: str) -> bool:
    """Write a state to a thread of which nothing is stored; returns whether it waits for an answer.

    Args:
        saver: Its saver.
        state: What `state_of` returned.
        thread_id: The thread.

    Raises:
        ConfigurationError: It is something else. Parts of it may have been written.
    """
    waits = False
    for part in _checked(state):
        at = conversation.thread_config(thread_id, part["parent"], part["namespace"])
        read = _read(saver, {name: part[name] for name in ("checkpoint", "metadata")})
        checkpoint = read["checkpoint"]
        if not isinstance(checkpoint.get("id"), str) or not isinstance(checkpoint.get("channel_versions"), dict):
            raise ConfigurationError("The 'state' of the export has a checkpoint without an id or versions of channels")
        await saver.aput(at, checkpoint, read["metadata"], checkpoint["channel_versions"])
        at = conversation.thread_config(thread_id, checkpoint["id"], part["namespace"])
        writes: dict[str, list[tuple[str, Any]]] = {}
        for task_id, channel, value in part["writes"]:
            writes.setdefault(task_id, []).append((channel, _read(saver, {"value": value})["value"]))
            waits = waits or (channel == "__interrupt__" and not part["namespace"])
        for task_id, written in writes.items():
            await saver.aput_writes(at, written, task_id)
    return waits


def _checked(state: object) -> Sequence[Mapping[str, Any]]:
    if not isinstance(state, list) or not all(isinstance(part, dict) for part in state):
        raise ConfigurationError("The 'state' of the export is no list of checkpoints")
    for part in state:
        for name, kind in _PARTS.items():
            if name not in part or not isinstance(part[name], kind):
                raise ConfigurationError(f"A checkpoint in the 'state' of the export has no '{name}' that can be read")
        for write in part["writes"]:
            if not isinstance(write, list) or len(write) != 3 or not all(isinstance(name, str) for name in write[:2]):
                raise ConfigurationError("A write in the 'state' of the export is no task, channel and value")
    return state


def _read(saver: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    try:
        read: dict[str, Any] = saver.serde.loads_typed(("msgpack", tagged.as_bytes(values)))
    except ValueError as error:
        raise ConfigurationError(f"A value in the 'state' of the export cannot be read: {error}") from error
    return read
