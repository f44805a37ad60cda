"""The test kit's crashes at every save, on graphs that survive them and on one that does not."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph import interrupt
from stategraph.testing.crashes import DivergedError, crash_at_every_save
from tests.testing.fuzzed_graphs import State, building


def graph(ask: Any, third: Any) -> Any:
    builder = building(third, ask)
    return lambda saver: builder.compile(checkpointer=saver)


def test_a_graph_comes_to_the_same_state_wherever_its_process_dies() -> None:
    runs: list[str] = []

    def third(state: State) -> State:
        runs.append("third")
        return {"done": ["third"]}

    report = crash_at_every_save(
        graph(lambda state: {"answer": interrupt("go?")}, third), {"done": []}, answers=["yes"]
    )
    assert report.state == {"done": ["first", "each a", "each b", "third"], "answer": "yes"}
    assert report.crashes == 2 * report.saves
    assert report.saves >= 8
    # The node ran once without a crash, once with each, and again where its process died before its write was stored.
    assert len(runs) == 1 + report.crashes + 1


def test_what_is_stored_at_each_death_is_all_that_was_saved_before_it() -> None:
    compiled = graph(lambda state: {"answer": "yes"}, lambda state: {"done": ["third"]})
    lives: dict[Any, list[tuple[int, int]]] = {}  # of each saver: what it has stored when a graph is made for it

    def make(saver: Any) -> Any:
        stored = list(saver.list(None))
        lives.setdefault(saver, []).append((len(stored), sum(len(each.pending_writes) for each in stored)))
        return compiled(saver)

    report = crash_at_every_save(make, {"done": []})
    undisturbed, *trials = lives.values()
    assert undisturbed[0] == (0, 0)
    assert len(trials) == report.crashes
    found = [life[1] for life in trials]
    before, after = found[::2], found[1::2]
    assert before == [(0, 0), *after[:-1]]
    assert len(set(after)) == report.saves  # each save stores something
    assert after[-1] == undisturbed[-1]


def test_a_node_that_remembers_outside_of_the_state_is_found() -> None:
    seen: list[str] = []
    savers: set[Any] = set()

    def third(state: State) -> State:
        seen.append("third")
        return {"done": [f"call {len(seen)}"]}

    compiled = graph(lambda state: {}, third)

    def make(saver: Any) -> Any:
        if saver not in savers:  # each trial has one of its own: what the node remembers is of that trial alone
            savers.add(saver)
            seen.clear()
        return compiled(saver)

    with pytest.raises(DivergedError) as caught:
        crash_at_every_save(make, {"done": []})
    first, found, _, expected = str(caught.value).splitlines()
    assert first.startswith("After a crash before save ")
    assert "'call 2'" in found
    assert "'call 1'" in expected


def test_a_missing_answer_is_said() -> None:
    with pytest.raises(DivergedError, match=r"The graph asks 'go\?', and there are 0 answers: give one more"):
        crash_at_every_save(graph(lambda state: {"answer": interrupt("go?")}, lambda state: {}), {"done": []})


def test_a_run_that_does_not_repeat_itself_is_said() -> None:
    calls: list[int] = []

    def ask(state: State) -> Any:
        calls.append(1)
        return {"answer": interrupt("go?")} if len(calls) < 2 else {"answer": "yes"}

    with pytest.raises(DivergedError):
        crash_at_every_save(graph(ask, lambda state: {}), {"done": []}, answers=["yes"])
