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
* Versions, and who has seen which, are kept to be stored and to plan the first
  step of a run that continues. A run that stores nothing may leave them as they
  are; one that stores at its end may leave those of lone steps open until then.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

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
from stategraph.core import deltas, explain
from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.program import Node, Program
from stategraph.core.task import Draft, Fresh, Task, Write
from stategraph.core.views import Keys, Layout, View
from stategraph.errors import EmptyChannelError, InvalidUpdateError

NextVersion = Callable[[Any, None], Any]
"""Gives the version after the highest one in use (None: there is none yet)."""

_NOT_CHANNELS = frozenset((NO_WRITES, PUSH, RESUME, INTERRUPT, RETURN, ERROR, ERROR_SOURCE_NODE))


def count_up(current: int | None, _: None) -> int:
    """The version rule of runs without a saver: 1, 2, 3, ..."""
    return 1 if current is None else current + 1


_NO_OVERLAY: Mapping[str, Any] = {}

_OPEN_STEPS = 1_000
"""Lone steps whose versions may be open; a run may take steps without end."""


_OpenStep = tuple[str, Sequence[str], Iterable[str], Iterable[str], Sequence[str], Collection[str]]
"""A lone step without a version: the node, what started it, the channels that it wrote, in order, the signals of the
step before, the channels that its end has changed, and those of all these that have a value."""


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
        self.raised = {name: values[name] for name in signals.intersection(values)} if values else {}

    def __missing__(self, name: str) -> BaseChannel[Any, Any, Any]:
        if name in self._signals:
            return self._specs[name].from_checkpoint(self.raised.get(name, MISSING))
        channel = self._specs[name].from_checkpoint(self._values.get(name, MISSING))
        self[name] = channel
        return channel

    def has_value(self, name: str) -> bool:
        """Whether the channel can hold a value without being thawed to see it."""
        return name in self or name in self._values


class _Shown(NamedTuple):
    """What a router was shown.

    Attributes:
        writes: Those of its task that it shows.
        mapper: What made it.
        values: Of what.
        copied: Copies it; nobody has the original.
    """

    writes: list[Write]
    mapper: Callable[[Any], Any]
    values: dict[str, Any]
    copied: Callable[[], Any]


def _same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two dicts hold the very same objects."""
    return len(one) == len(other) and all(other.get(name, MISSING) is value for name, value in one.items())


class State:
    """The channels of one run with their versions, and who has seen what."""

    __slots__ = (
        "_active",
        "_dirty",
        "_frozen",
        "_last_view",
        "_max_version",
        "_next_version",
        "_open",
        "_shown",
        "_views",
        "channels",
        "ignored",
        "program",
        "seen",
        "versions",
    )

    def __init__(
        self,
        program: Program,
        checkpoint: Mapping[str, Any],
        next_version: NextVersion | None,
        histories: Mapping[str, Any] | None = None,
    ) -> None:
        """Thaw lazily from a checkpoint.

        Args:
            program: The compiled graph.
            checkpoint: A checkpoint; its ``versions_seen`` is changed in place.
            next_version: The saver's version rule; None leaves versions alone,
                for looking at a state without running it.
            histories: By channel what the saver found of those that the
                checkpoint does not hold.
        """
        self.program = program
        self.channels = Channels(program.specs, checkpoint["channel_values"], program.signals)
        if histories:
            for name, history in histories.items():
                self.channels[name] = deltas.replay(program.specs[name], history)
        self.versions: dict[str, Any] = checkpoint["channel_versions"]
        self.seen: dict[str, dict[str, Any]] = checkpoint["versions_seen"]
        self._next_version = next_version
        # Not asked for to look only: a thread seeded by hand may have versions that cannot be compared.
        self._max_version = max(self.versions.values()) if self.versions and next_version is not None else None
        # The steps that have no version yet; None if nothing is stored.
        self._open: list[_OpenStep] | None = None if next_version is count_up else []
        # Channels that hear of steps without a write, as far as they have a value.
        heeding = program.reacts_to_empty.intersection(checkpoint["channel_values"]).difference(program.signals)
        self._active = {name for name in heeding if self.channels[name].is_available()} if heeding else set()
        # What was asked for and cannot be done, in words, each said once.
        self.ignored: dict[str, None] = {}
        self._views: dict[Keys, View] = {}
        self._last_view: View | None = None
        self._shown: _Shown | None = None
        # The stored form of every written channel, as of the last freeze, and
        # the channels that changed since.
        self._frozen: dict[str, Any] = {}
        self._dirty = {name for name in self.versions if name in program.specs}

    # -- reading ---------------------------------------------------------

    def read(self, select: str | Iterable[str]) -> Any:
        """Read one channel (None if empty) or several (empty ones left out)."""
        if type(select) is Keys:
            return self._read_keys(select, None, _NO_OVERLAY)
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

    def node_input(self, node: Node, task: Task) -> Any:
        """What a node would be given now; MISSING if nothing.

        Args:
            node: The node.
            task: Its task, which managed values are computed from.
        """
        reads, mapper = node.reads, node.mapper
        try:
            if not isinstance(reads, str):
                # Mostly all nodes read the same keys, and looking them up takes longer than to copy what they hold.
                view = self._last_view
                if view is None or view.keys is not reads:
                    view = self._last_view = self._views.get(reads)
                if view is not None and view.simple and view.held is not None:
                    values = view.held.copy()
                else:
                    values = self._read_keys(reads, task, _NO_OVERLAY)
                if mapper is None:
                    return values
                shown = self._shown
                if shown is not None and shown.mapper is mapper and _same(shown.values, values):
                    return shown.copied()
                return mapper(values)
            channel = self.channels[reads] if reads in self.program.specs else None
            if channel is None or not channel.is_available():
                return MISSING
            return channel.get() if mapper is None else mapper(channel.get())
        except Exception as exc:
            exc.add_note(f"Before task with name '{node.name}' and path '{task.path[:3]}'")
            raise

    def read_for(self, draft: Draft, select: str | Sequence[str], fresh: bool) -> Any:
        """Read as an attempt sees it.

        Args:
            draft: The attempt's.
            select: One name or several; several may include managed values.
            fresh: Whether its own writes are applied first.
        """
        if isinstance(select, str):
            return self._read_fresh(draft, select) if fresh else self.read(select)
        keys = select if type(select) is Keys else Keys(select)
        if not fresh:
            return self._read_keys(keys, draft.task, _NO_OVERLAY)
        return self._read_keys(keys, draft.task, self._overlay(draft), fresh=True)

    def show(self, draft: Draft, keys: Keys, mapper: Callable[[Any], Any]) -> Any:
        """What a mapper makes of what an attempt reads after its writes.

        To validate a wide model can take longer than all else in a step. So if the next node is given the very same,
        it gets a copy: nodes of one step that read the same share it in that way too.
        """
        values = self.last_written(draft, keys)
        if values is None:
            return mapper(self.read_for(draft, keys, True))
        made = mapper(values)
        copied = getattr(mapper, "copied", None)
        if copied is None:
            return made
        shown = self._shown = _Shown(draft.writes, mapper, values, partial(copied, made))
        return shown.copied()

    def last_written(self, draft: Draft, keys: Keys) -> dict[str, Any] | None:
        """What an attempt reads after its writes, if all it reads are cells and it wrote each channel once.

        The short way of a router; None if it takes more: ask :meth:`read_for`.
        """
        view = self._last_view
        if view is None or view.keys is not keys:
            view = self._views.get(keys)
        if view is None or view.held is None or not view.simple:
            return None
        writes, last_values = draft.writes, self.program.last_values
        if (len(writes) > 2 and _repeats(writes)) or (len(writes) == 2 and writes[0][0] == writes[1][0]):
            return None
        values = view.held.copy()
        for name, value in writes:
            if name in values:
                values[name] = value if name in last_values else self._folded(draft, name, value)
            elif name in view.names:
                return None
        return values

    def _folded(self, draft: Draft, name: str, value: Any) -> Any:
        """The value of a channel with the only write of an attempt folded in, kept for applying the step."""
        fresh = draft.fresh
        if fresh is None:
            fresh = draft.fresh = {}
        ready = fresh.get(name)
        if ready is None or ready[0] != 1:
            channel: Any = self.channels[name].copy()
            ready = fresh[name] = (1, channel, channel.update((value,)))
        return ready[1].value

    def _read_keys(self, keys: Keys, task: Any, overlay: Mapping[str, Any], *, fresh: bool = False) -> dict[str, Any]:
        """Read several keys; empty ones are left out.

        Args:
            keys: What to read.
            task: The scratchpad that managed values are computed from.
            overlay: Channels to read in place of the live ones.
            fresh: Whether channels see the step as over.
        """
        view = self._views.get(keys)
        if view is None:
            program = self.program
            layout = program.layouts.get(keys) or Layout.of(keys, program.cells, program.managed)
            view = self._views[keys] = View(keys, layout)
        held = view.held
        if held is None:
            held = view.build(self.channels)
        values = held.copy()
        first = False
        for name, channel in overlay.items():
            if name in view.cells:
                first = first or name not in held
                values[name] = channel.value
        for name in view.others:
            channel = overlay.get(name)
            if channel is None:
                channel = self._after_step(name) if fresh else self.channels[name]
            if channel.is_available():
                values[name] = channel.get()
            else:
                del values[name]
        for name in view.managed:
            values[name] = self.program.managed[name].get(task)
        if first:  # a first value went to the end, and is to stand in its place
            return {name: values[name] for name in keys if name in values}
        return values

    def _after_step(self, name: str) -> BaseChannel[Any, Any, Any]:
        """A channel as it is once this step, which has not written it, is over."""
        channel = self.channels[name]
        if name in self.program.reacts_to_empty:
            channel = channel.copy()
            channel.update(())
        return channel

    def _read_fresh(self, draft: Draft, name: str) -> Any:
        """Read one channel with the attempt's own writes applied; None if empty."""
        channel = self._overlay(draft).get(name)
        if channel is None:
            channel = self._after_step(name)
        return channel.get() if channel.is_available() else None

    def _overlay(self, draft: Draft) -> dict[str, BaseChannel[Any, Any, Any]]:
        """Copies of the channels the attempt has written, with its writes applied."""
        grouped = _by_channel((draft,), self.program, None)
        known = draft.fresh or {}
        fresh: Fresh = {}
        for name, values in grouped.items():
            ready = known.get(name)
            if ready is not None and ready[0] == len(values):
                fresh[name] = ready
                continue
            channel = self.channels[name].copy()
            fresh[name] = (len(values), channel, channel.update(values))
        draft.fresh = fresh
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
        self._shown = None
        if self._open:
            self._close_steps()
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
        rule = self._next_version
        if rule is count_up:
            version = 1 if self._max_version is None else self._max_version + 1
        else:
            version = None if rule is None else rule(self._max_version, None)
        if self.program.reacts_to_consume:
            self._consume(tasks, version)
        grouped = _by_channel(tasks, self.program, self.ignored)
        if inputs:
            self._add_inputs(grouped, inputs)
        before = self.channels.raised
        if stepped:
            self.channels.raised = {}
        try:
            updated = self._write(tasks, grouped, version)
        except InvalidUpdateError as error:
            explain.name_writers(error, grouped, tasks, inputs)
            raise
        # A step is only over for the channels when a task ran in it.
        if stepped:
            self._tell_the_rest(before, updated, version)
        if version is not None:
            # A version that no channel got is given again, as LangGraph does.
            self._max_version = version if updated else max(self.versions.values(), default=None)
        return updated

    def apply_lone(self, task: Task) -> Collection[str]:
        """As :meth:`apply` for a step of one task, in a run that stores nothing before its end.

        The short way, if the task wrote each channel once. It leaves versions, and who has seen them, for later.
        """
        writes, steps, program = task.writes, self._open, self.program
        consumed = program.reacts_to_consume
        if (
            program.reacts_to_finish
            or (consumed and not consumed.isdisjoint(task.triggers))
            or (len(writes) > 1 and (writes[0][0] == writes[1][0] or (len(writes) > 2 and _repeats(writes))))
            or (steps is not None and len(steps) > _OPEN_STEPS)
        ):
            return self.apply((task,))
        if self._shown is not None and self._shown.writes is not writes:
            self._shown = None
        channels = self.channels
        signals, last_values, cells = program.signals, program.last_values, program.cells
        views = self._views.values()
        # In the order in which they were written.
        updated: dict[str, None] = {}
        emptied: list[str] = []
        before = channels.raised
        raised: dict[str, Any] = {}
        channels.raised = raised
        try:
            for name, value in writes:
                if name in signals:
                    raised[name] = value
                    updated[name] = None
                elif name in cells:
                    if name in last_values:
                        channels[name].value = value  # type: ignore[attr-defined]
                    else:
                        self._take(task, name, value)
                        value = channels[name].value  # type: ignore[attr-defined]
                    updated[name] = None
                    for view in views:
                        # Mostly it shows the channel, and no call is needed to find that out.
                        held = view.held
                        if held is not None and name in held and value is not MISSING:
                            held[name] = value
                        else:
                            view.note(name, value)
                elif name in program.specs:
                    if not self._take(task, name, value):
                        continue
                    if not channels[name].is_available():
                        emptied.append(name)
                        continue
                    updated[name] = None
                    if name in program.reacts_to_empty:
                        self._active.add(name)
                elif name not in _NOT_CHANNELS:
                    self.ignored[unknown_channel(name, task.name, program)] = None
        except BaseException:
            # What is stored now shows how far the step has come, and it has not ended.
            if steps is not None:
                steps.append((task.name, task.triggers, _either(writes, updated, emptied), (), (), updated))
            raise
        if steps is not None:
            written = _either(writes, updated, emptied) if emptied else updated
            ended = self._end_step(updated) if self._active else ()
            steps.append((task.name, task.triggers, written, before, ended, updated))
        elif self._active:
            self._end_step(updated)
        return updated

    def _take(self, task: Task, name: str, value: Any) -> bool:
        """Give a channel the only value that the only task wrote to it; returns whether it changed."""
        ready = None if task.fresh is None else task.fresh.get(name)
        if ready is not None and ready[0] == 1:
            self.channels[name] = ready[1]
            return ready[2]
        # A reducer may change what it is given in place.
        self._shown = None
        return self.channels[name].update((value,))

    def _end_step(self, updated: dict[str, None]) -> Sequence[str]:
        """Tell the channels that hear of steps without a write of this one's end.

        Args:
            updated: The channels that changed and have a value; those that change now and have one are added.

        Returns:
            All that change now.
        """
        changed = []
        for name in [n for n in self._active if n not in updated]:
            channel = self.channels[name]
            changes, available = channel.update(()), channel.is_available()
            if changes:
                changed.append(name)
                if available:
                    updated[name] = None
            if not available:
                self._active.discard(name)
        return changed

    def take_input(self, writes: Sequence[Write]) -> Collection[str]:
        """As :meth:`apply` for the input of a run that continues nothing, and stores nothing before its end.

        The short way, for the channel that a graph of nodes takes its input from.
        """
        name, value = writes[0]
        if len(writes) > 1 or type(self.program.specs[name]) is not EphemeralValue:
            return self.apply((), writes)
        self.channels[name].update((value,))
        self._active.add(name)
        if self._open is not None:
            self._open.append((INPUT, (), (name,), (), (), (name,)))
        return (name,)

    def _close_steps(self) -> None:
        """Give versions to the lone steps that have none yet, as :meth:`apply` would have."""
        versions, seen, dirty, rule = self.versions, self.seen, self._dirty, self._next_version
        assert self._open is not None and rule is not None
        for node, triggers, written, lowered, ended, updated in self._open:
            mine = seen.setdefault(node, {})
            for name in triggers:
                if name in versions:
                    mine[name] = versions[name]
            version = rule(self._max_version, None)
            changed = [name for name in written if name not in ended] if ended else [*written]
            changed += [name for name in lowered if name not in updated]
            changed += ended
            versions.update(dict.fromkeys(changed, version))
            dirty.update(changed)
            self._max_version = version if updated else max(versions.values(), default=None)
        self._open.clear()

    def _add_inputs(self, grouped: dict[str, list[Any]], inputs: Sequence[Write]) -> None:
        for name, value in inputs:
            if name in self.program.specs:
                grouped.setdefault(name, []).append(value)
            elif name not in _NOT_CHANNELS:
                self.ignored[unknown_channel(name, None, self.program)] = None

    def _consume(self, tasks: Sequence[Task], version: Any) -> None:
        reacts = self.program.reacts_to_consume
        for name in {n for t in tasks for n in t.triggers if n in reacts and n not in RESERVED}:
            if self.channels[name].consume() and version is not None:
                self.versions[name] = version
                self._dirty.add(name)

    def _write(self, tasks: Sequence[Task], grouped: dict[str, list[Any]], version: Any) -> set[str]:
        channels, versions, program = self.channels, self.versions, self.program
        signals, dirty = program.signals, self._dirty
        cells, views = program.cells, tuple(self._views.values())
        updated: set[str] = set()
        lone = tasks[0].fresh if len(tasks) == 1 else None
        for name, values in grouped.items():
            if name in signals:
                channels.raised[name] = values[-1]
                if version is not None:
                    versions[name] = version
                    dirty.add(name)
                    updated.add(name)
                continue
            if lone is not None and name in lone and lone[name][0] == len(values):
                channel = channels[name] = lone[name][1]
                changed, available = lone[name][2], channel.is_available()
            else:
                channel = channels[name]
                changed = channel.update(values)
                available = channel.is_available()
            if views and name in cells:
                for view in views:
                    view.note(name, channel.value)
            if changed and available and name in program.reacts_to_empty:
                self._active.add(name)
            if changed and version is not None:
                versions[name] = version
                dirty.add(name)
                if available:
                    updated.add(name)
        return updated

    def _tell_the_rest(self, signals: dict[str, Any], updated: set[str], version: Any) -> None:
        """Tell channels of the step's end, and of the run's if nothing is triggered.

        Args:
            signals: The signals of the step before.
            updated: The channels that changed; those that change now are added.
            version: The step's version.
        """
        if version is not None:
            for name in signals:
                if name not in updated:
                    self.versions[name] = version
                    self._dirty.add(name)
        else:
            # Nothing counts as updated when a state is only looked at: what lives for one step is over.
            self.channels.raised = {}
        if self._active:
            self._tell_active(updated, version)
        program = self.program
        if program.reacts_to_finish and updated.isdisjoint(program.triggers):
            for name in program.reacts_to_finish:
                self._notify(name, self.channels[name].finish(), updated, version)

    def _tell_active(self, updated: set[str], version: Any) -> None:
        for name in [n for n in self._active if n not in updated]:
            self._notify(name, self.channels[name].update(()), updated, version)

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
        if self._open:
            self._close_steps()
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
        if self._open:
            self._close_steps()
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
        if self._open:
            self._close_steps()
        null = self.null_version()
        seen = self.seen.get(reader, {})
        return any(version > seen.get(name, null) for name, version in self.versions.items())

    def bump(self, names: Iterable[str], stored: Mapping[str, Any]) -> None:
        """Give channels a version that is not stored yet, and start nobody by it.

        Args:
            names: The channels.
            stored: The versions of the last stored checkpoint.
        """
        moved = deltas.bumps(names, self.versions, stored, self._next_version or count_up)
        if not moved:
            return
        self.seen = deltas.seen_with_bumps(self.seen, moved, self.program.triggers)  # type: ignore[assignment]
        for name, (_, version) in moved.items():
            self.versions[name] = version
        self._max_version = max(self.versions.values())

    def freeze(self) -> dict[str, Any]:
        """The values to store: those of every channel that was ever written. Versions are complete after it."""
        if self._open:
            self._close_steps()
        frozen, channels, signals = self._frozen, self.channels, self.program.signals
        for name in self._dirty:
            # A signal holds what it was written; no channel need be made to say so.
            value = channels.raised.get(name, MISSING) if name in signals else channels[name].checkpoint()
            if value is MISSING:
                frozen.pop(name, None)
            else:
                frozen[name] = value
        self._dirty.clear()
        return frozen.copy()


def _either(writes: Sequence[Write], updated: Collection[str], emptied: list[str]) -> list[str]:
    """The channels among those written that changed, with a value or without."""
    return [name for name, _ in writes if name in updated or name in emptied]


def _repeats(writes: Sequence[Write]) -> bool:
    return len({name for name, _ in writes}) != len(writes)


def _by_channel(
    tasks: Sequence[Task | Draft],
    program: Program,
    ignored: dict[str, None] | None,
) -> dict[str, list[Any]]:
    specs = program.specs
    grouped: dict[str, list[Any]] = {}
    for task in tasks:
        for name, value in task.writes:
            values = grouped.get(name)
            if values is not None:
                values.append(value)
            elif name in specs:
                grouped[name] = [value]
            elif ignored is not None and isinstance(task, Task) and name not in _NOT_CHANNELS:
                ignored[unknown_channel(name, task.name, program)] = None
    return grouped


def unknown_channel(channel: str, writer: str | None, program: Program) -> str:
    """Say that a write goes nowhere.

    Args:
        channel: What was written to.
        writer: The node; None for the run's own input or command.
        program: The graph.
    """
    who = "The input" if writer is None else f"Node '{writer}'"
    if channel.startswith("branch:to:"):
        node = channel[10:]
        there = explain.what_there_is(node, tuple(program.nodes))
        return f"{who} goes to '{node}', which is no node of this graph: ignored. {there}"
    there = explain.what_there_is(channel, tuple(n for n in program.specs if ":" not in n), "channels")
    return f"{who} wrote to '{channel}', which is no channel of this graph: the write is ignored. {there}"
