"""Keeps the surroundings of the runs that begin here: the machine's own clock and ids, unless `use` replaced them.

Rules
-----
* No other module of the engine, of agents or of runs asks the machine for the time, for a pause, or for random
  numbers; event loops have their own time. Waiting for a worker thread is real: with a clock of tests, time limits of
  sync nodes are those of that clock.
* A replacement holds for runs that begin in that context and for all that runs inside them, in threads too.
* The ids under which callbacks trace graphs, nodes and tools are LangChain's own; those of models see `run_id`.
"""

from __future__ import annotations

import random
import time as machine
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import Context, ContextVar, copy_context
from datetime import UTC, datetime
from os import urandom
from typing import Final, NamedTuple
from uuid import UUID, uuid4

from stategraph.engine.ports import Clock, FactSink, IdFactory, Tape, TaskRunner

_EPOCH: Final = 0x01B21DD213814000
"""How many 100 ns the epoch of UUIDs (1582-10-15) lies before that of Unix."""

_last = 0


def _tick() -> int:
    """Return a moment of the clock that never stands still."""
    global _last
    now = machine.time_ns() // 100 + _EPOCH
    if now <= _last:
        now = _last + 1
    _last = now
    return now


class SystemClock:
    """The machine's clock. Looks up `time.time` at each call, so that patches such as freezegun's take effect."""

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        return machine.time()

    def monotonic(self) -> float:
        """Return a reading in seconds that never goes back."""
        return machine.monotonic()

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread."""
        machine.sleep(seconds)

    async def asleep(self, seconds: float, /) -> None:
        """Wait in an event loop."""
        import asyncio  # builders import this module, and asyncio takes several milliseconds

        await asyncio.sleep(seconds)


class SystemIds:
    """Random ids; those of checkpoints are UUIDs of version 6, which sort by the time they were made.

    The latest checkpoint of a thread is the one with the greatest id, so all ids of a process come from one clock that
    never stands still. The sequence number is the step's, as in LangGraph's checkpoints.
    """

    def checkpoint_id(self, step: int, /) -> str:
        """Return a new id, greater than all before.

        Spelled at once: a run that stores at its end makes one for each step, and by way of `uuid.UUID` it takes three
        times as long.

        Args:
            step: The step's number; -2 for the state before anything was written.
        """
        now = _tick()
        parts = (now >> 28, now >> 12 & 0xFFFF, now & 0xFFF, 0x8000 | step & 0x3FFF, random.getrandbits(48))
        return "%08x-%04x-6%03x-%04x-%012x" % parts  # noqa: UP031  an f-string takes a third longer

    def boundary(self) -> str:
        """Return a text that sorts after all checkpoint ids made so far, and before all to come."""
        now = _tick()
        return "%08x-%04x-6%03x" % (now >> 28, now >> 12 & 0xFFFF, now & 0xFFF)  # noqa: UP031

    def unique(self) -> UUID:
        """Return a random id."""
        return uuid4()

    def random(self) -> float:
        """Return a random number between 0 and 1."""
        return random.uniform(0, 1)  # which programs replace to test how their nodes are tried again


class Environment(NamedTuple):
    """A run's surroundings (not environment variables): clock, ids, runner of tasks, sinks of facts.

    Attributes:
        clock: Tells the time.
        ids: Makes ids.
        runner: Runs tasks beside each other; None: the worker threads of the process.
        facts: Makes the sink of a run's facts, of its namespace; None, or its None: nobody takes them.
        tape: Records the run's calls of models and tools and the order of its tasks, or replays them; None: neither.
    """

    clock: Clock
    ids: IdFactory
    runner: TaskRunner | None = None
    facts: Callable[[str], FactSink | None] | None = None
    tape: Tape | None = None

    def now(self) -> str:
        """Return the time as ISO 8601, in UTC."""
        return datetime.fromtimestamp(self.clock.time(), UTC).isoformat()

    def datetime(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.fromtimestamp(self.clock.time(), UTC)

    def unique(self) -> str:
        """Return a new id as text."""
        return str(self.ids.unique())

    def unique_bytes(self) -> bytes:
        """Return 16 bytes that no other call gets, for ids of another form; the machine's are random in every bit."""
        return urandom(16) if self.ids is SYSTEM.ids else self.ids.unique().bytes

    def run_id(self) -> UUID | None:
        """Return an id for a run of LangChain, such as a model's, whose answer may be named after it.

        None if the ids are the machine's: then LangChain makes one that sorts by time, which its tracers rely on.
        """
        return None if self.ids is SYSTEM.ids else self.ids.unique()


SYSTEM: Final = Environment(SystemClock(), SystemIds())
"""The machine's own clock, and random ids."""

_current: ContextVar[Environment] = ContextVar("stategraph_environment", default=SYSTEM)

current = _current.get
"""Return the environment of what runs here."""


@contextmanager
def replacing(clock: Clock | None, ids: IdFactory | None) -> Iterator[None]:
    """Use another clock, other ids or both in the `with` block; None keeps those that are used here."""
    here = current()
    if clock is None and ids is None:
        yield
    else:
        with use(here._replace(clock=clock or here.clock, ids=ids or here.ids)):
            yield


@contextmanager
def use(environment: Environment) -> Iterator[None]:
    """Use another environment for the runs that begin in the `with` block."""
    token = _current.set(environment)
    try:
        yield
    finally:
        _current.reset(token)


def context_with(environment: Environment) -> Context:
    """Return a copy of this context in which runs have another environment; the context itself stays as it is."""
    context = copy_context()
    context.run(_current.set, environment)
    return context
