"""When delta channels are snapshotted, what is replayed, and that a bumped version starts nobody."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import NULL_TASK_ID
from stategraph.core import deltas
from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel, LastValue
from stategraph.types import Overwrite


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


def delta(frequency: int = 3) -> DeltaChannel[list[Any]]:
    return DeltaChannel(extend, snapshot_frequency=frequency)


SPECS = {"log": delta(), "sum": BinaryOperatorAggregate(int, lambda a, b: a + b), "last": LastValue(int)}


def next_version(current: Any, _: None) -> int:
    return (current or 0) + 1


# Reading.


def test_only_written_channels_without_a_stored_value_need_the_history() -> None:
    checkpoint = {"channel_versions": {"log": 2, "sum": 2, "last": 2}, "channel_values": {"last": 1}}

    assert deltas.names(SPECS) == {"log"}
    assert deltas.needing_history(SPECS, checkpoint) == ["log", "sum"]
    assert deltas.needing_history(SPECS, {**checkpoint, "channel_values": {"log": _DeltaSnapshot([]), "sum": 1}}) == []
    assert deltas.needing_history(SPECS, {**checkpoint, "channel_versions": {}}) == []


def test_a_channel_is_replayed_from_its_seed() -> None:
    history = {"seed": _DeltaSnapshot(["a"]), "writes": [("t1", "log", ["b"]), ("t2", "log", ["c"])]}

    assert deltas.replay(SPECS["log"], history).get() == ["a", "b", "c"]
    assert deltas.replay(SPECS["log"], {"writes": []}).get() == []


def test_the_history_of_a_delta_channel_may_become_an_ordinary_reducers() -> None:
    writes = [("t", "sum", Overwrite(5)), ("t", "sum", 1), ("t", "sum", Overwrite(7)), ("t", "sum", 2)]

    assert deltas.replay(SPECS["sum"], {"seed": _DeltaSnapshot(1), "writes": writes}).get() == 9


# Counting.


@given(st.integers(1, 5), st.lists(st.booleans(), max_size=30))
def test_a_snapshot_is_due_after_as_many_updates_as_the_channel_says(frequency: int, steps: list[bool]) -> None:
    channel = delta(frequency).from_checkpoint(_DeltaSnapshot([]))
    counters: dict[str, tuple[int, int]] = {}
    snapshots = 0

    for written in steps:
        counters = deltas.counted(counters, ["log"], {"log"} if written else set())
        snapshotted = deltas.due({"log": channel}, counters, {"log": 1})
        counters = deltas.to_store(counters, snapshotted)
        snapshots += len(snapshotted)

    assert snapshots == sum(steps) // frequency


def test_a_snapshot_is_due_after_many_supersteps_even_without_updates() -> None:
    channels = {"log": delta(100).from_checkpoint(_DeltaSnapshot([]))}

    assert deltas.due(channels, {"log": (1, 9)}, {"log": 1}, max_supersteps=10) == set()
    assert deltas.due(channels, {"log": (1, 10)}, {"log": 1}, max_supersteps=10) == {"log"}


def test_nothing_is_due_for_a_channel_that_is_empty_or_was_never_written() -> None:
    full = {"log": (9, 9)}

    assert deltas.due({"log": delta()}, full, {"log": 1}) == set()
    assert deltas.due({"log": delta().from_checkpoint(_DeltaSnapshot([]))}, full, {}) == set()
    assert deltas.due({"log": LastValue(int).from_checkpoint(1)}, full, {"log": 1}) == set()


def test_counters_of_other_channels_are_dropped_and_zeros_are_not_stored() -> None:
    counters = deltas.counted({"log": (1, 1), "gone": (7, 7)}, ["log", "new"], {"log"})

    assert counters == {"log": (2, 2), "new": (0, 1)}
    assert deltas.to_store({"a": (0, 0), "b": (1, 2), "c": (1, 1)}, {"c"}) == {"b": (1, 2)}


# Forcing.


def test_pending_writes_and_overwrites_force_a_snapshot() -> None:
    assert deltas.pending({"log"}, [("t", "log", []), ("t", "last", 1), ("t", "__error__", "x")]) == {"log"}
    assert deltas.pending({"log"}, None) == set()
    assert deltas.overwritten({"log"}, [("log", Overwrite([])), ("sum", Overwrite(1))]) == {"log"}
    assert deltas.overwritten({"log"}, [("log", []), ("unknown", Overwrite(1))]) == set()


# Bumping.


def test_only_versions_that_did_not_move_are_bumped() -> None:
    moved = deltas.bumps(
        ["written", "idle", "never"], {"written": 5, "idle": 3}, {"written": 4, "idle": 3}, next_version
    )

    assert moved == {"idle": (3, 4), "never": (None, 1)}
    assert deltas.bumps(["idle"], {"idle": 3}, None, next_version) == {}


def test_whoever_had_seen_the_old_version_has_seen_the_bumped_one() -> None:
    seen = {"reader": {"log": 3}, "behind": {"log": 2}, "stranger": {"last": 1}}

    marked = deltas.seen_with_bumps(seen, {"log": (3, 4)}, {"log": ["reader", "behind"]})

    assert marked["reader"] == {"log": 4}
    assert marked["behind"] == {"log": 2}
    assert marked["stranger"] == {"last": 1}
    assert seen["reader"] == {"log": 3}


def test_a_first_version_starts_nobody_that_listens() -> None:
    marked = deltas.seen_with_bumps({}, {"log": (None, 1)}, {"log": ["reader"]})

    assert marked["reader"] == {"log": 1}
    assert deltas.seen_without_bumps(marked) == {"reader": {}}


def test_without_bumps_the_arguments_come_back() -> None:
    seen = {"reader": {"log": 1}}

    assert deltas.seen_with_bumps(seen, {}, {}) is seen
    assert deltas.seen_without_bumps(seen) is seen


@given(
    st.dictionaries(st.sampled_from("xyz"), st.dictionaries(st.sampled_from("ab"), st.integers(1, 3))),
    st.lists(st.sets(st.sampled_from("ab")), max_size=4),
)
def test_bumps_can_be_taken_back_however_many_there_were(
    seen: dict[str, dict[str, int]], rounds: list[set[str]]
) -> None:
    versions = {"a": 3, "b": 3}
    marked: deltas.Seen = seen
    for snapshotted in rounds:
        moved = deltas.bumps(sorted(snapshotted), versions, versions, next_version)
        marked = deltas.seen_with_bumps(marked, moved, {"a": ["x"], "b": ["y"]})
        versions.update({name: after for name, (_, after) in moved.items()})

    assert {node: dict(read) for node, read in deltas.seen_without_bumps(marked).items()} == seen


def test_a_real_read_after_a_bump_is_kept() -> None:
    marked = deltas.seen_with_bumps({"reader": {"log": 3}}, {"log": (3, 4)}, {})

    assert deltas.seen_without_bumps({**marked, "reader": {"log": 5}}) == {"reader": {"log": 5}}


# Durability "exit".

TASK = "0123abcd-1111-2222-3333-444444444444"


def test_writes_of_the_first_step_keep_their_order_under_ids_that_are_not_the_tasks() -> None:
    assert deltas.exit_task_id(7, TASK) == "00000007-1111-2222-3333-444444444444"
    assert deltas.exit_task_id(0, NULL_TASK_ID) == "00000000-0000-0000-0000-000000000001"
    assert deltas.exit_task_id(7, TASK) < deltas.exit_task_id(10, TASK)


@pytest.mark.parametrize(("earlier", "later"), [(1, 2), (9, 10), (65535, 65536)])
def test_writes_of_later_steps_come_after_all_others_in_the_order_of_the_steps(earlier: int, later: int) -> None:
    last_real = "fffffffe-ffff-ffff-ffff-ffffffffffff"

    assert last_real < deltas.late_exit_task_id(earlier, TASK) < deltas.late_exit_task_id(later, TASK)
    assert "~__pregel_pull" < deltas.late_exit_path(earlier, "~p") < deltas.late_exit_path(later, "~a")
    assert len(deltas.late_exit_task_id(later, TASK)) == len(TASK)
