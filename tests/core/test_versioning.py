"""Versions of channels by themselves: what a step gives, who has seen what, and steps that get theirs later."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.constants import TASKS
from stategraph.core.state.versioning import Versioning, count_up
from tests.core.machines_kit import program


def versioning(
    versions: dict[str, Any] | None = None,
    seen: dict[str, Any] | None = None,
    rule: Any = count_up,
    stored: bool = True,
) -> Versioning:
    checkpoint = {"channel_versions": versions or {}, "versions_seen": seen or {}}
    return Versioning(program(), checkpoint, rule, stored=stored)


def spelled(current: str | None, _: None) -> str:
    return f"{int(current or 0) + 1:04}"


def test_versions_count_up_from_one() -> None:
    assert [count_up(None, None), count_up(0, None), count_up(7, None)] == [1, 1, 8]


def test_all_that_a_step_changes_gets_one_version_above_the_highest() -> None:
    for rule, first, second in ((count_up, 5, 6), (spelled, "0005", "0006")):
        made = versioning({"log": first, "go": first}, rule=rule)
        made.moved.clear()
        made.give({"log": None}, ["go"], {"to:b": None})
        assert made.by_channel == {"log": second, "go": second, "to:b": second}
        assert made.moved == {"log": second, "go": second, "to:b": second}


def test_a_version_counts_as_used_only_when_something_has_a_value_by_it() -> None:
    made = versioning({"log": 1, "go": 5})
    made.give([], ["go"], ())
    assert made.by_channel == {"log": 1, "go": 6}
    made.give({"log": None}, [], ())
    assert made.by_channel == {"log": 7, "go": 6}
    made.give([], [], ())
    made.give({"go": None}, [], ())
    assert made.by_channel == {"log": 7, "go": 8}
    fresh = versioning()
    fresh.give([], [], ())
    fresh.give({"log": None}, [], ())
    assert fresh.by_channel == {"log": 1}


def test_what_moved_are_channels_that_the_graph_still_has() -> None:
    assert versioning({"log": 1, "gone": 2}).moved == {"log": 1}
    assert versioning().moved == {}


def test_a_state_that_is_only_looked_at_gets_no_versions() -> None:
    made = versioning({"log": 1, "x": "2"}, rule=None)
    made.give({"log": None}, ["go"], ["to:b"])
    assert (made.is_fixed, made.by_channel) == (True, {"log": 1, "x": "2"})
    assert not versioning().is_fixed


def test_a_node_has_seen_what_started_it_and_keeps_what_it_saw_before() -> None:
    made = versioning({"log": 3, "go": 2}, {"a": {"log": 1, "go": 1}})
    made.note_run("a", ("go", "to:b"))
    made.note_run("b", ("log",))
    made.note_run("c", ())
    assert made.seen == {"a": {"log": 1, "go": 2}, "b": {"log": 3}, "c": {}}


def test_what_a_node_has_seen_is_replaced_as_a_checkpoint_may_hold_it() -> None:
    made = versioning({"go": 1}, {"a": {}})
    held = made.seen["a"]
    made.note_run("a", ("go",))
    assert made.seen["a"] == {"go": 1}
    assert held == {}


def test_news_is_what_is_newer_than_what_was_seen() -> None:
    made = versioning({"log": 3, "go": 2}, {"a": {"log": 3}, "b": {"log": 2, "go": 2}, "none": {}})
    news = [
        (reader, [name for name in ("log", "go", "to:b") if made.has_news(reader, [name])])
        for reader in ("a", "b", "none", "stranger")
    ]
    assert news == [("a", ["go"]), ("b", ["log"]), ("none", ["log", "go"]), ("stranger", ["log", "go", "to:b"])]
    assert made.has_news("b", ["go", "log"])
    assert not made.has_news("stranger", [])


def test_a_reader_that_marks_all_as_seen_hears_of_the_next_change() -> None:
    made = versioning({"log": 1, "go": 1})
    assert made.changed_since_seen_by("reader")
    made.mark_all_seen("reader")
    assert made.seen["reader"] == {"log": 1, "go": 1}
    assert not made.changed_since_seen_by("reader")
    made.give({"log": None}, [], ())
    assert made.changed_since_seen_by("reader")
    assert not versioning().changed_since_seen_by("reader")


@pytest.mark.parametrize(
    ("versions", "null"), [({}, None), ({"log": 3}, 0), ({"log": "0003"}, ""), ({"log": 1.5}, 0.0)]
)
def test_the_version_before_all_is_the_empty_one_of_their_type(versions: dict[str, Any], null: Any) -> None:
    made = versioning(versions, rule=None)
    assert made.null_version() == null
    assert type(made.null_version()) is type(null)


@pytest.mark.parametrize(
    "ask",
    [
        lambda made: made.catch_up(),
        lambda made: made.has_news("a", ["log"]),
        lambda made: made.mark_all_seen("reader"),
        lambda made: made.changed_since_seen_by("reader"),
    ],
    ids=["itself", "news", "marking", "changes"],
)
def test_steps_that_wait_for_their_versions_get_them_in_order_when_someone_asks(ask: Any) -> None:
    made = versioning({"go": 1})
    assert made.open == []
    made.open += [("a", ("go",), {"log": None, "to:b": None}, [], ()), ("b", ("to:b",), {"log": None}, [], ["to:b"])]
    ask(made)
    assert made.by_channel == {"go": 1, "log": 3, "to:b": 3}
    assert (made.seen["a"], made.seen["b"]) == ({"go": 1}, {"to:b": 2})
    assert made.open == []
    assert versioning(stored=False).open is None


def test_a_bump_gives_a_version_that_those_who_had_seen_the_last_one_have_seen() -> None:
    made = versioning({"log": 2, "go": 5}, {"a": {"log": 2}, "b": {"log": 1}})
    made.bump(["log", "go"], {"log": 2, "go": 4})
    assert made.by_channel == {"log": 3, "go": 5}
    assert (made.seen["a"], made.seen["b"]) == ({"log": 3}, {"log": 1})
    made.bump([TASKS], {})
    assert made.by_channel == {"log": 3, "go": 5, TASKS: 1}
    made.give({"log": None}, [], ())
    assert made.by_channel["log"] == 6
    made.bump(["log"], {})
    assert made.by_channel["log"] == 6


def test_a_bump_above_the_highest_version_is_the_highest_from_then_on() -> None:
    made = versioning({"log": 2})
    made.bump(["log"], {"log": 2})
    made.give({"go": None}, [], ())
    assert made.by_channel == {"log": 3, "go": 4}
    looked_at = versioning({"log": 2}, rule=None)
    looked_at.bump(["log"], {"log": 2})
    assert looked_at.by_channel == {"log": 3}
