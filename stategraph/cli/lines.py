"""Lines for readers that may be slow: a thread writes them, so that what tells them never waits.

Rules
-----
* Lines come out whole and in their order. While `KEPT` of them wait, further ones that may be left out are; a line in
  their place says how many.
* At the end, lines come out as long as the reader takes them; when it took nothing for `PATIENCE_S`, they are given up.
* The thread writes to the descriptor: one that waited inside a buffer of Python's would abort the interpreter's exit.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

#: How many lines wait at most; those that must not be left out come on top.
KEPT: Final = 1_000

#: Time in which a reader takes something at the end.
PATIENCE_S: Final = 5.0


class Lines:
    """Writes lines to a descriptor, in a thread.

    Args:
        descriptor: Where to.
        left_out: Returns the line that says that so many were left out.
    """

    def __init__(self, descriptor: int, left_out: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._left_out = left_out
        # A number stands for so many lines that were left out.
        self._waiting: deque[str | int] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._taken = 0
        self._lost = 0
        self._thread = threading.Thread(target=self._work, name="stategraph output", daemon=True)
        self._thread.start()

    def put(self, line: str, *, optional: bool = False) -> None:
        """Have a line written.

        Args:
            line: The line, without its end.
            optional: Whether it may be left out if too many wait.
        """
        with self._changed:
            waiting = self._waiting
            if not optional or len(waiting) < KEPT:
                waiting.append(line)
            elif isinstance(waiting[-1], int):
                waiting[-1] += 1
            else:
                waiting.append(1)
            self._changed.notify()

    def close(self) -> None:
        """Let the lines that wait come out, and end; a reader that takes nothing is not waited for."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        taken = -1
        while self._thread.is_alive() and taken != self._taken:
            taken = self._taken
            self._thread.join(PATIENCE_S)

    def _work(self) -> None:
        while (line := self._next()) is not None:
            if isinstance(line, int):
                self._lost += line
                continue
            if self._lost and self._write(self._left_out(self._lost)):
                self._lost = 0
            self._lost += not self._write(line)
        if self._lost:
            self._write(self._left_out(self._lost))

    def _next(self) -> str | int | None:
        with self._changed:
            while not self._waiting and not self._closing:
                self._changed.wait()
            return self._waiting.popleft() if self._waiting else None

    def _write(self, line: str) -> bool:
        """Write a line; returns whether it was taken: a reader may be gone, or a disk full."""
        data = f"{line}\n".encode(errors="backslashreplace")
        while data:
            try:
                taken = os.write(self._descriptor, data)
            except BlockingIOError:  # another process has made the pipe so
                select.select([], [self._descriptor], [])
            except OSError:
                return False
            else:
                self._taken += taken
                data = data[taken:]
        return True
