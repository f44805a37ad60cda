"""Output of a plug-in's process: logged line by line, without secrets, at a limited rate."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import Final

_LONGEST: Final = 2000
_KEPT: Final = 20
_LINES_PER_S: Final = 100
_SHORTEST_SECRET: Final = 4

_log = logging.getLogger("stategraph.plugin")


class OutputLog:
    """Logs what a process prints, and keeps the last lines.

    Args:
        name: The plug-in.
        secrets: Texts that are hidden in what it prints, from four characters on.
    """

    def __init__(self, name: str, secrets: Iterable[str]) -> None:
        self._name = name
        self._hidden = sorted((each for each in secrets if len(each) >= _SHORTEST_SECRET), key=len, reverse=True)
        self._last: deque[str] = deque(maxlen=_KEPT)
        self._second = 0
        self._lines = 0

    async def read(self, stream: asyncio.StreamReader) -> None:
        """Read until the end."""
        rest = b""
        while piece := await stream.read(64 * 1024):
            *lines, rest = (rest + piece).split(b"\n")
            for each in lines:
                self._take(each)
            if len(rest) > _LONGEST:
                self._take(rest)
                rest = b""
        if rest:
            self._take(rest)

    def _take(self, line: bytes) -> None:
        text = self.hidden(line[:_LONGEST].decode("utf-8", "replace").rstrip())
        self._last.append(text)
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        self._lines += 1
        if self._lines < _LINES_PER_S:
            _log.info("%s: %s", self._name, text)
        elif self._lines == _LINES_PER_S:
            _log.warning("%s prints more than %d lines a second; some are left out", self._name, _LINES_PER_S)

    def hidden(self, text: str) -> str:
        """Return a text without secrets."""
        for each in self._hidden:
            text = text.replace(each, "[hidden]")
        return text

    def told(self) -> str:
        """Return the last line that says something, as the end of a sentence; empty if there is none."""
        said = next((each for each in reversed(self._last) if each.strip()), "")
        return f"; it said last: {said[:400]}" if said else ""
