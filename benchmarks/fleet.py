"""``make bench``, a part of it: what a fleet of agents costs, beside the figures that users hold us against.

    python -m benchmarks.fleet              a minute on a quiet machine
    python -m benchmarks.fleet --quick      some seconds, to see that it works

The figures beside ours are those of the user's documents. They do not say which machine they are of, nor, for messages
over the network, whether a message was answered: so ours are of one core of this machine, between two processes on
loopback, in two ways: a request with its answer, and a message that goes one way. Of NATS both are what `nats-py` can,
with nothing of this project's between: the bound for whatever goes over it. The limit of a failover is this project's
promise. Never exits with 1 because of a figure.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar, get_args

from benchmarks.http_client import clients
from stategraph.fleet import A2aTransport, AgentEndpoint, Directory, Router, StaticSource, message
from stategraph.fleet.directory import Wanted
from stategraph.fleet.messages import FORMATS, convert
from stategraph.fleet.picking import Strategy
from stategraph.fleet.silence import SILENT_S
from tests.fleet.scripted import serving as agents
from tests.workers.nats_server import UnavailableError, serving

T = TypeVar("T")

ENDPOINTS: Final = 1_000
TASKS: Final = 50
ROUNDS: Final = 5

#: What the documents have: picks a second, with 50 tasks, messages a second over the network, its milliseconds,
#: conversions a second; and the promise for a failover.
DOCUMENTED: Final = {
    "picks/s": 180_999.0,
    "picks/s, 50 tasks": 147_872.0,
    "messages/s over the network": 28_160.0,
    "ms of a message": 0.08,
    "conversions/s": 221_482.0,
    "ms of a failover": 1_000.0,
}

#: Formats that are measured there and back, beside the three that are measured one way.
FRAMEWORKS: Final = tuple(sorted(set(FORMATS) - {"a2a", "langchain", "openai_agents", "openai_chat"}))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few of each, to see that it works")
    size = 200 if parser.parse_args().quick else 20_000
    print(f"{'':60} {'documented':>12} {'ours':>12}")
    for name, row, value in figures(size):
        documented = DOCUMENTED[row]
        digits = 2 if row.startswith("ms") else 0
        print(f"{name:60} {documented:12,.{digits}f} {value:12,.{digits}f}", flush=True)
    return 0


def figures(size: int) -> Iterator[tuple[str, str, float]]:
    """Yield the name of each figure, the one that it is beside, and its value."""
    for strategy in get_args(Strategy):
        one, many = asyncio.run(picks(strategy, size))
        yield f"picks/s of {ENDPOINTS:,} endpoints, {strategy}", "picks/s", one
        yield f"picks/s of {ENDPOINTS:,} endpoints, {strategy}, {TASKS} tasks", "picks/s, 50 tasks", many
    for source, target in (("openai_chat", "langchain"), ("langchain", "a2a"), ("a2a", "openai_chat")):
        yield f"messages/s, {source} to {target}", "conversions/s", conversions(source, target, size)
    for name in FRAMEWORKS:
        yield f"messages/s, a2a to {name} and back", "conversions/s", there_and_back(name, size)
    for name, measure in (
        ("with answers, NATS", over_nats),
        ("one way, NATS", one_way),
        ("with answers, A2A (JSON-RPC), a run of a graph each", over_a2a),
    ):
        try:
            rate, latency_ms = measure(max(20, size // 20))
        except UnavailableError as error:
            print(f"left out: {name}: {error}")
            continue
        yield f"messages/s {name}", "messages/s over the network", rate
        yield f"ms of one message {name}", "ms of a message", latency_ms
    for fault, silent_s, what in (
        ("kill", SILENT_S, "was killed"),
        ("cut", SILENT_S, "was cut off and says nothing"),
        ("cut", 0.3, "was cut off and says nothing (silent_s=0.3)"),
    ):
        tries = 2 if fault == "cut" else max(3, size // 1_000)
        took_ms = run(failover(fault, tries, silent_s))
        yield f"ms to the first byte of another host where one {what}", "ms of a failover", took_ms


async def picks(strategy: Strategy, size: int) -> tuple[float, float]:
    """Return picks a second, in one task and in many that take turns."""
    source = StaticSource(AgentEndpoint(agent="a", url=f"http://h{at}.example") for at in range(ENDPOINTS))
    async with Directory(source, refresh_s=3600) as directory:
        wanted = Wanted("a")
        keys = [str(at) for at in range(997)]

        def some(number: int) -> None:
            for at in range(number):
                standing = directory.pick(wanted, strategy, key=keys[at % 997])
                standing.begin()
                standing.answer(0.001, 1.0)
                standing.end()

        async def task() -> None:
            for _ in range(max(1, size // TASKS // 10)):
                some(10)
                await asyncio.sleep(0)

        some(100)
        one = best(lambda: timed(lambda: some(size)))
        many = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await asyncio.gather(*(task() for _ in range(TASKS)))
            many.append(time.perf_counter() - began)
        return size / one, max(1, size // TASKS // 10) * 10 * TASKS / min(many)


def conversation() -> list[dict[str, str]]:
    """Return a hundred messages of text, as OpenAI's Chat Completions has them."""
    return [
        {"role": "user" if at % 2 == 0 else "assistant", "content": f"Message {at} of the conversation"}
        for at in range(100)
    ]


def conversions(source: str, target: str, size: int) -> float:
    """Return messages a second that are converted, in conversations of a hundred."""
    said = conversation()
    given = said if source == "openai_chat" else list(convert(said, "openai_chat", source).messages)
    number = max(1, size // 100)

    def some() -> None:
        for _ in range(number):
            convert(given, source, target)

    some()
    return 100 * number / best(lambda: timed(some))


def there_and_back(name: str, size: int) -> float:
    """Return messages a second that are converted from A2A to a format and back, each of which counts."""
    said = convert(conversation(), "openai_chat", "a2a").messages
    number = max(1, size // 100)

    def some() -> None:
        for _ in range(number):
            convert(convert(said, "a2a", name).messages, name, "a2a")

    some()
    return 2 * len(said) * number / best(lambda: timed(some))


def over_nats(size: int) -> tuple[float, float]:
    """Return messages a second with their answers, and milliseconds of one."""
    with _beside_echo() as url:
        return run(_over_nats(url, size))


def one_way(size: int) -> tuple[float, float]:
    """Return messages a second that another process receives, and milliseconds until it has one (median)."""
    with _beside_echo() as url:
        return run(_one_way(url, 10 * size))


@contextlib.contextmanager
def _beside_echo() -> Iterator[str]:
    """Run a NATS server, and a process that answers over it, for a block."""
    with serving(jetstream=False) as server:
        command = [sys.executable, "-m", "benchmarks.fleet_echo", server.url]
        echo = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            assert echo.stdout is not None
            echo.stdout.readline()
            yield server.url
        finally:
            echo.kill()
            echo.communicate()


async def _over_nats(url: str, size: int) -> tuple[float, float]:
    import nats  # the extra; only this row needs it

    client = await nats.connect(url)
    message = b"x" * 200

    async def ask() -> None:
        await client.request("echo", message, timeout=60)

    try:
        return await _measured(ask, size)
    finally:
        await client.close()


async def _one_way(url: str, size: int) -> tuple[float, float]:
    import nats  # the extra; only this row needs it

    client = await nats.connect(url)

    async def publish() -> None:
        await client.publish("heard", time.monotonic_ns().to_bytes(8) + b"x" * 192)

    async def told() -> tuple[int, float]:
        said = json.loads((await client.request("told", b"", timeout=60)).data)
        return said["messages"], said["ms"]

    try:
        alone = []
        for _ in range(min(size, 500)):
            await publish()
            alone.append((await told())[1])
        began = time.perf_counter()
        for _ in range(size):
            await publish()
        heard = 0
        while heard < size:
            heard += (await told())[0]
        return size / (time.perf_counter() - began), statistics.median(alone)
    finally:
        await client.close()


def over_a2a(size: int) -> tuple[float, float]:
    """Return messages a second that a graph answers, and milliseconds of one."""
    with tempfile.TemporaryDirectory(prefix="stategraph-bench-") as folder:
        command = [sys.executable, "-m", "stategraph", "serve", "benchmarks.fleet_agent:graph", "--port", "0"]
        command += [
            "--protocols",
            "a2a",
            "--store",
            f"sqlite:///{folder}/runs.db",
            "--settings",
            f"{folder}/server.toml",
        ]
        Path(folder, "server.toml").write_text("[limits]\nrequests_per_minute = 0\n", encoding="utf-8")
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            return run(_over_a2a(address, max(20, size // 10)))
        finally:
            server.kill()
            server.communicate()


async def _over_a2a(url: str, size: int) -> tuple[float, float]:
    async with clients(url, TASKS) as many:
        free = list(many)

        async def ask() -> None:
            client = free.pop()
            message = {"messageId": str(time.perf_counter_ns()), "role": "ROLE_USER", "parts": [{"text": "hi"}]}
            body = {"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}
            answer = await client.post("/a2a/graph", body, "A2A-Version: 1.0")
            if "result" not in answer:
                raise SystemExit(f"An agent answered {json.dumps(answer)[:200]}")
            free.append(client)

        return await _measured(ask, size)


async def failover(fault: str, tries: int, silent_s: float) -> float:
    """Return milliseconds to the first byte of another host, of requests that went to one that fails (median)."""
    took_ms = []
    for _ in range(tries):
        async with agents("bad", "good") as (bad, good), A2aTransport() as transport:
            source = StaticSource(AgentEndpoint(agent="a", url=each.url) for each in (bad, good))
            async with Directory(source, refresh_s=3600) as directory:
                router = Router(directory, transport, strategy="round_robin", silent_s=silent_s)
                for _ in range(4):
                    await _first_byte_ms(router)  # now cards and connections are there
                if fault == "kill":
                    await bad.kill()
                else:
                    bad.behaviour = "cut"
                requests = [await _first_byte_ms(router) for _ in range(2)]  # one in turn, and one after a failure
                if not sum(each.failed for each in directory.endpoints()):
                    raise SystemExit("No request went to the host that fails")
                took_ms.append(max(requests))
    return statistics.median(took_ms)


async def _first_byte_ms(router: Router[Any, Any]) -> float:
    began, first_ms = time.perf_counter(), 0.0
    async for _ in router.stream(message("hi"), agent="a", repeatable=True):
        first_ms = first_ms or 1e3 * (time.perf_counter() - began)
    return first_ms


async def _measured(ask: Callable[[], Awaitable[None]], size: int) -> tuple[float, float]:
    """Return how many a second there are of 50 at a time, and milliseconds of one alone (median)."""
    for _ in range(20):
        await ask()
    alone = []
    for _ in range(min(size, 500)):
        began = time.perf_counter()
        await ask()
        alone.append(time.perf_counter() - began)
    left = size

    async def some() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await ask()

    began = time.perf_counter()
    await asyncio.gather(*(some() for _ in range(TASKS)))
    return size / (time.perf_counter() - began), 1e3 * statistics.median(alone)


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run work in uvloop where that is installed, as `stategraph serve` then does, and else in asyncio's own loop."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


def best(measure: Callable[[], float]) -> float:
    """Return the best of some rounds: what others do on the machine only adds."""
    return min(measure() for _ in range(ROUNDS))


def timed(work: Callable[[], object]) -> float:
    """Return the seconds of processor time that work takes."""
    began = time.process_time()
    work()
    return time.process_time() - began


if __name__ == "__main__":
    sys.exit(main())
