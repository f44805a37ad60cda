"""The channels of a run: thawed on first touch, updated once per step.

Rules
-----
* A channel is thawed from the checkpoint when it is first needed.
* Writes are applied in the order of the tasks' paths; all writes to one
  channel arrive in one update.
* Every change of a channel gets the step's new version. A node has seen the
  versions of its triggers when it ran; a channel newer than that starts it.
* A node reads its own writes through an overlay. If it is the channel's only
  writer, applying the step adopts the overlay, so no reducer runs twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INPUT,
    INTERRUPT,
    MISSING,
    NO_WRITES,
    PUSH,
    RESERVED,
    RESUME,
    RETURN,
)
from stategraph.core.channels.base import BaseChannel
from stategraph.core.program import Node, Program
from stategraph.core.task import Task, Write
from stategraph.errors import EmptyChannelError

NextVersion = Callable[[Any, None], Any]
"""Gives the version after the highest one in use (None: there is none yet)."""

_NOT_CHANNELS = frozenset((NO_WRITES, PUSH, RESUME, INTERRUPT, RETURN, ERROR, ERROR_SOURCE_NODE))


def count_up(current: int | None, _: None) -> int:
    """The version rule of runs without a saver: 1, 2, 3, ..."""
    return 1 if current is None else current + 1


class Channels(dict[str, BaseChannel[Any, Any, Any]]):
    """Live channels by name; a missing one is thawed from its stored value."""

    __slots__ = ("_signals", "_specs", "_values", "raised")

    def __init__(
        self,
        specs: Mapping[str, BaseChannel[Any, Any, Any]],
        values: Mapping[str, Any],
        signals: frozenset[str],
    ) -> None:
        super().__init__()
        self._specs = specs
        self._values = values
        self._signals = signals
        # The signals of the last step, by channel; they have no live channel.
        self.raised = {name: values[name] for name in signals.intersection(values)}

    def __missing__(self, name: str) -> BaseChannel[Any, Any, Any]:
        if name in self._signals:
            return self._specs[name].from_checkpoint(self.raised.get(name, MISSING))
        channel = self._specs[name].from_checkpoint(self._values.get(name, MISSING))
        self[name] = channel
        return channel

    def has_value(self, name: str) -> bool:
        """Whether the channel can hold a value without being thawed to see it."""
        return name in self or name in self._values

    def thaw_all(self) -> Channels:
        """Thaw every channel, for callers that iterate."""
        for name in self._specs:
            self[name]
        return self


class State:
    """The channels of one run with their versions, and who has seen what."""

    __slots__ = (
        "_active",
        "_dirty",
        "_frozen",
        "_max_version",
        "_next_version",
        "channels",
        "program",
        "seen",
        "unknown_writes",
        "versions",
    )

    def __init__(
        self, program: Program, checkpoint: Mapping[str, Any], next_version: NextVersion | None
    ) -> None:
        """Thaw lazily from a checkpoint.

        Args:
            program: The compiled graph.
            checkpoint: A checkpoint; its ``versions_seen`` is changed in place.
            next_version: The saver's version rule; None leaves versions alone,
                for looking at a state without running it.
        """
        self.program = program
        self.channels = Channels(program.specs, checkpoint["channel_values"], program.signals)
        self.versions: dict[str, Any] = checkpoint["channel_versions"]
        self.seen: dict[str, dict[str, Any]] = checkpoint["versions_seen"]
        self._next_version = next_version
        self._max_version = max(self.versions.values()) if self.versions else None
        # Channels that hear of steps without a write, as far as they have a value.
        self._active = {
            name
            for name in checkpoint["channel_values"]
            if name in program.reacts_to_empty
            and name not in program.signals
            and self.channels[name].is_available()
        }
        self.unknown_writes: list[tuple[Task | None, str]] = []
        # The stored form of every written channel, as of the last freeze, and
        # the channels that changed since.
        self._frozen: dict[str, Any] = {}
        self._dirty = set(self.versions).intersection(program.specs)

    # -- reading ---------------------------------------------------------

    def read(self, select: str | Iterable[str]) -> Any:
        """Read one channel (None if empty) or several (empty ones left out)."""
        channels = self.channels
        if isinstance(select, str):
            try:
                return channels[select].get()
            except EmptyChannelError:
                return None
        values: dict[str, Any] = {}
        for name in select:
            try:
                values[name] = channels[name].get()
            except EmptyChannelError:
                pass
        return values

    def node_input(self, node: Node, task: Any) -> Any:
        """What a node would read now, before its mapper; MISSING if nothing.

        Args:
            node: The node.
            task: The scratchpad that managed values are computed from.
        """
        channels = self.channels
        program = self.program
        reads = node.reads
        if isinstance(reads, str):
            if reads in program.specs:
                channel = channels[reads]
                return channel.get() if channel.is_available() else MISSING
            return MISSING
        value: dict[str, Any] = {}
        cells = program.cells
        for name in reads:
            if name in cells:
                held = channels[name].value  # type: ignore[attr-defined]
                if held is not MISSING:
                    value[name] = held
            elif name in program.managed:
                value[name] = program.managed[name].get(task)
            else:
                channel = channels[name]
                if channel.is_available():
                    value[name] = channel.get()
        return value

    def read_for(self, task: Task, select: str | Sequence[str], fresh: bool) -> Any:
        """Read as a task sees it.

        Args:
            task: The reader.
            select: One name or several; several may include managed values.
            fresh: Whether the task's own writes are applied first.
        """
        if not fresh:
            return self._with_managed(task, select, self.read)
        overlay = self._overlay(task)
        return self._with_managed(task, select, lambda s: self._read_overlay(overlay, s))

    def _with_managed(
        self, task: Task, select: str | Sequence[str], read: Callable[[Any], Any]
    ) -> Any:
        managed = self.program.managed
        if isinstance(select, str) or not managed:
            return read(select)
        values: dict[str, Any] = read([k for k in select if k not in managed])
        for name in select:
            if name in managed:
                values[name] = managed[name].get(task)
        return values

    def _read_overlay(self, overlay: dict[str, Any], select: str | Iterable[str]) -> Any:
        """Like :meth:`read`, with the overlay's channels in front."""
        single = isinstance(select, str)
        values: dict[str, Any] = {}
        empty_reacts = self.program.reacts_to_empty
        for name in (select,) if single else select:
            channel = overlay.get(name)
            if channel is None:
                channel = self.channels[name]
                if name in empty_reacts:
                    channel = channel.copy()
                    channel.update(())
            try:
                values[name] = channel.get()
            except EmptyChannelError:
                pass
        return values.get(select) if single else values  # type: ignore[arg-type]

    def _overlay(self, task: Task) -> dict[str, BaseChannel[Any, Any, Any]]:
        """Copies of the channels the task has written, with its writes applied."""
        grouped = _by_channel((task,), self.program.specs, None)
        known = task.fresh or {}
        fresh: dict[str, tuple[int, Any, bool]] = {}
        for name, values in grouped.items():
            ready = known.get(name)
            if ready is not None and ready[0] == len(values):
                fresh[name] = ready
                continue
            channel = self.channels[name].copy()
            fresh[name] = (len(values), channel, channel.update(values))
        task.fresh = fresh
        return {name: ready[1] for name, ready in fresh.items()}

    # -- updating --------------------------------------------------------

    def apply(self, tasks: Sequence[Task], inputs: Sequence[Write] = ()) -> set[str]:
        """Apply the writes of a step, then writes from outside it.

        Args:
            tasks: The step's tasks, in the order of their paths.
            inputs: Writes that no task made (a run's input, a command's update).

        Returns:
            The channels that changed and have a value.
        """
        versions, seen = self.versions, self.seen
        stepped = False
        for task in tasks:
            mine = seen.get(task.name)
            if mine is None:
                mine = seen[task.name] = {}
            for name in task.triggers:
                stepped = True
                if name in versions:
                    mine[name] = versions[name]
        if inputs:
            seen.setdefault(INPUT, {})
        version = self._version()
        if self.program.reacts_to_consume:
            self._consume(tasks, version)
        grouped = _by_channel(tasks, self.program.specs, self.unknown_writes)
        if inputs:
            self._add_inputs(grouped, inputs)
        updated = self._write(tasks, grouped, version)
        # A step is only over for the channels when a task ran in it.
        if stepped:
            self._tell_the_rest(updated, version)
        if version is not None:
            self._max_version = version
        return updated

    def _version(self) -> Any:
        """The version of what changes now; None if versions are left alone."""
        rule, highest = self._next_version, self._max_version
        if rule is count_up:
            return 1 if highest is None else highest + 1
        return None if rule is None else rule(highest, None)

    def _add_inputs(self, grouped: dict[str, list[Any]], inputs: Sequence[Write]) -> None:
        for name, value in inputs:
            if name in self.program.specs:
                grouped.setdefault(name, []).append(value)
            elif name not in _NOT_CHANNELS:
                self.unknown_writes.append((None, name))

    def _consume(self, tasks: Sequence[Task], version: Any) -> None:
        reacts = self.program.reacts_to_consume
        for name in {n for t in tasks for n in t.triggers if n in reacts and n not in RESERVED}:
            if self.channels[name].consume() and version is not None:
                self.versions[name] = version
                self._dirty.add(name)

    def _write(
        self, tasks: Sequence[Task], grouped: dict[str, list[Any]], version: Any
    ) -> set[str]:
        channels, versions, program = self.channels, self.versions, self.program
        signals, dirty = program.signals, self._dirty
        updated: set[str] = set()
        lone = tasks[0].fresh if len(tasks) == 1 else None
        for name, values in grouped.items():
            if name in signals:
                channels.raised[name] = values[-1]
                available = changed = True
            elif lone is not None and name in lone and lone[name][0] == len(values):
                channel = channels[name] = lone[name][1]
                changed, available = lone[name][2], channel.is_available()
            else:
                channel = channels[name]
                changed = channel.update(values)
                available = channel.is_available()
            if changed and version is not None:
                versions[name] = version
                dirty.add(name)
                if available:
                    updated.add(name)
                    if name in program.reacts_to_empty and name not in signals:
                        self._active.add(name)
        return updated

    def _tell_the_rest(self, updated: set[str], version: Any) -> None:
        """Tell channels of the step's end, and of the run's if nothing is triggered."""
        raised = self.channels.raised
        for name in [n for n in raised if n not in updated]:
            del raised[name]
            if version is not None:
                self.versions[name] = version
                self._dirty.add(name)
        if self._active:
            for name in [n for n in self._active if n not in updated]:
                self._notify(name, self.channels[name].update(()), updated, version)
        program = self.program
        if program.reacts_to_finish and updated.isdisjoint(program.triggers):
            for name in program.reacts_to_finish:
                self._notify(name, self.channels[name].finish(), updated, version)

    def _notify(self, name: str, changed: bool, updated: set[str], version: Any) -> None:
        available = self.channels[name].is_available()
        if changed and version is not None:
            self.versions[name] = version
            self._dirty.add(name)
            if available:
                updated.add(name)
        if not available:
            self._active.discard(name)

    def mark_all_seen(self, reader: str) -> None:
        """Note that ``reader`` has seen every channel as it is now."""
        seen = self.seen.setdefault(reader, {})
        for name in self.program.specs:
            if name in self.versions:
                seen[name] = self.versions[name]

    # -- triggering ------------------------------------------------------

    def null_version(self) -> Any:
        """The version before every version, or None if nothing was ever written."""
        for version in self.versions.values():
            return type(version)()
        return None

    def triggers(self, node: Node) -> bool:
        """Whether a channel that starts ``node`` is newer than what the node has seen."""
        null = self.null_version()
        seen = self.seen.get(node.name)
        for name in node.triggers:
            if name in self.program.signals:
                if name not in self.channels.raised:
                    continue
            elif not self.channels[name].is_available():
                continue
            if seen is None or self.versions.get(name, null) > seen.get(name, null):
                return True
        return False

    def changed_since_seen_by(self, reader: str) -> bool:
        """Whether any channel is newer than what ``reader`` has seen."""
        null = self.null_version()
        seen = self.seen.get(reader, {})
        return any(version > seen.get(name, null) for name, version in self.versions.items())

    def freeze(self) -> dict[str, Any]:
        """The values to store: those of every channel that was ever written."""
        frozen = self._frozen
        for name in self._dirty:
            value = self.channels[name].checkpoint()
            if value is MISSING:
                frozen.pop(name, None)
            else:
                frozen[name] = value
        self._dirty.clear()
        return frozen.copy()


def _by_channel(
    tasks: Sequence[Task],
    specs: Mapping[str, Any],
    unknown: list[tuple[Task | None, str]] | None,
) -> dict[str, list[Any]]:
    grouped: dict[str, list[Any]] = {}
    for task in tasks:
        for name, value in task.writes:
            values = grouped.get(name)
            if values is not None:
                values.append(value)
            elif name in specs:
                grouped[name] = [value]
            elif unknown is not None and name not in _NOT_CHANNELS:
                unknown.append((task, name))
    return grouped
