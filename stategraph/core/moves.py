"""The conversation between a machine and what drives it: the table of moves, directives and outcomes.

Rules
-----
* ``TRANSITIONS`` is the machine: a status changes only by a move that it lists.
* ``Machine.next`` answers with a directive; the driver performs it and tells each outcome with ``Machine.tell``.
* Directives and outcomes are values: nothing that has been told changes later.
* An outcome carries what an attempt achieved. Until it is told, only the attempt sees it.

Named tuples, as one is made in a fifth of the time of a frozen dataclass.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from stategraph.core.task import Call, Draft, Task, Write
from stategraph.errors import IllegalMoveError

Status = Literal[
    "loading",
    "planning",
    "stepping",
    "done",
    "out_of_steps",
    "draining",
    "interrupt_before",
    "interrupt_after",
    "paused",
]

_WITHIN: Final[tuple[Status, ...]] = ("stepping", "interrupt_before", "out_of_steps", "draining")
"""What a step may turn to that takes in more tasks while it runs; see `core.dataflow`."""

TRANSITIONS: Final[Mapping[Status, Mapping[str, tuple[Status, ...]]]] = {
    "loading": {"start": ("planning",)},
    "planning": {
        "next": ("stepping", "done", "out_of_steps", "draining", "interrupt_before"),
        "pause": ("paused",),
    },
    "stepping": {
        "tell": ("stepping",),
        "next": ("planning", "interrupt_after", *_WITHIN),
        "pause": ("paused",),
    },
    "done": {},
    "out_of_steps": {},
    "draining": {},
    "interrupt_before": {"pause": ("paused",)},
    "interrupt_after": {"pause": ("paused",)},
    "paused": {},
}
"""For each status the legal moves and where each may lead. It is what runs, and the docs' diagram is made of it.

A call of ``next`` in the middle of a step makes two moves: it ends the step, and plans the following one.
"""


def check(status: Status, move: str) -> None:
    """Refuse a move that the table does not have.

    Raises:
        IllegalMoveError: If it does not.
    """
    moves = TRANSITIONS[status]
    if move not in moves:
        legal = " or ".join(f"`{known}`" for known in moves) or "none, as the run is over"
        raise IllegalMoveError(f"`{move}` is no move of a run that is `{status}`; legal is {legal}")


def follow(status: Status, move: str, target: Status) -> Status:
    """Look up a move in the table.

    Returns:
        The target.

    Raises:
        IllegalMoveError: If the move does not lead there.
    """
    if target not in TRANSITIONS[status].get(move, ()):
        raise IllegalMoveError(f"`{move}` does not lead from `{status}` to `{target}`")
    return target


def not_open(task_id: str, waiting: Collection[str]) -> IllegalMoveError:
    """Make the error of telling the outcome of a task that the open step does not wait for."""
    known = f"those that have not ended: {', '.join(sorted(waiting))}" if waiting else "all of its tasks have ended"
    return IllegalMoveError(f"`tell` is no move for task {task_id}, which the open step does not wait for; {known}")


# -- directives ---------------------------------------------------------------


class RunTasks(NamedTuple):
    """Run these tasks, and tell the outcome of each; they may run at once."""

    tasks: list[Task]


class Pause(NamedTuple):
    """Stop at a breakpoint; the run can be continued."""

    where: Literal["interrupt_before", "interrupt_after"]


class Finish(NamedTuple):
    """Stop: there is nothing left to run."""


class OutOfSteps(NamedTuple):
    """Stop: the recursion limit is reached."""


class Drain(NamedTuple):
    """Stop, as was asked for; there are tasks left to run."""


Directive = Task | RunTasks | Pause | Finish | OutOfSteps | Drain
"""A task by itself asks for the same as `RunTasks` with nothing else in it, and is at hand."""

RUNS: Final[frozenset[type]] = frozenset((Task, RunTasks))
"""The kinds of directives after which the conversation goes on."""


def tasks_of(directive: Directive) -> list[Task]:
    """Return the tasks that a directive asks to run."""
    if isinstance(directive, Task):
        return [directive]
    return directive.tasks if isinstance(directive, RunTasks) else []


# -- outcomes -----------------------------------------------------------------


class Failed(NamedTuple):
    """A task failed.

    Attributes:
        task_id: The task.
        writes: What it had written; only the answers among it are kept.
        error: What it raised.
    """

    task_id: str
    writes: list[Write]
    error: BaseException


class Interrupted(NamedTuple):
    """A task asked something and waits for the answer.

    Attributes:
        task_id: The task.
        writes: What it had written.
        error: What carries the question.
        interrupts: The questions.
    """

    task_id: str
    writes: list[Write]
    error: BaseException
    interrupts: Sequence[Any]


class Left(NamedTuple):
    """A task left this graph by an exception that is meant for another one: a command for a parent, say.

    Attributes:
        task_id: The task.
        writes: What it had written; nothing of it is recorded.
        error: What it raised.
    """

    task_id: str
    writes: list[Write]
    error: BaseException


class Cached(NamedTuple):
    """A task need not run: its writes were found in a cache."""

    task_id: str
    writes: list[Write]


class Called(NamedTuple):
    """A running task called a function that is to run as a task of the same step.

    Attributes:
        caller: The running task.
        number: The call's number among the caller's calls.
        call: What to run.
    """

    caller: Task
    number: int
    call: Call


Outcome = Draft | Failed | Interrupted | Left
"""How a task ended: well, with the draft of its last attempt; or with what it raised.

A draft is a value by agreement only. Another object in its place would take a tenth of a small step.
"""

Told = Outcome | Cached | Called
"""What a machine can be told."""
