"""Parsers of command lines that suggest what may have been meant.

A command or an option that does not exist is answered with those that are spelled nearly so; `--help` shows the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from typing import Any, Final, NoReturn

#: How alike two words are to be suggested for each other, from 0 to 1.
ALIKE: Final = 0.6


class Parser(argparse.ArgumentParser):
    """Parses the command line of one command; the parsers of its actions are of this class too."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self.set_defaults(parser=self)  # that of an action wins over that of its command

    def parse(self, words: list[str]) -> argparse.Namespace:
        """Parse a whole command line.

        Raises:
            SystemExit: It cannot be read (code 2), or it asks for help (code 0).
        """
        arguments, rest = self.parse_known_args(words)
        if rest:
            chosen: Parser = arguments.parser
            given = next((each for each in rest if each.startswith("-")), rest[0])
            name = given.partition("=")[0]
            hint = suggestion(name, chosen.options()) if given.startswith("-") else ""
            chosen.error(f"unrecognized arguments: {' '.join(rest)}{hint}")
        return arguments

    def options(self) -> list[str]:
        """Return the options that are written with two dashes."""
        return [each for each in self._option_string_actions if each.startswith("--")]

    def actions(self) -> list[argparse.Action]:
        """Return the arguments and options, in the order of their definition."""
        return list(self._actions)

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if action.choices is None or value in action.choices:
            return
        known = [str(each) for each in action.choices]
        hint = suggestion(str(value), known) or f" (choose from {', '.join(map(repr, known))})"
        raise argparse.ArgumentError(action, f"invalid choice: {str(value)!r}{hint}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return `, did you mean ...?` for a word that is nearly one of those known, else an empty text."""
    import difflib

    near = difflib.get_close_matches(word, list(known), n=2, cutoff=ALIKE)
    return f", did you mean {' or '.join(map(repr, near))}?" if near else ""


class UsageError(Exception):
    """Arguments that make no sense together."""


def fail(arguments: argparse.Namespace, message: str) -> NoReturn:
    """End the process with the usage of the chosen command and a sentence, exit code 2."""
    chosen: Parser = arguments.parser
    chosen.error(message)
