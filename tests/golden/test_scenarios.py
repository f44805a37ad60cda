"""Every recorded scenario, played against a model server on a socket through the provider's own model class."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import openai
import pytest

from stategraph.testing import FakeOpenAIServer
from tests.golden import comparison, differences, projection
from tests.golden.rig import Rig
from tests.golden.scenarios import SCENARIOS, Scenario

HERE = Path(__file__).parent
RECORDED = sorted(file.stem for file in (HERE / "traces").glob("*.json"))
DOCUMENT = (HERE.parents[1] / "docs" / "run-api.md").read_text(encoding="utf-8")


@pytest.mark.scenario
@pytest.mark.parametrize("name", RECORDED)
def test_a_scenario_goes_as_recorded(name: str) -> None:
    scenario = SCENARIOS[name]
    recorded = projection.project(json.loads((HERE / "traces" / f"{name}.json").read_text(encoding="utf-8")))
    expected = differences.expected(name, recorded)
    seen = projection.project(asyncio.run(played(scenario)))
    found = comparison.first_differences(expected, seen, side_by_side=scenario.side_by_side)
    if found:
        pytest.fail("\n".join(found), pytrace=False)


async def played(scenario: Scenario) -> dict[str, Any]:
    async with FakeOpenAIServer() as server, openai.DefaultAsyncHttpxClient() as client:
        rig = Rig(server, client)
        await asyncio.wait_for(scenario.play(rig), timeout=30)
        return rig.recording()


def test_every_recording_has_its_scenario() -> None:
    assert sorted(SCENARIOS) == RECORDED


@pytest.mark.parametrize("name", differences.DIFFERENCES)
def test_the_document_lists_every_deliberate_difference(name: str) -> None:
    assert f"`{name}`" in DOCUMENT
