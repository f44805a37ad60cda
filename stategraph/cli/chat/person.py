"""Lines from a person at a terminal, or from a script through a pipe."""

from __future__ import annotations

import sys

from stategraph.cli.output import encodable, write
from stategraph.cli.style import Style


class GoneError(Exception):
    """Nothing more will be said: the input has ended."""


class Person:
    """Reads lines from standard input.

    Attributes:
        is_there: Whether somebody types at a terminal, and can be asked again.

    Args:
        quiet: Write no prompts, and do not repeat what a script sends.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._style = Style(sys.stdout)
        self._quiet = quiet
        self.is_there = bool(sys.stdin and sys.stdin.isatty() and self._style.is_terminal)
        if self.is_there:
            try:
                import readline  # noqa: F401 - `input` edits lines with it, and knows those before
            except ImportError:
                pass

    def line(self, prompt: str) -> str:
        """Return the next line.

        Args:
            prompt: Written before it; what a script sends is written behind it, so that a transcript is whole.

        Raises:
            GoneError: The input has ended.
            KeyboardInterrupt: Ctrl-C.
        """
        if self.is_there:
            try:
                return input(encodable(prompt, sys.stdout))
            except EOFError:
                write("")
                raise GoneError from None
        text = sys.stdin.readline() if sys.stdin else ""
        if not text:
            raise GoneError
        text = text.rstrip("\r\n")
        if not self._quiet:
            write(f"{prompt}{text}")
        return text
