"""``make bench``, a part of it: what the runtime of resources costs, beside its budgets.

    python -m benchmarks.resources                       half a minute on a quiet machine
    python -m benchmarks.resources --seconds 3           a shorter look at the idle runtime

Rows are of a store in memory and in a file; those of PostgreSQL where its wheel can be run. The documents are secrets
and a system, whose controllers do next to nothing, so what is measured is the loop and the store; and agents with
scripted models, which become graphs. Never exits with 1 because of a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from stategraph.resources import Metadata, ModelRequest, Resource, Runtime, load_text
from stategraph.testing import ScriptedChatModel
from tests import postgres

DOCUMENTS: Final = 100
MANY: Final = 1_000
WRITES: Final = 50

WRITER: Final = """
import asyncio, sys, time
from stategraph.resources import Metadata, Resource, open_store
async def main(url, number):
    store = open_store(url)
    for each in range(number):
        await asyncio.sleep(0.03)
        made = await store.put(Resource("stategraph.dev/v1", "Secret", Metadata(f"w{each}"), {}))
        print(made.metadata.resource_version, time.time(), flush=True)
    await store.close()
asyncio.run(main(sys.argv[1], int(sys.argv[2])))
"""


def secrets(number: int) -> list[Resource]:
    spec = {"valueFrom": {"env": "TOKEN"}}
    return [Resource("stategraph.dev/v1", "Secret", Metadata(f"s{each}"), spec) for each in range(number)]


def system(number: int) -> list[Resource]:
    members = "\n".join(f"    - {{name: m{each}, spec: {{valueFrom: {{env: TOKEN}}}}}}" for each in range(number))
    return load_text(
        f"apiVersion: stategraph.dev/v1\nkind: System\nmetadata: {{name: s}}\nspec:\n  secrets:\n{members}\n"
    )


def agents(number: int) -> list[Resource]:
    spec = {"instructions": "Be brief.", "model": "openai:gpt"}
    return [Resource("stategraph.dev/v1", "Agent", Metadata(f"a{each}"), spec) for each in range(number)]


def scripted(request: ModelRequest) -> ScriptedChatModel:
    return ScriptedChatModel(replies=["ok"], model_name=request.name)


def opened(url: str) -> Runtime:
    return Runtime.from_url(url, environment={"TOKEN": "x" * 8}, model_factory=scripted)


async def to_ready(url: str, documents: list[Resource]) -> float:
    """Seconds from the call of `apply` until everything is reconciled."""
    async with opened(url) as runtime:
        begun = time.perf_counter()
        await runtime.apply(documents)
        await runtime.settled(300)
        took = time.perf_counter() - begun
        assert all(each.is_ready for each in await runtime.list())
        return took


def cold_get(url: str) -> float:
    """Seconds of `stategraph get` as a process, on a store with resources; the median of five."""

    async def fill() -> None:
        async with opened(url) as runtime:
            await runtime.apply(secrets(DOCUMENTS))
            await runtime.settled(300)

    asyncio.run(fill())
    took = []
    for _ in range(5):
        begun = time.perf_counter()
        command = [sys.executable, "-m", "stategraph", "get", "secrets", "--store", url]
        subprocess.run(command, check=True, capture_output=True)
        took.append(time.perf_counter() - begun)
    return statistics.median(took)


async def no_op(url: str) -> float:
    """Seconds to reconcile one of many resources of which nothing changed."""
    async with opened(url) as runtime:
        await runtime.apply(secrets(MANY))
        await runtime.settled(300)
        begun = time.perf_counter()
        runtime._loop.controller_changed("secret")
        await runtime.settled(300)
        return (time.perf_counter() - begun) / MANY


async def latency(url: str) -> float:
    """Seconds from the return of a write in this process until a watch has it."""
    runtime = opened(url)
    came: asyncio.Queue[float] = asyncio.Queue()

    async def watch() -> None:
        async for _ in runtime.watch(0):
            came.put_nowait(time.perf_counter())

    watching = asyncio.create_task(watch())
    found = []
    for each in secrets(WRITES):
        await asyncio.sleep(0.01)
        await runtime.store.put(each)
        written = time.perf_counter()
        found.append(max(0.0, await came.get() - written))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    await runtime.stop()
    return statistics.median(found)


async def latency_across(url: str) -> float:
    """Seconds from the return of a write in another process until a watch has it."""
    runtime = opened(url)
    await runtime.store.version()
    came: dict[int, float] = {}

    async def watch() -> None:
        async for each in runtime.watch(0):
            came[each.resource_version] = time.time()
            if len(came) == WRITES:
                return

    watching = asyncio.create_task(watch())
    command = [sys.executable, "-c", WRITER, url, str(WRITES)]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=True)
    written = {int(version): float(at) for version, at in (line.split() for line in done.stdout.splitlines())}
    await watching
    await runtime.stop()
    return statistics.median(max(0.0, came[version] - at) for version, at in written.items())


async def idle(url: str, seconds: float) -> float:
    """Share of one processor that a runtime with many resources takes while nothing happens."""
    async with opened(url) as runtime:
        await runtime.apply(secrets(MANY))
        await runtime.settled(300)
        await asyncio.sleep(0.5)
        begun = time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - begun) / seconds


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the runtime of resources.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long the idle runtime is watched")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        number = iter(range(1_000))

        def file() -> str:
            return f"sqlite:///{scratch}/resources{next(number)}.db"

        measure("in memory", lambda: "memory:", options.seconds)
        measure("in a file", file, options.seconds)
        with tempfile.TemporaryDirectory() as data:
            try:
                server, address = postgres.serve_on_socket(Path(data))
            except postgres.UnavailableError as error:
                print(f"PostgreSQL is left out: {error}")
                return 0
            try:
                measure("on PostgreSQL", databases(address), options.seconds)
            finally:
                postgres.stop(server)
    return 0


def databases(address: str) -> Callable[[], str]:
    """Return a function that makes a new database on a server and returns its address."""
    import psycopg

    number = iter(range(1_000))

    def make() -> str:
        name = f"bench{next(number)}"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return address.replace("/postgres?", f"/{name}?")

    return make


def measure(where: str, url: Callable[[], str], seconds: float) -> None:
    """Print the rows of one kind of store."""
    show(f"apply {DOCUMENTS} resources to Ready, {where}", asyncio.run(to_ready(url(), secrets(DOCUMENTS))), 1.0)
    show(f"apply {DOCUMENTS} agents to Ready, {where}", asyncio.run(to_ready(url(), agents(DOCUMENTS))), 1.0)
    show(f"a system of {DOCUMENTS} members to Ready, {where}", asyncio.run(to_ready(url(), system(DOCUMENTS))), 1.0)
    show(f"reconcile a resource that did not change, {where}", asyncio.run(no_op(url())), 0.001)
    show(f"a change until a watch of the process has it, {where}", asyncio.run(latency(url())), 0.020)
    if where != "in memory":
        show(f"`stategraph get` as a process, {where}", cold_get(url()), 0.4)
        show(f"a change until a watch of another process has it, {where}", asyncio.run(latency_across(url())), 0.020)
    share = asyncio.run(idle(url(), seconds))
    print(f"{f'an idle runtime with {MANY:,} resources, {where}':<72} {share:>9.2%}   budget 0.50%")


def show(what: str, took: float, budget: float) -> None:
    print(f"{what:<72} {1000 * took:>7.2f} ms   budget {1000 * budget:g} ms", flush=True)


if __name__ == "__main__":
    sys.exit(main())
