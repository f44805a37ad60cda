"""A whole service over either database, and several of them on one."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from stategraph.server.service.port import ANYONE, RunRequest
from tests.server.runs.graphs import ALL

LIMIT_S = 60

pytestmark = pytest.mark.anyio


async def test_a_service_runs_graphs_over_either_database(url: str) -> None:
    async with open_service(ServedGraphs(ALL), url, ServiceSettings(drain_s=0)) as opened:
        service = opened.service
        thread = await service.threads.create(ANYONE)
        asked: Any = {"assistant_id": "questions", "thread_id": thread.thread_id}
        with anyio.fail_after(LIMIT_S):
            run = await service.runs.create(ANYONE, RunRequest(input={"log": []}, **asked))
            await service.runs.wait(ANYONE, run.run_id)
            assert (await service.threads.get(ANYONE, thread.thread_id)).status == "interrupted"
            again = await service.runs.create(ANYONE, RunRequest(command={"resume": "yes"}, **asked))
            types = [event.type async for event in service.runs.events(ANYONE, again.run_id)]
        assert types[-1] == "run.end"
        found = await service.threads.get(ANYONE, thread.thread_id)
        assert (found.status, found.values) == ("idle", {"log": ["first", "yes"]})
        runs = await service.runs.list(ANYONE, thread.thread_id)
        assert [each.run_id for each in runs] == [again.run_id, run.run_id]


async def test_a_run_is_read_from_a_process_that_does_not_execute_it(url: str) -> None:
    async with (
        open_service(ServedGraphs(ALL), url, ServiceSettings(drain_s=0)),
        open_service(ServedGraphs(ALL), url, ServiceSettings(works=False)) as reader,
    ):
        with anyio.fail_after(LIMIT_S):
            run = await reader.service.runs.create(ANYONE, RunRequest(assistant_id="steps", input={"log": []}))
            seqs = [event.seq async for event in reader.service.runs.events(ANYONE, run.run_id)]
            assert seqs == list(range(1, len(seqs) + 1))
            assert (await reader.service.runs.wait(ANYONE, run.run_id)).status == "success"
            assert await reader.service.runs.output(ANYONE, run.run_id) == {"log": ["first", "second"]}
