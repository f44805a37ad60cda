"""The manifests that users wrote: ready, and with the same answers on each database."""

from __future__ import annotations

from typing import Any

import pytest

from tests.resources import seed

pytestmark = pytest.mark.anyio


async def test_manifests_become_ready_and_run_alike_on_each_database(url: str) -> None:
    async with seed.runtime_at(url) as runtime:
        ready = await seed.applied(runtime)
        assert await seed.answers(runtime) == seed.EXPECTED
    states = {str(each.key): _without_times(each.status) for each in ready}
    async with seed.runtime_at("memory:") as other:
        expected = {str(each.key): _without_times(each.status) for each in await seed.applied(other)}
    assert states == expected


async def test_a_thread_goes_on_in_another_process_of_the_same_database(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/app.db"
    async with seed.runtime_at(url) as runtime:
        await seed.applied(runtime)
        first = await runtime.agent("cooking/recipe-assistant").generate("I have eggs", thread_id="t")
    async with seed.runtime_at(url) as runtime:
        await seed.applied(runtime)
        agent = runtime.agent("cooking/recipe-assistant")
        await agent.generate("And rice", thread_id=first.thread_id)
        state = await agent.graph.aget_state({"configurable": {"thread_id": "t"}})
    said = [each.text for each in state.values["messages"] if not each.additional_kwargs]
    assert said == ["I have eggs", "eggs, rice", "And rice", "eggs, rice"]


def _without_times(status: Any) -> Any:
    if isinstance(status, dict):
        return {key: _without_times(each) for key, each in status.items() if key != "lastTransitionTime"}
    return [_without_times(each) for each in status] if isinstance(status, list) else status
