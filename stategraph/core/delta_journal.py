"""The journal of one run's delta channels, from its start to the checkpoints it stores.

Rules
-----
* A run of a graph without delta channels has no journal.
* The journal is told what the machine does; it answers what a checkpoint stores in full, and what has to be recorded so
  that the rest can be replayed.
* Writes are given their identities (ids of messages) before they are recorded, applied or kept, so that every copy
  of them is the same.
* With ``durability="exit"`` the writes of all steps are kept here until the run ends.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from stategraph.constants import NULL_TASK_ID
from stategraph.core import deltas
from stategraph.core.checkpoint import Metadata, Values
from stategraph.core.program import Program
from stategraph.core.state import State
from stategraph.core.status import Pending
from stategraph.core.task import Task, Write


@dataclass(frozen=True, slots=True)
class DeltaCodec:
    """Functions that identify and store the values of delta channels, which the journal cannot know by itself.

    Attributes:
        wrap: Makes the stored form of a snapshot from a value.
        identify: Gives ids to the messages among writes; replaces pairs of the list whose value has to change.
        input_id: Gives the task id for input that is recorded on the checkpoint of an id.
        max_supersteps: After how many supersteps a snapshot is due even without updates.
    """

    wrap: Callable[[Any], Any]
    identify: Callable[[list[Write]], None]
    input_id: Callable[[str], str]
    max_supersteps: int


class _Kept(NamedTuple):
    step: int
    task_id: str
    path: str
    channel: str
    value: Any


class DeltaJournal:
    """The delta channels of one run; see the module."""

    __slots__ = ("_at_exit", "_codec", "_commanded", "_first_step", "_forced", "_kept", "_loaded", "_names", "_stored")

    def __init__(self, program: Program, codec: DeltaCodec, *, at_exit: bool) -> None:
        """Args: at_exit: Whether the run stores its writes when it ends, rather than when they are made."""
        self._names = frozenset(program.deltas)
        self._codec = codec
        self._at_exit = at_exit
        # Channels that the next checkpoint stores in full, whatever their counters say.
        self._forced: set[str] = set()
        # Writes found on the checkpoint, of which it is not known yet whether their tasks take them back.
        self._loaded: list[tuple[str, str]] = []
        # What is stored already: pairs of task and channel.
        self._stored: frozenset[tuple[str, str]] = frozenset()
        self._commanded: list[Write] = []
        self._kept: list[_Kept] = []
        self._first_step: int | None = None

    # -- starting --------------------------------------------------------

    def begin(self, pending: Pending, *, reapplies: bool) -> None:
        """Take in the writes that were recorded on the checkpoint.

        Args:
            pending: The writes.
            reapplies: Whether they go back to the tasks that made them, as far as these are planned again.
        """
        found = [(task_id, name) for task_id, name in self._among(pending) if task_id != NULL_TASK_ID]
        self._stored = frozenset(found)
        if reapplies:
            self._loaded = found
        else:
            self._forced.update(name for _, name in self._among(pending))

    def _among(self, pending: Pending) -> list[tuple[str, str]]:
        return [(task_id, name) for task_id, writes in pending.items() for name, _ in writes if name in self._names]

    def identify(self, writes: list[Write], task: Task | None = None) -> None:
        """Give the messages among writes their ids.

        Args:
            writes: The writes, changed in place.
            task: Whose; what it has read of its own writes is forgotten if they changed.
        """
        before = writes.copy() if task is not None and task.fresh else None
        self._codec.identify(writes)
        if task is not None and before is not None and any(map(operator.is_not, before, writes)):
            task.fresh = None

    def moved(self) -> None:
        """Store everything in the next checkpoint: the run goes on in a namespace that has no history."""
        self._forced.update(self._names)

    def carried(self, writes: list[Write]) -> None:
        """Take in a command's writes that go into the checkpoint of a fork, and are recorded nowhere."""
        self._codec.identify(writes)
        self._forced.update(name for name, _ in writes if name in self._names)

    def commanded(self, writes: Iterable[Write]) -> None:
        """Take in a command's writes that were recorded as the checkpoint's own."""
        if self._at_exit:
            self._commanded += [write for write in writes if write[0] in self._names]

    def took_input(self, writes: Iterable[Write], step: int, *, onto: str | None) -> tuple[str, list[Write]] | None:
        """Take in the run's input, which was applied.

        Args:
            writes: The input, identified.
            step: The step it makes up.
            onto: The checkpoint, if no other was built on it yet; None if there is none.

        Returns:
            A task id and the writes to record under it, if the channels are to be replayed from there.
        """
        mine = [write for write in writes if write[0] in self._names]
        if not mine:
            return None
        self._forced |= deltas.overwritten(self._names, mine)
        if self._at_exit:
            self._kept += [_Kept(step, NULL_TASK_ID, "", name, value) for name, value in mine]
        elif onto is not None:
            return self._codec.input_id(onto), mine
        else:
            self._forced.update(name for name, _ in mine)
        return None

    # -- stepping --------------------------------------------------------

    def applies(self, tasks: Mapping[str, Task]) -> None:
        """Take in a step that is about to be applied; it may be refused halfway.

        Args:
            tasks: Its tasks.
        """
        for task in tasks.values():
            self._forced |= deltas.overwritten(self._names, task.writes)
        if self._loaded:
            # A packet that was replaced, say: the task is gone, but its writes stay on the checkpoint.
            self._forced.update(name for task_id, name in self._loaded if task_id not in tasks)
            self._loaded = []

    def merges(self, tasks: Mapping[str, Task]) -> None:
        """Take in that one checkpoint will follow several supersteps of tasks, whose writes have no order in a saver.

        Args:
            tasks: The tasks.
        """
        if not self._at_exit:
            self._forced.update(name for task in tasks.values() for name, _ in task.writes if name in self._names)

    def applied(self, step: int, tasks: Mapping[str, Task], pending: Pending) -> None:
        """Take in a step that was applied.

        Args:
            step: Its number.
            tasks: Its tasks.
            pending: The writes recorded in it.
        """
        if not self._at_exit:
            return
        first = self._first_step is None
        if first:
            self._first_step = step
            self._kept += [_Kept(step, NULL_TASK_ID, "", name, value) for name, value in self._commanded]
        for task_id, writes in pending.items():
            path = tasks[task_id].path_key if task_id in tasks else ""
            for name, value in writes:
                if name not in self._names:
                    continue
                if first and (task_id == NULL_TASK_ID or (task_id, name) in self._stored):
                    continue
                self._kept.append(_Kept(step, task_id, path, name, value))

    # -- checkpoints -----------------------------------------------------

    def count(self, before: Metadata, metadata: Metadata, updated: Collection[str]) -> None:
        """Advance the counters in a new checkpoint's metadata.

        Args:
            before: The metadata of the checkpoint before.
            metadata: The new ones, changed in place.
            updated: Channels that the superstep changed.
        """
        counters = deltas.counted(before.get(deltas.COUNTERS_KEY) or {}, self._names, updated)
        metadata[deltas.COUNTERS_KEY] = counters

    def snapshots(self, state: State, metadata: Metadata, stored: deltas.Versions) -> Values:
        """Return what a checkpoint that is about to be stored holds of the delta channels.

        Args:
            state: The channels; versions move where a saver would not store a snapshot otherwise.
            metadata: The checkpoint's; counters start again.
            stored: The versions of the last stored checkpoint.

        Returns:
            The stored forms by channel, of those channels that are stored in full.
        """
        full = self._due(state, metadata)
        self._forced -= full
        return store_in_full(full, state, metadata, stored, self._codec)

    def _due(self, state: State, metadata: Metadata) -> set[str]:
        counters = metadata.get(deltas.COUNTERS_KEY) or {}
        return self._forced | deltas.due(state.channels, counters, state.versions, self._codec.max_supersteps)

    def kept(self, state: State, metadata: Metadata, *, built_on: bool) -> list[tuple[str, str, Sequence[Write]]]:
        """Return the writes to record on the checkpoint that the run started from, before its last one is stored.

        Args:
            state: The channels.
            metadata: The last checkpoint's.
            built_on: Whether the one it started from may have other children, which would replay them too.

        Returns:
            Task ids with paths and writes; nothing of channels that the last checkpoint stores in full.
        """
        if built_on:
            self._forced.update(write.channel for write in self._kept)
        if not self._kept:
            return []
        full = self._due(state, metadata)
        grouped: dict[tuple[str, str], list[Write]] = {}
        for write in self._kept:
            if write.channel not in full:
                grouped.setdefault(self._address(write), []).append((write.channel, write.value))
        return [(task_id, path, writes) for (task_id, path), writes in grouped.items()]

    def _address(self, write: _Kept) -> tuple[str, str]:
        """Under which task id and path a saver keeps a write, so that it is replayed in the right place."""
        if write.task_id == NULL_TASK_ID:
            return deltas.exit_task_id(write.step, write.task_id), ""
        if write.step == self._first_step:
            return deltas.exit_task_id(write.step, write.task_id), write.path
        return deltas.late_exit_task_id(write.step, write.task_id), deltas.late_exit_path(write.step, write.path)


def store_in_full(
    full: set[str], state: State, metadata: Metadata, stored: deltas.Versions, codec: DeltaCodec
) -> Values:
    """Make the stored forms of channels; versions and counters change as that demands.

    Args:
        full: The channels.
        state: The channels' values and versions; the latter move where needed.
        metadata: The metadata of the checkpoint.
        stored: The versions of the last stored checkpoint.
        codec: How to wrap a value.

    Returns:
        What to store, by channel.
    """
    counters = deltas.to_store(metadata.pop(deltas.COUNTERS_KEY, None) or {}, full)
    if counters:
        metadata[deltas.COUNTERS_KEY] = counters
    if not full:
        return {}
    state.versioning.bump(full, stored)
    # Reducers of delta channels may change a value in place, while the saver is still at work.
    return {name: codec.wrap(copy.copy(state.channels[name].get())) for name in full}
