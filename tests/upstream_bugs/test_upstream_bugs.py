"""Bugs reported to LangGraph: what happens there (on 1.2.24), and what happens here.

The programs are in `cases.py`; each engine runs them in a process of its own. LangGraph's half is skipped where no
Python with LangGraph is known (`STATEGRAPH_BENCH_PYTHON`, or the environment that `make bench` makes). When a half
fails that says what LangGraph does, the bug is fixed there: say so in `docs/compatibility.md`.

`LG#n` is an issue of langchain-ai/langgraph.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
THERE = Path(os.environ.get("STATEGRAPH_BENCH_PYTHON") or ROOT / ".venv-bench" / "bin" / "python")


class Bug(NamedTuple):
    """What comes of a case on each engine; `there` is None where LangGraph's result depends on timing."""

    issue: str
    case: str
    there: Any
    here: Any


REPLAYED = [["a", "b", "c", "last"], ["b", "c", "last"]], [["b", "c", "last"], ["b", "c", "last"]]
ASKED = [["a", "b", "c"], ["in", "first"], ["a", "b", "c:yes", "last"], ["c", "last"]]
LEVELS = (
    [["first", "a", "b", "c", "last", "last"], ["c", "last", "last"]],
    [["b", "c", "last", "last"], ["c", "last", "last"]],
)
TWICE = ["in", "first", "in", "first", "a", "b", "c", "last"]
PARALLEL = ([["a", 2], ["b", 2], ["c", 2], ["last", 1]], [["a", 1], ["b", 1], ["c", 2], ["last", 1]])
KINDS = (
    *("callable objects", "objects of one class", "methods", "partials"),
    *("lambdas", "closures", "async functions", "subgraphs"),
)
HANDLED = [{"log": ["handled boom", "ok"]}, {"log": ["handled boom", "ok"]}, ["values", "values"]]

BUGS = [
    # A replay from a checkpoint inside a subgraph starts there, and not at the subgraph's beginning.
    Bug("LG#8458", "replay_inside_a_subgraph", [REPLAYED[0]] * 2, [REPLAYED[1]] * 2),
    Bug("LG#8458", "replay_inside_a_subgraph_that_asks", [ASKED] * 2, [[["b", "c"], *ASKED[1:]]] * 2),
    Bug("LG#8458", "replay_two_levels_down", [LEVELS[0]] * 2, [LEVELS[1]] * 2),
    Bug(
        "LG#8458",
        "replay_twice_from_the_same_place",
        [[TWICE] * 2, ["a", "b", "c", "last"] * 2],
        [[TWICE] * 2, ["c", "last"] * 2],
    ),
    # The packet that was not addressed runs afresh, the other one goes on.
    Bug("LG#8458", "replay_inside_one_of_two_parallel_subgraphs", [PARALLEL[0]] * 2, [PARALLEL[1]] * 2),
    # Fixed in LangGraph 1.2.22 as well: the same on both.
    Bug("LG#8277", "handled_error_beside_another_node", HANDLED, HANDLED),
    # A handler that has finished does not run again.
    Bug(
        "LG#9002",
        "handler_after_resume",
        [[["handler 2", "neighbour"], 2]] * 4,
        [[["handler 1", "neighbour"], 1]] * 4,
    ),
    # Nodes of other code have another place in the cache.
    Bug(
        "LG#8753",
        "two_graphs_with_one_cache",
        {kind: ["A", "A", "A"] for kind in KINDS},
        {kind: ["A", "B", "A"] for kind in KINDS},
    ),
    Bug("LG#8753", "the_same_node_in_another_graph_finds_its_result", [["A"] * 3, 1], [["A"] * 3, 1]),
    Bug("LG#8009", "arrays_of_the_same_bytes", [200, 200], [200, -56]),
]


@cache
def results(python: str, *path: Path) -> dict[str, Any]:
    """What comes of all cases on the engine that a Python finds."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "PYTHON"))}
    environment["PYTHONPATH"] = os.pathsep.join(map(str, path))
    command = [python, str(HERE / "cases.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def here() -> dict[str, Any]:
    return results(sys.executable, ROOT, ROOT / "compat")


def there() -> dict[str, Any]:
    return results(str(THERE))


needs_langgraph = pytest.mark.skipif(not THERE.exists(), reason="needs a Python with LangGraph")
each_bug = pytest.mark.parametrize("bug", BUGS, ids=lambda bug: f"{bug.issue}-{bug.case}")


@each_bug
def test_it_is_right_here(bug: Bug) -> None:
    assert here()[bug.case] == bug.here


@needs_langgraph
@each_bug
def test_what_langgraph_does(bug: Bug) -> None:
    assert there()[bug.case] == bug.there


def test_a_slow_saver_is_served_by_one_task_whatever_the_number_of_steps() -> None:
    """LG#7094: with `durability="async"` each step leaves a task behind that waits for the one before."""
    assert here()["tasks_behind_a_slow_saver"] <= 4


LOST = {
    "local class": "answer[0] __main__.local_class.<locals>.Local comes back as dict",
    "field that is not initialised": "answer __main__.Derived comes back as dict",
    "set of tuples": "answer set comes back as list",
}


def test_a_value_that_cannot_be_stored_fails_the_run_and_is_named() -> None:
    """LG#7066: the state that a later run sees must not differ silently from what was written."""
    ended = here()["values_that_do_not_survive"]["opaque"]["run"]
    assert ended.startswith("TypeError: Type is not msgpack serializable: Opaque")
    assert "answer['items'][1]['deep']" in ended and "node 'n'" in ended


@pytest.mark.parametrize("kind", LOST)
def test_a_value_that_comes_back_as_something_else_is_warned_of_when_it_is_written(kind: str) -> None:
    """LG#7066."""
    logged = here()["values_that_do_not_survive"][kind]["logged by the run"]
    assert logged == [f"Node 'n' wrote to channel 'answer' a value that no checkpoint keeps: at {LOST[kind]}"]


@needs_langgraph
@pytest.mark.parametrize("kind", LOST)
def test_langgraph_says_nothing_when_it_is_written(kind: str) -> None:
    """LG#7066: nor does the run fail."""
    found = there()["values_that_do_not_survive"][kind]
    assert found["logged by the run"] == []
    assert not found["run"].startswith("TypeError")


@needs_langgraph
def test_langgraph_keeps_a_task_for_each_save_that_waits() -> None:
    """LG#7094."""
    assert there()["tasks_behind_a_slow_saver"] > 50
