"""How a task ended: what is recorded of it, what is told of it, and which task comes of it."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import pytest

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INTERRUPT,
    NO_WRITES,
    NULL_TASK_ID,
    PULL,
    RESUME,
    RETURN,
    TAG_HIDDEN,
)
from stategraph.core import checkpoint as checkpoints
from stategraph.core.channels import BinaryOperatorAggregate, EphemeralValue
from stategraph.core.effects import SaveWrites, TaskSettled
from stategraph.core.machine import Machine
from stategraph.core.moves import Cached, Called, Failed, Interrupted, Left, tasks_of
from stategraph.core.program import Node, build
from stategraph.core.settings import UNHEARD, Settings, Start, Thread
from stategraph.core.task import Call, Draft, Task, Write
from stategraph.core.views import Keys
from stategraph.errors import GraphInterrupt, IllegalMoveError
from stategraph.types import Command, Interrupt

BEGUN = "00000000-0000-6000-8000-000000000000"
INPUT_ID = "00000001-0000-6000-8000-000000000000"
QUESTION = Interrupt("sure?", id="f" * 32)
ASKED = GraphInterrupt((QUESTION,))
WROTE: list[Write] = [("log", ["a"])]
WRONG = ValueError("no")


def new_id(step: int) -> str:
    return f"{step + 2:08x}-0000-6000-8000-000000000000"


def machine(
    *names: str,
    saves: Any = "step",
    tells: bool = True,
    planned: bool = False,
    handler: str | None = None,
    hidden: bool = False,
    pending: dict[str, list[Write]] | None = None,
) -> Machine:
    """Nodes that one channel starts; they write to a log."""
    channels: dict[str, Any] = {
        "go": EphemeralValue(Any, guard=False),
        "log": BinaryOperatorAggregate(list, operator.add),
    }
    for name, channel in channels.items():
        channel.key = name
    tags = (TAG_HIDDEN,) if hidden else ()
    nodes = {name: Node(name, ("go",), Keys(("log",)), None, tags, True, handler, False, None) for name in names}
    if handler is not None:
        nodes[handler] = Node(handler, (), Keys(("log",)), None, (), True, None, False, None)
    thread = Thread(checkpoints.empty(BEGUN, "now"), {"step": -2}, pending=pending)
    watch = UNHEARD._replace(ended=tells, planned=planned)
    settings = Settings("", False, saves, 9, ["log"], (), (), {}, new_id, lambda: "now", None, False, watch, None)
    return Machine(build(nodes, channels, {}, ["go", "log"]), thread, settings)


def started(*names: str, **about: Any) -> tuple[Machine, list[Task]]:
    """A machine in the middle of its first step, and the tasks of that."""
    made = machine(*names, **about)
    made.start(Start({"go": None}))
    tasks = tasks_of(made.next())
    made.outbox.clear()
    return made, tasks


def recorded(told: Machine) -> list[list[Write]]:
    """What is to be saved of tasks."""
    return [list(effect.writes) for effect in told.outbox if isinstance(effect, SaveWrites)]


def settled(told: Machine) -> list[tuple[str, list[Write], bool]]:
    """What listeners hear of the ends of tasks."""
    ends = [effect for effect in told.outbox if isinstance(effect, TaskSettled | Draft)]
    return [(end.task.name, list(end.writes), end.cached) for end in ends]


def call(caller: Task, number: int = 0) -> Called:
    return Called(caller, number, Call(print, ((), {}), None, None, None, 3.5, "print", "how to run it"))


ENDS: dict[str, tuple[Any, list[Write], bool]] = {
    "well": (lambda task: Draft(task, list(WROTE)), WROTE, False),
    "without output": (lambda task: Draft(task, []), [(NO_WRITES, None)], False),
    "with nothing but answers": (
        lambda task: Draft(task, [(RESUME, ["yes"])]),
        [(RESUME, ["yes"]), (NO_WRITES, None)],
        False,
    ),
    "found in a cache": (lambda task: Cached(task.id, list(WROTE)), WROTE, True),
    "with a question": (
        lambda task: Interrupted(task.id, [*WROTE, (RESUME, ["yes"])], ASKED, (QUESTION,)),
        [(INTERRUPT, (QUESTION,)), (RESUME, ["yes"])],
        False,
    ),
    "badly": (lambda task: Failed(task.id, list(WROTE), WRONG), [(ERROR, WRONG)], False),
}
"""Ends with what is recorded and told of each, and whether that says that the task did not run."""


@pytest.mark.parametrize("others", [(), ("b",)], ids=["alone", "beside another"])
@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_task_is_recorded_and_told(end: str, others: Sequence[str]) -> None:
    tell, writes, cached = ENDS[end]
    told, (task, *_) = started("a", *others)
    assert told.tell(tell(task)) is None
    assert recorded(told) == [writes]
    assert settled(told) == [("a", writes, cached)]
    assert told.pending == {task.id: writes}
    assert told.interrupts == ([QUESTION] if end == "with a question" else [])
    assert not told.waits_for(task.id)


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_task_is_recorded_though_no_listener_hears_of_it(end: str) -> None:
    tell, writes, _ = ENDS[end]
    told, (task,) = started("a", tells=False)
    told.tell(tell(task))
    assert recorded(told) == [writes]
    assert settled(told) == []
    assert told.interrupts == ([QUESTION] if end == "with a question" else [])


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_hidden_node_is_recorded_and_not_told(end: str) -> None:
    tell, writes, _ = ENDS[end]
    told, (task,) = started("a", hidden=True)
    told.tell(tell(task))
    assert recorded(told) == [writes]
    assert settled(told) == []
    assert told.interrupts == []


def test_a_cache_may_say_that_a_task_wrote_nothing() -> None:
    told, (task,) = started("a")
    told.tell(Cached(task.id, []))
    assert settled(told) == [("a", [], True)]
    assert told.interrupts == []
    assert not told.waits_for(task.id)


def test_a_task_that_left_the_graph_or_waits_for_a_graph_inside_it_leaves_no_record() -> None:
    told, (first, second) = started("a", "b")
    told.tell(Left(first.id, list(WROTE), ASKED))
    told.tell(Interrupted(second.id, list(WROTE), ASKED, ()))
    assert (told.outbox, told.pending, told.interrupts) == ([], {}, [])
    assert first.writes == second.writes == WROTE


@pytest.mark.parametrize(
    ("names", "end", "kept"),
    [
        (("a",), "well", False),
        (("a",), "found in a cache", False),
        (("a", "b"), "well", True),
        (("a", "b"), "found in a cache", True),
        (("a",), "badly", True),
        (("a",), "with a question", True),
    ],
)
def test_a_run_that_stores_nothing_keeps_no_record_of_the_only_task_of_a_step_unless_it_is_to_go_on(
    names: Sequence[str], end: str, kept: bool
) -> None:
    tell, writes, _ = ENDS[end]
    # A listener that hears of plans too makes the step take the long way.
    told, (task, *_) = started(*names, saves="never", planned=True)
    told.tell(tell(task))
    assert recorded(told) == []
    assert told.pending == ({task.id: writes} if kept else {})


def test_a_function_that_was_called_is_recorded_in_a_run_that_stores_nothing() -> None:
    told, (caller,) = started("a", saves="never")
    called = told.tell(call(caller))
    assert called is not None
    told.tell(Draft(called, [(RETURN, 3)]))
    assert told.pending == {called.id: [(RETURN, 3)]}


def test_what_a_called_function_returns_is_told_and_what_it_asks_is_left_to_its_caller() -> None:
    told, (caller,) = started("a")
    returns, asks = told.tell(call(caller)), told.tell(call(caller, 1))
    assert returns is not None
    assert asks is not None
    told.tell(Draft(returns, [(RETURN, 3)]))
    told.tell(Interrupted(asks.id, [], ASKED, (QUESTION,)))
    assert settled(told) == [("print", [(RETURN, 3)], False)]
    assert told.interrupts == []
    assert told.pending[asks.id] == [(INTERRUPT, (QUESTION,))]


@pytest.mark.parametrize("saves", ["exit", "never"])
@pytest.mark.parametrize(("tells", "hidden"), [(True, False), (False, False), (True, True)])
def test_the_end_of_the_only_task_of_a_step_is_told_as_any_other(saves: str, tells: bool, hidden: bool) -> None:
    told, (task,) = started("a", saves=saves, tells=tells, hidden=hidden)
    assert told.waits_for(task.id)
    assert not told.waits_for("another")
    draft = Draft(task, list(WROTE))
    assert told.tell(draft) is None
    assert told.outbox == ([draft] if tells and not hidden else [])
    assert not told.waits_for(task.id)
    assert task.writes == WROTE
    with pytest.raises(IllegalMoveError, match="all of its tasks have ended"):
        told.tell(Draft(task, list(WROTE)))


# -- failures ------------------------------------------------------------


def test_the_answers_to_a_failed_tasks_own_questions_stay() -> None:
    told, (task,) = started("a")
    task.own_answers = 1
    told.tell(Failed(task.id, [(RESUME, ["one"]), ("log", ["a"]), (RESUME, ["mine", "without an id"])], WRONG))
    assert recorded(told) == [[(ERROR, WRONG), (RESUME, ["mine"])]]


def test_the_failure_of_a_node_with_a_handler_is_recorded_with_its_source_and_starts_the_handler() -> None:
    told, (task,) = started("a", handler="mend")
    started_by = told.tell(Failed(task.id, list(WROTE), WRONG))
    assert started_by is not None
    assert (started_by.name, started_by.path) == ("mend", (PULL, "a", "node_error_handler", False))
    assert started_by.error is not None
    assert (started_by.error.node, started_by.error.error) == ("a", WRONG)
    assert (started_by.input, started_by.parent, started_by.parent_ns) == (task.input, task, task.ns)
    writes = [*WROTE, (ERROR, WRONG), (ERROR_SOURCE_NODE, "a")]
    assert recorded(told) == [writes]
    assert settled(told) == [("a", writes, False)]
    assert told.waits_for(started_by.id)


class Stopped(BaseException):
    """Nothing that a node should handle."""


def test_a_handler_is_for_exceptions_of_its_node_only() -> None:
    told, (task,) = started("a", handler="mend")
    stopped = Stopped()
    assert told.tell(Failed(task.id, list(WROTE), stopped)) is None
    assert recorded(told) == [[(ERROR, stopped)]]

    told, (caller,) = started("a", handler="mend")
    called = told.tell(call(caller))
    assert called is not None
    assert told.tell(Failed(called.id, [], WRONG)) is None
    assert told.pending[called.id] == [(ERROR, WRONG)]


# -- the answer without an id --------------------------------------------


def answering(*names: str) -> tuple[Machine, list[Task]]:
    """A machine whose nodes have an answer that names no interrupt, which the first of them has taken."""
    made = machine(*names)
    made.start(Start({"go": None}))
    made.next()
    # The checkpoint as a saver has it, and the step that follows it with an answer.
    saved = next(effect for effect in made.outbox if type(effect).__name__ == "SaveCheckpoint")
    thread = Thread(saved.checkpoint, saved.metadata, pending={}, stored_id=INPUT_ID, found=True)  # type: ignore[union-attr]
    made = Machine(made.program, thread, made.settings)
    made.start(Start(Command(resume="yes")))
    tasks = tasks_of(made.next())
    made.outbox.clear()
    assert tasks[0].get_null_resume(True) == "yes"
    return made, tasks


def saved(told: Machine) -> list[tuple[str, str, list[Write]]]:
    return [(e.checkpoint_id, e.task_id, list(e.writes)) for e in told.outbox if isinstance(e, SaveWrites)]


def test_an_answer_is_stored_as_used_up_before_what_its_task_did_with_it() -> None:
    told, (first, second) = answering("a", "b")
    told.tell(Draft(first, [*WROTE, (RESUME, ["yes"])]))
    assert saved(told) == [
        (INPUT_ID, NULL_TASK_ID, [(RESUME, None)]),
        (INPUT_ID, first.id, [*WROTE, (RESUME, ["yes"])]),
    ]
    told.outbox.clear()
    told.tell(Draft(second, list(WROTE)))
    assert [task_id for _, task_id, _ in saved(told)] == [second.id]


def test_an_answer_that_the_last_task_of_a_step_used_is_not_stored_as_such() -> None:
    told, (task,) = answering("a")
    told.tell(Draft(task, list(WROTE)))
    assert [task_id for _, task_id, _ in saved(told)] == [task.id]


def test_an_answer_is_used_up_by_a_task_that_asks_once_more() -> None:
    told, (task,) = answering("a")
    told.tell(Interrupted(task.id, [(RESUME, ["yes"])], ASKED, (QUESTION,)))
    assert [(task_id, writes) for _, task_id, writes in saved(told)] == [
        (NULL_TASK_ID, [(RESUME, None)]),
        (task.id, [(INTERRUPT, (QUESTION,)), (RESUME, ["yes"])]),
    ]


def test_a_failed_task_gets_the_answer_again_when_it_is_tried_again() -> None:
    told, (task, _) = answering("a", "b")
    told.tell(Failed(task.id, [(RESUME, ["yes"])], WRONG))
    assert [(task_id, writes) for _, task_id, writes in saved(told)] == [(task.id, [(ERROR, WRONG)])]
