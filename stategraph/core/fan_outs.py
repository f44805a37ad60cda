"""Policies of fan-outs: they say when a run goes on while branches still run, and what failures of branches mean.

Rules
-----
* The branches of a fan-out are the tasks of its nodes that are in the same superstep.
* A branch whose result is not waited for ends without output, under a mark, as soon as that is decided: the mark is
  recorded like any output. So a run that goes on after a crash decides the same. What the branch still writes is
  discarded, as its task is over.
* A failure is told to the machine once it is known what it means: the branch is given up, or the fan-out has failed.
* Without policies nothing of this exists.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from stategraph.constants import NO_WRITES
from stategraph.core.machine import Machine
from stategraph.core.moves import Failed, Interrupted, Outcome
from stategraph.core.task import Draft, Task, Write
from stategraph.errors import ConfigurationError
from stategraph.scheduling import Branch, FanOut

GIVEN_UP: Final[Write] = (NO_WRITES, "given up")
"""The output of a branch that was not waited for."""

Rules = tuple[tuple[frozenset[str], FanOut], ...]

_Key = tuple[int, int]


class Heard(NamedTuple):
    """Consequences of a task's end.

    Attributes:
        outcomes: What the machine is to be told.
        error: What ends the step, or None.
        given_up: Tasks that need not go on.
    """

    outcomes: list[Outcome]
    error: BaseException | None = None
    given_up: list[Task] = []  # noqa: RUF012  nobody changes it

    def and_given_up(self, tasks: list[Task]) -> Heard:
        """Return the same, with tasks that end without a result."""
        return Heard([*self.outcomes, *(Draft(task, [GIVEN_UP]) for task in tasks)], self.error, tasks)


class _Group:
    """The branches of one fan-out."""

    __slots__ = ("asking", "decided", "failed", "policy")

    def __init__(self, policy: FanOut) -> None:
        self.policy = policy
        self.failed: dict[str, Failed] = {}
        self.asking: set[str] = set()
        self.decided = False


class FanOuts:
    """The fan-outs of a run that have a policy; see the module."""

    def __init__(self, machine: Machine, rules: Rules) -> None:
        """Args: machine: The run; rules: The policies, with the nodes of their branches."""
        self._machine = machine
        self._rules = rules
        self._groups: dict[_Key, _Group] = {}

    def begin(self, tasks: Iterable[Task]) -> Heard:
        """Take in tasks that are about to begin, beside those of their fan-outs whose ends were recorded."""
        heard = Heard([], None, [])
        for key in dict.fromkeys(self._key(task) for task in tasks):
            if key is not None:
                self._groups[key] = _Group(self._rules[key[0]][1])
                heard = self._join(heard, self._decide(key))
        return heard

    def hear(self, outcome: Outcome) -> Heard:
        """Take in how a task ended."""
        machine = self._machine
        if not machine.waits_for(outcome.task_id):
            return Heard([])  # it was given up
        task = machine.tasks[outcome.task_id]
        key = self._key(task)
        if key is None:
            return Heard([outcome])
        group = self._groups[key]
        if isinstance(outcome, Interrupted):
            group.asking.add(task.id)
            return Heard([outcome])
        if not isinstance(outcome, Failed) or not isinstance(outcome.error, Exception) or _is_handled(task):
            return self._join(Heard([outcome], None, []), self._decide(key, outcome))
        group.failed[task.id] = outcome
        return self._decide(key)

    def _key(self, task: Task) -> _Key | None:
        if task.is_call or task.error is not None:
            return None
        for number, (nodes, policy) in enumerate(self._rules):
            if task.name in nodes and policy.kind != "fail_fast":
                return number, task.step
        return None

    @staticmethod
    def _join(first: Heard, second: Heard) -> Heard:
        return Heard(first.outcomes + second.outcomes, first.error or second.error, [*first.given_up, *second.given_up])

    def _decide(self, key: _Key, now: Outcome | None = None) -> Heard:
        group, machine = self._groups[key], self._machine
        if group.decided:
            return Heard([])
        branches = [task for task in list(machine.tasks.values()) if self._key(task) == key]
        ended = self._ended(group, branches, now)
        over = {*group.failed, *(() if now is None else (now.task_id,))}
        left = [task for task in branches if machine.waits_for(task.id) and task.id not in over]
        if (enough := self._is_enough(group, branches, ended, open_=len(left) + len(group.asking))) is None:
            return Heard([])
        group.decided = True
        if not enough:
            return Heard(list(group.failed.values()), _error(group, branches), [])
        return Heard([Draft(machine.tasks[task_id], [GIVEN_UP]) for task_id in group.failed]).and_given_up(left)

    def _ended(self, group: _Group, branches: list[Task], now: Outcome | None) -> dict[str, list[Write]]:
        """Return what the branches have written that have ended, by their ids."""
        waits_for = self._machine.waits_for
        ended = {task.id: task.writes for task in branches if task.writes and not waits_for(task.id)}
        for task_id in group.asking:
            ended.pop(task_id, None)
        if isinstance(now, Draft):
            ended[now.task.id] = now.writes
        return ended

    def _is_enough(
        self, group: _Group, branches: list[Task], ended: dict[str, list[Write]], *, open_: int
    ) -> bool | None:
        """Return whether the run goes on, or the fan-out has failed; None if that is still open."""
        policy, well = group.policy, self._well(branches, ended)
        if any(GIVEN_UP in writes for writes in ended.values()):
            return True  # it was decided before a crash
        if policy.kind == "quorum":
            assert policy.enough is not None
            return True if len(well) >= policy.enough else None if len(well) + open_ >= policy.enough else False
        if policy.predicate is not None and any(policy.predicate(branch) for branch in well):
            return True
        if open_:
            return None
        return not group.failed or (policy.enough is not None and len(well) >= policy.enough)

    def _well(self, branches: list[Task], ended: dict[str, list[Write]]) -> list[Branch]:
        program = self._machine.program
        return [
            Branch(
                task.name,
                {k: v for k, v in ended[task.id] if k in program.specs and k not in program.triggers},
            )
            for task in branches
            if task.id in ended and not any(channel.startswith("__error") for channel, _ in ended[task.id])
        ]


def _is_handled(task: Task) -> bool:
    return task.node is not None and bool(task.node.error_handler)


def _error(group: _Group, branches: list[Task]) -> Exception:
    if not group.failed:
        return ConfigurationError(f"quorum({group.policy.enough}) of {len(branches)} branches cannot be reached")
    errors = [failed.error for failed in group.failed.values() if isinstance(failed.error, Exception)]
    names = {task.id: task.name for task in branches}
    which = ", ".join(f"'{names[task_id]}'" for task_id in group.failed)
    return ExceptionGroup(f"{len(errors)} of {len(branches)} branches failed: {which}", errors)
