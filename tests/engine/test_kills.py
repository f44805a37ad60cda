"""A process that is killed loses nothing that was saved: kill -9, on SQLite, at every boundary and at any line."""

from __future__ import annotations

import itertools
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.memory import InMemorySaver

from tests.engine import kills_kit as kills
from tests.engine import nested_kit as nested
from tests.engine import programs_kit as kit
from tests.properties import examples

DURABILITIES = ("sync", "async", "exit")


@pytest.fixture(scope="module")
def lives() -> Iterator[kills.Lives]:
    found = kills.Lives()
    yield found
    found.close()


def killed_and_continued(lives: kills.Lives, life: kills.Life, expected: Any) -> bool:
    """Let a process die, another one finish, and hold the thread to what must be true; tells whether it died."""
    code = lives.spend(life)
    assert code in (0, -signal.SIGKILL)
    before = kills.executed(life.folder)
    done = kills.recorded(life.folder) if (life.folder / "db").exists() and has_tables(life.folder) else set()
    survivor = kills.Life(life.spec, life.folder, life.asynchronous, life.durability)
    assert lives.spend(survivor) == 0
    assert life.spec is not None
    assert done.isdisjoint(kills.executed(life.folder)[len(before) :])
    with kills.opened(life.folder) as saver:
        assert kit.build(life.spec, kit.World(), saver).get_state(kit.THREAD).values == expected
    return code != 0


def has_tables(folder: Path) -> bool:
    with kills.opened(folder) as saver:
        found = saver.conn.execute("SELECT count(*) FROM sqlite_master WHERE name IN ('checkpoints', 'writes')")
        return bool(found.fetchone()[0] == 2)


PAIR = (
    kit.NodeSpec("n00", "ask", (), False),
    kit.NodeSpec("n01", "fan", (), False),
    kit.NodeSpec("n10", "sub", ("n00", "n01"), True),
)


@pytest.mark.parametrize("at", ["before", "after"])
@pytest.mark.parametrize("durability", DURABILITIES)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_kill_at_every_boundary_of_one_program_changes_nothing(
    lives: kills.Lives, tmp_path: Path, at: Any, durability: str, asynchronous: bool
) -> None:
    expected = kit.to_the_end(kit.build(PAIR, kit.World(), InMemorySaver()))
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        life = kills.Life(PAIR, folder, asynchronous, durability, kills.Death(at, number))
        if not killed_and_continued(lives, life, expected):
            break
    assert number > 3


@examples(100)
@given(
    spec=kit.specs(),
    death=st.one_of(
        st.builds(kills.Death, st.sampled_from(["before", "after"]), st.integers(1, 25)),
        st.builds(kills.Death, st.just("line"), st.integers(1, 12_000)),
    ),
    durability=st.sampled_from(DURABILITIES),
    asynchronous=st.booleans(),
)
def test_a_kill_at_any_moment_of_any_program_changes_nothing(
    lives: kills.Lives, spec: kit.Spec, death: kills.Death, durability: str, asynchronous: bool
) -> None:
    expected = kit.to_the_end(kit.build(spec, kit.World(), InMemorySaver()))
    with tempfile.TemporaryDirectory() as folder:
        killed_and_continued(lives, kills.Life(spec, Path(folder), asynchronous, durability, death), expected)


def conversation_is_killed_and_carried_on(lives: kills.Lives, life: kills.Life) -> bool:
    """Let a process die in a conversation, and another one end it; tells whether it died."""
    expected = nested.converse(nested.build(InMemorySaver()), "sync")
    code = lives.spend(life)
    assert code in (0, -signal.SIGKILL)
    assert lives.spend(kills.Life(None, life.folder, life.asynchronous, life.durability)) == 0
    with kills.opened(life.folder) as saver:
        assert nested.build(saver).get_state(nested.THREAD).values == expected
    return code != 0


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_kill_at_every_boundary_of_saves_at_the_end_leaves_graphs_that_agree(
    lives: kills.Lives, tmp_path: Path, asynchronous: bool
) -> None:
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        life = kills.Life(None, folder, asynchronous, "exit", kills.Death("after", number))
        if not conversation_is_killed_and_carried_on(lives, life):
            break
    assert number > 10


@examples(60)
@given(
    death=st.one_of(
        st.builds(kills.Death, st.sampled_from(["before", "after"]), st.integers(1, 160)),
        st.builds(kills.Death, st.just("line"), st.integers(1, 40_000)),
    ),
    durability=st.sampled_from(DURABILITIES),
    asynchronous=st.booleans(),
)
def test_a_kill_at_any_moment_leaves_graphs_that_agree(
    lives: kills.Lives, death: kills.Death, durability: str, asynchronous: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        conversation_is_killed_and_carried_on(lives, kills.Life(None, Path(folder), asynchronous, durability, death))
