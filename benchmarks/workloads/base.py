"""What a workload is, how one is timed, and how its results are reduced to something two engines can be compared by."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Protocol

# An id that was given is blotted out with its label: it is set on the message when the state takes it in, which may be
# before or after the chunk with the same message is looked at.
GIVEN = re.compile(r", id='<id>'")
UUID = re.compile(r"[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")

Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"wall": time.perf_counter, "cpu": time.process_time}
"""What can be measured: elapsed time, or the processor time of all threads, which other processes disturb less."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One timing: the mean cost of an iteration in seconds, and how many iterations it is the mean of."""

    cost_s: float
    iterations: int


class Workload(Protocol):
    """Something both engines can do."""

    def check(self) -> dict[str, Any]:
        """Do the work once and describe the result; the descriptions of both engines must be equal.

        A key that starts with ``_`` is reported but not compared.
        """

    def sample(self, budget_s: float, clock: Clock) -> Sample:
        """Repeat the work until ``budget_s`` seconds of it have been timed, at least once."""


class Loop:
    """The event loop that all asynchronous work of the process shares: uvloop, as LangGraph's own benchmarks use."""

    def __init__(self) -> None:
        try:
            import uvloop

            self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
            self.kind = "uvloop"
        except ImportError:
            self._loop = asyncio.new_event_loop()
            self.kind = "asyncio"

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """Run one awaitable to its end."""
        return self._loop.run_until_complete(awaitable)


LOOP = Loop()


def no_reset() -> None:
    """Nothing to tidy up between two iterations."""


@dataclass(frozen=True, slots=True)
class Timed:
    """A workload made of plain callables.

    Attributes:
        work: one iteration, timed.
        describe: the check; see ``Workload.check``.
        reset: runs before every iteration and is not timed.
    """

    work: Callable[[], Any]
    describe: Callable[[], dict[str, Any]]
    reset: Callable[[], None] = no_reset

    def check(self) -> dict[str, Any]:
        """Describe the result of one run."""
        self.reset()
        found = self.describe()
        self.reset()
        return found

    def sample(self, budget_s: float, clock: Clock) -> Sample:
        """Time iterations until the budget is spent."""
        gc.collect()
        spent, count = 0.0, 0
        while spent < budget_s or not count:
            self.reset()
            begin = clock()
            self.work()
            spent += clock() - begin
            count += 1
        return Sample(spent / count, count)


@dataclass(frozen=True, slots=True)
class Difference:
    """The cost of what ``long`` does beyond ``short``, divided by ``units``; both are sampled in turn."""

    long: Timed
    short: Timed
    units: int = 1

    def check(self) -> dict[str, Any]:
        """Describe both halves."""
        return {"long": self.long.check(), "short": self.short.check()}

    def sample(self, budget_s: float, clock: Clock) -> Sample:
        """Sample both halves on half of the budget each."""
        long, short = self.long.sample(budget_s / 2, clock), self.short.sample(budget_s / 2, clock)
        return Sample(max(long.cost_s - short.cost_s, 1e-9) / self.units, min(long.iterations, short.iterations))


class Digest:
    """An order-free digest of stream chunks: parallel tasks may report in any order, but not anything else."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def add(self, chunk: Any) -> None:
        """Take in one chunk. Random ids are blotted out."""
        text = GIVEN.sub("", UUID.sub("<id>", repr(chunk)))
        self._parts.append(hashlib.sha256(text.encode()).digest())

    def result(self) -> dict[str, Any]:
        """How many chunks there were, and their digest."""
        return {"chunks": len(self._parts), "digest": hashlib.sha256(b"".join(sorted(self._parts))).hexdigest()[:16]}
