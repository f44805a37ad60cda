"""One process of runs that are passed from process to process: `python -m tests.runs.elsewhere FOLDER PART`.

Part 0 begins the run of each graph, and each later part goes on with those that wait. Events are written to the folder,
where the graphs' threads are too.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from stategraph.run.run import Run
from tests.runs import checks
from tests.runs.scenarios import SCENARIOS, Scenario


def parts_of(scenario: Scenario) -> int:
    """In how many processes a run goes on after the first."""
    return len(scenario.answers) + (scenario.pause_before is not None)


async def part(folder: Path, number: int) -> None:
    """Do one part of each run."""
    async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver:
        for name, scenario in SCENARIOS.items():
            if number <= parts_of(scenario):
                events = await _part(name, scenario, saver, number)
                told = [[each.event, json.loads(each.to_json())["data"], _place(each)] for each in events]
                file = folder / f"{name}.{number}.json"
                file.write_text(json.dumps(told), encoding="utf-8")


def _place(event: Any) -> dict[str, Any]:
    keys = ("langgraph_checkpoint_ns", "langgraph_node", "langgraph_path")
    return {key: event.metadata[key] for key in keys if key in (event.metadata or {})}


async def _part(name: str, scenario: Scenario, saver: Any, number: int) -> list[Any]:
    before = [scenario.pause_before] if scenario.pause_before else []
    options = {"compile_options": {"interrupt_before": before}}
    graph = scenario.make(saver)
    run = await Run.create({"run_id": name, "graph": graph, "graph_config": options})
    config = checks.thread(name)
    if number == 0:
        await run.process_stream(scenario.given, config)
    else:
        value: Any = None
        if scenario.answers:
            state = await graph.aget_state(config)
            value = checks.answer(scenario, state.interrupts, number - 1)
        await run.resume(value, config)
        while scenario.pause_before and (await graph.aget_state(config)).next:
            await run.resume(None, config)
    return [each async for each in run.attach(0)]


if __name__ == "__main__":
    asyncio.run(part(Path(sys.argv[1]), int(sys.argv[2])))
