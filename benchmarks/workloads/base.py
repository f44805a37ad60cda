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


@dataclass(frozen=True, slots=True)
class Sample:
    """One timing: the mean cost of an iteration.

    Attributes:
        cpu_s: Processor time of all threads of the process, in seconds; other processes disturb it little.
        wall_s: Elapsed time in seconds, waiting for disks and servers included.
        iterations: How many iterations it is the mean of.
    """

    cpu_s: float
    wall_s: float
    iterations: int


class Workload(Protocol):
    """Something both engines can do."""

    def check(self) -> dict[str, Any]:
        """Do the work once and describe the result; the descriptions of both engines must be equal.

        A key that starts with ``_`` is reported but not compared.
        """

    def sample(self, budget_s: float) -> Sample:
        """Repeat the work until ``budget_s`` seconds of it have been timed, at least once."""

    def close(self) -> None:
        """Give back what the work holds: databases, files."""


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


class Stopwatch:
    """Adds up processor time and elapsed time.

    What lived before is kept out of the garbage collector, and the last thing that is timed is a collection. So what is
    measured pays for its own garbage and for nobody else's: a collection looks at everything that lives, so without
    this whoever makes the one object too many would pay for the graphs and modules of the whole process.
    """

    def __init__(self) -> None:
        self.cpu_s = self.wall_s = 0.0
        self.iterations = 0

    def __enter__(self) -> Stopwatch:
        gc.collect()
        gc.freeze()
        return self

    def __exit__(self, *_: object) -> None:
        self.add(gc.collect)
        self.iterations -= 1
        gc.unfreeze()

    def add(self, work: Callable[[], Any]) -> None:
        """Time one iteration."""
        cpu, wall = time.process_time(), time.perf_counter()
        work()
        self.cpu_s += time.process_time() - cpu
        self.wall_s += time.perf_counter() - wall
        self.iterations += 1

    def sample(self) -> Sample:
        """Return the mean of the iterations."""
        return Sample(self.cpu_s / self.iterations, self.wall_s / self.iterations, self.iterations)


@dataclass(frozen=True, slots=True)
class Timed:
    """A workload made of plain callables.

    Attributes:
        work: One iteration, timed.
        describe: Does the work once and reduces its result to what can be compared.
        reset: Called before each iteration, not timed.
        iterations: How many iterations a sample has; 0: as many as fit into its budget.
        close: Gives back what the work holds.
    """

    work: Callable[[], Any]
    describe: Callable[[], dict[str, Any]]
    reset: Callable[[], None] = no_reset
    iterations: int = 0
    close: Callable[[], None] = no_reset

    def check(self) -> dict[str, Any]:
        """See ``Workload.check``."""
        self.reset()
        return self.describe()

    def sample(self, budget_s: float) -> Sample:
        """See ``Workload.sample``."""
        watch = Stopwatch()
        with watch:
            while watch.iterations < self.iterations or (not self.iterations and _goes_on(watch, budget_s)):
                self.reset()
                watch.add(self.work)
        return watch.sample()


def _goes_on(watch: Stopwatch, budget_s: float) -> bool:
    return watch.wall_s < budget_s or not watch.iterations


class LostInNoiseError(RuntimeError):
    """A difference of two costs is not above zero, so it says nothing."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The cost of what ``long`` does beyond ``short``, divided by ``units``; both are sampled in one go, in turn."""

    long: Timed
    short: Timed
    units: int = 1
    turns: int = 4

    def check(self) -> dict[str, Any]:
        """Describe both halves."""
        return {"long": self.long.check(), "short": self.short.check()}

    def sample(self, budget_s: float) -> Sample:
        """Sample both halves in turn, each on half of the budget.

        Raises:
            LostInNoiseError: The short half took longer than the long one.
        """
        longs, shorts = [], []
        for _ in range(self.turns):
            longs.append(self.long.sample(budget_s / 2 / self.turns))
            shorts.append(self.short.sample(budget_s / 2 / self.turns))
        more = [_mean(longs, each) - _mean(shorts, each) for each in ("cpu_s", "wall_s")]
        if more[0] <= 0:
            raise LostInNoiseError(f"the work and its baseline cost the same ({_mean(longs, 'cpu_s'):.6f} s)")
        iterations = min(sum(each.iterations for each in half) for half in (longs, shorts))
        return Sample(more[0] / self.units, more[1] / self.units, iterations)

    def close(self) -> None:
        """Close both halves."""
        self.long.close()
        self.short.close()


def _mean(samples: list[Sample], clock: str) -> float:
    total = sum(getattr(each, clock) * each.iterations for each in samples)
    return float(total / sum(each.iterations for each in samples))


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
