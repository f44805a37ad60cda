"""Ctrl-C while a graph runs: it stops between two steps; a second one ends the process at once.

A sync node runs in a thread, which nothing can stop, so the first Ctrl-C lets the nodes that run come to their end and
be stored. The second one is the system's: the process ends whatever its threads do, as SQLite and PostgreSQL allow.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from stategraph.engine.config.runtime import RunControl

_TOLD: Final = b"\nStopping after this node; press Ctrl-C again to end at once.\n"


@contextmanager
def stopping_at_ctrl_c(control: RunControl) -> Iterator[None]:
    """Ask a run to stop at the first Ctrl-C in the block, and end the process at the second.

    Args:
        control: Is asked. The run then ends with `GraphDrained`, unless it was at its end anyway.
    """

    def hear(number: int, frame: FrameType | None) -> None:
        del frame
        signal.signal(number, signal.SIG_DFL)
        control.request_drain("Ctrl-C")
        with contextlib.suppress(OSError, ValueError, AttributeError):  # there is no standard error
            os.write(sys.stderr.fileno(), _TOLD)  # not by its buffer, which may be in use right now

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
