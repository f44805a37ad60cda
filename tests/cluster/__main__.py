"""A cluster of hosts that are killed, added, cut off and replaced, while runs go on and readers read them.

    make cluster                                         500 runs on three hosts; some minutes
    python -m tests.cluster --runs 6 --short --scale 0   one host is killed, one cut off, one added

Each host is a network namespace of this machine with an address and a link of its own; PostgreSQL and a NATS server are
at the hub between them. Runs ask a model that streams a known text three times, and pay at a destination outside after
each. The judge looks from outside alone: at what two readers of each run were sent, wherever they hopped; at the thread
as each host shows it; at what the destination was asked, and how often. Meanwhile hosts are killed (SIGKILL) and added,
links are cut and healed at random; in the middle all hosts are replaced one after the other, as in a rolling update.
A client of the fleet, who knows the hosts from the directory alone, sends requests all the time.

Then the same number of waiting runs for each host is executed on one, two and three hosts. The machine has as few
processors as it has: what is told is that runs which wait for a model wait at the same time, not that more processors
compute more.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import httpx

from tests import postgres
from tests.cluster import network
from tests.cluster.app import keys_of
from tests.cluster.hosts import TOKEN, HostError, Hosts
from tests.cluster.watching import Watch, watching
from tests.server.replicas.__main__ import Told, Trial
from tests.workers.chaos import Sink, sink_running
from tests.workers.nats_server import NatsServer, UnavailableError

POSTGRES_PORT = 5432
NATS_PORT = 4222
NATS_TOKEN = "a-token-of-the-bus"

#: Runs of which each host is asked at the end what their threads have.
COMPARED = 20


class ClusterTrial(Trial):
    """Runs on a cluster, and their readers.

    Args:
        hosts: Where they are.
        client: Sends the requests.
        arguments: Those of the command.
        sink: The destination of the runs' effects.
        sink_url: Its address.
    """

    def __init__(
        self, hosts: Hosts, client: httpx.AsyncClient, arguments: argparse.Namespace, sink: Sink, sink_url: str
    ) -> None:
        super().__init__(hosts, client, arguments)  # type: ignore[arg-type]  # what it needs of them is alike
        self._hosts = hosts
        self._sink = sink
        self._sink_url = sink_url
        self._ids = random.Random(f"{arguments.seed}/ids")
        self.threads: list[str] = []
        self.hop_s = arguments.hop
        self.half = asyncio.Event()

    async def _one(self, name: str) -> None:
        await super()._one(name)
        if not self.told.ended % 25:
            print(f"{self.told.ended} runs have ended", file=sys.stderr, flush=True)
        if self.told.ended * 2 >= self._arguments.runs:
            self.half.set()

    async def _begin(self, name: str, thread_id: str) -> str:
        """Begin a run under an id of the caller's: a request that was lost on its way may come again, or late."""
        body = {
            "run_id": str(uuid.UUID(int=self._ids.getrandbits(128), version=4)),
            "assistant_id": "script",
            "input": {"name": name, "sink": self._sink_url},
            "stream_mode": ["messages-tuple", "updates"],
            "stream_resumable": True,
            "if_not_exists": "create",
            "multitask_strategy": "enqueue",
            "on_disconnect": "continue",
        }
        self.threads.append(thread_id)
        answer = await self._ask("POST", f"/threads/{thread_id}/runs", json=body)
        return str(answer.raise_for_status().json()["run_id"])

    async def _end(self, name: str, thread_id: str, run_id: str) -> list[str]:
        """Look at the thread, and at the destination."""
        wrong = await super()._end(name, thread_id, run_id)
        runs = (await self._ask("GET", f"/threads/{thread_id}/runs")).raise_for_status().json()
        if len(runs) != 1:
            wrong.append(f"its thread has {len(runs)} runs")
        return wrong + self.effects(name)

    def effects(self, name: str) -> list[str]:
        """Return what is wrong with what the destination was asked for a run."""
        counts = {key: self._sink.commits[key] for key in keys_of(name)}
        return [f"the destination was asked {count} times for {key}" for key, count in counts.items() if count != 1]

    async def compare(self) -> list[str]:
        """Ask each host what some threads have, and return where they differ."""
        wrong = []
        for thread_id in self._ids.sample(self.threads, min(COMPARED, len(self.threads))):
            states = [
                (await self._client.get(f"{host.address}/threads/{thread_id}/state")).raise_for_status().json()
                for host in self._hosts.running
            ]
            if any(state != states[0] for state in states):
                wrong.append(f"hosts have different states of the thread {thread_id}")
        return wrong


async def tried(arguments: argparse.Namespace, hosts: Hosts) -> int:
    """Have the runs run on hosts that are disturbed, and return the exit code."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    timeout = httpx.Timeout(5.0, connect=1.0)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx.AsyncClient(headers=headers, timeout=timeout, limits=limits, trust_env=False) as client:
        with sink_running(network.HUB) as (sink, sink_url):
            try:
                await hosts.start_some(3)
                began = time.monotonic()
                trial = ClusterTrial(hosts, client, arguments, sink, sink_url)
                async with watching(hosts) as watch:
                    await _disturbed(arguments, hosts, trial)
                wrong = await trial.compare()
                seconds = time.monotonic() - began
            except HostError as error:
                print(error, file=sys.stderr)
                return 1
            finally:
                await hosts.stop()
    _tell(arguments, hosts, trial.told, watch, sink, seconds)
    wrong += [*trial.told.wrong, *watch.seen.wrong, *hosts.returned]
    for text in wrong:
        print(text, file=sys.stderr)
    print(f"cluster: {len(wrong)} faults")
    return 1 if wrong or trial.told.ended != arguments.runs else 0


async def _disturbed(arguments: argparse.Namespace, hosts: Hosts, trial: ClusterTrial) -> None:
    """Disturb the hosts while the runs run, with a rolling update in the middle."""
    chosen = random.Random(f"{arguments.seed}/disturbances")
    working = asyncio.create_task(trial.run())
    working.add_done_callback(lambda _: trial.half.set())

    async def disturb_until(event: asyncio.Task[Any]) -> None:
        hosts.pause.clear()
        event.add_done_callback(lambda _: hosts.pause.set())
        await hosts.disturb(chosen, arguments.every)

    try:
        if arguments.short:
            await hosts.kill(hosts.running[0])
            await hosts.cut(hosts.running[0], 4.0)  # longer than a lease
            await hosts.start(hosts.free()[0])
            hosts.adds += 1
            await working
            return
        await disturb_until(asyncio.create_task(trial.half.wait()))
        while len(hosts.running) < 3:
            await hosts.start(hosts.free()[0])
        await hosts.update()
        if not working.done():
            await disturb_until(working)
        await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _tell(arguments: argparse.Namespace, hosts: Hosts, told: Told, watch: Watch, sink: Sink, seconds: float) -> None:
    for name in hosts.tracebacks():
        print(f"{name} has a traceback", file=sys.stderr)
    refused = sum(told.refused.values())
    print(
        f"cluster: {told.ended} runs of {arguments.runs} at 3 hosts (2 to {len(hosts.machines)}), seed "
        f"{arguments.seed}: {hosts.kills} killed, {hosts.adds} added, {hosts.cuts} links cut, {hosts.updates} drained "
        f"and replaced; {told.taken_over} attempts taken over; {told.readers} readers, {told.hops:,} hops, "
        f"{told.frames:,} frames, {refused} requests refused; {sum(sink.commits.values()):,} effects, "
        f"{sum(sink.again.values())} asked for again; {seconds:.0f} s"
    )
    for line in watch.seen.lines():
        print(line)
    for text in dict.fromkeys(watch.seen.failed):
        print(f"taken by nobody: {text}", file=sys.stderr)


async def scaled(hosts: Hosts, number: int, each: int) -> float:
    """Execute waiting runs on some hosts with a process of workers each, and return runs per second."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    try:
        await hosts.start_some(number)
        async with httpx.AsyncClient(headers=headers, timeout=120.0, limits=limits, trust_env=False) as client:

            async def one(at: int) -> None:
                body = {"assistant_id": "waiting", "input": {"name": str(at)}}
                address = hosts.running[at % number].address
                (await client.post(f"{address}/runs/wait", json=body)).raise_for_status()

            await asyncio.gather(*(one(at) for at in range(number * 2)))  # everything is imported
            began = time.monotonic()
            await asyncio.gather(*(one(at) for at in range(each * number)))
            return each * number / (time.monotonic() - began)
    finally:
        await hosts.stop()


async def acted(arguments: argparse.Namespace, store: str, nats: str, folder: Path) -> int:
    """Do what the command says, and return the exit code."""
    machines = network.machines(4)
    hosts = Hosts(machines, store, nats, folder)
    hosts.prepare()
    code = await tried(arguments, hosts) if arguments.runs else 0
    if arguments.scale:
        rates = []
        for number in (1, 2, 3):
            rates.append(await scaled(Hosts(machines, store, nats, folder, workers=1), number, arguments.scale))
        told = ", ".join(f"{number} hosts {rate:.1f} runs/s" for number, rate in enumerate(rates, 1))
        print(
            f"scaling: {told}, {rates[2] / rates[0]:.2f} times as many; 10 runs at a time on each host, each of which "
            "waits 2 s for its model: what is told is of waiting, on one machine"
        )
    return code


@contextlib.contextmanager
def databases(stack: contextlib.ExitStack) -> Any:
    """Run PostgreSQL and a NATS server at the hub for a block."""
    scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-cluster-")))
    programs, data = postgres.prepare(scratch)
    postgres.initialise(programs, data)
    with (data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {network.HUB}/24 trust\n")
    server = postgres.start(scratch, POSTGRES_PORT, network.HUB, "max_connections=300")
    stack.callback(postgres.stop, server)
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-cluster-nats-")))
    bus = NatsServer(folder, NATS_PORT, "--auth", NATS_TOKEN, host=network.HUB)
    bus.start()
    stack.callback(bus.stop)
    store = f"postgresql://postgres@{network.HUB}:{POSTGRES_PORT}/postgres"
    yield store, f"nats://{NATS_TOKEN}@{network.HUB}:{NATS_PORT}"


def main() -> int:
    """Run the command, and return the exit code; 2: no cluster can be made here."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--runs", type=int, default=500, help="0: none, and scaling alone (default: %(default)s)")
    parser.add_argument("--readers", type=int, default=2, help="of each run (default: %(default)s)")
    parser.add_argument("--hop", type=float, default=1.0, metavar="S", help="a reader stays at a host (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=15, help="runs at a time (default: %(default)s)")
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="between disturbances (%(default)s)")
    parser.add_argument("--scale", type=int, default=40, metavar="N", help="runs of each host; 0: none (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--short", action="store_true", help="kill, cut off and add one host, and nothing else")
    parser.add_argument("--keep", metavar="FOLDER", help="keep the logs of the hosts in this new folder")
    arguments = parser.parse_args()
    if not os.environ.get(network.INSIDE) and (why := network.unavailable()):
        print(f"no cluster: {why}", file=sys.stderr)
        return 2
    code = network.entered("tests.cluster", sys.argv[1:])
    if code is not None:
        return code
    logging.getLogger("stategraph.fleet").setLevel(logging.ERROR)  # who is away is told at the end
    with contextlib.ExitStack() as stack:
        if arguments.keep:
            folder = Path(arguments.keep)
            folder.mkdir(parents=True)
        else:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="stategraph-cluster-logs-")))
        try:
            with databases(stack) as (store, nats):
                return asyncio.run(acted(arguments, store, nats, folder))
        except (postgres.UnavailableError, UnavailableError, subprocess.SubprocessError) as error:
            print(f"no cluster: {error}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main())
