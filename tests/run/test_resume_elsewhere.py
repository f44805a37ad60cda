"""A run that is begun in one process and ended in others, through a real database; and processes that die."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.workers.conftest import postgres as postgres
from tests.workers.conftest import server as server

ROOT = Path(__file__).resolve().parents[2]
LIMIT_S = 120


class Processes:
    """Processes that share a database and a folder."""

    def __init__(self, saver: str, scratch: Path) -> None:
        self._given = {"saver": saver, "scratch": str(scratch)}
        self._scratch = scratch

    def part(self, *replies: Any, **given: Any) -> dict[str, Any]:
        """Have a new process do the next part."""
        done = self._process(replies, given)
        assert done.returncode == 0, done.stderr
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return seen

    def dying_part(self, *replies: Any, **given: Any) -> None:
        """Have a new process do a part that it does not survive."""
        assert self._process(replies, given).returncode == -signal.SIGKILL

    def ran(self) -> list[str]:
        """What tools were asked, in all processes."""
        return (self._scratch / "ran").read_text().split()

    def _process(self, replies: Any, given: Any) -> subprocess.CompletedProcess[str]:
        task = json.dumps({**self._given, **given, "replies": replies})
        program = [sys.executable, "-m", "tests.run.elsewhere", task]
        return subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)


@pytest.fixture(params=["sqlite", "postgres"])
def processes(request: pytest.FixtureRequest, tmp_path: Path) -> Processes:
    address = str(tmp_path / "threads.db") if request.param == "sqlite" else request.getfixturevalue("postgres")
    return Processes(f"{request.param}:{address}", tmp_path)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Processes:
    return Processes(f"sqlite:{tmp_path / 'threads.db'}", tmp_path)


def steps(seen: dict[str, Any]) -> dict[int, str]:
    """The ids of the steps that were opened, by index."""
    return {data["index"]: data["id"] for event, data in seen["seen"] if event == "on_run_step"}


def completed(seen: dict[str, Any]) -> list[tuple[str, int, str]]:
    """Step, counter and output of the calls that were completed."""
    results = [data["result"] for event, data in seen["seen"] if event == "on_run_step_completed"]
    return [(each["id"], each["index"], each["tool_call"]["output"]) for each in results]


def closed(seen: dict[str, Any]) -> list[tuple[str, str]]:
    return [(data["id"], data["status"]) for event, data in seen["seen"] if event == "on_run_step_closed"]


def test_an_output_is_given_in_another_process_than_its_first_try(processes: Processes) -> None:
    first = processes.part(
        ["", ["final_answer", {}, "c1"]],
        ["", ["ask_user", {"question": "Really?"}, "c2"]],
        text="weather?",
        typed=True,
    )
    assert first["output"] is None
    second = processes.part(["", ["final_answer", {"weather": "sunny"}, "c3"]], resume={"answer": "yes"}, typed=True)
    assert second["output"] == "sunny"
    assert [each["type"] for each in second["returned"]][-1] == "output"
    assert "weather: Field required" in second["messages"][1][1]


def test_a_process_that_dies_between_two_tries_loses_neither(on_sqlite: Processes) -> None:
    on_sqlite.dying_part(
        ["", ["final_answer", {}, "c1"]],
        ["", ["final_answer", {"weather": 3}, "c2"]],
        ["", ["die", {}, "c3"]],
        text="weather?",
        typed=True,
        durability="sync",
    )
    seen = on_sqlite.part(["", ["final_answer", {"weather": "sunny"}, "c4"]], resume=None, typed=True)
    assert seen["output"] == "sunny"
    refused = [text for kind, text in seen["messages"] if kind == "tool" and "does not fit" in text]
    assert len(refused) == 2
    # The model was asked once, with all that was said before.
    (sent,) = seen["sent"]
    assert [kind for kind, _ in sent] == ["human", *["ai", "tool"] * 3]


def test_a_run_goes_on_in_other_processes_with_the_same_steps(processes: Processes) -> None:
    first = processes.part(
        ["Looking.", ["get_weather", {"city": "Rome"}, "c1"]],
        ["", ["get_weather", {"city": "Oslo"}, "c2"]],
        text="weather?",
    )
    assert [each["type"] for each in first["waiting"]] == ["tool_approval"]
    assert sorted(steps(first)) == [0, 1, 2, 3]
    assert completed(first) == [(steps(first)[1], 0, "Sunny in Rome")]

    second = processes.part(
        ["", ["get_weather", {"city": "Home"}, "c3"], ["ask_user", {"question": "Enough?"}, "c4"]],
        resume=[{"type": "approve"}],
    )
    assert [each["question"]["question"] for each in second["waiting"]] == ["Enough?"]
    # What ended beside the question was told when it did.
    assert completed(second) == [(steps(first)[3], 1, "Sunny in Oslo"), (steps(second)[5], 2, "Sunny in Home")]
    assert (steps(first)[3], "completed") in closed(second)
    assert sorted(steps(second)) == [4, 5, 6]

    third = processes.part("Done.", resume={"answer": "yes"})
    assert third["waiting"] == []
    assert completed(third) == [(steps(second)[6], 0, "User said: yes")]
    assert sorted(steps(third)) == [7]
    # What had ended beside the question did not run again.
    assert processes.ran() == ["Rome", "Oslo", "Home"]
    assert third["messages"] == [
        ["ai", "Looking."],
        ["tool", "Sunny in Rome"],
        ["ai", ""],
        ["tool", "Sunny in Oslo"],
        ["ai", ""],
        ["tool", "Sunny in Home"],
        ["tool", "User said: yes"],
        ["ai", "Done."],
    ]
    assert [part["type"] for part in third["returned"]] == [
        "text",
        "tool_call",
        "text",
        "tool_call",
        "text",
        "tool_call",
        "tool_call",
        "text",
    ]
    # Every step was closed once, by whichever process ended it.
    every = [step_id for part in (first, second, third) for step_id, _ in closed(part)]
    assert len(every) == len(set(every)) == 8
    assert third["sent"][0][0] == ["human", "weather?"]


CUT_SHORT = [
    ["human", "first"],
    ["ai", "Wait."],
    ["tool", "The call did not finish: the run was stopped before it had a result."],
]


@pytest.mark.parametrize(("durability", "kept"), [("exit", []), ("sync", CUT_SHORT)])
def test_a_new_turn_after_a_process_died_in_a_tool_sends_a_valid_history(
    on_sqlite: Processes, durability: str, kept: list[Any]
) -> None:
    on_sqlite.dying_part(["Wait.", ["die", {}, "c1"]], text="first", durability=durability)
    second = on_sqlite.part("Here again.", text="second", run_id="r2", durability=durability)
    assert second["sent"] == [[*kept, ["human", "second"]]]
    assert second["messages"] == [["ai", "Here again."]]


def test_a_run_whose_process_died_in_a_tool_is_taken_up_where_it_was(on_sqlite: Processes) -> None:
    on_sqlite.dying_part(["Wait.", ["die", {}, "c1"]], text="first", durability="sync")
    second = on_sqlite.part("Alive.", resume=None, durability="sync")
    assert second["messages"] == [["ai", "Wait."], ["tool", "Survived."], ["ai", "Alive."]]
    assert [(index, output) for _, index, output in completed(second)] == [(0, "Survived.")]
    assert sorted(steps(second)) == [2]
