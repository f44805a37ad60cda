"""A channel that is stored as its writes: what it makes of snapshots, replays and overwrites."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.serde.types import _DeltaSnapshot

from stategraph.constants import MISSING
from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel
from stategraph.errors import InvalidUpdateError
from stategraph.types import Overwrite


def extend(value: list[Any], updates: Sequence[list[Any]]) -> list[Any]:
    return [*value, *(item for update in updates for item in update)]


def writes(*updates: Any) -> list[tuple[str, str, Any]]:
    return [("task", "field", update) for update in updates]


def test_the_reducer_gets_all_updates_of_a_step_at_once() -> None:
    calls: list[list[Any]] = []

    def reducer(value: int, updates: Sequence[int]) -> int:
        calls.append(list(updates))
        return value + sum(updates)

    channel = DeltaChannel(reducer, int)

    assert channel.update([1, 2])
    assert not channel.update([])
    assert channel.get() == 3
    assert calls == [[1, 2]]


def test_copies_and_thawed_channels_keep_their_name_and_settings() -> None:
    channel = DeltaChannel(extend, list, snapshot_frequency=7)
    channel.key = "field"
    for other in (channel.copy(), channel.from_checkpoint(MISSING), channel.from_checkpoint(_DeltaSnapshot([["a"]]))):
        assert other == channel
        assert (other.key, other.snapshot_frequency, other.typ) == ("field", 7, list)


def test_nothing_of_it_is_stored() -> None:
    channel = DeltaChannel(extend)
    channel.update([["a"]])

    assert channel.checkpoint() is MISSING


def test_an_untouched_channel_is_empty_and_a_thawed_one_has_an_empty_value() -> None:
    channel = DeltaChannel(extend, dict[str, int])  # type: ignore[arg-type]

    assert not channel.is_available()
    assert channel.from_checkpoint(MISSING).get() == {}


def test_it_starts_from_a_snapshot_or_from_the_value_of_another_kind_of_channel() -> None:
    channel = DeltaChannel(extend)

    assert channel.from_checkpoint(_DeltaSnapshot(["a"])).get() == ["a"]
    assert channel.from_checkpoint(["a"]).get() == ["a"]


def test_a_saver_may_say_none_for_a_channel_without_a_snapshot() -> None:
    channel = DeltaChannel(extend, list).from_checkpoint(None)
    assert channel.get() == []
    channel.replay_writes(writes([1], [2]))
    assert channel.get() == [1, 2]


def test_a_field_may_go_back_to_an_ordinary_reducer() -> None:
    channel = BinaryOperatorAggregate(list, lambda a, b: a + b)

    assert channel.from_checkpoint(_DeltaSnapshot(["a"])).get() == ["a"]


@given(st.lists(st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=3), max_size=5), st.data())
def test_replaying_the_writes_gives_the_value_that_the_steps_gave(steps: list[list[list[int]]], data: Any) -> None:
    live = DeltaChannel(extend).from_checkpoint(MISSING)
    stored: list[tuple[str, str, Any]] = []
    for updates in steps:
        step: list[Any] = list(updates)
        if data.draw(st.booleans()):
            # An overwrite makes its step's other writes void, so only itself is stored of them.
            step = [Overwrite(updates[0])]
        live.update(step)
        stored += writes(*step)

    replayed = DeltaChannel(extend).from_checkpoint(MISSING)
    replayed.replay_writes(stored)

    assert replayed.get() == live.get()


def test_a_replay_starts_over_at_the_last_overwrite() -> None:
    channel = DeltaChannel(extend).from_checkpoint(_DeltaSnapshot(["old"]))

    channel.replay_writes(writes(["a"], Overwrite(["b"]), ["c"], {"__overwrite__": ["d"]}, ["e"]))

    assert channel.get() == ["d", "e"]


def test_an_overwrite_with_none_empties_the_channel() -> None:
    channel = DeltaChannel(extend)
    channel.update([["a"]])

    channel.update([Overwrite(None)])

    assert channel.get() == []


def test_the_writer_of_an_overwrite_keeps_its_list_to_itself() -> None:
    def append(value: list[Any], updates: Sequence[Any]) -> list[Any]:
        value.extend(updates)
        return value

    mine = ["a"]
    channel = DeltaChannel(append)
    channel.update([Overwrite(mine)])
    channel.update(["b"])

    assert channel.get() == ["a", "b"]
    assert mine == ["a"]


def test_a_copy_is_safe_from_a_reducer_that_changes_its_argument() -> None:
    def append(value: list[Any], updates: Sequence[Any]) -> list[Any]:
        value.extend(updates)
        return value

    channel = DeltaChannel(append)
    channel.update(["a"])

    channel.copy().update(["b"])

    assert channel.get() == ["a"]


def test_two_overwrites_in_one_step_are_refused() -> None:
    with pytest.raises(InvalidUpdateError, match="Can receive only one Overwrite value per super-step"):
        DeltaChannel(extend).update([Overwrite([1]), Overwrite([2])])


@pytest.mark.parametrize("frequency", [0, -1])
def test_a_snapshot_frequency_must_be_positive(frequency: int) -> None:
    with pytest.raises(ValueError, match="snapshot_frequency must be a positive int"):
        DeltaChannel(extend, snapshot_frequency=frequency)


def test_declarations_with_different_frequencies_differ() -> None:
    assert DeltaChannel(extend) == DeltaChannel(extend, snapshot_frequency=100)
    assert DeltaChannel(extend) != DeltaChannel(extend, snapshot_frequency=5)
    assert DeltaChannel(extend, snapshot_frequency=5).copy().snapshot_frequency == 5
