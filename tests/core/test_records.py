"""What is recorded of an open step, and asked to be saved."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.constants import ERROR, INTERRUPT, NO_WRITES, NULL_TASK_ID, RESUME, TASKS
from stategraph.core.effects import Effect, SaveWrites
from stategraph.core.records import Records
from stategraph.core.task import Task, Write
from stategraph.types import Send


def records(outbox: list[Effect], pending: dict[str, list[Write]] | None = None, **about: Any) -> Records:
    return Records(pending or {}, outbox, about.get("untracked", ()), at_once=about.get("at_once", True))


def task(task_id: str = "t") -> Task:
    return Task(task_id, "n", None, ("pull", "n"), (), "", 0, 1)


def test_recording_and_asking_to_save_are_one_act_unless_the_run_stores_at_its_end() -> None:
    for at_once in (True, False):
        outbox: list[Effect] = []
        made = records(outbox, at_once=at_once)
        made.add("c", "t", [("x", 1), (RESUME, ["a"]), ("x", 2)], task())
        assert made.pending == {"t": [("x", 1), (RESUME, ["a"]), ("x", 2)]}
        saves = [SaveWrites("c", "t", [("x", 1), (RESUME, ["a"]), ("x", 2)], "~pull, n")]
        assert outbox == (saves if at_once else [])
        made.save_all("c", {"t": task()}, begun=True)
        assert outbox == (saves * 2 if at_once else saves)


def test_what_a_task_records_replaces_what_it_had_recorded() -> None:
    made = records([])
    made.add("c", "t", [(INTERRUPT, "?")])
    made.add("c", "t", [("x", 1)])
    assert made.pending == {"t": [("x", 1)]}


def test_of_special_writes_alone_the_last_of_each_kind_counts() -> None:
    made = records([])
    made.add("c", "t", [(RESUME, ["a"]), (ERROR, "no"), (RESUME, ["a", "b"])])
    made.add("c", "u", [("x", 1), (RESUME, ["a"]), (RESUME, ["a", "b"])])
    assert made.pending == {
        "t": [(RESUME, ["a", "b"]), (ERROR, "no")],
        "u": [("x", 1), (RESUME, ["a"]), (RESUME, ["a", "b"])],
    }


def test_a_later_command_adds_its_writes_and_replaces_the_answer() -> None:
    made = records([])
    made.add("c", NULL_TASK_ID, [(RESUME, "a"), ("x", 1)])
    made.add("c", NULL_TASK_ID, [(RESUME, "b"), ("x", 2)])
    assert made.pending == {NULL_TASK_ID: [("x", 1), ("x", 2), (RESUME, "b")]}
    made.carry(NULL_TASK_ID, [("x", 3)])
    made.carry("t", [("x", 4)])
    assert made.pending == {NULL_TASK_ID: [("x", 1), ("x", 2), (RESUME, "b"), ("x", 3)], "t": [("x", 4)]}


@pytest.mark.parametrize(
    ("begun", "saved"), [(True, ["mine", NULL_TASK_ID]), (False, ["mine"])], ids=["begun", "refused"]
)
def test_a_run_saves_at_its_end_what_it_has_recorded_itself(begun: bool, saved: list[str]) -> None:
    outbox: list[Effect] = []
    made = records(outbox, {"found": [("x", 0)]}, at_once=False)
    made.add("c", "mine", [("x", 1)])
    made.add("c", NULL_TASK_ID, [("x", 2)])
    made.carry("carried", [("x", 3)])
    made.save_all("d", {"mine": task("mine")}, begun=begun)
    assert [(save.checkpoint_id, save.task_id, save.path_key) for save in outbox] == [  # type: ignore[union-attr]
        ("d", task_id, "~pull, n" if task_id == "mine" else "") for task_id in saved
    ]


def test_an_answer_that_is_used_up_is_recorded_as_such() -> None:
    outbox: list[Effect] = []
    made = records(outbox)
    made.spend_answer("c")
    assert (outbox, made.pending) == ([SaveWrites("c", NULL_TASK_ID, [(RESUME, None)], "")], {})
    outbox.clear()
    made = records(outbox, at_once=False)
    made.spend_answer("c")
    assert (outbox, made.pending) == ([], {NULL_TASK_ID: [(RESUME, None)]})
    made.save_all("c", {}, begun=True)
    assert outbox == [SaveWrites("c", NULL_TASK_ID, [(RESUME, None)], "")]


def test_the_only_task_of_a_step_is_recorded_with_what_it_wrote() -> None:
    outbox: list[Effect] = []
    made = records(outbox, {"before": [("x", 0)]}, at_once=False)
    ended = task()
    ended.writes = [("x", 1)]
    made.take_single(ended)
    assert made.pending == {"t": [("x", 1)]}
    ended.writes.append(("x", 2))
    made.save_all("c", {"t": ended}, begun=True)
    assert outbox == [SaveWrites("c", "t", [("x", 1)], "~pull, n")]


def test_writes_to_one_channel_can_be_forgotten_and_all_of_them() -> None:
    pending: dict[str, list[Write]] = {"t": [("x", 1), (RESUME, ["a"])], "u": [(RESUME, ["b"])]}
    made = records([], pending)
    made.drop(RESUME)
    assert made.pending == {"t": [("x", 1)]}
    kept = made.pending
    made.clear()
    # A task of the step may still hold what there was.
    assert (made.pending, kept) == ({}, {"t": [("x", 1)]})


def test_what_is_never_stored_is_left_out_and_the_task_stays_finished() -> None:
    outbox: list[Effect] = []
    made = records(outbox, untracked={"secret"})
    packet = Send("n", {"secret": 1, "x": 2})
    made.add("c", "t", [("secret", 1), (TASKS, packet)])
    made.add("c", "u", [("secret", 1), (RESUME, ["a"])])
    made.add("c", "v", [(RESUME, ["a"])])
    stored = [list(save.writes) for save in outbox]  # type: ignore[union-attr]
    assert stored == [
        [(TASKS, Send("n", {"x": 2}))],
        [(RESUME, ["a"]), (NO_WRITES, None)],
        [(RESUME, ["a"])],
    ]
    assert made.pending["t"] == [("secret", 1), (TASKS, packet)]
