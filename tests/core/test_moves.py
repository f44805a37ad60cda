"""The table of moves is what runs: a move that it does not have is refused and changes nothing."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue
from stategraph.core.machine import Machine
from stategraph.core.moves import (
    TRANSITIONS,
    Cached,
    Called,
    Directive,
    Failed,
    Finish,
    Interrupted,
    Left,
    OutOfSteps,
    Pause,
    RunTasks,
)
from stategraph.core.program import Node, build
from stategraph.core.settings import UNHEARD, Settings, Start, Thread
from stategraph.core.task import Call, Draft, Task
from stategraph.core.views import Keys
from stategraph.errors import GraphInterrupt, IllegalMoveError
from stategraph.types import Interrupt, interrupt_id


class Wrong(ValueError):
    """An error that a copy of it equals, so that what a machine keeps can be compared with what it kept before."""

    __hash__ = ValueError.__hash__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wrong) and self.args == other.args


def new_id(step: int) -> str:
    return f"{step + 2:08x}-0000-6000-8000-000000000000"


def machine(saves: Any, interrupt_after: Any = (), nodes: int = 1) -> Machine:
    """A loop of one node, or of several that run at once."""
    names = [f"n{number}" for number in range(nodes)]
    channels: dict[str, Any] = {"go": EphemeralValue(Any, guard=False), "x": LastValue(int)}
    for name, channel in channels.items():
        channel.key = name
    body = {name: Node(name, ("go",), Keys(("x",)), None, (), True, None, False, None) for name in names}
    program = build(body, channels, {}, ["go", "x"])
    thread = Thread(checkpoints.empty(new_id(-2), "now"), {"step": -2})
    settings = Settings(
        "", False, saves, 3, ["x"], (), interrupt_after, {}, new_id, lambda: "now", None, False, UNHEARD, None
    )
    return Machine(program, thread, settings)


def some_task(told: Machine) -> Task:
    return next(
        (task for task in told.tasks.values() if told.waits_for(task.id)), Task("id", "n", None, (), (), "", 0, 0)
    )


def call(told: Machine) -> Any:
    function = Call(print, ((), {}), None, None, None, None, "print", None)
    return told.tell(Called(some_task(told), 0, function))


def done(told: Machine) -> Any:
    """End a task; of several only the first writes the value that takes one write a step."""
    task = some_task(told)
    return told.tell(Draft(task, [write for write in WRITES if write[0] == "go" or task.name == "n0"]))


QUESTION = GraphInterrupt((Interrupt("?", interrupt_id("n", 0)),))
WRITES = [("x", 2), ("go", 1)]

MOVES: dict[str, tuple[str, Callable[[Machine], Any]]] = {
    "start": ("start", lambda told: told.start(Start({"go": 1, "x": 1}))),
    "next": ("next", lambda told: told.next()),
    "drain": ("next", lambda told: told.next(True)),
    "done": ("tell", done),
    "cached": ("tell", lambda told: told.tell(Cached(some_task(told).id, WRITES[1:]))),
    "failed": ("tell", lambda told: told.tell(Failed(some_task(told).id, [], Wrong("no")))),
    "interrupted": ("tell", lambda told: told.tell(Interrupted(some_task(told).id, [], QUESTION, QUESTION.args[0]))),
    "left": ("tell", lambda told: told.tell(Left(some_task(told).id, [], QUESTION))),
    "called": ("tell", call),
    "pause": ("pause", lambda told: told.pause(asks=True)),
}
"""Every method that may change a status, by the move that it makes."""


SHARED = frozenset(("_journal", "_ids", "_outbox", "_settings", "_state", "_thread"))
"""What the maker of checkpoints has in common with the machine."""


def contents(told: Machine) -> Any:
    """All that a refused move could have changed."""
    names = [name for name in Machine.__slots__ if name not in ("program", "settings", "state", "thread", "_planner")]
    names = [name for name in names if name not in ("_ids", "_tasks", "_single", "_journal", "_ended", "outbox")]
    names = [name for name in names if name not in ("checkpoints", "_outcomes", "_records")]
    tasks = [(task.id, list(task.writes)) for task in told.tasks.values()]
    state = told.state
    values = {name: state.read(name) for name in ("go", "x")}
    own = deepcopy({name: getattr(told, name) for name in names})
    made, records = told.checkpoints, told._records
    own |= deepcopy({name: getattr(made, name) for name in type(made).__slots__ if name not in SHARED})
    own |= deepcopy({"pending": records.pending, "written": records._written, "asked": told.interrupts})
    waits = [told.waits_for(task_id) for task_id, _ in tasks]
    return own, tasks, waits, len(told.outbox), deepcopy((values, state.versions, state.seen, state.versioning.open))


@given(
    moves=st.lists(st.sampled_from(sorted(MOVES)), max_size=14),
    saves=st.sampled_from(["never", "step", "exit"]),
    after=st.sampled_from([(), "*"]),
    nodes=st.integers(1, 2),
)
@example(moves=["start", "next", "called", "done", "done", "drain"], saves="never", after=(), nodes=1)
@example(moves=["start", "next", "done", "done", "next"], saves="step", after=(), nodes=2)
def test_every_illegal_move_is_refused_and_leaves_the_machine_as_it_was(
    moves: list[str], saves: Any, after: Any, nodes: int
) -> None:
    told = machine(saves, after, nodes)
    for name in moves:
        assert contents(told) == contents(told)
        move, make = MOVES[name]
        legal, before, found = TRANSITIONS[told.status], told.status, contents(told)
        waits = any(told.waits_for(task_id) for task_id in told.tasks)
        early = before == "stepping" and ((move == "next" and waits) or (move == "tell" and not waits))
        if move not in legal or (early and name != "called"):
            with pytest.raises(IllegalMoveError, match=f"`{move}`"):
                make(told)
            assert contents(told) == found
            assert told.status == before
        else:
            make(told)
            planned = TRANSITIONS["planning"]["next"] if "planning" in legal[move] else ()
            assert told.status in (*legal[move], *planned)


def test_every_status_of_the_table_refuses_the_rest() -> None:
    for status, legal in TRANSITIONS.items():
        for name, (move, make) in MOVES.items():
            if move in legal:
                continue
            told = machine("never")
            told.status = status
            with pytest.raises(IllegalMoveError, match=f"`{move}` is no move of a run that is `{status}`"):
                make(told)
            assert told.status == status, name


@pytest.mark.parametrize("saves", ["never", "step", "exit"])
def test_an_outcome_is_told_once_and_only_for_a_task_of_the_open_step(saves: Any) -> None:
    told = machine(saves)
    told.start(Start({"go": 1, "x": 1}))
    task = told.next()
    assert isinstance(task, Task)
    with pytest.raises(IllegalMoveError, match="task elsewhere, which the open step does not wait for"):
        told.tell(Cached("elsewhere", []))
    told.tell(Draft(task, [("x", 2)]))
    with pytest.raises(IllegalMoveError, match="all of its tasks have ended"):
        told.tell(Draft(task, [("x", 3)]))
    assert told.next() == Finish()
    assert told.state.read("x") == 2


def test_a_step_does_not_end_before_its_tasks_have() -> None:
    told = machine("never", nodes=2)
    told.start(Start({"go": 1, "x": 1}))
    directive = told.next()
    assert isinstance(directive, RunTasks)
    told.tell(Draft(directive.tasks[0], [("x", 2)]))
    with pytest.raises(IllegalMoveError, match="have not ended: n1"):
        told.next()
    told.tell(Draft(directive.tasks[1], []))
    assert told.next() == Finish()


@pytest.mark.parametrize(
    ("after", "last"),
    [((), OutOfSteps()), ("*", Pause("interrupt_after"))],
)
def test_a_directive_says_why_a_run_stops(after: Any, last: Directive) -> None:
    told = machine("step", after)
    told.start(Start({"go": 1, "x": 1}))
    while isinstance(directive := told.next(), Task):
        told.tell(Draft(directive, list(WRITES)))
    assert directive == last


def test_a_call_is_a_task_of_the_open_step_that_its_end_waits_for() -> None:
    told = machine("never")
    told.start(Start({"go": 1, "x": 1}))
    caller = told.next()
    assert isinstance(caller, Task)
    called = call(told)
    assert told.waits_for(called.id) and told.waits_for(caller.id)
    told.tell(Draft(caller, [("x", 2)]))
    with pytest.raises(IllegalMoveError, match="have not ended: print"):
        told.next()
    told.tell(Draft(called, []))
    assert told.next() == Finish()


def test_a_move_leads_only_where_the_table_says() -> None:
    told = machine("never")
    with pytest.raises(IllegalMoveError, match="`start` does not lead from `loading` to `done`"):
        told._move("start", "done")
    assert told.status == "loading"
