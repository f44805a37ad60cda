"""Colours of a terminal, or none; and texts that cannot steer it.

There are none where the stream is no terminal, where `NO_COLOR` is set (https://no-color.org), and on terminals that
say they are dumb.

Texts of models, tools and stored threads may hold sequences that clear the screen, move the cursor or fill the
clipboard (ECMA-48, xterm's OSC 52), and characters that show text in another order than it is in (CVE-2021-42574).
They are shown as escapes.
"""

from __future__ import annotations

import os
import re
from typing import Final, TextIO

#: Control characters other than the tab and the end of a line, and those that reorder text.
_STEERING: Final = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]|\r(?!\n)"

_FOREIGN: Final = re.compile(f"({_STEERING})")

#: What `Style` writes, or a character that steers.
_WRITTEN: Final = re.compile(rf"\x1b\[(?:0|1|2|31|32|33)m|({_STEERING})")


def harmless(text: str) -> str:
    """Return a text with escapes, as JSON has them, for all that would steer a terminal."""
    return _FOREIGN.sub(_escape, text)


def for_terminal(text: str, stream: TextIO) -> str:
    """Return a text as `harmless` does if a stream is a terminal, but with the colours of a `Style`."""
    return _WRITTEN.sub(_escape, text) if stream.isatty() else text


def _escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found[1]):04x}" if found[1] else found[0]


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
