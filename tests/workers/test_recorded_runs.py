"""The recorded scenarios of runs, executed by workers: what a host sees is what it sees of a run in its own process.

The scenarios of `tests/golden` are played once in this process and once through a runtime with workers; both have to
be as recorded, and both have the same events in the same order.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import langchain_openai  # noqa: F401 - an error of a worker has its class where the host has imported that
import openai
import pytest

from stategraph.testing import FakeOpenAIServer
from stategraph.workers.agents.runtime import MultiProcessRuntime
from stategraph.workers.cluster.pool import ClusterSettings
from tests.golden import comparison, differences, projection
from tests.golden.rig import Rig
from tests.golden.scenarios import SCENARIOS, Scenario
from tests.golden.test_scenarios import HERE, RECORDED


class WorkerRig(Rig):
    """A host whose runs execute in workers."""

    def __init__(self, server: FakeOpenAIServer, client: openai.DefaultAsyncHttpxClient, runtime: Any) -> None:
        super().__init__(server, client)
        self._runtime = runtime

    def client_options(self, model: str, **more: Any) -> dict[str, Any]:
        options = super().client_options(model, **more)
        del options["http_async_client"]  # a connection stays in its process
        return options

    async def create(self, run_id: str, *agents: dict[str, Any], **config: Any) -> Any:
        graph = config.pop("graph", None) or {"type": "standard", "agents": list(agents)}
        return await self._runtime.create({"runId": run_id, "graphConfig": graph, "returnContent": True, **config})


@pytest.fixture(scope="module", params=["inline", "thread", "process", "nats"])
def workers(request: pytest.FixtureRequest) -> Iterator[tuple[asyncio.Runner, MultiProcessRuntime]]:
    """A runtime that is open during all scenarios, and its event loop."""
    over: dict[str, Any] = {}
    if request.param == "nats":
        over = {"nats": request.getfixturevalue("nats_running").url, "cluster": ClusterSettings(local="thread")}
    with asyncio.Runner() as runner:
        runtime = MultiProcessRuntime(workers=2, backend=request.param, allow=["tests.golden"], **over)
        runner.run(runtime.__aenter__())
        yield runner, runtime
        runner.run(runtime.aclose())


@pytest.mark.parametrize("name", RECORDED)
def test_a_scenario_goes_as_recorded(workers: tuple[asyncio.Runner, MultiProcessRuntime], name: str) -> None:
    runner, runtime = workers
    scenario = SCENARIOS[name]
    recorded = projection.project(json.loads((HERE / "traces" / f"{name}.json").read_text(encoding="utf-8")))
    expected = differences.expected(name, recorded)
    recording = runner.run(played(scenario, runtime))
    seen = projection.project(recording)
    found = comparison.first_differences(expected, seen, side_by_side=scenario.side_by_side)
    if found:
        thrown = [each["thrown"] for each in recording["final"].values() if "thrown" in each]
        pytest.fail("\n".join([*found, f"thrown: {thrown}"]), pytrace=False)


async def played(scenario: Scenario, runtime: MultiProcessRuntime) -> dict[str, Any]:
    async with FakeOpenAIServer() as server, openai.DefaultAsyncHttpxClient() as client:
        rig = WorkerRig(server, client, runtime)
        await asyncio.wait_for(scenario.play(rig), timeout=60)
        return rig.recording()
