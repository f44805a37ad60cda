"""What a run notes about its delta channels, told one event at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import NULL_TASK_ID
from stategraph.core import checkpoint as checkpoints
from stategraph.core import deltas
from stategraph.core.channels import DeltaChannel, LastValue
from stategraph.core.delta_journal import DeltaCodec, DeltaJournal
from stategraph.core.program import Program, build
from stategraph.core.state import State
from stategraph.core.state.versioning import count_up
from stategraph.core.task import Task, Write
from stategraph.types import Overwrite

TASK = "0123abcd-1111-2222-3333-444444444444"
OTHER = "9999abcd-1111-2222-3333-444444444444"


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


def program() -> Program:
    specs: dict[str, Any] = {"log": DeltaChannel(extend, snapshot_frequency=2), "last": LastValue(int)}
    return build({}, specs, {}, "last")


def number(writes: list[Write]) -> None:
    """Stands in for ids of messages: replaces what is written."""
    writes[:] = [(w[0], [*w[1], "id"]) if isinstance(w[1], list) else w for w in writes]


def journal(*, at_exit: bool = False, identify: Any = lambda writes: None) -> DeltaJournal:
    codec = DeltaCodec(_DeltaSnapshot, identify, lambda checkpoint_id: f"input of {checkpoint_id}", 5000)
    return DeltaJournal(program(), codec, at_exit=at_exit)


def task(task_id: str, *writes: Write) -> Task:
    made = Task(task_id, "n", None, ("p", task_id[:1]), (), "", 0, 1)
    made.writes = list(writes)
    return made


def state(*writes: Write) -> State:
    made = State(program(), checkpoints.empty("id", "now"), count_up)
    made.apply((), writes)
    return made


def full(notes: DeltaJournal, of: State, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    return notes.snapshots(of, {} if metadata is None else metadata, {})


def test_the_counters_reach_the_frequency_and_start_anew() -> None:
    notes, values = journal(), state(("log", ["a"]))
    first: dict[str, Any] = {}
    notes.count({}, first, {"log"})
    assert full(notes, values, first) == {}
    assert first == {deltas.COUNTERS_KEY: {"log": (1, 1)}}

    second: dict[str, Any] = {}
    notes.count(first, second, {"log"})
    assert full(notes, values, second) == {"log": _DeltaSnapshot(["a"])}
    assert second == {}


def test_a_snapshot_is_a_copy_that_later_steps_leave_alone() -> None:
    notes, values = journal(), state(("log", ["a"]))
    notes.carried([("log", ["a"])])

    snapshot = full(notes, values)["log"]
    values.channels["log"].get().append("later")
    assert snapshot == _DeltaSnapshot(["a"])


def test_writes_nobody_takes_back_force_a_snapshot() -> None:
    pending: Any = {TASK: [("log", ["a"])], OTHER: [("last", 1)]}

    taken_back, replaced, branched = journal(), journal(), journal()
    taken_back.begin(pending, reapplies=True)
    taken_back.applies({TASK: task(TASK)})
    replaced.begin(pending, reapplies=True)
    replaced.applies({OTHER: task(OTHER)})
    branched.begin(pending, reapplies=False)

    stored = [full(notes, state(("log", []))) for notes in (taken_back, replaced, branched)]
    assert [list(values) for values in stored] == [[], ["log"], ["log"]]


def test_an_overwrite_forces_one_snapshot() -> None:
    notes, values = journal(), state(("log", ["a"]))
    notes.applies({TASK: task(TASK, ("log", Overwrite(["a"])))})

    assert list(full(notes, values)) == ["log"]
    assert full(notes, values) == {}


@pytest.mark.parametrize(("onto", "recorded"), [("c1", ("input of c1", [("log", ["in"])])), (None, None)])
def test_input_is_recorded_where_nobody_has_built_on_yet_and_snapshotted_otherwise(onto: Any, recorded: Any) -> None:
    notes = journal()

    assert notes.took_input([("log", ["in"]), ("last", 1)], 0, onto=onto) == recorded
    assert bool(full(notes, state(("log", ["in"])))) is (recorded is None)


def test_writes_of_a_run_that_stores_at_its_end_are_kept_in_order() -> None:
    notes, values = journal(at_exit=True), state(("log", []))
    stored: Any = {TASK: [("log", ["before"])], NULL_TASK_ID: [("log", ["command"])]}
    notes.begin({TASK: stored[TASK]}, reapplies=True)
    notes.commanded([("log", ["command"]), ("last", 1)])
    notes.applied(3, {TASK: task(TASK), OTHER: task(OTHER)}, {**stored, OTHER: [("log", ["first"]), ("last", 2)]})
    notes.applied(4, {TASK: task(TASK)}, {TASK: [("log", ["second"])]})

    kept = notes.kept(values, {}, built_on=False)
    assert [writes for _, _, writes in kept] == [[("log", [what])] for what in ("command", "first", "second")]
    assert [task_id for task_id, _, _ in kept] == sorted(task_id for task_id, _, _ in kept)
    assert TASK not in {task_id for task_id, _, _ in kept}


def test_nothing_is_kept_for_a_checkpoint_with_other_children() -> None:
    notes, values = journal(at_exit=True), state(("log", ["in"]))
    notes.took_input([("log", ["in"])], 0, onto="c1")

    assert notes.kept(values, {}, built_on=True) == []
    assert list(full(notes, values)) == ["log"]


def test_what_a_task_has_read_of_its_writes_is_forgotten_if_they_get_ids() -> None:
    changed, same = task(TASK, ("log", ["a"])), task(OTHER, ("last", 1))
    for one in (changed, same):
        one.fresh = {"log": (1, None, True)}
        journal(identify=number).identify(one.writes, one)

    assert changed.writes == [("log", ["a", "id"])]
    assert changed.fresh is None
    assert same.fresh is not None


@pytest.mark.parametrize(
    "tell",
    [
        lambda notes: notes.moved(),
        lambda notes: notes.carried([("last", 1), ("log", ["a"])]),
        lambda notes: notes.begin({NULL_TASK_ID: [("log", ["a"])]}, reapplies=False),
        lambda notes: notes.took_input([("log", Overwrite(["a"]))], 0, onto="c1"),
    ],
    ids=["in a namespace without history", "carried", "recorded by a command", "overwritten"],
)
def test_what_cannot_be_replayed_is_stored_once_in_full(tell: Any) -> None:
    notes, values = journal(), state(("log", ["a"]), ("last", 1))
    tell(notes)
    assert full(notes, values) == {"log": _DeltaSnapshot(["a"])}
    assert full(notes, values) == {}


def test_a_command_that_goes_back_to_its_tasks_forces_nothing() -> None:
    notes = journal()
    notes.begin({NULL_TASK_ID: [("log", ["a"])]}, reapplies=True)
    notes.applies({TASK: task(TASK)})
    assert full(notes, state(("log", ["a"]))) == {}


def test_writes_that_are_carried_get_their_ids() -> None:
    writes: list[Write] = [("log", ["a"])]
    journal(identify=number).carried(writes)
    assert writes == [("log", ["a", "id"])]


def test_a_snapshot_is_due_after_as_many_supersteps_as_the_settings_say() -> None:
    for supersteps, due in ((4999, []), (5000, ["log"])):
        metadata: dict[str, Any] = {deltas.COUNTERS_KEY: {"log": (1, supersteps)}}
        assert list(full(journal(), state(("log", ["a"])), metadata)) == due
        assert metadata == ({} if due else {deltas.COUNTERS_KEY: {"log": (1, supersteps)}})


def test_a_snapshot_that_no_step_wrote_gets_a_version_of_its_own() -> None:
    notes, values = journal(), state(("log", ["a"]))
    notes.moved()
    assert list(notes.snapshots(values, {}, dict(values.versions))) == ["log"]
    assert values.versions == {"log": 2}
    notes.moved()
    notes.snapshots(values, {}, {"log": 1})
    assert values.versions == {"log": 2}


def test_what_is_kept_for_the_end_says_which_step_wrote_it() -> None:
    notes, values = journal(at_exit=True), state(("log", []))
    notes.begin({}, reapplies=False)
    assert notes.took_input([("log", ["in"]), ("last", 1)], 2, onto="c1") is None
    notes.applied(3, {TASK: task(TASK)}, {TASK: [("last", 1), ("log", ["first"]), ("log", ["more"])], "x": []})
    notes.applied(4, {OTHER: task(OTHER)}, {OTHER: [("log", ["second"])], TASK: [("log", ["gone"])]})
    assert notes.kept(values, {}, built_on=False) == [
        (deltas.exit_task_id(2, NULL_TASK_ID), "", [("log", ["in"])]),
        (deltas.exit_task_id(3, TASK), "~p, 0", [("log", ["first"]), ("log", ["more"])]),
        (deltas.late_exit_task_id(4, OTHER), deltas.late_exit_path(4, "~p, 9"), [("log", ["second"])]),
        (deltas.late_exit_task_id(4, TASK), deltas.late_exit_path(4, ""), [("log", ["gone"])]),
    ]
    notes.moved()
    assert notes.kept(values, {}, built_on=False) == []


def test_a_run_that_stores_each_step_keeps_nothing_for_its_end() -> None:
    notes, values = journal(), state(("log", []))
    notes.begin({}, reapplies=False)
    notes.commanded([("log", ["command"])])
    notes.took_input([("log", ["in"])], 2, onto="c1")
    notes.applied(3, {TASK: task(TASK)}, {TASK: [("log", ["first"])]})
    assert notes.kept(values, {}, built_on=False) == []
