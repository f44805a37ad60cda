"""Our server beside LangGraph's development server: the same graph, the same client, one after the other.

    make load-server                     both servers
    make load-server ARGS=--quick        a few runs of each, to see that it works
    make load-server ARGS=--alone        our server only
    make load-server ARGS=--docs         also write the figures into docs/performance.md

Our server keeps its runs in a SQLite file; LangGraph's development server, in memory. Figures of one server are taken
alone on the machine, in turns. The processor time of a run is that of all processes of the server, for a new thread and
the run on it. Exits with 1 if a run does not end well, never because of a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks import docs
from benchmarks.http_client import Client, clients
from tests.server.own import running_own
from tests.server.serving import ENGINES, Server, running

PYTHON = Path(sys.executable)
GRAPHS = {name: f"{Path(__file__).resolve().parent / 'server_graphs.py'}:{name}" for name in ("steps", "waits")}

ROUNDS = 3
READERS = 1_000
AT_ONCE = 1_000
BESIDE = 32
OUTPUT = {"log": ["a", "b", "c"]}
LIMIT_S = 120.0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few runs, to see that it works")
    parser.add_argument("--alone", action="store_true", help="our server only")
    parser.add_argument("--docs", action="store_true", help="also write the figures into docs/performance.md")
    options = parser.parse_args()
    size = 10 if options.quick else 300
    found: dict[str, list[dict[str, float]]] = {}
    for _ in range(1 if options.quick else ROUNDS):
        for label, serve in servers(alone=options.alone):
            with serve as server:
                found.setdefault(label, []).append(asyncio.run(measure(server, size, options.quick)))
    print(table(found))
    if options.docs:
        rows = rows_of(found)
        docs.write("server", rows, list(rows))
    return 0


def servers(*, alone: bool) -> Iterator[tuple[str, Any]]:
    """Return the servers by their names, each to be run around a block."""
    yield "stategraph", _in_folder(lambda folder: running_own(PYTHON, folder, GRAPHS))
    if not alone:
        yield "langgraph dev", _in_folder(lambda folder: running(PYTHON, ENGINES[0], folder, GRAPHS))


@contextmanager
def _in_folder(serve: Callable[[Path], Any]) -> Iterator[Server]:
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-bench-"))
        yield stack.enter_context(serve(Path(folder) / "server"))


async def measure(server: Server, size: int, quick: bool) -> dict[str, float]:
    """Take all figures of a server that runs."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100)
    async with httpx.AsyncClient(base_url=server.url, timeout=LIMIT_S, limits=limits) as client:
        await run(client, await thread(client))  # what is loaded with the first one
        found = {
            "new thread, ms": 1e3 * await median(lambda: thread(client), size // 3),
            "run to first byte, ms": 1e3 * await median(lambda: first_byte(client), max(3, size // 15)),
        }
        # Before the many runs, whose memory a process keeps for the next ones.
        memory = await with_readers(client, server, 20 if quick else READERS)
        found |= await runs_together(server, 10 if quick else 2 * AT_ONCE)
    return found | memory


async def thread(client: httpx.AsyncClient) -> str:
    """Make a thread."""
    return str((await client.post("/threads", json={})).raise_for_status().json()["thread_id"])


async def run(client: httpx.AsyncClient, thread_id: str) -> Any:
    """Run the graph and return its values."""
    body = {"assistant_id": "steps", "input": {"log": []}}
    values = (await client.post(f"/threads/{thread_id}/runs/wait", json=body)).raise_for_status().json()
    if values != OUTPUT:
        raise SystemExit(f"A run came to {values}")
    return values


async def whole(client: Client) -> float:
    """Run the graph on a thread of its own, and return the seconds that it took."""
    began = time.perf_counter()
    place = f"/threads/{(await client.post('/threads', {}))['thread_id']}/runs/wait"
    if (values := await client.post(place, {"assistant_id": "steps", "input": {"log": []}})) != OUTPUT:
        raise SystemExit(f"A run came to {values}")
    return time.perf_counter() - began


async def runs_together(server: Server, number: int) -> dict[str, float]:
    """Run the graph many times: on a few connections, and then as many at once as there are runs."""
    async with clients(server.url, min(BESIDE, number)) as few:
        await together(few, len(few))
        began, used = time.perf_counter(), processor_s(server.process.pid)
        await together(few, number)
        rate, cost = number / (time.perf_counter() - began), (processor_s(server.process.pid) - used) / number
    at_once = min(AT_ONCE, number)
    async with clients(server.url, at_once) as many:
        taken = sorted(await together(many, at_once))
    return {
        "runs of 3 nodes per s": rate,
        "processor time of a run, ms": 1e3 * cost,
        f"P99 of {at_once:,} runs at once, s": taken[max(0, round(0.99 * at_once) - 1)],
    }


async def first_byte(client: httpx.AsyncClient) -> float:
    """Return the seconds from a request for a run to the first byte of its stream."""
    thread_id = await thread(client)
    began = time.perf_counter()
    body = {"assistant_id": "steps", "input": {"log": []}, "stream_mode": "updates"}
    async with client.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as answer:
        taken = 0.0
        async for _ in answer.aiter_bytes():
            taken = taken or time.perf_counter() - began
    return taken


async def with_readers(client: httpx.AsyncClient, server: Server, readers: int) -> dict[str, float]:
    """Open readers of one run, and return what the process takes with them."""
    thread_id = await thread(client)
    body = {"assistant_id": "waits", "input": {}, "stream_mode": "custom", "stream_resumable": True}
    started = (await client.post(f"/threads/{thread_id}/runs", json=body)).raise_for_status().json()
    place = f"/threads/{thread_id}/runs/{started['run_id']}"
    ready = asyncio.Semaphore(0)

    async def read() -> None:
        async with client.stream("GET", f"{place}/stream", headers={"Last-Event-ID": "-1"}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data:"):
                    ready.release()

    tasks = [asyncio.create_task(read()) for _ in range(readers)]
    try:
        async with asyncio.timeout(LIMIT_S):
            for _ in range(readers):
                await ready.acquire()
        taken = rss_mb(server.process.pid)
        await client.post(f"{place}/cancel", params={"wait": 1})
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return {f"memory with {readers:,} open readers, MB": taken}


def processor_s(pid: int) -> float:
    """Return the processor time that a session has used, in seconds: of the process that leads it, and its others."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if int(fields[3]) == pid:  # fields count from the state, the third one (proc_pid_stat(5))
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    """Return the resident memory of a process, in megabytes."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def median(call: Callable[[], Awaitable[Any]], number: int) -> float:
    """Return the median of the seconds that a call takes, or says that it took."""
    taken = []
    for _ in range(number):
        began = time.perf_counter()
        said = await call()
        taken.append(said if isinstance(said, float) else time.perf_counter() - began)
    return statistics.median(taken)


async def together(several: Sequence[Client], number: int) -> list[float]:
    """Run the graph so many times by all clients, and return the seconds of each run."""
    left, taken = iter(range(number)), list[float]()

    async def work(client: Client) -> None:
        for _ in left:
            taken.append(await whole(client))

    async with asyncio.timeout(LIMIT_S):
        await asyncio.gather(*map(work, several))
    return taken


def table(found: dict[str, list[dict[str, float]]]) -> str:
    """Return the figures as a Markdown table, medians of the rounds."""
    labels = list(found)
    lines = [f"| | {' | '.join(labels)} |", f"|---|{'--:|' * len(labels)}"]
    lines += [f"| {name} | {' | '.join(cells)} |" for name, cells in rows_of(found).items()]
    return "\n".join(lines)


def rows_of(found: dict[str, list[dict[str, float]]]) -> dict[str, list[str]]:
    """Return the figures of each server by their names, medians of the rounds."""
    several = list(found.values())
    return {
        name: [f"{statistics.median(each[name] for each in rounds):,.1f}" for rounds in several]
        for name in several[0][0]
    }


if __name__ == "__main__":
    sys.exit(main())
