"""A thread copied to another one: at a checkpoint as it is stored, or with a part of its messages.

A copy at a checkpoint has what is needed to go on from there: the state, what its tasks have written, and the states of
the nested graphs that go on. A thread that waits for a person waits in its copy too. Earlier checkpoints are copied
only where a state is stored as the writes that made it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from langchain_core.messages import AnyMessage

from stategraph.agent.context.context_state import ContextState
from stategraph.agent.context.kept_counts import LEVELS
from stategraph.agent.graphs import done
from stategraph.agent.messages import history
from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple
from stategraph.run.threads import conversation
from stategraph.run.threads.conversation import Saved, thread_config

#: Metadata that belong to the run and the thread that wrote a checkpoint.
_ANOTHERS = ("run_id", "thread_id", "run_attempt")


async def copy_state(saver: Any, saved: Saved, source: str, target: str) -> None:
    """Copy a thread at one of its checkpoints.

    Args:
        saver: Keeps both.
        saved: The checkpoint.
        source: The thread that is copied.
        target: The new thread, of which nothing is stored.
    """
    for nested in saved.nested:
        await _copy(saver, await _history(saver, nested), target)
    # The root comes last: without it there is no thread.
    origin = {"thread_id": source, "checkpoint_id": saved.id}
    await _copy(saver, await _history(saver, saved.root), target, {"forked_from": origin})


async def copy_messages(saver: Any, values: Mapping[str, Any], messages: Sequence[AnyMessage], target: str) -> None:
    """Begin a thread of agents with messages, as if a turn had ended after them.

    Args:
        saver: Keeps the thread.
        values: The state that they come from.
        messages: The messages; calls without a result get one that says so.
        target: The new thread.
    """
    update: dict[str, Any] = {"messages": list(history.repair(messages))}
    everything = {message.id for message in values.get("messages", ())}
    kept = {message.id for message in messages}
    windows = {
        agent_id: stored
        for agent_id, stored in (values.get("windows") or {}).items()
        if not _covers_more(stored, everything - kept)
    }
    if windows:
        update["windows"] = windows
    for key in LEVELS:
        if counts := {name: stored for name, stored in (values.get(key) or {}).items() if name in windows}:
            update[key] = counts
    await conversation.graph(saver).aupdate_state(thread_config(target), update, as_node=done.NODE)


def _covers_more(stored: Mapping[str, Any], left_out: set[str | None]) -> bool:
    """Return whether an agent's summary tells of messages that are left out."""
    summary = ContextState.of(stored).summary
    return summary is not None and summary.covers in left_out


async def _history(saver: Any, saved: CheckpointTuple) -> list[CheckpointTuple]:
    """Return the checkpoints that a state needs, the oldest first."""
    needed = [saved]
    deltas = conversation.Saved(saved, ()).has_deltas
    while deltas and needed[-1].parent_config is not None:
        before = await saver.aget_tuple(needed[-1].parent_config)
        if before is None:
            break
        needed.append(before)
    return needed[::-1]


async def _copy(
    saver: Any, several: Sequence[CheckpointTuple], target: str, more: Mapping[str, object] | None = None
) -> None:
    last: str | None = None
    for saved in several:
        checkpoint = saved.checkpoint
        namespace = (saved.config.get("configurable") or {}).get("checkpoint_ns", "")
        config = thread_config(target, last, namespace)
        metadata = {key: value for key, value in saved.metadata.items() if key not in _ANOTHERS}
        if saved is several[-1]:
            metadata |= more or {}
        await saver.aput(config, checkpoint, metadata, checkpoint["channel_versions"])
        last = checkpoint["id"]
        for task_id, writes in _by_task(saved).items():
            await saver.aput_writes(thread_config(target, last, namespace), writes, task_id)


def _by_task(saved: CheckpointTuple) -> dict[str, list[tuple[str, Any]]]:
    writes: dict[str, list[tuple[str, Any]]] = {}
    for task_id, channel, value in cast("Sequence[tuple[str, str, Any]]", saved.pending_writes or ()):
        writes.setdefault(task_id, []).append((channel, value))
    return writes
