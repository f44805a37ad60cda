"""Colours of a terminal, or none.

There are none where the stream is no terminal, where `NO_COLOR` is set (https://no-color.org), and on terminals that
say they are dumb.
"""

from __future__ import annotations

import os
from typing import TextIO


class Style:
    """Dresses texts for a stream.

    Attributes:
        is_terminal: Whether a person reads the stream as it is written.

    Args:
        stream: Where the texts go; None: nowhere.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.is_terminal = stream is not None and stream.isatty()
        self._has_colours = self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

    def bold(self, text: str) -> str:
        """Return a text that stands out."""
        return self._dressed("1", text)

    def dim(self, text: str) -> str:
        """Return a text that stands back."""
        return self._dressed("2", text)

    def added(self, text: str) -> str:
        """Return a text that is new, or went well."""
        return self._dressed("32", text)

    def removed(self, text: str) -> str:
        """Return a text that is gone, or went wrong."""
        return self._dressed("31", text)

    def asked(self, text: str) -> str:
        """Return a text that wants an answer."""
        return self._dressed("33", text)

    def _dressed(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self._has_colours and text else text
