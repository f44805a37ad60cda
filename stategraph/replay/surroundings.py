"""Clock, ids and chance of a run that is recorded or replayed.

Rules
-----
* Ids and random numbers follow from the seed of the recording, the task that asks and how often it did before, so they
  are not written down, and do not depend on which of several tasks asks first.
* Readings of the clock are written down, for each task in its order. Who asks more often in a replay gets the last one.
* A replay does not wait.
"""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping
from hashlib import sha256
from typing import Final
from uuid import UUID

from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINT_NS
from stategraph.engine.config.context import get_config
from stategraph.engine.ports import Clock
from stategraph.replay.codec import Json

_EPOCH: Final = 0x01B21DD213814000
"""How many 100 ns the epoch of UUIDs lies before that of Unix."""


def scope() -> str:
    """Return the namespace of the task that runs here; empty outside of tasks."""
    try:
        return str(get_config()[CONF].get(CONFIG_KEY_CHECKPOINT_NS) or "")
    except (RuntimeError, KeyError):
        return ""


def ticks(seconds: float) -> int:
    """Return a time since Unix's epoch as UUIDs count it."""
    return int(seconds * 10_000_000) + _EPOCH


class SeededIds:
    """Ids and random numbers that follow from a seed.

    Attributes:
        last: The tick of the latest id of a checkpoint.

    Args:
        seed: Of one call of one recording; another one gives other ids.
        tick: Ids of checkpoints lie behind this moment.
    """

    def __init__(self, seed: str, tick: int) -> None:
        self.last = tick
        self._seed = seed
        self._tick = tick
        self._floor = 0
        self._checkpoints: dict[str, int] = {}
        self._made: Counter[str] = Counter()
        self._lock = threading.Lock()

    def checkpoint_id(self, step: int, /) -> str:
        """Return the id of a new checkpoint, greater than those made before for the same graph."""
        where = scope()
        with self._lock:
            number = max(self._checkpoints.get(where, 0), self._floor) + 1
            self._checkpoints[where] = number
            self.last = max(self.last, self._tick + number)
        node = self._digest(where, f"checkpoint {number}")[:6].hex()
        return f"{_moment(self._tick + number)}-{0x8000 | step & 0x3FFF:04x}-{node}"

    def boundary(self) -> str:
        """Return a text that sorts after all checkpoint ids made so far, and before all to come."""
        with self._lock:
            self._floor = max([self._floor, *self._checkpoints.values()]) + 1
            self.last = max(self.last, self._tick + self._floor)
            return _moment(self._tick + self._floor)

    def unique(self) -> UUID:
        """Return a new id."""
        return UUID(bytes=self._next("unique")[:16], version=4)

    def random(self) -> float:
        """Return a number between 0 and 1."""
        return int.from_bytes(self._next("random")[:7]) / 2**56

    def _next(self, what: str) -> bytes:
        where = scope()
        with self._lock:
            self._made[f"{what} {where}"] += 1
            number = self._made[f"{what} {where}"]
        return self._digest(where, f"{what} {number}")

    def _digest(self, where: str, what: str) -> bytes:
        return sha256(f"{self._seed}\n{where}\n{what}".encode()).digest()


def _moment(tick: int) -> str:
    return f"{tick >> 28:08x}-{tick >> 12 & 0xFFFF:04x}-6{tick & 0xFFF:03x}"


class RecordedClock:
    """A clock whose readings are written down.

    Args:
        clock: The clock.
        write: Takes a line for each reading.
    """

    def __init__(self, clock: Clock, write: Callable[[Mapping[str, Json]], object]) -> None:
        self._clock = clock
        self._write = write

    def time(self) -> float:
        """Return the time in seconds since the epoch."""
        return self._read("time", self._clock.time())

    def monotonic(self) -> float:
        """Return a reading in seconds that never goes back."""
        return self._read("monotonic", self._clock.monotonic())

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread."""
        self._clock.sleep(seconds)

    async def asleep(self, seconds: float, /) -> None:
        """Wait in an event loop."""
        await self._clock.asleep(seconds)

    def _read(self, clock: str, value: float) -> float:
        self._write({"kind": "time", "clock": clock, "task": scope(), "value": value})
        return value


class ReplayedClock:
    """A clock that gives recorded readings.

    Args:
        lines: Those of the readings.
    """

    def __init__(self, lines: Iterable[Mapping[str, Json]]) -> None:
        self._readings: dict[tuple[str, str], deque[float]] = defaultdict(deque)
        self._latest = {"time": 0.0, "monotonic": 0.0}
        for line in lines:
            self._readings[line["clock"], line["task"]].append(line["value"])
            self._latest.setdefault(line["clock"], line["value"])
            self._latest[line["clock"]] = self._latest[line["clock"]] or line["value"]

    def time(self) -> float:
        """Return the time that the recorded run was told."""
        return self._read("time")

    def monotonic(self) -> float:
        """Return the reading that the recorded run was given."""
        return self._read("monotonic")

    def sleep(self, seconds: float, /) -> None:
        """Return at once."""

    async def asleep(self, seconds: float, /) -> None:
        """Let others take their turn."""
        await asyncio.sleep(0)

    def _read(self, clock: str) -> float:
        left = self._readings[clock, scope()]
        try:
            self._latest[clock] = left.popleft()  # of the run, so that time does not jump for a task that asks anew
        except IndexError:
            pass
        return self._latest[clock]
