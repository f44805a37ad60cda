"""Processes that are killed in the middle of branches: nothing that was stored is lost, nothing of it runs twice.

`make flow-kills N=2000` tries more of them, on both databases.
"""

from __future__ import annotations

import dataclasses
import itertools
import signal
import tempfile
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st

from stategraph.savers import PostgresSaver
from tests.dataflow import kills_kit as kills
from tests.dataflow.fan_out_kit import Ended, Race, model, races
from tests.dataflow.flow_kit import Model, Plan, TooLong, plans
from tests.engine.kills_kit import Death
from tests.properties import examples

#: A process that is killed at some line is not killed there again, so nothing can be made smaller.
EXAMPLES = settings(examples(3), phases=(Phase.explicit, Phase.reuse, Phase.generate))

DEATHS = st.one_of(
    st.builds(Death, st.sampled_from(["before", "after"]), st.integers(1, 12)),
    st.builds(Death, st.just("line"), st.integers(1, 8_000)),
)


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def store(request: pytest.FixtureRequest) -> Any:
    """Returns where a thread in a folder is stored."""
    if request.param == "sqlite":
        return lambda folder: str(folder / "db")
    address = request.getfixturevalue("server")
    with PostgresSaver.from_conn_string(address) as saver:
        saver.setup()
    return lambda folder: address


def begin(store: Any, folder: Path, work: Plan | Race, **options: Any) -> kills.Life:
    return kills.Life(work, store(folder), uuid.uuid4().hex, folder / "notes", **options)


@EXAMPLES
@given(plan=plans(), seeds=st.tuples(st.integers(0, 99), st.integers(0, 99)), deaths=st.tuples(DEATHS, DEATHS))
def test_a_program_that_is_killed_twice_comes_to_what_the_model_says(
    lives: kills.Lives, store: Any, plan: Plan, seeds: tuple[int, int], deaths: tuple[Death, Death]
) -> None:
    try:
        expected = Model(plan, 0).run()
    except TooLong:
        assume(False)
        raise
    with tempfile.TemporaryDirectory() as scratch:
        durability: Any = "sync" if seeds[0] % 2 else "async"
        life = begin(store, Path(scratch), plan, order=(seeds[0],), durability=durability)
        for number, death in enumerate((*deaths, None)):
            before = kills.stored(life) if number else kills.Stored(Counter(), False)
            ran = len(kills.noted(life))
            life = dataclasses.replace(life, order=(seeds[number % 2],), death=death)
            code = lives.spend(life)
            assert code in (0, -signal.SIGKILL)
            again = Counter(f"{node}({seen})" for node, seen in kills.noted(life)[ran:])
            assert not (again + before.written) - Counter(expected)
            assert kills.stored(life).written >= before.written
            if code == 0:
                assert again == Counter(expected) - before.written
                break
        assert list(kills.result(life).log) == expected


def possible(race: Race, found: kills.Stored) -> set[Ended]:
    """Return how a race may end behind what is stored, whatever ends first."""
    well = [name for name in race.names if name in found.written]
    if "join" in found.written:
        return {Ended((*well, "join"))}
    orders = itertools.permutations(range(len(race.fails)))
    return {model(race, order, well, decided=found.decided) for order in orders}


@EXAMPLES
@given(race=races(), deaths=st.tuples(DEATHS, DEATHS), data=st.data())
def test_a_fan_out_that_is_killed_twice_decides_by_what_was_stored(
    lives: kills.Lives, store: Any, race: Race, deaths: tuple[Death, Death], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        life = begin(store, Path(scratch), race, order=(), durability="sync")
        for number, death in enumerate((*deaths, None)):
            before = kills.stored(life) if number else kills.Stored(Counter(), False)
            ran = len(kills.noted(life))
            order = tuple(data.draw(st.permutations(range(len(race.fails)))))
            life = dataclasses.replace(life, order=order, death=death)
            code = lives.spend(life)
            assert code in (0, -signal.SIGKILL)
            again = kills.noted(life)[ran:]
            assert not set(again) & set(before.written)
            if before.decided:
                assert not again
            after = kills.stored(life)
            assert after.written >= before.written
            assert after.decided >= before.decided
            if code == 0:
                assert kills.result(life) in possible(race, before)
                break


def test_processes_are_really_killed(lives: kills.Lives, tmp_path: Path) -> None:
    race = Race((False, False, True), "quorum", 1, sends=False, scheduling="dataflow")
    codes = []
    for number in itertools.count(1):
        folder = tmp_path / str(number)
        folder.mkdir()
        death = Death("after", number)
        life = begin(lambda f: str(f / "db"), folder, race, order=(0, 1, 2), durability="sync", death=death)
        codes.append(lives.spend(life))
        survivor = dataclasses.replace(life, death=None)
        assert lives.spend(survivor) == 0
        assert kills.result(survivor) == Ended(("b0", "join"))
        if codes[-1] == 0:
            break
    assert codes[:-1] == [-signal.SIGKILL] * (len(codes) - 1)
    assert len(codes) > 2
