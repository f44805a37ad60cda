"""Replicas of `stategraph serve` on one database, which are killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import re
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

STARTING_S = 180.0

#: A killed replica's runs go to another one soon, and as often as it takes.
_SETTINGS = """
access_log = false

[leases]
lease_s = 3.0
heartbeat_s = 1.0
max_attempts = 50

[limits]
requests_per_minute = 0
"""

_ADDRESS = re.compile(rb"(?:is|are) served at (http://\S+)")


class ReplicaError(Exception):
    """A replica ended by itself, or did not start; the message has the end of what it printed."""


@dataclass(slots=True, eq=False)
class Replica:
    """A replica that runs.

    Attributes:
        process: Its process, which is the server.
        log: What it prints.
        address: Where it listens; empty: it does not yet.
    """

    process: asyncio.subprocess.Process
    log: Path
    address: str = ""

    def printed(self) -> str:
        """Return the end of what it printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]


@dataclass(slots=True)
class Replicas:
    """Replicas that serve one database.

    Attributes:
        store: The address of the database.
        folder: A scratch folder.
        running: Those that listen.
        kills: How many were killed.
    """

    store: str
    folder: Path
    running: list[Replica] = field(default_factory=list)
    kills: int = 0
    _started: list[Replica] = field(default_factory=list)

    def prepare(self) -> None:
        """Write the files that they are started with."""
        graphs = {"script": f"{Path(__file__).with_name('script.py')}:graph"}
        config = {"dependencies": ["."], "graphs": graphs}
        (self.folder / "langgraph.json").write_text(json.dumps(config), encoding="utf-8")
        (self.folder / "server.toml").write_text(_SETTINGS, encoding="utf-8")

    async def start(self) -> Replica:
        """Start one, and wait until it listens.

        Raises:
            ReplicaError: It does not.
        """
        log = self.folder / f"replica-{len(self._started)}.log"
        command = [sys.executable, "-m", "stategraph", "serve", "--config", str(self.folder / "langgraph.json")]
        command += ["--settings", str(self.folder / "server.toml"), "--port", "0", "--store", self.store]
        with log.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=out, stderr=out
            )
        made = Replica(process, log)
        self._started.append(made)
        async with asyncio.timeout(STARTING_S):
            while not (found := _ADDRESS.search(log.read_bytes())):
                if process.returncode is not None:
                    raise ReplicaError(f"A replica did not start:\n{made.printed()}")
                await asyncio.sleep(0.1)
        made.address = found[1].decode()
        self.running.append(made)
        return made

    async def kill_some(self, chosen: random.Random, every_s: float) -> None:
        """Kill one from time to time, and start another in its place.

        Args:
            chosen: Chooses which, and when.
            every_s: Seconds between two kills, on average.

        Raises:
            ReplicaError: One ended by itself, or did not start.
        """
        while True:
            await asyncio.sleep(chosen.uniform(0.3, 1.7) * every_s)
            self.check()
            victim = chosen.choice(self.running)
            self.running.remove(victim)
            victim.process.send_signal(signal.SIGKILL)
            await victim.process.wait()
            self.kills += 1
            await asyncio.sleep(chosen.uniform(0.0, 1.0))
            await self.start()

    def check(self) -> None:
        """Check that those that were not killed are there.

        Raises:
            ReplicaError: One has ended.
        """
        for each in self.running:
            if each.process.returncode is not None:
                raise ReplicaError(f"A replica ended by itself, code {each.process.returncode}:\n{each.printed()}")

    async def stop(self) -> None:
        """End those that run."""
        for each in self._started:
            if each.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    each.process.kill()
                await each.process.wait()

    def errors(self) -> list[str]:
        """Return the lines of the logs that begin a traceback, with the log's name."""
        found = []
        for each in self._started:
            count = each.printed().count("Traceback (most recent call last)")
            if count:
                found.append(f"{each.log.name}: {count} tracebacks")
        return found
