"""Runs of a graph with a delta channel: what is recorded for replaying it, and what is stored in full."""

from __future__ import annotations

from typing import Any

import pytest
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import MISSING, NULL_TASK_ID
from stategraph.core import deltas
from stategraph.core.effects import SaveCheckpoint
from stategraph.core.machine import Machine
from stategraph.core.moves import Finish, tasks_of
from stategraph.core.settings import Start
from stategraph.core.task import Draft
from stategraph.types import Command
from tests.core.machines_kit import DELTAS, EMPTY, FIRST, SECOND, opened, recorded, saved, snapshots, stored

IN: Any = {"log": ["in"], "go": None}
BY_HAND = Command(update=[("log", ["by hand"])])


def told(made: Machine) -> str:
    """Run the next node; returns the id of its task."""
    (task,) = tasks_of(made.next())
    made.tell(Draft(task, [("log", [task.name])]))
    return task.id


def test_input_of_a_thread_is_recorded_on_the_checkpoint_that_it_follows() -> None:
    made = opened(Start(IN), stored(), deltas=DELTAS)
    assert recorded(made.outbox) == [(FIRST, f"input of {FIRST}", [("log", ["in", "id"])])]
    assert snapshots(made.outbox) == [MISSING]
    assert made.state.read("log") == ["a", "in", "id"]
    assert made.metadata[deltas.COUNTERS_KEY] == {"log": (1, 1)}


@pytest.mark.parametrize("about", [{"addressed": True}, {"found": False}, {"moved": True}])
def test_input_that_cannot_be_replayed_is_stored_in_full(about: dict[str, bool]) -> None:
    made = opened(Start(IN), stored(**about), deltas=DELTAS)
    assert (recorded(made.outbox) == []) is ("moved" not in about)
    assert snapshots(made.outbox) == [_DeltaSnapshot(["a", "in", "id"])]


def test_what_tasks_write_is_recorded_with_its_ids_and_not_stored() -> None:
    made = opened(Start(None), stored(), deltas=DELTAS)
    task_id = told(made)
    assert made.next() == Finish()
    assert recorded(made.outbox) == [(FIRST, task_id, [("log", ["b", "id"])])]
    assert (saved(made.outbox), snapshots(made.outbox)) == ([(FIRST, SECOND, "loop", 1)], [MISSING])
    assert made.state.read("log") == ["a", "b", "id"]


@pytest.mark.parametrize("superseded", [True, False])
def test_what_another_run_recorded_is_not_to_be_replayed(superseded: bool) -> None:
    (task,) = tasks_of(opened(Start(None), stored(), deltas=DELTAS).next())
    pending: Any = {task.id: [("log", ["b", "id"])]}
    made = opened(Start(None), stored(superseded=superseded, pending=pending), deltas=DELTAS)
    if superseded:
        told(made)
    else:
        assert tasks_of(made.next()) == []
    made.next()
    assert snapshots(made.outbox) == [_DeltaSnapshot(["a", "b", "id"]) if superseded else MISSING]


def test_new_input_drops_what_was_recorded_and_stores_the_channel_in_full() -> None:
    (task,) = tasks_of(opened(Start(None), stored(), deltas=DELTAS).next())
    made = opened(Start(IN), stored(pending={task.id: [("log", ["b", "id"])]}), deltas=DELTAS)
    assert snapshots(made.outbox) == [_DeltaSnapshot(["a", "in", "id"])]


def test_what_a_command_writes_is_recorded_with_its_ids() -> None:
    made = opened(Start(BY_HAND), stored(), deltas=DELTAS)
    assert recorded(made.outbox) == [(FIRST, NULL_TASK_ID, [("log", ["by hand", "id"])])]
    assert made.state.read("log") == ["a", "by hand", "id"]


def test_what_a_command_writes_into_a_fork_is_stored_in_full_with_its_ids() -> None:
    made = opened(Start(BY_HAND), stored(addressed=True), deltas=DELTAS)
    assert recorded(made.outbox) == []
    assert saved(made.outbox) == [(FIRST, SECOND, "fork", 1)]
    assert snapshots(made.outbox) == [_DeltaSnapshot(["a", "by hand", "id"])]


def test_a_run_that_stores_at_its_end_records_all_steps_on_the_checkpoint_that_it_started_from() -> None:
    made = opened(Start(BY_HAND), stored(), deltas=DELTAS, saves="exit")
    task_id = told(made)
    made.next()
    assert made.outbox == []
    made.close()
    assert recorded(made.outbox) == [
        (FIRST, deltas.exit_task_id(1, NULL_TASK_ID), [("log", ["by hand", "id"])]),
        (FIRST, deltas.exit_task_id(1, task_id), [("log", ["b", "id"])]),
    ]
    assert (saved(made.outbox), snapshots(made.outbox)) == ([(FIRST, SECOND, "loop", 1)], [MISSING])


def test_a_new_thread_gets_an_empty_checkpoint_to_record_the_steps_on() -> None:
    made = opened(Start(IN), deltas=DELTAS, saves="exit")
    told(made)
    made.next()
    made.close()
    root, last = (effect for effect in made.outbox if isinstance(effect, SaveCheckpoint))
    assert (root.parent_id, root.checkpoint["id"], root.metadata) == (None, EMPTY, {"step": -2})
    assert (last.parent_id, last.checkpoint["id"]) == (EMPTY, FIRST)
    assert [(checkpoint, writes) for checkpoint, _, writes in recorded(made.outbox)] == [
        (EMPTY, [("log", ["in", "id"])]),
        (EMPTY, [("log", ["a", "id"])]),
    ]


def test_a_run_that_goes_back_and_stores_at_its_end_stores_the_channel_in_full() -> None:
    made = opened(Start(None), stored(addressed=True), deltas=DELTAS, saves="exit")
    told(made)
    made.next()
    made.close()
    assert recorded(made.outbox) == []
    assert snapshots(made.outbox) == [_DeltaSnapshot(["a", "b", "id"])]
