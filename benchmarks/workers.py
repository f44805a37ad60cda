"""``make bench``: what workers cost and what they bring, beside the same work in one process.

    python -m benchmarks.workers                 the whole table, about a minute on a quiet machine
    python -m benchmarks.workers --only node     rows whose name contains this
    python -m benchmarks.workers --runs 20000    the memory of a worker over so many runs

Never exits with 1 because of a figure. Each row is measured beside its baseline, in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

from benchmarks import registry, worker_targets
from stategraph import END, START, StateGraph
from stategraph.run.runtime import AgentRuntime
from stategraph.workers import (
    Job,
    MultiProcessRuntime,
    ProcessPool,
    close_node_workers,
    configure_node_workers,
    encode,
    imported,
)

TARGETS = "benchmarks.worker_targets"
MEGABYTE = 1024 * 1024


async def timed(work: Callable[[int], Awaitable[Any]], number: int) -> list[float]:
    """Seconds of each of so many repetitions."""
    took = []
    for index in range(number):
        began = time.perf_counter()
        await work(index)
        took.append(time.perf_counter() - began)
    return took


async def beside(
    one: Callable[[int], Awaitable[Any]], other: Callable[[int], Awaitable[Any]], rounds: int, number: int
) -> tuple[float, float]:
    """Medians of two works, in turns, in seconds."""
    firsts: list[float] = []
    seconds: list[float] = []
    for turn in range(rounds):
        firsts += await timed(lambda index, turn=turn: one(turn * number + index), number)  # type: ignore[misc]
        seconds += await timed(lambda index, turn=turn: other(turn * number + index), number)  # type: ignore[misc]
    return statistics.median(firsts), statistics.median(seconds)


async def parallel(arguments: argparse.Namespace) -> dict[str, Any]:
    """8 runs that need the processor for a while, on one worker and on two."""

    async def eight(pool: ProcessPool, name: str) -> float:
        began = time.perf_counter()
        given = encode(arguments.burn, "seconds")
        jobs = [Job(id=f"{name} {n}", kind="run", target=f"{TARGETS}:burns", input=given) for n in range(8)]
        await asyncio.gather(*[(await pool.submit(job)).result() for job in jobs])
        return time.perf_counter() - began

    async with ProcessPool(1, allow=[TARGETS]) as one, ProcessPool(2, allow=[TARGETS]) as two:
        for pool, workers in ((one, 1), (two, 2)):
            while (await pool.health()).workers < workers:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        ones = [await eight(one, f"one {turn}") for turn in range(3)]
        twos = [await eight(two, f"two {turn}") for turn in range(3)]
    return {"one_s": min(ones), "two_s": min(twos), "factor": min(ones) / min(twos)}


async def job_overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """A job that does nothing, from its submission to its result."""
    async with ProcessPool(1, allow=[TARGETS]) as pool:

        async def there(index: int) -> None:
            job = Job(id=f"j{index}", kind="run", target=f"{TARGETS}:nothing")
            await (await pool.submit(job)).result()

        async def here(index: int) -> None:
            await worker_targets.nothing(None)

        await timed(lambda index: there(-1 - index), 50)
        inline, worker = await beside(here, there, 5, 200)
    return {"inline_ms": inline * 1e3, "worker_ms": worker * 1e3, "added_ms": (worker - inline) * 1e3}


async def run_overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """A run of an agent whose model answers at once: made, executed, and its events read."""
    agent = {"agent_id": "a", "model": imported(f"{TARGETS}:model")}
    settings = {"allow": [TARGETS], "max_runs_per_worker": None}

    async with MultiProcessRuntime(workers=1, **settings) as remote, AgentRuntime() as local:  # type: ignore[arg-type]

        async def run_on(runtime: AgentRuntime, name: str) -> tuple[float, float]:
            began = time.perf_counter()
            run = await runtime.create_run(run_id=name, agents=[agent])
            first = 0.0
            async for _ in run.stream({"messages": [("user", "hi")]}):
                first = first or time.perf_counter() - began
            return first, time.perf_counter() - began

        for index in range(30):
            await run_on(remote, f"w{index}")
            await run_on(local, f"w{index}")
        here = [await run_on(local, f"l{index}") for index in range(arguments.repeat)]
        there = [await run_on(remote, f"r{index}") for index in range(arguments.repeat)]
    firsts = [statistics.median(each[0] for each in rows) * 1e3 for rows in (here, there)]
    wholes = [statistics.median(each[1] for each in rows) * 1e3 for rows in (here, there)]
    return {
        "inline_first_event_ms": firsts[0],
        "worker_first_event_ms": firsts[1],
        "added_first_event_ms": firsts[1] - firsts[0],
        "inline_whole_ms": wholes[0],
        "worker_whole_ms": wholes[1],
        "added_whole_ms": wholes[1] - wholes[0],
    }


async def node_overhead(arguments: argparse.Namespace) -> dict[str, Any]:
    """A graph of one node, in a thread and on a worker."""
    configure_node_workers(1)

    def graph(**options: Any) -> Any:
        builder = StateGraph(worker_targets.Number)
        builder.add_node("node", worker_targets.adds, **options)
        return builder.add_edge(START, "node").add_edge("node", END).compile()

    thread, worker = graph(), graph(executor="process")
    try:
        await timed(lambda index: worker.ainvoke({"number": 1}), 50)
        inline, there = await beside(
            lambda index: thread.ainvoke({"number": 1}), lambda index: worker.ainvoke({"number": 1}), 5, 200
        )
    finally:
        close_node_workers()
    return {"thread_ms": inline * 1e3, "worker_ms": there * 1e3, "added_ms": (there - inline) * 1e3}


async def memory(arguments: argparse.Namespace) -> dict[str, Any]:
    """The resident memory of a worker over many runs."""
    agent = {"agent_id": "a", "model": imported(f"{TARGETS}:model")}
    settings = {"allow": [TARGETS], "max_runs_per_worker": None, "memory_limit_mb": None}
    seen = []
    async with MultiProcessRuntime(workers=1, **settings) as runtime:  # type: ignore[arg-type]
        for index in range(arguments.runs):
            run = await runtime.create_run(run_id=f"r{index}", agents=[agent], event_log_size=0)
            await run.process_stream({"messages": [("user", "hi")]})
            if index in {arguments.runs // 10 * tenth for tenth in range(1, 10)} or index == arguments.runs - 1:
                (worker,) = runtime.worker_statistics().workers
                seen.append(round((worker.rss_bytes or 0) / MEGABYTE, 1))
    return {"runs": arguments.runs, "rss_mb": seen}


async def spawn(arguments: argparse.Namespace) -> dict[str, Any]:
    """From nothing to a worker that has done its first job."""
    took = []
    for index in range(3):
        began = time.perf_counter()
        async with ProcessPool(1, allow=[TARGETS]) as pool:
            await (await pool.submit(Job(id=str(index), kind="run", target=f"{TARGETS}:nothing"))).result()
            took.append(time.perf_counter() - began)
    return {"first_job_ms": min(took) * 1e3}


ROWS = {
    "8 CPU-bound runs, 2 workers beside 1": (parallel, "factor at least 1.8"),
    "a job in a process": (job_overhead, ""),
    "a run in a process": (run_overhead, "first event less than 1 ms later"),
    "a node in a process": (node_overhead, "less than 0.3 ms more"),
    "start of a process": (spawn, ""),
    "memory of a worker": (memory, "flat"),
    "a fenced put on SQLite": (registry.fenced_put_on_sqlite, "less than 30 us more"),
    "a fenced put on PostgreSQL": (registry.fenced_put_on_postgres, "less than 150 us more"),
    "our own fenced put on PostgreSQL": (registry.own_fenced_put_on_postgres, "less than 150 us more"),
    "empty runs claimed and finished on PostgreSQL, by 4 workers beside 1": (registry.claims, "four at least 500/s"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="rows whose name contains this")
    parser.add_argument("--burn", type=float, default=0.5, help="seconds of processor that a CPU-bound run needs")
    parser.add_argument("--repeat", type=int, default=300, help="runs that are timed")
    parser.add_argument("--runs", type=int, default=2000, help="runs over which memory is looked at")
    parser.add_argument("--claims", type=int, default=2000, help="empty runs that are claimed and finished")
    arguments = parser.parse_args()
    for name, (measure, target) in ROWS.items():
        if arguments.only not in name:
            continue
        found = asyncio.run(measure(arguments))
        figures = {key: round(value, 3) if isinstance(value, float) else value for key, value in found.items()}
        print(f"{name}: {json.dumps(figures)}{f'  ({target})' if target else ''}", flush=True)


if __name__ == "__main__":
    main()
