"""Rows of `benchmarks/workers.py` about the registry of runs: fenced writes, and runs that are claimed and finished.

No database waits for the disk: what is measured is what they compute. PostgreSQL comes from its wheel; where it cannot
be run, its rows say so.

    python -m benchmarks.registry URL            claims and finishes runs until there are none; one of the four workers
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.postgres import PostgresSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from stategraph import savers
from stategraph.workers import FencedSaver, Guard
from stategraph.workers.ids import new_owner
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.registry.values import Submission

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import postgres

ROOT = Path(__file__).resolve().parent.parent
LEASE_S = 3_600.0


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL for a block.

    Yields:
        Its address.

    Raises:
        UnavailableError: It cannot be run here.
    """
    with tempfile.TemporaryDirectory(prefix="stategraph-bench-") as folder:
        process, url = postgres.serve_on_socket(Path(folder))
        try:
            yield url
        finally:
            postgres.stop(process)


def unless_unavailable(measure: Callable[[argparse.Namespace], dict[str, Any]]) -> Callable[..., Any]:
    """Make a row that says why it cannot be measured here."""

    async def row(arguments: argparse.Namespace) -> dict[str, Any]:
        try:
            return measure(arguments)
        except postgres.UnavailableError as error:
            return {"not measured": str(error)}

    return row


def _put_us(saver: Any, thread: str, number: int) -> float:
    config: Any = {"configurable": {"thread_id": thread, "checkpoint_ns": ""}}
    took = []
    for _ in range(number):
        checkpoint = empty_checkpoint()
        began = time.perf_counter()
        saver.put(config, checkpoint, {}, {})
        took.append((time.perf_counter() - began) * 1e6)
    return median(took)


def _beside(url: str, saver: Any, arguments: argparse.Namespace) -> dict[str, float]:
    """Return the medians of a saver's `put`, as it is and fenced, in turns: of each, that of its quietest turn."""
    registry = RegistryOperations(open_database(url))
    registry.submit(Submission("t", "a:b"), "reject")
    claimed = registry.claim(new_owner(), "default", LEASE_S)
    assert claimed is not None
    fenced = FencedSaver(saver, Guard(claimed.lease))
    for each in (saver, fenced):
        _put_us(each, "t", 50)
    turns = [[_put_us(each, "t", arguments.repeat // 3) for each in (saver, fenced)] for _ in range(20)]
    registry.close()
    plain, guarded = (min(each) for each in zip(*turns, strict=True))
    return {"plain_us": plain, "fenced_us": guarded, "added_us": guarded - plain}


async def fenced_put_on_sqlite(arguments: argparse.Namespace) -> dict[str, Any]:
    """A checkpoint that is stored by a saver as it is, and by one that checks the lease."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/runs.db"
        with SqliteSaver.from_conn_string(path) as saver:
            saver.setup()
            saver.conn.execute("PRAGMA synchronous=OFF")
            return _beside(f"sqlite:///{path}", saver, arguments)


@unless_unavailable
def fenced_put_on_postgres(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same on PostgreSQL."""
    with server() as url, PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        return _beside(url, saver, arguments)


@unless_unavailable
def own_fenced_put_on_postgres(arguments: argparse.Namespace) -> dict[str, Any]:
    """The same with the saver of this project, which checks the lease in the statement that stores."""
    with server() as url, savers.PostgresSaver.from_conn_string(url) as saver:
        saver.setup()
        return _beside(url, saver, arguments)


@unless_unavailable
def claims(arguments: argparse.Namespace) -> dict[str, Any]:
    """Empty runs that are claimed and finished, by one process and by four."""
    with server() as url:
        registry = RegistryOperations(open_database(url))
        found = {workers: _runs_per_s(registry, url, workers, arguments.claims) for workers in (1, 4)}
        registry.close()
    return {"one_per_s": found[1], "four_per_s": found[4]}


def _runs_per_s(registry: RegistryOperations, url: str, workers: int, number: int) -> float:
    for index in range(number):
        registry.submit(Submission(f"{workers} {index}", "a:b"), "enqueue")
    command = [sys.executable, "-m", "benchmarks.registry", url]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in range(workers)
    ]
    for process in processes:
        assert process.stdout is not None
        process.stdout.readline()  # it is connected
    began = time.perf_counter()
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.flush()
    ended = [process.communicate()[0] for process in processes]
    took = time.perf_counter() - began
    return sum(int(each) for each in ended) / took


def work(url: str) -> int:
    """Claim and finish runs until there are none."""
    registry = RegistryOperations(open_database(url))
    registry.newest(None, None, None, 1)
    print("ready", flush=True)
    sys.stdin.readline()
    owner, done = new_owner(), 0
    while (claimed := registry.claim(owner, "default", LEASE_S)) is not None:
        registry.finish(claimed.lease, RunStatus.SUCCESS)
        done += 1
    registry.close()
    return done


if __name__ == "__main__":
    print(work(sys.argv[1]))
