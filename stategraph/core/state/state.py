"""The channels of a run: read by nodes, updated once per step.

Rules
-----
* Writes are applied in the order of the tasks' paths; all writes to one channel arrive in one update.
* Channels that react to it hear that a step is over which did not write them, and that nothing is left to run.
* A step of one task is applied by a way of its own, which groups nothing and puts versions off. What a channel does
  with its writes, what the end of a step changes, and who gets a version are decided in one place for both.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from stategraph.core import deltas, explain
from stategraph.core.checkpoint import Values, Versions
from stategraph.core.program import Node, Program
from stategraph.core.state.live_channels import Channels
from stategraph.core.state.reading import Grouped, Reader, group_by_channel, writes_twice
from stategraph.core.state.versioning import MOST_OPEN, NextVersion, OpenStep, Versioning
from stategraph.core.task import Fresh, Task, Write
from stategraph.core.views import Keys, View
from stategraph.errors import InvalidUpdateError

_NOT_CHANNELS = frozenset((NO_WRITES, PUSH, RESUME, INTERRUPT, RETURN, ERROR, ERROR_SOURCE_NODE))


class State(Reader):
    """The channels of one run with their versions, and who has seen what.

    Attributes:
        goes_on: Whether more is to come whatever a step starts, so that nothing is told that the run is over.
        ignored: What was asked for and cannot be done, in words, each said once.
    """

    __slots__ = (
        "__weakref__",
        "_active",
        "_checkpoint",
        "_frozen",
        "_later",
        "_rule",
        "_stored",
        "_versioning",
        "goes_on",
        "ignored",
    )

    def __init__(
        self,
        program: Program,
        checkpoint: Mapping[str, Any],
        next_version: NextVersion | None,
        histories: Mapping[str, Any] | None = None,
        *,
        stored: bool = True,
    ) -> None:
        """Thaw lazily from a checkpoint.

        Args:
            program: The compiled graph.
            checkpoint: A checkpoint; its ``channel_versions`` is changed in place.
            next_version: The saver's version rule; None leaves versions alone,
                for looking at a state without running it.
            histories: By channel what the saver found of those that the
                checkpoint does not hold.
            stored: Whether the run stores anything, and so needs versions.
        """
        values = checkpoint["channel_values"]
        # As the constructor of a reader does; to call it would take as long again.
        self.program = program
        self.channels = Channels(program.specs, values, program.signals)
        self.is_read = False
        self._views: dict[Keys, View] = {}
        self._last_view: View | None = None
        self._shown = None
        if histories:
            for name, history in histories.items():
                self.channels[name] = deltas.replay(program.specs[name], history)
        self._checkpoint = checkpoint
        self._rule = next_version
        self._stored = stored
        self._versioning: Versioning | None = None
        # The steps of one task that have no version yet; None if nothing is stored.
        self._later: list[OpenStep] | None = self.versioning.open if stored else None
        # Channels that hear of steps without a write, as far as they have a value.
        self._active: set[str] = set()
        if len(values) and (heeding := program.reacts_to_empty.intersection(values).difference(program.signals)):
            self._active.update(name for name in heeding if self.channels[name].is_available())
        self.ignored: dict[str, None] = {}
        self.goes_on = False
        # The stored form of every written channel, as of the last freeze.
        self._frozen: Values = {}

    @property
    def versioning(self) -> Versioning:
        """The versions of its channels; made when somebody asks, which may be never in a run that stores nothing."""
        versioning = self._versioning
        if versioning is None:
            versioning = Versioning(self.program, self._checkpoint, self._rule, stored=self._stored)
            self._versioning = versioning
        return versioning

    @property
    def versions(self) -> Versions:
        """The version of each channel that was ever written."""
        return self.versioning.by_channel

    @property
    def seen(self) -> dict[str, Versions]:
        """For each node, and other readers, the versions that it has seen."""
        return self.versioning.seen

    # -- updating --------------------------------------------------------

    def apply(
        self, tasks: Sequence[Task], inputs: Sequence[Write] = (), parts: Sequence[Sequence[Task]] = ()
    ) -> set[str]:
        """Apply the writes of a step, then writes from outside it.

        Args:
            tasks: The step's tasks, in the order of their paths.
            inputs: Writes that no task made (a run's input, a command's update).
            parts: More tasks of the step, in parts that update channels one after the other.

        Returns:
            The channels that changed and have a value; none if the state is only looked at.
        """
        self._shown = None
        channels, versioning, program = self.channels, self.versioning, self.program
        if versioning.open:
            versioning.catch_up()
        grouped: Grouped = {}
        is_step = False
        for task in tasks:
            # A step is only over for the channels when a channel started a task of it.
            is_step = is_step or bool(task.triggers)
            versioning.note_run(task.name, task.triggers)
            for name in group_by_channel(task.writes, program.specs, grouped):
                self._ignore(name, task.name)
        if inputs:
            versioning.note_run(INPUT, ())
            for name in group_by_channel(inputs, program.specs, grouped):
                self._ignore(name, None)
        lowered: Values = {}
        if is_step:
            lowered, channels.raised = channels.raised, {}
        updated: dict[str, None] = {}
        emptied: list[str] = []
        try:
            self._consume(tasks, emptied)
            self._write(grouped, tasks[0].fresh if len(tasks) == 1 else None, updated, emptied)
            for part in parts:
                self._write_part(part, updated, emptied)
            if versioning.is_fixed:
                # Nothing counts as updated when a state is only looked at: what lives for one step is over.
                updated.clear()
                channels.raised = {} if is_step else channels.raised
            if is_step:
                self._end_step(updated, emptied)
        except BaseException as error:
            # It shows how far the step has come, and it has not ended.
            versioning.give(updated, emptied, ())
            if isinstance(error, InvalidUpdateError):
                explain.name_writers(error, grouped, tasks, inputs)
            raise
        versioning.give(updated, emptied, lowered)
        return set(updated)

    def apply_single(self, task: Task) -> Collection[str]:
        """As :meth:`apply` for a step of one task.

        It leaves versions, and who has seen them, for later, or for the checkpoint that is made next.
        """
        writes, later = task.writes, self._later
        # Mostly there are two, and no call is needed to compare them.
        twice = len(writes) > 1 and (writes[0][0] == writes[1][0] or (len(writes) > 2 and writes_twice(writes)))
        if twice or (later is not None and len(later) > MOST_OPEN):
            return self.apply((task,))
        if self._shown is not None and self._shown.writes is not writes:
            self._shown = None
        channels, program = self.channels, self.program
        # In the order in which they were written.
        updated: dict[str, None] = {}
        emptied: list[str] = []
        lowered: Collection[str] = channels.raised
        channels.raised = {}
        try:
            if program.reacts_to_consume:
                self._consume((task,), emptied)
            self._write_once(writes, task.fresh, task.name, updated, emptied)
            if self._active or program.reacts_to_finish:
                self._end_step(updated, emptied)
        except BaseException:
            lowered = ()
            raise
        finally:
            if later is not None:
                later.append((task.name, task.triggers, updated, emptied, lowered))
        return updated

    def take_input(self, writes: Sequence[Write]) -> Collection[str]:
        """As :meth:`apply` for the input of a run that continues nothing."""
        if len(writes) > 1:
            return self.apply((), writes)
        updated: dict[str, None] = {}
        emptied: list[str] = []
        self._write_once(writes, None, None, updated, emptied)
        if self._later is not None:
            self._later.append((INPUT, (), updated, emptied, ()))
        return updated

    def enter(self, entry: Node, writes: Sequence[Write]) -> Collection[str]:
        """Take in what the first node of a run that stores nothing writes for the run's input, each channel once.

        As :meth:`take_input` and :meth:`apply_single` one after the other, but for the channel of the input: it is
        empty again after the step that it starts.
        """
        updated: dict[str, None] = {}
        emptied: list[str] = []
        self._write_once(writes, None, entry.name, updated, emptied)
        if self._active or self.program.reacts_to_finish:
            self._end_step(updated, emptied)
        return updated

    def _write(self, grouped: Grouped, fresh: Fresh | None, updated: dict[str, None], emptied: list[str]) -> None:
        """Apply writes grouped by channel.

        Args:
            grouped: The values by channel.
            fresh: Copies of channels with the writes of the step's only task applied, if it has read them.
            updated: Gets the channels that changed and have a value.
            emptied: Gets those that changed and have none.
        """
        channels, program = self.channels, self.program
        for name, values in grouped.items():
            if name in program.signals:
                channels.raised[name] = values[-1]
                updated[name] = None
                continue
            if self._update(name, values, fresh):
                self._note_change(name, updated, emptied)
            if name in program.cells:
                for view in self._views.values():
                    view.note(name, channels[name].value)  # type: ignore[attr-defined]

    def _write_part(self, tasks: Sequence[Task], updated: dict[str, None], emptied: list[str]) -> None:
        """Apply the writes of more tasks of a step."""
        grouped: Grouped = {}
        for task in tasks:
            self.versioning.note_run(task.name, task.triggers)
            for name in group_by_channel(task.writes, self.program.specs, grouped):
                self._ignore(name, task.name)
        self._consume(tasks, emptied)
        self._write(grouped, None, updated, emptied)

    def _write_once(
        self,
        writes: Sequence[Write],
        fresh: Fresh | None,
        writer: str | None,
        updated: dict[str, None],
        emptied: list[str],
    ) -> None:
        """As :meth:`_write` for writes of one task, or of an input, to each channel once."""
        channels, program = self.channels, self.program
        for name, value in writes:
            if name in program.signals:
                channels.raised[name] = value
                updated[name] = None
            elif name in program.cells:
                if name in program.last_values:
                    channels[name].value = value  # type: ignore[attr-defined]
                elif self._update(name, (value,), fresh):
                    value = channels[name].value  # type: ignore[attr-defined]
                else:
                    continue
                updated[name] = None
                for view in self._views.values():
                    # Mostly it shows the channel, and no call is needed to find that out.
                    held = view.held
                    if held is not None and name in held and value is not MISSING:
                        held[name] = value
                    else:
                        view.note(name, value)
            elif name not in program.specs:
                self._ignore(name, writer)
            elif self._update(name, (value,), fresh):
                self._note_change(name, updated, emptied)

    def _update(self, name: str, values: Sequence[object], fresh: Fresh | None) -> bool:
        """Update a channel with what a step wrote to it; returns whether it changed."""
        ready = None if fresh is None else fresh.get(name)
        if ready is not None and ready[0] == len(values):
            self.channels[name] = ready[1]
            return ready[2]
        # A reducer may change what it is given in place.
        self._shown = None
        return self.channels[name].update(values)

    def _note_change(self, name: str, updated: dict[str, None], emptied: list[str]) -> None:
        """Note that a channel changed, by whether it has a value now."""
        if not self.channels[name].is_available():
            emptied.append(name)
            return
        updated[name] = None
        if name in self.program.reacts_to_empty:
            self._active.add(name)

    def _ignore(self, name: str, writer: str | None) -> None:
        """Note a write to what is no channel, unless it says something about its task."""
        if name not in _NOT_CHANNELS:
            self.ignored[unknown_channel(name, writer, self.program)] = None

    def _consume(self, tasks: Sequence[Task], emptied: list[str]) -> None:
        """Tell channels that a node which they started has run."""
        reacts = self.program.reacts_to_consume
        if not reacts:
            return
        for name in {n for t in tasks for n in t.triggers if n in reacts and n not in RESERVED}:
            if self.channels[name].consume():
                emptied.append(name)

    def _end_step(self, updated: dict[str, None], emptied: list[str]) -> None:
        """Tell channels of the step's end, and of the run's if nothing is triggered.

        Args:
            updated: The channels that changed and have a value; those that change now are added.
            emptied: Those that changed and have none.
        """
        channels, program = self.channels, self.program
        if self._active:
            for name in [n for n in self._active if n not in updated]:
                self._note_reaction(name, channels[name].update(()), updated, emptied)
        if program.reacts_to_finish and not self.goes_on and program.triggers.keys().isdisjoint(updated):
            for name in program.reacts_to_finish:
                self._note_reaction(name, channels[name].finish(), updated, emptied)

    def _note_reaction(self, name: str, changed: bool, updated: dict[str, None], emptied: list[str]) -> None:
        if changed:
            self._note_change(name, updated, emptied)
        if not self.channels[name].is_available():
            self._active.discard(name)

    # -- triggering ------------------------------------------------------

    def triggers(self, node: Node) -> bool:
        """Return whether a channel that starts a node is newer than what the node has seen."""
        return self.versioning.has_news(node.name, filter(self.channels.starts_nodes, node.triggers))

    # -- storing ---------------------------------------------------------

    def freeze(self) -> Values:
        """Return the values to store: those of every channel that was ever written. Versions are complete after it.

        Those that have moved since the last time are looked at; who stores them empties `versioning.moved`.
        """
        versioning = self.versioning
        if versioning.open:
            versioning.catch_up()
        frozen, channels, signals, moved = self._frozen, self.channels, self.program.signals, versioning.moved
        for name in moved:
            # A signal holds what it was written; no channel need be made to say so.
            value = channels.raised.get(name, MISSING) if name in signals else channels[name].checkpoint()
            if value is MISSING:
                frozen.pop(name, None)
            else:
                frozen[name] = value
        return frozen.copy()


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
