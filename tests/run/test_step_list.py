"""The steps of a run by themselves: numbered, closed once, and taken up by another process."""

from __future__ import annotations

from itertools import count
from typing import Any

import pytest

from stategraph.agent.ports import Place
from stategraph.run.events.step_list import StepList

AT = Place("a", "Anna", "agent=a", {}, group_id=0)
DETAILS: Any = {"type": "tool_calls", "tool_calls": []}


def step_list(**more: Any) -> StepList:
    ids, clock = count(), count(100)
    return StepList("r", new_id=lambda prefix: f"{prefix}{next(ids)}", now_ms=lambda: next(clock), **more)


def opened(steps: StepList, number: int = 1, at: Place = AT) -> list[Any]:
    return [steps.open(at, "tool_calls", DETAILS, position) for position in range(number)]


def test_a_step_is_shown_open_and_with_its_place() -> None:
    steps = step_list(several_agents=True)
    first, second = opened(steps, 2)
    assert first == {
        "id": "step_0",
        "type": "tool_calls",
        "index": 0,
        "stepIndex": 0,
        "stepDetails": DETAILS,
        "usage": None,
        "status": "in_progress",
        "runId": "r",
        "created_at": 100,
        "agentId": "a",
        "groupId": 0,
    }
    assert (second["id"], second["index"], second["stepIndex"]) == ("step_1", 1, 1)
    assert list(steps) == [first, second]
    assert steps.get("step_1") is second
    assert steps.get("step_2") is None


@pytest.mark.parametrize(
    ("status", "stamp"), [("completed", "completed_at"), ("cancelled", "cancelled_at"), ("failed", "failed_at")]
)
def test_a_step_is_closed_once_and_says_when(status: Any, stamp: str) -> None:
    steps = step_list()
    (step,) = opened(steps)
    assert steps.is_open("step_0")
    ((event, closed),) = steps.close(step, status)
    assert str(event) == "on_run_step_closed"
    assert closed == {
        "id": "step_0",
        "index": 0,
        "type": "tool_calls",
        "status": status,
        "closed_at": 101,
        "created_at": 100,
        "runId": "r",
        "stepIndex": 0,
        "groupId": 0,
    }
    assert (step["status"], step[stamp]) == (status, 101)
    assert not steps.is_open("step_0")
    assert list(steps.close(step, "failed")) == list(steps.close(None, "failed")) == []
    assert step["status"] == status


def test_what_is_open_is_closed_in_its_order() -> None:
    steps = step_list()
    first, second, third = opened(steps, 3)
    list(steps.close(second, "completed"))
    assert [data["id"] for _, data in steps.sweep("cancelled")] == [first["id"], third["id"]]
    assert list(steps.sweep("cancelled")) == []
    assert [step["status"] for step in steps] == ["cancelled", "completed", "cancelled"]


def test_steps_of_another_process_are_followed() -> None:
    there, here = step_list(), step_list()
    first, second = opened(there, 2)
    for step in (first, second):
        assert here.follow("on_run_step", step) == step
    ((event, closed),) = there.close(first, "completed")
    assert here.follow(str(event), closed) == first
    assert here.follow(str(event), closed) is None
    assert (here.is_open(first["id"]), here.is_open(second["id"])) == (False, True)
    # What is told here does not change what was told there.
    list(here.close(here.get(second["id"]), "failed"))
    assert second["status"] == "in_progress"
    assert opened(here)[0]["index"] == 2
    # An older one that comes late takes no number away.
    here.follow("on_run_step", {**first, "id": "late", "index": 1})
    assert opened(here)[0]["index"] == 3


def test_a_process_goes_on_with_the_open_steps_and_the_numbers_of_another() -> None:
    before, after = step_list(), step_list()
    first, second = opened(before, 2)
    list(before.close(first, "completed"))
    memory = before.memory()
    assert memory == {"steps": [second], "opened": 2}
    known = after.follow("on_run_step", {**second, "index": 5})
    after.recall(memory)
    assert list(after) == [known]
    assert opened(after)[0]["index"] == 6
    fresh = step_list()
    fresh.recall(memory)
    assert list(fresh) == [second]
    assert fresh.is_open(second["id"])
    assert opened(fresh)[0]["index"] == 2
    fresh.clear()
    assert fresh.memory() == {"steps": [], "opened": 0}
    assert fresh.get(second["id"]) is None


def test_steps_that_another_process_closed_are_listed_in_their_order_and_close_those_that_are_open_here() -> None:
    there, here = step_list(), step_list()
    first, second, third = opened(there, 3)
    here.recall(there.memory())
    list(there.close(second, "completed"))
    list(there.close(first, "failed"))
    (fourth,) = opened(there)
    here.recall(there.memory(), there.closed_steps())
    assert list(here) == [first, second, third, fourth]
    assert [here.is_open(step["id"]) for step in here] == [False, False, True, True]
    assert list(here.close(here.get(first["id"]), "completed")) == []
    elsewhere = step_list()
    elsewhere.recall(there.memory(), there.closed_steps())
    assert list(elsewhere) == list(there)
    assert elsewhere.closed == here.closed == ["step_0", "step_1"]
