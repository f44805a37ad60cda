"""Hosts of a cluster: on each machine `stategraph serve`, on one PostgreSQL and one NATS server at the hub."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.cluster.network import Machine

ROOT: Final = Path(__file__).resolve().parents[2]
PORT: Final = 2024
LONG_S: Final = 5.0
STARTING_S: Final = 180.0
DRAINING_S: Final = 60.0
TOKEN: Final = "a-token-of-this-trial-alone"

#: A run of a host that is gone goes to another one soon, and as often as it takes.
_SETTINGS: Final = """
access_log = false
drain_s = 40

[leases]
lease_s = 3.0
heartbeat_s = 1.0
max_attempts = 50

[limits]
requests_per_minute = 0
streams = 10000
"""


class HostError(Exception):
    """A host ended by itself, or did not start; the message has the end of what it printed."""


@dataclass(slots=True, eq=False)
class Host:
    """A host that runs.

    Attributes:
        machine: Where.
        process: The server.
        log: What it prints.
        started_at: When it listened, by the monotonic clock.
        back_at: When its link was last healed; 0: it never was cut.
    """

    machine: Machine
    process: asyncio.subprocess.Process
    log: Path
    started_at: float = 0.0
    back_at: float = 0.0

    @property
    def address(self) -> str:
        """The address at which it is reached."""
        return f"http://{self.machine.address}:{PORT}"

    def printed(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]


@dataclass(slots=True)
class Hosts:
    """The hosts of a cluster.

    Attributes:
        machines: Where hosts can be.
        store: The address of the database.
        nats: The address of the NATS server.
        folder: A scratch folder.
        workers: Processes of workers on each host; 0: its server executes runs.
        running: Those that listen.
        kills: How many were killed.
        adds: How many were added.
        cuts: How many links were cut.
        updates: How many hosts were drained and replaced.
        away: Addresses of hosts that were killed or cut off for long, and when, by the monotonic clock.
        pause: Ends the disturbances.
        returned: What hosts that were drained said of runs that did not end in time.
    """

    machines: list[Machine]
    store: str
    nats: str
    folder: Path
    workers: int = 0
    running: list[Host] = field(default_factory=list)
    kills: int = 0
    adds: int = 0
    cuts: int = 0
    updates: int = 0
    returned: list[str] = field(default_factory=list)
    away: list[tuple[str, float]] = field(default_factory=list)
    pause: asyncio.Event = field(default_factory=asyncio.Event)
    _started: list[Host] = field(default_factory=list)

    def prepare(self) -> None:
        """Write the files that they are started with."""
        app = Path(__file__).with_name("app.py")
        graphs = {"script": f"{app}:graph", "waiting": f"{app}:waiting"}
        config = {"dependencies": ["."], "graphs": graphs}
        (self.folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
        (self.folder / "server.toml").write_text(_SETTINGS, encoding="utf-8")

    def free(self) -> list[Machine]:
        """Return the machines that have no host."""
        taken = {each.machine.name for each in self.running}
        return [each for each in self.machines if each.name not in taken]

    async def start(self, machine: Machine) -> Host:
        """Start a host on a machine, and wait until it listens.

        Raises:
            HostError: It does not.
        """
        log = self.folder / f"{machine.name}-{len(self._started)}.log"
        command = [sys.executable, "-m", "stategraph", "serve", "--config", str(self.folder / "langgraph.json")]
        command += ["--settings", str(self.folder / "server.toml"), "--host", machine.address, "--port", str(PORT)]
        command += ["--announce", f"http://{machine.address}:{PORT}", "--workers", str(self.workers)]
        addresses = {"STATEGRAPH_STORE": self.store, "STATEGRAPH_NATS": self.nats, "STATEGRAPH_TOKEN": TOKEN}
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *machine.command(command),
                cwd=ROOT,
                env={**os.environ, **addresses, "PYTHONPATH": str(ROOT)},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        made = Host(machine, process, log)
        self._started.append(made)
        async with asyncio.timeout(STARTING_S):
            while b"are served at http" not in log.read_bytes():
                if process.returncode is not None:
                    raise HostError(f"A host did not start:\n{made.printed()}")
                await asyncio.sleep(0.1)
        made.started_at = time.monotonic()
        self.running.append(made)
        return made

    async def start_some(self, number: int) -> None:
        """Start hosts on the first machines."""
        await asyncio.gather(*(self.start(each) for each in self.machines[:number]))

    async def disturb(self, chosen: random.Random, every_s: float) -> None:
        """Kill hosts, add others, and cut links, at random and from time to time; two hosts are always there.

        It goes on until `pause` is set, and is then as it should be: no link is cut.

        Raises:
            HostError: One ended by itself, or did not start.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.pause.wait(), chosen.uniform(0.3, 1.7) * every_s)
            if self.pause.is_set():
                return
            self.check()
            act = chosen.choice(["cut", "kill" if len(self.running) > 2 else "add"])
            if act == "kill" and self.free() and chosen.random() < 0.3:
                act = "add"
            if act == "add":
                await self.start(chosen.choice(self.free()))
                self.adds += 1
            elif act == "kill":
                await self.kill(chosen.choice(self.running))
            else:
                await self.cut(chosen.choice(self.running), chosen.uniform(1.0, 8.0))

    async def kill(self, victim: Host) -> None:
        """Kill all processes of a host."""
        self.running.remove(victim)
        self.away.append((victim.address, time.monotonic()))
        victim.machine.kill_all()
        await victim.process.wait()
        self.kills += 1

    async def cut(self, host: Host, seconds: float) -> None:
        """Cut the link of a host, and heal it."""
        host.machine.cut()
        self.cuts += 1
        if seconds > LONG_S:
            self.away.append((host.address, time.monotonic()))
        try:
            await asyncio.sleep(seconds)
        finally:
            host.machine.heal()
            host.back_at = time.monotonic()

    async def update(self) -> None:
        """Replace all hosts, one after the other: each ends what it has, and gets no more meanwhile.

        Raises:
            HostError: One did not end well.
        """
        for host in list(self.running):
            self.running.remove(host)
            host.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(DRAINING_S):
                code = await host.process.wait()
            if code:
                raise HostError(f"A host that was drained ended with code {code}:\n{host.printed()}")
            self.returned += [line for line in host.printed().splitlines() if line.startswith("Runs that were stopped")]
            self.updates += 1
            await self.start(host.machine)

    def check(self) -> None:
        """Check that those that were not killed are there.

        Raises:
            HostError: One has ended.
        """
        for each in self.running:
            if each.process.returncode is not None:
                raise HostError(f"A host ended by itself, code {each.process.returncode}:\n{each.printed()}")

    async def stop(self) -> None:
        """End those that run."""
        for machine in self.machines:
            machine.kill_all()
        for each in self._started:
            if each.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    each.process.kill()
                await each.process.wait()
        self.running = []

    def tracebacks(self) -> list[str]:
        """Return the logs that have a traceback."""
        return [each.log.name for each in self._started if "Traceback (most recent call last)" in each.printed()]
