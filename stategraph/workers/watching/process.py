"""Figures of this process: processor time, memory, open files, and how late its event loop is.

The names are those of Prometheus's clients, whose own are taken where `prometheus_client` is in use: a program that
measures with it, or with OpenTelemetry's exporter, has its figures shown beside these.
"""

from __future__ import annotations

import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from stategraph.workers.watching.exposition import Family, gauge

#: Interval at which the event loop is looked after, in seconds.
PULSE_S: Final = 0.5

#: An event loop that has been silent for so long is stuck, in seconds.
STUCK_S: Final = 60.0

_PROC: Final = Path("/proc/self")

_began_at: Final = time.time()


class Pulse:
    """Notes that an event loop goes on, and how late it is; read from any thread.

    Args:
        clock: Returns seconds of a clock that only goes forward.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._beaten_at = clock()
        self._late_s = 0.0

    async def beat(self) -> None:
        """Beat until it is cancelled."""
        while True:
            began = self._clock()
            await asyncio.sleep(PULSE_S)
            self.note(self._clock() - began - PULSE_S)

    def note(self, late_s: float) -> None:
        """Note a beat that came late by some seconds; the figure forgets by half with each beat."""
        self._beaten_at = self._clock()
        self._late_s = max(late_s, self._late_s / 2, 0.0)

    def silent_s(self) -> float:
        """Return for how long the loop has been silent, in seconds."""
        return self._clock() - self._beaten_at

    def families(self) -> Iterator[Family]:
        """Return its figure."""
        late_s = max(self._late_s, self.silent_s() - PULSE_S)
        yield gauge("stategraph_event_loop_delay_seconds", "How late the event loop has been lately.", late_s)


def families() -> Iterator[Family]:
    """Return the figures of this process, unless those of its Prometheus client say the same."""
    if "prometheus_client" in sys.modules:
        return
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    yield Family("process_cpu_seconds_total", "counter", "Processor time.", [("", {}, cpu_s)])
    yield gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", _began_at)
    yield gauge("process_max_fds", "Files that may be open.", float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
    if _PROC.is_dir():
        pages = int((_PROC / "statm").read_text().split()[1])
        yield gauge("process_resident_memory_bytes", "Resident memory.", float(pages * os.sysconf("SC_PAGE_SIZE")))
        yield gauge("process_open_fds", "Files that are open.", float(len(os.listdir(_PROC / "fd"))))


def of_program() -> str:
    """Return what the program measures by itself with Prometheus's client, such as OpenTelemetry's exporter does."""
    client = sys.modules.get("prometheus_client")
    return "" if client is None else str(client.generate_latest(client.REGISTRY).decode())
