"""Failures that other systems had with approvals, here; `make traps` plays them with the OpenAI Agents SDK too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.governance.traps.ours import answer
from tests.governance.traps.scenarios import SCENARIOS, Scenario


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_an_approval_is_for_what_was_shown_under_the_policy_of_then(scenario: Scenario, tmp_path: Path) -> None:
    # In one process: all that outlives a step is in the folder. `make traps` takes a process for each.
    answers = [json.loads(json.dumps(answer(tmp_path, dict(step)))) for step in scenario.steps]
    assert scenario.holds(answers), answers
