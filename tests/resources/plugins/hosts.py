"""Hosts and declarations for the tests of plug-ins."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from stategraph.resources.plugins.host import PluginHost
from stategraph.resources.plugins.lifecycle import RestartBudget
from stategraph.resources.plugins.spec import PluginLimits as PluginLimits
from stategraph.resources.plugins.spec import PluginSpec
from stategraph.resources.plugins.statistics import PluginStatus

SAMPLES = "tests.resources.plugins.samples"

#: Seconds after which something that should have happened has not.
DEADLINE_S = 60.0


def spec(cls: str, name: str = "p", **fields: Any) -> PluginSpec:
    """Return a declaration of one of the samples, by default with a process of its own."""
    return PluginSpec(name, module=f"{SAMPLES}:{cls}", **{"trust": "verified", **fields})


class Heard:
    """The events that a host published."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Mapping[str, Any]]] = []

    def __call__(self, topic: str, event: Mapping[str, Any]) -> None:
        self.events.append((topic, event))

    @property
    def topics(self) -> list[str]:
        return [topic for topic, _ in self.events]


@asynccontextmanager
async def hosting(**settings: Any) -> AsyncIterator[PluginHost]:
    """Run a host whose plug-ins are restarted without much waiting."""
    budget = settings.pop("budget", lambda: RestartBudget(first_s=0.01))
    async with PluginHost(allow=settings.pop("allow", (SAMPLES,)), budget=budget, **settings) as host:
        yield host


async def until(host: PluginHost, met: Callable[[PluginStatus], bool], name: str = "p") -> PluginStatus:
    """Wait until a plug-in's figures are as they should be."""
    await eventually(lambda: met(host.status(name)))
    return host.status(name)


async def eventually(met: Callable[[], object]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(DEADLINE_S):
        while not met():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.01)


def lives(pid: int) -> bool:
    """Return true if a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False


def told_by_the_system(pid: int | None) -> bytes:
    """Return the arguments and the environment of a process, as others may read them."""
    return Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
