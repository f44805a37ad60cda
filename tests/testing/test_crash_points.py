"""Processes of a graph killed at its saves, one after the other, and judged from outside of them."""

from __future__ import annotations

import os
from typing import Any

import pytest

from stategraph.testing import DivergedError, fuzz_signals
from stategraph.testing.signals.fuzzing import drawn_saves

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the fuzzer forks")

GRAPHS = "tests.testing.fuzzed_graphs"
LIFE_S = 300.0  # no test waits for it
STATE = {"done": ["first", "each a", "each b", "third"], "answer": "yes"}


def crashed(name: str, **options: Any) -> Any:
    given: dict[str, Any] = {"trials": 0, "crashes": 1_000, "answers": ["yes"], "life_s": LIFE_S, "seconds": LIFE_S}
    return fuzz_signals(f"{GRAPHS}:{name}", {"done": []}, **{**given, **options})


@pytest.mark.parametrize(("name", "is_async"), [("with_saver", False), ("asynchronous", True)])
def test_a_graph_survives_a_crash_before_and_after_each_of_its_saves(name: str, is_async: bool) -> None:
    told: list[str] = []
    report = crashed(name, is_async=is_async, repeatable=["third"], on_progress=told.append)
    assert report.state == STATE
    assert report.saves > 5
    # Saves that come together are one, and whether they do depends on the time.
    assert report.saves < report.crashes == report.kills["SIGKILL"] <= 2 * report.saves
    assert told[0] == f"SIGKILL before save 1 of {report.saves}: the same state"
    assert report.effects["third"][0] == 1


def test_an_effect_that_happens_twice_is_told_with_the_save_it_follows() -> None:
    with pytest.raises(DivergedError, match=r"(?s)The crash before save \d+ of .*The effect 'third' happened 2 times"):
        crashed("with_saver", repeatable=[])


def test_an_effect_that_is_not_named_may_happen_twice_if_nothing_is_said_of_effects() -> None:
    assert crashed("with_saver", crashes=4, seed=1).crashes == 4


def test_saves_are_drawn_from_the_seed() -> None:
    assert drawn_saves(0, 2, 4) == [(1, False), (1, True), (2, False), (2, True)]
    assert drawn_saves(7, 50, 10) == drawn_saves(7, 50, 10) != drawn_saves(8, 50, 10)
    assert len(set(drawn_saves(7, 50, 10))) == 10


def test_nothing_to_try_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one of each"):
        crashed("with_saver", crashes=0)
