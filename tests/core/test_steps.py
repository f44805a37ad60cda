"""The steps of a run: what the machine tells of them, what it gives back to their tasks and where it pauses."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.constants import (
    ERROR,
    ERROR_SOURCE_NODE,
    INTERRUPT,
    NULL_TASK_ID,
    PULL,
    PUSH,
    RESUME,
    TASKS,
)
from stategraph.core.effects import (
    CheckpointReached,
    PausedBare,
    SaveCheckpoint,
    TaskSettled,
    TasksPlanned,
    ValuesChanged,
)
from stategraph.core.machine import Machine
from stategraph.core.moves import Called, Drain, Failed, Finish, Interrupted, OutOfSteps, Pause, tasks_of
from stategraph.core.settings import UNHEARD, Start, Thread, Watch
from stategraph.core.task import Call, Draft, Task, Write
from stategraph.errors import GraphInterrupt, IllegalMoveError
from stategraph.types import Command, Interrupt, Send
from tests.core.machines_kit import FIRST, SECOND, SETTINGS, THIRD, opened, program, recorded, saved, stored

QUESTION = Interrupt("sure?", id="e" * 32)
ASKED = GraphInterrupt((QUESTION,))
ALL = Watch(values=True, ended=True, planned=True, checkpoints=True)
WRONG = ValueError("no")


def only(made: Machine) -> Task:
    (task,) = tasks_of(made.next())
    return task


def facts(made: Machine) -> list[tuple[str, list[str]]]:
    """What listeners hear, with the tasks that it is about."""
    told = []
    for effect in made.outbox:
        if isinstance(effect, CheckpointReached | TasksPlanned):
            told.append((type(effect).__name__, [task.name for task in effect.tasks]))
        elif isinstance(effect, TaskSettled | Draft):
            told.append((f"ended{' before' if effect.cached else ''}", [effect.task.name]))
        elif isinstance(effect, ValuesChanged | PausedBare):
            told.append((type(effect).__name__, []))
    made.outbox.clear()
    return told


# -- what is told --------------------------------------------------------


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_listeners_hear_of_each_part_of_a_step_in_order(saves: str) -> None:
    reached = saves != "never"
    made = opened(Start({"go": None}), watch=ALL, saves=saves)
    assert facts(made) == []
    task = only(made)
    assert facts(made) == [*[("CheckpointReached", ["a"])] * reached, ("TasksPlanned", ["a"])]
    made.tell(Draft(task, [("log", ["a"]), ("to:b", None)]))
    assert facts(made) == [("ended", ["a"])]
    task = only(made)
    assert facts(made) == [
        ("ValuesChanged", []),
        *[("CheckpointReached", ["b"])] * reached,
        ("TasksPlanned", ["b"]),
    ]
    made.tell(Draft(task, [("to:b", None)]))
    facts(made)
    made.tell(Draft(only(made), []))
    assert made.next() == Finish()
    # Nothing that is shown has changed.
    assert facts(made) == [
        *[("CheckpointReached", ["b"])] * reached,
        ("TasksPlanned", ["b"]),
        ("ended", ["b"]),
        *[("CheckpointReached", [])] * reached,
    ]
    assert made.status == "done"


@pytest.mark.parametrize("heard", ["values", "ended", "planned", "checkpoints"])
def test_listeners_hear_only_what_they_want_to_hear(heard: str) -> None:
    made = opened(Start({"go": None}), watch=UNHEARD._replace(**{heard: True}))
    made.tell(Draft(only(made), [("log", ["a"])]))
    assert made.next() == Finish()
    expected: Any = {
        "values": [("ValuesChanged", [])],
        "ended": [("ended", ["a"])],
        "planned": [("TasksPlanned", ["a"])],
        "checkpoints": [("CheckpointReached", ["a"]), ("CheckpointReached", [])],
    }
    assert facts(made) == expected[heard]


def test_values_were_seen_when_an_output_channel_changed_or_something_was_asked() -> None:
    for writes, seen in (([("log", ["a"])], True), ([("to:b", None)], False)):
        made = opened(Start({"go": None}))
        assert not made.values_seen
        made.tell(Draft(only(made), writes))
        made.next()
        assert made.values_seen is seen
    made = opened(Start({"go": None}), output_keys="log")
    made.tell(Draft(only(made), [("log", ["a"])]))
    made.next()
    assert made.values_seen
    made = opened(Start({"go": None}))
    made.tell(Interrupted(only(made).id, [], ASKED, (QUESTION,)))
    assert made.values_seen


def test_a_function_that_is_called_is_planned_and_runs_in_the_step() -> None:
    made = opened(Start({"go": None}), watch=ALL)
    task = only(made)
    facts(made)
    called = made.tell(Called(task, 0, Call(print, ((), {}), None, None, None, None, "print", None)))
    assert called is not None
    assert facts(made) == [("TasksPlanned", ["print"])]
    assert made.waits_for(called.id)
    assert list(made.tasks.values()) == [task, called]
    made.tell(Draft(task, []))
    with pytest.raises(IllegalMoveError, match=r"while tasks of the step have not ended: print$"):
        made.next()
    made.tell(Draft(called, [("log", ["called"])]))
    assert made.next() == Finish()
    assert made.state.read("log") == ["called"]


def test_the_step_that_is_open_names_the_tasks_that_have_not_ended() -> None:
    made = opened(Start({"go": None}))
    only(made)
    with pytest.raises(IllegalMoveError, match=r"have not ended: a$"):
        made.next()
    assert made.status == "stepping"


# -- what was recorded ---------------------------------------------------


def both_next(**about: Any) -> Thread:
    thread = stored(**about)
    thread.checkpoint["channel_values"]["go"] = None
    thread.checkpoint["updated_channels"] = ["go", "log", "to:b"]
    return thread


def test_a_task_that_had_ended_does_not_run_again_and_is_told_as_such() -> None:
    a, b = tasks_of(opened(Start(None), both_next()).next())
    pending: Any = {b.id: [("log", ["b"]), (RESUME, ["yes"])], a.id: [(INTERRUPT, (QUESTION,))]}
    made = opened(Start(None), both_next(pending=pending), watch=ALL)
    facts(made)
    task = only(made)
    assert task.name == "a"
    assert facts(made) == [("CheckpointReached", ["a", "b"]), ("TasksPlanned", ["a", "b"]), ("ended before", ["b"])]
    assert not made.waits_for(b.id)
    made.tell(Draft(task, [("log", ["now"])]))
    made.next()
    assert made.state.read("log") == ["a", "now", "b"]
    assert made.pending == {}


def test_a_step_of_which_all_tasks_had_ended_is_applied_at_once() -> None:
    task = only(opened(Start(None), stored()))
    made = opened(Start(None), stored(pending={task.id: [("log", ["b"])]}))
    assert tasks_of(made.next()) == []
    assert made.status == "stepping"
    assert made.next() == Finish()
    assert made.state.read("log") == ["a", "b"]


@pytest.mark.parametrize("addressed", [True, False])
def test_a_run_that_goes_back_leaves_what_others_recorded(addressed: bool) -> None:
    # An edit has started the branch, so that its tasks keep their ids.
    task = only(opened(Start(None), stored("update")))
    made = opened(Start(None), stored("update", addressed=addressed, pending={task.id: [("log", ["b"])]}))
    assert [task.id for task in tasks_of(made.next())] == ([task.id] if addressed else [])


def test_a_called_function_that_had_ended_is_not_run_again() -> None:
    call = Call(print, ((), {}), None, None, None, None, "print", None)
    made = opened(Start(None), stored())
    called = made.tell(Called(only(made), 0, call))
    assert called is not None
    made = opened(Start(None), stored(pending={called.id: [("log", ["b"])]}))
    again = made.tell(Called(only(made), 0, call))
    assert again is not None
    assert (again.id, again.writes) == (called.id, [("log", ["b"])])
    assert not made.waits_for(again.id)


def test_the_handler_of_a_failure_runs_when_the_run_was_cut_off_before_it() -> None:
    task = only(opened(Start(None), stored(), handler="mend"))
    failure = [("log", ["half"]), (ERROR, WRONG), (ERROR_SOURCE_NODE, "b")]
    made = opened(Start(None), stored(pending={task.id: failure}), handler="mend")
    (handler,) = tasks_of(made.next())
    assert (handler.name, handler.path) == ("mend", (PULL, "b", "node_error_handler", False))
    assert handler.error is not None
    assert (handler.error.node, handler.error.error) == ("b", WRONG)
    made.tell(Draft(handler, [("log", ["mended"])]))
    made.next()
    assert made.state.read("log") == ["a", "half", "mended"]


def test_a_failed_node_whose_failure_is_handled_does_not_run_again() -> None:
    task = only(opened(Start(None), stored(), handler="mend"))
    failure = [(ERROR, WRONG), (ERROR_SOURCE_NODE, "b")]
    made = opened(Start(None), stored(pending={task.id: failure}), handler="mend")
    assert [task.name for task in tasks_of(made.next())] == ["mend"]


@pytest.mark.parametrize(
    ("writes", "handler"),
    [
        ([(ERROR, WRONG)], "mend"),
        ([(ERROR, WRONG), (ERROR_SOURCE_NODE, "b")], None),
        ([(ERROR_SOURCE_NODE, "b")], "mend"),
    ],
)
def test_a_node_whose_failure_nothing_handles_runs_again(writes: list[Write], handler: str | None) -> None:
    task = only(opened(Start(None), stored(), handler=handler))
    again = only(opened(Start(None), stored(pending={task.id: writes}), handler=handler))
    assert (again.name, again.writes) == ("b", [])


def test_a_handler_that_the_graph_does_not_have_handles_nothing() -> None:
    made = opened(Start(None), stored(), handler="gone")
    assert made.tell(Failed(only(made).id, [], WRONG)) is None


@pytest.mark.parametrize("sends", [True, False])
def test_tasks_that_a_command_sent_get_its_answer_when_they_replace_the_one_that_asked(sends: bool) -> None:
    waiting: Any = {"gone": [(INTERRUPT, (QUESTION,))]}
    more: Any = {"goto": [Send("b", 1)]} if sends else {"update": [("log", ["x"])]}
    made = opened(Start(Command(resume="yes", **more)), stored(pending=waiting))
    tasks = tasks_of(made.next())
    assert [task.path[0] for task in tasks] == ([PUSH, PULL] if sends else [PULL])
    for task in tasks:
        assert task.null_resume_for == (None if sends else {QUESTION.id})
    # The one that asked is there still.
    asking = only(opened(Start(None), stored()))
    made = opened(Start(Command(resume="yes", **more)), stored(pending={asking.id: [(INTERRUPT, (QUESTION,))]}))
    assert {task.null_resume_for for task in tasks_of(made.next())} == {frozenset((QUESTION.id,))}


def test_an_answer_that_was_meant_for_none_of_several_questions_is_not_given_to_what_a_command_sent() -> None:
    pending: Any = {
        "gone": [(INTERRUPT, (QUESTION,))],
        "gone too": [(INTERRUPT, (Interrupt("and?", id="f" * 32),))],
        NULL_TASK_ID: [(TASKS, Send("b", 1)), (RESUME, "yes")],
    }
    made = opened(Start(None), stored(pending=pending))
    assert [task.null_resume_for for task in tasks_of(made.next())] == [frozenset(), frozenset()]


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_of_a_checkpoint_that_does_not_say_what_changed_every_node_is_looked_at(saves: str) -> None:
    thread = stored()
    thread.checkpoint["updated_channels"] = None
    assert only(opened(Start(None), thread, saves=saves)).name == "b"


# -- where it stops ------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "hidden", "ran"),
    [(("a",), False, []), (("b",), False, ["a"]), ("*", False, []), ((), False, ["a", "b"]), ("*", True, ["a", "b"])],
)
@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_a_run_pauses_before_a_node(names: Any, hidden: bool, ran: list[str], saves: str) -> None:
    made = opened(Start({"go": None}), interrupt_before=names, saves=saves, hidden=hidden)
    run = []
    while tasks := tasks_of(directive := made.next()):
        for task in tasks:
            run.append(task.name)
            made.tell(Draft(task, [("to:b", None)] if task.name == "a" else []))
    assert run == ran
    assert directive == (Finish() if ran == ["a", "b"] else Pause("interrupt_before"))
    assert made.status == ("done" if ran == ["a", "b"] else "interrupt_before")


@pytest.mark.parametrize("names", [("b",), ()])
def test_a_run_does_not_pause_after_other_nodes(names: Any) -> None:
    made = opened(Start({"go": None}), interrupt_after=names)
    made.tell(Draft(only(made), [("to:b", None)]))
    assert only(made).name == "b"


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_a_run_that_pauses_when_its_only_task_has_just_ended_shows_what_that_wrote(saves: str) -> None:
    made = opened(Start({"go": None}), saves=saves)
    task = only(made)
    made.tell(Draft(task, [("log", ["a"])]))
    made.pause(asks=True)
    made.close()
    assert made.state.read("log") == ([] if saves == "never" else ["a"])
    assert [writes for _, _, writes in recorded(made.outbox)] == ([] if saves == "never" else [[("log", ["a"])]])


@pytest.mark.parametrize("names", [("a",), "*"])
def test_a_run_pauses_after_a_node_and_then_goes_on(names: Any) -> None:
    made = opened(Start({"go": None}), interrupt_after=names)
    made.tell(Draft(only(made), [("to:b", None)]))
    assert made.next() == Pause("interrupt_after")
    assert [task.name for task in made.tasks.values()] == ["b"]
    assert made.status == "interrupt_after"


def test_a_breakpoint_stops_only_a_run_that_has_changed_something_since() -> None:
    made = opened(Start(None), stored(), interrupt_before=("b",))
    assert only(made).name == "b"


@pytest.mark.parametrize("asks", [True, False])
def test_a_pause_shows_what_the_finished_tasks_changed(asks: bool) -> None:
    made = opened(Start({"go": None, "to:b": None}), watch=UNHEARD._replace(values=True))
    a, b = tasks_of(made.next())
    made.tell(Draft(a, [("log", ["a"])]))
    made.tell(Interrupted(b.id, [], ASKED, (QUESTION,)))
    made.outbox.clear()
    made.pause(asks=asks)
    assert facts(made) == [("ValuesChanged", []), *[("PausedBare", [])] * (not asks)]
    assert made.state.read("log") == ["a"]
    assert made.status == "paused"
    # No checkpoint is made of half a step.
    assert made.checkpoint["channel_values"].get("log", []) == []


def test_a_pause_in_which_nothing_had_ended_shows_nothing() -> None:
    made = opened(Start({"go": None}), watch=UNHEARD._replace(values=True))
    made.tell(Interrupted(only(made).id, [], ASKED, (QUESTION,)))
    facts(made)
    made.pause(asks=True)
    assert facts(made) == []


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.parametrize("saves", ["step", "never"])
def test_a_run_out_of_steps_names_the_nodes_of_the_last_one(limit: int, saves: str) -> None:
    made = opened(Start({"go": None, "to:b": None}), limit=limit, saves=saves)
    steps = 0
    while tasks := tasks_of(directive := made.next()):
        steps += 1
        for task in reversed(tasks):
            made.tell(Draft(task, [("go", None), ("to:b", None)]))
    assert directive == OutOfSteps()
    assert (steps, made.last_nodes, made.status) == (limit + 1, ["a", "b"], "out_of_steps")
    # The step that is not run is there to be shown.
    assert {(task.name, task.step) for task in made.tasks.values()} == {("a", made.step), ("b", made.step)}


def test_a_drain_needs_something_to_run() -> None:
    made = opened(Start({"go": None}))
    assert made.next(True) == Drain()
    made = opened(Start({"log": ["in"]}))
    assert made.next(True) == Finish()
    made = opened(Start({"go": None}), saves="never")
    made.tell(Draft(only(made), [("to:b", None)]))
    assert made.next(True) == Drain()


# -- what is stored ------------------------------------------------------


def test_a_run_that_stores_at_its_end_asks_for_its_last_checkpoint_and_what_was_recorded_since() -> None:
    made = opened(Start(None), stored(), saves="exit")
    made.tell(Draft(only(made), [("log", ["b"]), ("go", None)]))
    a = only(made)
    made.tell(Interrupted(a.id, [], ASKED, (QUESTION,)))
    assert (saved(made.outbox), recorded(made.outbox)) == ([], [])
    made.close()
    assert saved(made.outbox) == [(FIRST, SECOND, "loop", 1)]
    assert recorded(made.outbox) == [(SECOND, a.id, [(INTERRUPT, (QUESTION,))])]


def test_a_run_whose_only_task_has_just_ended_stores_what_it_wrote() -> None:
    made = opened(Start(None), stored(), saves="exit")
    task = only(made)
    made.tell(Draft(task, [("log", ["b"])]))
    made.close()
    assert saved(made.outbox) == []
    assert recorded(made.outbox) == [(FIRST, task.id, [("log", ["b"])])]


def test_each_step_makes_a_checkpoint_that_follows_the_one_before() -> None:
    made = opened(Start(None), stored())
    made.tell(Draft(only(made), [("go", None)]))
    made.tell(Draft(only(made), [("log", ["a"])]))
    made.next()
    assert saved(made.outbox) == [(FIRST, SECOND, "loop", 1), (SECOND, THIRD, "loop", 2)]
    assert (made.parent_id, made.checkpoint["id"], made.metadata["step"]) == (SECOND, THIRD, 2)


@pytest.mark.parametrize("saves", ["step", "exit"])
def test_what_is_never_stored_is_left_out_of_packets_too(saves: str) -> None:
    made = opened(Start({"go": None}), saves=saves)
    task = only(made)
    packet = Send("b", {"log": [], "secret": 1}, timeout=3.5)
    made.tell(Draft(task, [("secret", 1), (TASKS, packet), (TASKS, Send("b", "bare"))]))
    (first, _) = tasks_of(made.next())
    assert first.input == {"log": [], "secret": 1}
    made.close()
    *_, checkpoint = [effect.checkpoint for effect in made.outbox if isinstance(effect, SaveCheckpoint)]
    kept, bare = checkpoint["channel_values"][TASKS]
    assert (kept.node, kept.arg, kept.timeout, bare.arg) == ("b", {"log": []}, packet.timeout, "bare")
    assert "secret" not in checkpoint["channel_values"]
    assert [writes for _, task_id, writes in recorded(made.outbox) if task_id == task.id] == [
        [(TASKS, kept), (TASKS, bare)]
    ] * (saves == "step")


@pytest.mark.parametrize("moved", [True, False])
def test_a_checkpoint_holds_the_state_after_the_step_and_says_what_is_new_in_it(moved: bool) -> None:
    made = opened(Start(None), stored(moved=moved), parents={"": "outer"})
    made.tell(Draft(only(made), [("log", ["b"])]))
    made.next()
    (saving,) = [effect for effect in made.outbox if isinstance(effect, SaveCheckpoint)]
    assert saving.parent_id == FIRST
    assert saving.metadata == {"source": "loop", "step": 1, "parents": {"": "outer"}}
    assert saving.checkpoint == {
        "v": 4,
        "ts": "now",
        "id": SECOND,
        "channel_values": {"log": ["a", "b"]},
        "channel_versions": {"go": 2, "log": 3, "to:b": 3},
        "versions_seen": {
            "a": {"go": 1},
            "b": {"to:b": 2},
            INTERRUPT: {"go": 2, "log": 2, "to:b": 2},
        },
        "updated_channels": ["log"],
    }
    # In a namespace that the checkpoint does not come from, nothing is stored yet.
    assert saving.new_versions == {"log": 3, "to:b": 3} | ({"go": 2} if moved else {})


def test_a_command_that_is_refused_leaves_nothing_to_store() -> None:
    made = Machine(program(), stored(), SETTINGS._replace(saves="exit"))
    with pytest.raises(TypeError):
        made.start(Start(Command(update=[("log", 5)])))
    made.close()
    assert made.outbox == []
