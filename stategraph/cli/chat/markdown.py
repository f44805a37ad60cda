"""Markdown in a terminal, as it comes: the block that is being written is drawn anew, blocks before it stay.

It needs `rich`, which is imported when the first block begins (0.1 s), and a terminal.
"""

from __future__ import annotations

import importlib.util
import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live

#: Times a second that the block at the end is drawn.
_REFRESH: Final = 12

_FENCE: Final = re.compile(r"^ {0,3}(```|~~~)", re.MULTILINE)


def is_available() -> bool:
    """Return whether the package is installed."""
    return importlib.util.find_spec("rich") is not None


def split_blocks(text: str) -> tuple[str, str]:
    """Return the blocks of a text that are whole, and the rest.

    A block ends at an empty line outside of a fence.
    """
    at = 0
    for found in re.finditer(r"\n[ \t]*\n", text):
        if len(_FENCE.findall(text[: found.start()])) % 2 == 0:
            at = found.end()
    return text[:at], text[at:]


class MarkdownStream:
    """Writes Markdown to the terminal."""

    def __init__(self) -> None:
        self._console: Console | None = None
        self._live: Live | None = None
        self._text = ""

    def feed(self, text: str) -> None:
        """Write what came."""
        from rich.live import Live

        if self._console is None:
            from rich.console import Console

            self._console = Console(highlight=False)
        self._text += text
        whole, self._text = split_blocks(self._text)
        if whole:
            self._settle(whole)
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=_REFRESH, transient=True)
            self._live.start()
        self._live.update(_rendered(self._text))

    def end(self) -> None:
        """Write the last block for good."""
        text, self._text = self._text, ""
        self._settle(text)

    def _settle(self, text: str) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        if text.strip() and self._console is not None:
            self._console.print(_rendered(text.strip("\n")))


def _rendered(text: str) -> Any:
    from rich.markdown import Markdown

    return Markdown(text)
