"""An update from outside while branches run beside each other: what it stands for, what stays, and what begins again.

Rules
-----
* What has ended stays, and is applied wave by wave. What runs, waits or was triggered begins again behind the update.
* An update as a node that waits stands for its task, and touches no other branch.
* As one that has ended, it is that node once more: what that has led to begins anew where the update leads.
* As any other node: what may lead to it is given up, and what it may lead to begins anew where the update leads. Of
  that, what has ended stays if it may lead to that node, too.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Sequence

from stategraph.constants import TASKS
from stategraph.core import status
from stategraph.core.dataflow import firing, recorded
from stategraph.core.dataflow.firing import Cause, Firing
from stategraph.core.plan import Planner
from stategraph.core.state import State
from stategraph.core.task import Task, Write


class Amended:
    """The branches behind a checkpoint, as an update finds them.

    Attributes:
        waves: How many supersteps what has ended would have taken.
    """

    def __init__(self, state: State, planner: Planner, pending: status.Pending) -> None:
        """Find out what has ended and what has not.

        Args:
            state: The channels of the checkpoint, with the writes of a command that is recorded.
            planner: Makes its tasks.
            pending: What is recorded.
        """
        flow = state.program.flow
        assert flow is not None
        self._flow = flow
        self._state = state
        self._planner = planner
        self._pending = pending
        self._outside: set[str] = set()
        self._again = 0
        self._standing: set[str] = set()
        self._open(pending)

    def _open(self, pending: status.Pending) -> None:
        tasks = self._planner.next_tasks(None)
        self._window = recorded.opened(self._state, self._planner, tasks, pending)
        self.waves = len(self._window.waves())

    @property
    def last_nodes(self) -> set[str]:
        """The nodes of the last wave that has ended."""
        return {task.name for task in self._window.last_wave}

    def stand(self, updates: Sequence[tuple[str, str | None]], before: Collection[str]) -> list[Task | None]:
        """Find the tasks that updates stand for; they count as ended with what the updates write.

        Args:
            updates: For each its node, and the id of the task it was given, if any.
            before: The nodes that wrote last before the checkpoint.

        Returns:
            For each the task; None if no task of its node waits.
        """
        found = self._find(updates)
        plain = {node for (node, _), task in zip(updates, found, strict=True) if task is None}
        lasts = [last for node in plain if (last := self._last(node)) is not None]
        self._outside = plain.difference(_node_of(each) for each in lasts)
        dropped = self._led_by(lasts, before)
        if dropped:
            self._open({task_id: writes for task_id, writes in self._pending.items() if task_id not in dropped})
            found = self._find(updates)
        last_ids = {each.task.id for each in lasts}
        self._again = sum(each.bit for each in self._window.firings.values() if each.task.id in last_ids)
        return found

    def _led_by(self, lasts: Sequence[Firing], before: Collection[str]) -> set[str]:
        """Return the ids of tasks whose ends are given up."""
        led = functools.reduce(operator.or_, (each.bit for each in lasts), 0)
        return {
            each.task.id
            for each in self._window.firings.values()
            if each.ended and (each.past & led or self._begins_anew(_node_of(each), before))
        }

    def _find(self, updates: Sequence[tuple[str, str | None]]) -> list[Task | None]:
        self._standing.clear()
        return [self._waiting(node, task_id) for node, task_id in updates]

    def _last(self, node: str) -> Firing | None:
        """Return the last task of a node that has ended."""
        ended = [each for each in self._window.firings.values() if each.ended and _node_of(each) == node]
        return max(ended, key=lambda each: each.wave, default=None)

    def _waiting(self, node: str, task_id: str | None) -> Task | None:
        for each in self._window.firings.values():
            task = each.task
            is_meant = task.id == task_id if task_id else task.name == node
            if is_meant and not each.ended and task.id not in self._standing:
                self._standing.add(task.id)
                return task
        return None

    def _begins_anew(self, name: str, before: Collection[str]) -> bool:
        """Return whether the end of a task is given up."""
        return any(
            self._leads(node, name) and (node in before or not self._leads(name, node)) for node in self._outside
        )

    def _leads(self, one: str, other: str) -> bool:
        return bool(self._flow.before.get(other, 0) & self._flow.bits.get(one, 0))

    def commit(self) -> tuple[set[str], list[Write]]:
        """Apply what has ended to the state.

        Returns:
            The channels that changed, and writes that begin again what has not ended, for the step of the update.
        """
        writes = self._restarts()  # packets of the checkpoint are gone afterwards
        updated: set[str] = set()
        for wave in self._window.waves():
            self._state.goes_on = True
            updated |= firing.apply(self._state, wave)
        self._state.goes_on = False
        return updated, writes

    def _restarts(self) -> list[Write]:
        names: dict[str, None] = {}
        packets: list[Write] = []
        for each in self._window.firings.values():
            causes = [*each.causes, None] if each.is_due else each.causes
            if each.ended or each.task.id in self._standing or self._is_dropped(_node_of(each), causes):
                continue
            origin = self._origin(each)
            if origin.by_edges:
                names[origin.task.name] = None
            else:
                packets.append((TASKS, self._packet(origin)))
        for name, causes in self._window.pending.items():
            if not self._is_dropped(name, causes):
                names[name] = None
        for packet, sender in self._window.unsent:
            if not self._is_dropped(getattr(packet, "node", ""), (sender,)):
                packets.append((TASKS, packet))
        return [(self._state.program.nodes[name].triggers[0], None) for name in names] + packets

    def _is_dropped(self, name: str, causes: Sequence[Cause]) -> bool:
        """Return whether what has not ended begins where the update leads, if at all."""
        led = [cause for cause in causes if cause is not None]
        if led and len(led) == len(causes) and all(cause.bit & self._again for cause in led):
            return True
        return any(
            name == node or self._leads(name, node) or (not led and self._leads(node, name)) for node in self._outside
        )

    def _origin(self, each: Firing) -> Firing:
        """Return the task whose failure another one handles, or a task itself."""
        failed = each.task.parent
        while failed is not None and failed.id in self._window.firings:
            each, failed = self._window.firings[failed.id], failed.parent
        return each

    def _packet(self, each: Firing) -> object:
        index = each.task.path[1]
        if not each.causes:
            return self._state.channels[TASKS].get()[index]
        return [value for channel, value in each.causes[0].task.writes if channel == TASKS][index]


def _node_of(each: Firing) -> str:
    """Return the node of a task, or of the one whose failure it handles."""
    task = each.task
    return task.parent.name if task.error is not None and task.parent is not None else task.name
