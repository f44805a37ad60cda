"""The process that measures one engine under one load, and prints what it found as one line of JSON.

python -m benchmarks.load.child '{"case": "runs", "engine": "graph", "number": 10000, "saver": "none"}'
"""

from __future__ import annotations

import asyncio
import gc
import json
import resource
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

NODES = 3


class WrongResultError(RuntimeError):
    """An engine did not do the work."""


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that a share of all values does not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def peak_mb() -> float:
    """Return the most memory that this process has had, in MB: 10^6 bytes of resident set."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@asynccontextmanager
async def opened(engine: str, saver: str) -> AsyncIterator[Callable[[int], Awaitable[int]]]:
    """Open what runs the chain: "graph" is the engine of this process, anything else a peer."""
    if engine == "graph":
        from benchmarks.load import graphs

        async with graphs.runs(saver) as run:
            yield run
    else:
        from benchmarks.load.peers import PEERS

        yield PEERS[engine]()[0]


def _check(found: Any) -> None:
    if found != NODES:
        raise WrongResultError(f"a chain of {NODES} nodes ended with {found!r}")


async def runs(engine: str, number: int, saver: str = "none") -> dict[str, float]:
    """Begin so many runs at once, and wait for all.

    Returns:
        Runs a second; when the median run and the slowest of a hundred had ended, in seconds from the beginning; the
        processor time of a run in seconds; the peak of the memory in MB.
    """
    async with opened(engine, saver) as run:
        for warm_up in range(20):
            _check(await run(-1 - warm_up))
        gc.collect()
        ended: list[float] = []

        async def one(thread: int) -> None:
            _check(await run(thread))
            ended.append(time.perf_counter())

        cpu, began = time.process_time(), time.perf_counter()
        await asyncio.gather(*(one(thread) for thread in range(number)))
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    latencies = [end - began for end in ended]
    return {
        "per_s": number / took,
        "p50_s": percentile(latencies, 0.5),
        "p99_s": percentile(latencies, 0.99),
        "cpu_s": cpu / number,
        "peak_mb": peak_mb(),
    }


async def tokens(number: int, length: int, apart_s: float) -> dict[str, float]:
    """Read so many streams of tokens at once, each token so many seconds after the one before.

    Returns:
        Tokens a second; when the median stream had its first token and the slowest gap of a hundred between two, in
        seconds; the processor time of a token in seconds; the peak of the memory in MB.
    """
    from benchmarks.load import graphs

    stream = graphs.token_streams(length, apart_s)
    firsts: list[float] = []
    gaps: list[float] = []

    async def read() -> None:
        last, count = 0.0, 0
        async for message, _ in stream():
            if not message.content:  # langchain-core ends each stream with an empty chunk
                continue
            now = time.perf_counter()
            (gaps if count else firsts).append(now - (last if count else began))
            last, count = now, count + 1
        if count != length:
            raise WrongResultError(f"a stream of {length} tokens had {count}")

    began = time.perf_counter()
    await read()  # warms up
    firsts.clear()
    gaps.clear()
    gc.collect()
    cpu, began = time.process_time(), time.perf_counter()
    await asyncio.gather(*(read() for _ in range(number)))
    took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {
        "per_s": number * length / took,
        "p50_s": percentile(firsts, 0.5),
        "p99_s": percentile(gaps, 0.99),
        "cpu_s": cpu / (number * length),
        "peak_mb": peak_mb(),
    }


async def chain(engine: str, number: int) -> dict[str, float]:
    """Run the chain so many times, one after the other; returns the processor time of a run in seconds."""
    async with opened(engine, "none") as run:
        for warm_up in range(20):
            _check(await run(-1 - warm_up))
        gc.collect()
        cpu = time.process_time()
        for thread in range(number):
            await run(thread)
        return {"cpu_s": (time.process_time() - cpu) / number}


def sync_chain(engine: str, number: int) -> dict[str, float]:
    """Do the same by the sync API; empty for an engine that has none."""
    run: Callable[[int], int] | None
    if engine == "graph":
        from benchmarks.load import graphs

        run = graphs.sync_runs()
    else:
        from benchmarks.load.peers import PEERS

        run = PEERS[engine]()[1]
    if run is None:
        return {}
    for warm_up in range(20):
        _check(run(-1 - warm_up))
    gc.collect()
    cpu = time.process_time()
    for thread in range(number):
        run(thread)
    return {"cpu_s": (time.process_time() - cpu) / number}


def measure(case: str, **arguments: Any) -> dict[str, float]:
    """Measure one case in this process."""
    match case:
        case "runs":
            return asyncio.run(runs(**arguments))
        case "tokens":
            return asyncio.run(tokens(**arguments))
        case "chain":
            return asyncio.run(chain(**arguments))
        case "sync_chain":
            return sync_chain(**arguments)
    raise ValueError(f"unknown case {case!r}; there are runs, tokens, chain and sync_chain")


if __name__ == "__main__":
    print(json.dumps(measure(**json.loads(sys.argv[1]))))
