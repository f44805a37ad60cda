"""Signals and the end of the input, by which a worker is told to stop."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final, Protocol, TypeAlias

from stategraph.cli.progress import Progress

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


_Handler: TypeAlias = Callable[[int, FrameType | None], object] | signal.Handlers


class Stoppable(Protocol):
    """A worker, or several."""

    def drain(self) -> None:
        """Claim nothing more, and end when the runs have."""

    def stop(self) -> None:
        """Give the runs back, and end."""


@contextmanager
def obeying_signals(worker: Stoppable, progress: Progress, at_last: _Handler = signal.SIG_DFL) -> Iterator[None]:
    """Drain at the first signal, stop at the second, and end at the third, which may come after the block.

    Args:
        worker: The worker.
        progress: Told about it.
        at_last: What the third one does. By default the system ends the process: that needs nothing of a loop or an
            interpreter that are held up.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    steps = deque([_drain, _stop])

    def hear(number: int, frame: FrameType | None) -> None:
        del number, frame
        step = steps.popleft()
        if not steps:
            for each in SIGNALS:
                signal.signal(each, at_last)
        with contextlib.suppress(RuntimeError):  # the loop is closed: all is done, but threads of nodes may go on
            loop.call_soon_threadsafe(step, worker, progress)

    # Not by the loop, which would set handlers back when it ends: a second signal must not kill what drains.
    before = {each: signal.signal(each, hear) for each in SIGNALS}
    try:
        yield
    finally:
        if len(steps) == 2:
            for each, handler in before.items():
                signal.signal(each, handler)


def _drain(worker: Stoppable, progress: Progress) -> None:
    worker.drain()
    progress.tell("draining", "draining: nothing more is claimed; a second signal gives back what has not ended")


def _stop(worker: Stoppable, progress: Progress) -> None:
    worker.stop()
    progress.tell("stopping", "stopping: what has not ended is given back; a third signal kills")


def drain_at_eof(worker: Stoppable) -> None:
    """Watch standard input in a thread that does not keep this process from ending.

    An input that is not there, or cannot be read any more, has ended.
    """
    import asyncio

    loop = asyncio.get_running_loop()

    def watch() -> None:
        with contextlib.suppress(OSError, ValueError):
            while sys.stdin is not None and os.read(sys.stdin.fileno(), 1024):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
            loop.call_soon_threadsafe(worker.drain)

    threading.Thread(target=watch, name="stategraph end of input", daemon=True).start()
