"""Everything that is watched of a process: its figures, and what its probes answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeAlias

from stategraph.workers.registry.operations import RegistryOperations
from stategraph.workers.watching import listener, process
from stategraph.workers.watching.exposition import Family, text
from stategraph.workers.watching.listener import Answer
from stategraph.workers.watching.process import STUCK_S, Pulse
from stategraph.workers.watching.registry import RegistryWatch
from stategraph.workers.watching.runs import WorkerMetrics

Ready: TypeAlias = Callable[[], str]
"""Returns why a process takes no work; an empty text: it does."""


class Watch:
    """Figures and probes of a process.

    Args:
        more: Returns further figures as Prometheus reads them.

    Attributes:
        runs: The observer of its worker.
        ready: Says why it takes no work.
    """

    def __init__(self, more: Callable[[], str] = str) -> None:
        self.runs = WorkerMetrics()
        self.ready: Ready = lambda: "it is starting"
        self._more = more
        self._pulse: Pulse | None = None
        self._registry: RegistryWatch | None = None

    @asynccontextmanager
    async def watching(self, operations: RegistryOperations | None) -> AsyncIterator[None]:
        """Look at this event loop and at a registry for a block."""
        pulse = self._pulse = Pulse()
        tasks = [asyncio.create_task(pulse.beat(), name="stategraph pulse")]
        if operations is not None:
            registry = self._registry = RegistryWatch(operations)
            tasks.append(asyncio.create_task(registry.keep_looking(), name="stategraph figures"))
        try:
            yield
        finally:
            self._pulse = self._registry = None
            for each in tasks:
                each.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def live(self) -> Answer:
        """Return whether the process should go on: its event loop is not stuck."""
        silent_s = 0.0 if self._pulse is None else self._pulse.silent_s()
        if silent_s > STUCK_S:
            return 503, f"The event loop has been silent for {silent_s:.0f} s\n"
        return 200, "ok\n"

    def is_ready(self) -> Answer:
        """Return whether the process takes work: it has started, its database answers, and it is not stopping."""
        why = self.ready()
        if not why and self._registry is not None and not self._registry.is_up:
            why = "the database does not answer"
        return (503, f"Not ready: {why}\n") if why else (200, "ok\n")

    def figures(self) -> str:
        """Return all figures but those that others have given, as Prometheus reads them."""
        return text(self._families()) + process.of_program()

    def metrics(self) -> Answer:
        """Return all figures as Prometheus reads them."""
        return 200, self._more() + self.figures()

    def answers(self) -> dict[str, Callable[[], Answer]]:
        """Return what is answered on which path, for `listener.listening`."""
        return {listener.LIVE: self.live, listener.READY: self.is_ready, listener.METRICS: self.metrics}

    def _families(self) -> Iterator[Family]:
        yield from self.runs.families()
        if (registry := self._registry) is not None:
            yield from registry.families()
        if (pulse := self._pulse) is not None:
            yield from pulse.families()
        yield from process.families()
