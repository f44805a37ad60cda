"""Tasks that start while others run: the window between two checkpoints, in which nobody waits for a barrier.

Rules
-----
* A node that was triggered starts as soon as no task that runs, or will run before it, may still trigger it along the
  declared edges. So it hears all that was selected, and waits for nothing that was not.
* Of nodes that wait for each other only, none waits. Packets, and nodes that each arrival starts, wait for nothing.
* A task sees the state before the window with the writes of the tasks that led to it, of these alone. They are applied
  wave by wave: the wave of a task is one more than the latest of those that started it, the superstep that it has in
  LangGraph. Inside a wave they are applied as in a superstep.
* So nothing here depends on the order in which tasks end: not what starts, nor what it sees, nor its id.
* The window ends when all that comes next follows from all that has run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from xxhash import xxh3_64_hexdigest

from stategraph.constants import PUSH, TASKS
from stategraph.core.dataflow.firing import Cause, Firing, Wave, apply, past_of, rounds, wave_after, waves
from stategraph.core.dataflow.fork import Fork
from stategraph.core.flow import Flow
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import Task, Write

Stops = Callable[[str, "Sequence[Firing]", Task], bool]
"""Tells whether the run pauses before a node, by what has triggered it, and the task that it would be."""


class _Packet:
    """A packet whose task has not begun."""

    __slots__ = ("index", "packet", "sender")

    def __init__(self, sender: Firing, index: int, packet: object) -> None:
        self.sender = sender
        self.index = index
        self.packet = packet


class Window:
    """The tasks that run between two checkpoints; see the module.

    Attributes:
        firings: Its tasks that have begun, by id.
        pending: The nodes that were triggered and have not begun, with what did it.
        asking: Those that have asked something and wait for the answer.
        stopped: The ids of tasks that do not begin, as the run pauses before them.
        exhausted: Whether a task does not begin as the recursion limit is reached.
    """

    def __init__(self, flow: Flow, planner: Planner, state: State, planned: Iterable[Task], step: int) -> None:
        """Open a window.

        Args:
            flow: What is known of the edges.
            planner: Makes tasks.
            state: The channels; they must not change while the window is open, but through `fork.show`.
            planned: The tasks that come next, as supersteps have it.
            step: The number of their superstep.
        """
        self.firings: dict[str, Firing] = {}
        self.asking: set[str] = set()
        self.stopped: dict[str, None] = {}
        self.exhausted = False
        self._flow = flow
        self._planner = planner
        self._program = state.program
        self._state = state
        self._step = step
        self._anchor: Fork | None = None
        self._list: list[Firing] = []
        self._forks: dict[int, Fork] = {}
        self._completed = 0
        self._running: dict[str, int] = {}
        # The packets that were sent, and who has arrived at edges from several nodes.
        self.pending: dict[str, list[Cause]] = {}
        self._packets: list[_Packet] = []
        self._arrived: dict[str, dict[str, list[Cause]]] = {}
        self._planned: dict[str, Task] = {}
        self._first: list[Task] = []
        for task in planned:
            if task.path[0] == PUSH:
                self._first.append(task)
            else:
                self._planned[task.name] = task
                self.pending[task.name] = [None]
        self._shares = len(self._first) + len(self.pending) > 1
        for channel in flow.joins:
            if state.channels.may_hold_value(channel) and (seen := getattr(state.channels[channel], "seen", None)):
                self._arrived[channel] = {name: [None] for name in seen}

    # -- what starts -------------------------------------------------------

    def advance(self, stops: Stops | None = None, last: int | None = None) -> list[Task]:
        """Begin everything that waits for nothing any more.

        Args:
            stops: Whether the run pauses before a task; None if it never does.
            last: The number of the last superstep that may begin; None for any.

        Returns:
            The new tasks.
        """
        self.stopped.clear()
        tasks = [self._begin(task, (None,), "1", index=number) for number, task in enumerate(self._first)]
        self._first = []
        packets, self._packets = self._packets, []
        for packet in packets:
            tasks += self._send(packet, stops, last)
        for name in self._ready():
            tasks += self._start(name, stops, last)
        return tasks

    def _ready(self) -> list[str]:
        pending, flow = self.pending, self._flow
        if not pending:
            return []
        bits = flow.bits
        running = waiting = 0
        for name in self._running:
            running |= bits[name]
        for name in pending:
            if name in flow.any:
                running |= bits[name]  # it begins at once
            else:
                waiting |= bits[name]
        return [name for name in sorted(pending) if name in flow.any or not self._waits(name, running, waiting)]

    def _waits(self, name: str, running: int, waiting: int) -> bool:
        """Return whether something may still trigger a node, or it runs already."""
        flow = self._flow
        if self._running.get(name, 0) & 1:
            return True
        before, own = flow.before[name], flow.bits[name]
        if before & running:
            return True
        if not before & waiting:
            return False
        return any(flow.bits[other] & before and not flow.before[other] & own for other in self.pending)

    def _start(self, name: str, stops: Stops | None, last: int | None) -> list[Task]:
        causes = self.pending[name]
        groups: list[list[Cause]] = [[cause] for cause in causes] if name in self._flow.any else [causes]
        kept: list[Cause] = []
        tasks = []
        for group in groups:
            task = self._task_of(name, group, stops, last)
            if task is None:
                kept += group
            else:
                tasks.append(task)
        if kept:
            self.pending[name] = kept
        else:
            del self.pending[name]
            for channel in self._program.nodes[name].triggers:
                arrived = self._arrived.get(channel)
                if arrived is not None and arrived.keys() == self._flow.joins[channel]:
                    del self._arrived[channel]
        return [task for task in tasks if task is not _NOTHING]

    def _task_of(self, name: str, causes: list[Cause], stops: Stops | None, last: int | None) -> Task | None:
        """Begin a node; returns None if it has to stay where it is."""
        firings = [cause for cause in dict.fromkeys(causes) if cause is not None]
        if not firings:
            return self._begin(self._planned[name], (None,), f"0{name}")
        step = self._step + wave_after(firings) - 1
        if last is not None and step > last:
            self.exhausted = True
            return None
        digest = _digest("|".join([name, *sorted(cause.digest for cause in firings)]))
        state = self.state_after(past_of(firings))
        task = self._planner.started(self._program.nodes[name], step, digest, state)
        if task is None:
            return _NOTHING
        if stops is not None and stops(name, firings, task):
            self.stopped[task.id] = None
            return None
        task.state = state
        return self._begin(task, [*firings, None] if None in causes else firings, f"0{name}", digest)

    def _send(self, waiting: _Packet, stops: Stops | None, last: int | None) -> list[Task]:
        sender = waiting.sender
        step = self._step + sender.wave
        if last is not None and step > last:
            self.exhausted = True
            self._packets.append(waiting)
            return []
        key = f"{sender.digest}{waiting.index}"
        task = self._planner.sent(waiting.packet, waiting.index, step, key)
        if task is None:
            return []
        if stops is not None and stops(task.name, (sender,), task):
            self.stopped[task.id] = None
            self._packets.append(waiting)
            return []
        task.state = self.state_after(sender.past | sender.bit)
        return [self._begin(task, (sender,), "1", _digest(key), index=waiting.index)]

    def _begin(
        self, task: Task, causes: Sequence[Cause], order: str, digest: str | None = None, *, index: int = 0
    ) -> Task:
        bit = 1 << len(self._list)
        firing = Firing(task, bit, causes, order, digest or _digest(f"{order}{index}"), index=index)
        self._note(firing)
        if self._shares and task.state is None:
            task.state = self.state_after(0)
        return task

    def _note(self, firing: Firing) -> None:
        name = firing.task.name
        self.firings[firing.task.id] = firing
        self._list.append(firing)
        # Of a node an odd number runs if edges have started one of them.
        self._running[name] = self._running.get(name, 0) + (1 if firing.by_edges else 2)

    # -- what ends ---------------------------------------------------------

    def end(self, task: Task) -> None:
        """Take in that a task has ended well, and whom its writes trigger."""
        firing = self._leave(task)
        firing.ended = True
        self._completed |= firing.bit
        task.fresh = task.fresh if len(self._list) == 1 else None
        self._trigger(firing, task.writes)

    def hand_over(self, failed: Task, handler: Task) -> None:
        """Take in that a task has failed and another one handles that: it stands where the other one did."""
        firing = self._leave(failed)
        firing.ended = True
        self._completed |= firing.bit
        handler.state = self.state_after(firing.past)
        digest = _digest(f"{firing.digest}!")
        bit = 1 << len(self._list)
        causes: Sequence[Cause] = [*firing.causes, None] if firing.is_due else firing.causes
        self._note(Firing(handler, bit, causes, f"{_HANDLER}{firing.order}", digest, index=firing.index))

    def _leave(self, task: Task) -> Firing:
        firing = self.firings[task.id]
        self.asking.discard(task.id)
        left = self._running[task.name] - (1 if firing.by_edges else 2)
        if left:
            self._running[task.name] = left
        else:
            del self._running[task.name]
        return firing

    def _trigger(self, firing: Firing, writes: Sequence[Write]) -> None:
        flow, packets = self._flow, 0
        for channel, value in writes:
            if channel == TASKS:
                self._packets.append(_Packet(firing, packets, value))
                packets += 1
                continue
            for name in self._program.triggers.get(channel, ()):
                if name in flow.deferred:
                    continue
                names = flow.joins.get(channel)
                if names is None:
                    causes = self.pending.setdefault(name, [])
                    if not causes or causes[-1] is not firing:  # it may say so twice
                        causes.append(firing)
                    continue
                arrived = self._arrived.setdefault(channel, {})
                arrived.setdefault(value, []).append(firing)
                if arrived.keys() == names:
                    # Also one that comes when all have: it is of the same round as long as the node waits.
                    all_of_them = [cause for causes in arrived.values() for cause in causes]
                    self.pending.setdefault(name, []).extend(all_of_them)

    # -- what is over ------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """True if nothing runs and all that comes next follows from all that has run, so that it is a superstep."""
        if self._running or self._first:
            return False
        done = self._completed
        if any(packet.sender.past | packet.sender.bit != done for packet in self._packets):
            return False
        return all(past_of(causes) == done for causes in self.pending.values())

    @property
    def goes_on(self) -> bool:
        """True if something was triggered or sent that has not begun."""
        return bool(self.pending or self._packets)

    @property
    def unsent(self) -> list[tuple[object, Firing]]:
        """The packets whose tasks have not begun, each with its sender."""
        return [(waiting.packet, waiting.sender) for waiting in self._packets]

    def open_triggers(self, state: State) -> list[str]:
        """Return the channels that trigger what comes next; an edge from several nodes may have opened in any wave.

        Args:
            state: The channels with all that has ended.
        """
        if not self._flow.joins:
            return []
        starts, nodes = state.channels.starts_nodes, self._program.nodes
        return [channel for name in self.pending for channel in nodes[name].triggers if starts(channel)]

    def waves(self) -> list[Wave]:
        """Return the tasks that have ended, wave by wave, as they are applied."""
        return waves(firing for firing in self._list if firing.ended)

    @property
    def last_wave(self) -> list[Task]:
        """The tasks of the last wave that has ended."""
        ended = self.waves()
        return [firing.task for part in ended[-1] for firing in part] if ended else []

    def wave_of(self, task: Task) -> int:
        """Return the wave of a task, or of the one that called it."""
        while task.id not in self.firings:
            task = task.parent
        return self.firings[task.id].wave

    # -- what is seen --------------------------------------------------------

    @property
    def anchor(self) -> Fork:
        """The state before the window."""
        if self._anchor is None:
            self._anchor = self._forks[0] = Fork(self._state)
        return self._anchor

    def state_now(self) -> Fork:
        """Return the state with the writes of all tasks that have ended."""
        return self.state_after(self._completed)

    def state_after(self, past: int) -> Fork:
        """Return the state before the window with the writes of some tasks.

        Args:
            past: The set of tasks, as bits.
        """
        forks = self._forks
        base = self.anchor
        later: list[tuple[int, Wave]] = []
        rest = past
        while rest and rest not in forks:
            wave = self._last_wave(rest)
            later.append((rest, rounds(wave)))
            for firing in wave:
                rest &= ~firing.bit
        state = forks[rest] if rest else base
        for after, parts in reversed(later):
            state = Fork(state)
            apply(state, parts)
            forks[after] = state
        return state

    def _last_wave(self, past: int) -> list[Firing]:
        latest: list[Firing] = []
        number = 0
        while past:
            low = past & -past
            past ^= low
            firing = self._list[low.bit_length() - 1]
            if firing.wave > number:
                latest, number = [firing], firing.wave
            elif firing.wave == number:
                latest.append(firing)
        return latest


def _digest(text: str) -> str:
    return xxh3_64_hexdigest(text.encode())


_HANDLER = "2"
"""The order of tasks that handle the failure of others begins so: they are applied last."""

_NOTHING = Task("", "", None, (), (), "", 0, 0)
"""Stands for a task that would run nothing."""


def recorded_output(pending: Mapping[str, Sequence[Write]], task_id: str) -> list[Write]:
    """Return what is recorded of a task without the note that the run has paused before it."""
    return [write for write in pending.get(task_id, ()) if write[0] != PAUSED_BEFORE]


PAUSED_BEFORE = "__scheduled__"
"""The channel under which it is recorded that the run has paused before a task; savers have a slot for it."""
