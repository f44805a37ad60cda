"""The beginning of a run: what it takes in, where it goes back to, and what of an earlier run it keeps."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.constants import INTERRUPT, NULL_TASK_ID, RESUME
from stategraph.core.effects import SaveCheckpoint, ValuesChanged
from stategraph.core.moves import Called, tasks_of
from stategraph.core.settings import UNHEARD, Start
from stategraph.core.task import Call, Draft, Task
from stategraph.errors import EmptyInputError, UnknownInterruptError
from stategraph.types import Command, Interrupt
from tests.core.machines_kit import BEGUN, FIRST, SECOND, opened, planned, recorded, saved, stored

# -- input ---------------------------------------------------------------


def test_input_is_a_step_of_its_own_with_a_checkpoint() -> None:
    made = opened(Start({"go": None, "log": ["in"]}))
    assert (made.step, made.resuming, made.leaves_records, made.child_resuming) == (0, False, False, False)
    assert saved(made.outbox) == [(None, BEGUN, "input", -1)]
    assert (made.replay_id, made.status) == (None, "planning")
    assert planned(made) == ["a"]


@pytest.mark.parametrize(
    ("start", "about", "changed"),
    [
        (Start({"go": None, "log": ["in"]}), {}, ["go", "log"]),
        (Start({"log": ["in"]}), {"addressed": True}, ["log"]),
        # A fork is made before anything changes.
        (Start(None), {"addressed": True}, None),
    ],
)
def test_a_checkpoint_says_what_changed(start: Start, about: dict[str, Any], changed: list[str] | None) -> None:
    made = opened(start, stored(**about))
    (checkpoint,) = [effect.checkpoint for effect in made.outbox if isinstance(effect, SaveCheckpoint)]
    assert checkpoint["updated_channels"] == changed


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_new_input_drops_what_an_earlier_run_left_undone(saves: str) -> None:
    made = opened(Start({"log": ["new"]}), stored(), saves=saves)
    assert planned(made) == []
    assert made.state.read("log") == ["a", "new"]
    assert made.state.seen["b"] == {"to:b": 2}
    made = opened(Start({"go": None}), stored(), saves=saves)
    assert planned(made) == ["a"]
    assert made.resuming is False


def test_what_was_recorded_for_dropped_tasks_is_not_applied() -> None:
    made = opened(Start(None), stored())
    (task,) = tasks_of(made.next())
    made = opened(Start({"log": ["new"]}), stored(pending={task.id: [("log", ["b"])]}))
    assert made.state.read("log") == ["a", "new"]


def test_a_run_inside_another_may_have_no_input() -> None:
    with pytest.raises(EmptyInputError, match=r"Received no input for \['go', 'log', 'to:b'\]"):
        opened(Start(None))
    with pytest.raises(EmptyInputError):
        opened(Start({"other": 1}))
    made = opened(Start(None, resuming=False), nested=True, ns="outer:1")
    assert planned(made) == []


# -- going on ------------------------------------------------------------


def test_a_run_that_continues_plans_what_comes_next_and_shows_the_values() -> None:
    made = opened(Start(None), stored(), watch=UNHEARD._replace(values=True))
    assert (made.step, made.resuming, made.leaves_records, made.child_resuming) == (1, True, False, True)
    assert made.updated == {"log", "to:b"}
    assert made.outbox == [ValuesChanged()]
    assert made.values_seen
    # A breakpoint counts as passed for what has been seen.
    assert made.state.seen[INTERRUPT] == {"go": 2, "log": 2, "to:b": 2}
    assert planned(made) == ["b"]


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_a_node_that_a_run_continues_with_has_not_seen_what_starts_it(saves: str) -> None:
    thread = stored()
    thread.checkpoint["versions_seen"]["b"] = {"to:b": 2}
    assert planned(opened(Start(None), thread, saves=saves)) == []


def test_the_calls_of_a_run_that_goes_back_ask_under_their_new_ids_unless_it_is_inside_another() -> None:
    made = opened(Start(None), stored(addressed=True))
    (task,) = tasks_of(made.next())
    called = made.tell(Called(task, 0, Call(print, ((), {}), None, None, None, None, "print", None)))
    assert called is not None
    assert not called.renamed


@pytest.mark.parametrize("resuming", [True, False, None])
def test_a_run_inside_another_hands_on_what_it_was_told_about_resuming(resuming: bool | None) -> None:
    made = opened(Start({"go": None}, resuming=resuming), stored(), nested=True, ns="outer:1")
    assert made.child_resuming is resuming
    assert made.resuming is bool(resuming)


@pytest.mark.parametrize(
    ("strict", "nested", "superseded", "refused"),
    [
        (True, False, False, True),
        (False, False, False, False),
        (True, True, False, False),
        (True, False, True, False),
    ],
)
def test_answers_must_match_a_question_of_a_root_run_that_is_strict_and_whose_thread_has_not_moved_on(
    strict: bool, nested: bool, superseded: bool, refused: bool
) -> None:
    start, thread = Start(Command(resume={"f" * 32: "yes"})), stored(superseded=superseded)
    if refused:
        with pytest.raises(UnknownInterruptError):
            opened(start, thread, strict_resume=strict, nested=nested)
    else:
        made = opened(start, thread, strict_resume=strict, nested=nested)
        assert made.resume_map == {"f" * 32: "yes"}
        assert recorded(made.outbox) == []


def test_an_answer_that_names_no_question_is_recorded_on_the_checkpoint() -> None:
    made = opened(Start(Command(resume="yes")), stored())
    assert recorded(made.outbox) == [(FIRST, NULL_TASK_ID, [(RESUME, "yes")])]
    assert made.resume_map is None
    (task,) = tasks_of(made.next())
    assert (task.null_resume, task.null_resume_for) == ((RESUME, "yes"), None)


def test_an_answer_is_for_the_question_that_waits() -> None:
    (task,) = tasks_of(opened(Start(None), stored()).next())
    question = Interrupt("?", id="e" * 32)
    made = opened(Start(Command(resume="yes")), stored(pending={task.id: [(INTERRUPT, (question,))]}))
    (task,) = tasks_of(made.next())
    assert task.null_resume_for == {"e" * 32}


def test_answers_that_an_outer_run_hands_down_are_given_to_the_tasks() -> None:
    made = opened(Start(None, resuming=True, resume_map={"f" * 32: "yes"}), stored(), nested=True, ns="outer:1")
    assert made.resume_map == {"f" * 32: "yes"}


def test_what_a_command_writes_is_recorded_applied_and_counts_as_changed() -> None:
    made = opened(Start(Command(update=[("log", ["by hand"]), ("go", None)])), stored())
    assert recorded(made.outbox) == [(FIRST, NULL_TASK_ID, [("log", ["by hand"]), ("go", None)])]
    assert made.state.read("log") == ["a", "by hand"]
    assert made.updated == {"log", "to:b", "go"}
    assert planned(made) == ["a", "b"]


@pytest.mark.parametrize("saves", ["step", "exit", "never"])
def test_a_command_without_an_answer_is_taken_whatever_waits_and_is_stored(saves: str) -> None:
    pending: Any = {name: [(INTERRUPT, (Interrupt("?", id=name * 32),))] for name in ("e", "f")}
    made = opened(Start(Command(update=[("log", ["by hand"])])), stored(pending=pending), saves=saves)
    assert made.state.read("log") == ["a", "by hand"]


def test_a_command_on_a_checkpoint_that_does_not_say_what_changed_has_every_node_looked_at() -> None:
    thread = stored()
    thread.checkpoint["updated_channels"] = None
    made = opened(Start(Command(update=[("log", ["by hand"])])), thread)
    assert made.updated is None
    assert planned(made) == ["b"]


def test_an_answer_goes_with_the_update_that_came_with_it_unless_it_names_its_question() -> None:
    update = [("log", ["by hand"])]
    made = opened(Start(Command(resume="yes", update=update)), stored())
    assert recorded(made.outbox) == [(FIRST, NULL_TASK_ID, [*update, (RESUME, "yes")])]
    made = opened(Start(Command(resume={"f" * 32: "yes"}, update=update)), stored())
    assert recorded(made.outbox) == [(FIRST, NULL_TASK_ID, update)]
    assert made.resume_map == {"f" * 32: "yes"}


# -- going back ----------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "about", "replay_id"),
    [
        # It forks: subgraphs look for theirs before the fork, which has none.
        ("loop", {}, FIRST),
        # An edit is the beginning of a branch already, and has none either.
        ("update", {}, BEGUN),
        ("fork", {}, BEGUN),
        # The thread has moved past the edit: a fork, of a checkpoint that has none.
        ("update", {"superseded": True}, BEGUN),
        # Nothing is before it.
        ("update", {"parent": None}, FIRST),
    ],
)
def test_subgraphs_of_a_replay_look_before_the_checkpoint_or_its_edit(
    source: str, about: dict[str, Any], replay_id: str
) -> None:
    made = opened(Start(None), stored(source, addressed=True, **about))
    assert made.replay_id == replay_id
    assert made.leaves_records


def test_subgraphs_of_a_run_with_new_input_at_an_old_checkpoint_look_before_the_one_of_the_input() -> None:
    made = opened(Start({"go": None}), stored(addressed=True))
    assert saved(made.outbox) == [(FIRST, SECOND, "input", 1)]
    assert made.replay_id == SECOND


def test_a_run_inside_another_has_no_replay_of_its_own() -> None:
    thread = stored(addressed=True)
    made = opened(Start(None, resuming=True, own_checkpoint_named=True), thread, nested=True, ns="outer:1")
    assert made.replay_id is None


@pytest.mark.parametrize(
    ("source", "superseded", "forks"),
    [("loop", False, True), ("update", False, False), ("fork", False, False), ("update", True, True)],
)
def test_a_replay_starts_a_branch_with_a_checkpoint_unless_an_edit_has_started_it(
    source: str, superseded: bool, forks: bool
) -> None:
    made = opened(Start(None), stored(source, addressed=True, superseded=superseded))
    assert saved(made.outbox) == ([(FIRST, SECOND, "fork", 1)] if forks else [])
    assert made.step == (2 if forks else 1)
    assert planned(made) == ["b"]


def test_a_replay_forgets_answers_and_a_fork_the_questions_too() -> None:
    question = Interrupt("?", id="e" * 32)
    for source, kept in (("loop", []), ("update", [(INTERRUPT, (question,))])):
        pending: Any = {"t": [(INTERRUPT, (question,)), (RESUME, ["yes"])], NULL_TASK_ID: [(RESUME, "yes")]}
        made = opened(Start(None), stored(source, addressed=True, pending=pending))
        assert made.pending == ({"t": kept} if kept else {})


@pytest.mark.parametrize(
    ("named", "ns", "known"),
    [
        ({"": FIRST, "b:0": FIRST}, None, True),
        ({"": FIRST}, None, False),
        (None, None, False),
        ({"elsewhere": FIRST, "elsewhere|b:0": FIRST}, "elsewhere", True),
    ],
)
def test_the_tasks_of_a_fork_know_where_they_ran_before_if_the_caller_means_a_graph_inside_them(
    named: dict[str, str] | None, ns: str | None, known: bool
) -> None:
    (before,) = tasks_of(opened(Start(None), stored(), ns=ns or "").next())
    made = opened(Start(None, named=named, ns=ns), stored(addressed=True))
    (task,) = tasks_of(made.next())
    assert task.id != before.id
    assert task.ns_before == (before.ns if known else None)
    made.tell(Draft(task, [("to:b", None)]))
    (again,) = tasks_of(made.next())
    assert (again.path, again.ns_before) == (task.path, None)


@pytest.mark.parametrize(
    ("source", "addressed", "nested", "saves", "renamed"),
    [
        ("loop", False, True, "step", False),
        ("loop", True, True, "step", True),
        ("update", False, True, "step", True),
        ("loop", False, True, "never", True),
    ],
)
def test_the_questions_of_a_nested_run_get_other_ids_when_it_goes_back_or_stores_nothing(
    source: str, addressed: bool, nested: bool, saves: str, renamed: bool
) -> None:
    outer = Task("p", "outer", None, ("p", "outer"), (), "outer:1", 0, 1)
    thread = stored(source, addressed=addressed)
    start = Start(None, resuming=True, own_checkpoint_named=addressed)
    made = opened(start, thread, nested=nested, ns="outer:1", parent=outer, saves=saves)
    (task,) = tasks_of(made.next())
    assert task.renamed is renamed


def test_the_step_after_the_first_is_not_resumed_any_more() -> None:
    made = opened(Start(None), stored())
    (task,) = tasks_of(made.next())
    made.tell(Draft(task, [("log", ["b"])]))
    made.next()
    assert made.child_resuming is None
    assert saved(made.outbox) == [(FIRST, SECOND, "loop", 1)]


def test_what_the_first_step_of_a_run_that_left_records_has_recorded_is_its_own() -> None:
    made = opened(Start(None), stored(superseded=True))
    assert made.leaves_records
    (task,) = tasks_of(made.next())
    made.tell(Draft(task, [("log", ["b"])]))
    made.next()
    assert not made.leaves_records
