"""The command, and what may stand at a place of a command line.

Nothing but the parsers is looked at: no database is opened, no target is imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stategraph.cli.completion.scripts import SCRIPTS
from stategraph.cli.output import plain_command, write
from stategraph.cli.parser import Parser

#: Words that the scripts put before the words to complete.
ASK: Final = "words"

_HINT: Final = """\
'stategraph completion install' puts it where the shell reads it. By hand, in a start-up file:

  bash  ~/.bashrc                     source <(stategraph completion bash)
  zsh   ~/.zshrc, below compinit      source <(stategraph completion zsh)
  fish  ~/.config/fish/config.fish    stategraph completion fish | source
"""


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    actions = parser.add_subparsers(title="actions", metavar="bash|zsh|fish|install", required=True)
    for shell in SCRIPTS:
        summary = f"Print the script for {shell}."
        actions.add_parser(shell, help=summary, description=summary).set_defaults(run=_print, shell=shell)
    summary = "Put the script where the shell reads it; may be repeated."
    install = actions.add_parser("install", help=summary, description=summary)
    install.add_argument("--shell", choices=[*SCRIPTS], help="the shell (default: that of the variable SHELL)")
    install.add_argument("--print", action="store_true", help="print what would be written where, and change nothing")
    install.set_defaults(run=_install)
    asked = actions.add_parser(ASK)
    asked.add_argument("words", nargs=argparse.REMAINDER)
    asked.set_defaults(run=_offer)
    parser.epilog = _HINT
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def _print(arguments: argparse.Namespace) -> int:
    """Print the script of a shell."""
    write(SCRIPTS[arguments.shell].rstrip())
    return 0


def _install(arguments: argparse.Namespace) -> int:
    """Put the script of a shell where it reads it, and return the exit code."""
    from stategraph.cli.completion.installing import install

    return plain_command(install, arguments, as_json=False)


def _offer(arguments: argparse.Namespace) -> int:
    """Print what may stand in the place of the last of some words."""
    make: Callable[[Sequence[str]], Parser] = arguments.make_parser
    words = [each for at, each in enumerate(arguments.words) if at or each != "--"]
    lines = candidates(make(words), words or [""])
    if lines:
        write("\n".join(lines))
    return 0


def candidates(parser: Parser, words: Sequence[str]) -> list[str]:
    """Return what may stand in the place of the last word, each with a tab and what it is.

    Args:
        parser: Parses the command line, without the program's name.
        words: The words so far; the last one is what there is of it, perhaps nothing.
    """
    *before, current = words
    place = _Place(parser)
    for word in before:
        place.take(word)
    return place.offers(current)


class _Place:
    """A place in a command line, moved on word by word.

    Args:
        parser: Parses what follows.
    """

    def __init__(self, parser: Parser) -> None:
        self._option: argparse.Action | None = None
        self._enter(parser)

    def _enter(self, parser: Parser) -> None:
        self._parser: Parser | None = parser
        self._arguments = [each for each in parser.actions() if not each.option_strings]

    def take(self, word: str) -> None:
        """Go on behind a word."""
        if self._parser is None:
            return
        if self._option is not None:
            self._option = None  # this is its value
        elif word.startswith("-"):
            options = (each for each in self._parser.actions() if word in each.option_strings)
            self._option = next((each for each in options if each.nargs != 0), None)
        elif self._arguments and isinstance(self._arguments[0], argparse._SubParsersAction):  # the only way to know
            action = self._arguments[0].choices.get(word)
            if action is None:
                self._parser = None
            else:
                self._enter(action)
        elif self._arguments and self._arguments[0].nargs not in ("*", "+", argparse.REMAINDER):
            self._arguments = self._arguments[1:]

    def offers(self, current: str) -> list[str]:
        """Return what may stand here and begins so."""
        if self._parser is None:
            return []
        if self._option is not None:
            return [str(each) for each in self._option.choices or () if str(each).startswith(current)]
        told = _options(self._parser) if current.startswith("-") else _values(self._arguments[:1])
        return [f"{name}\t{what}".rstrip() for name, what in told if name.startswith(current)]


def _options(parser: Parser) -> Iterator[tuple[str, str]]:
    for action in parser.actions():
        for name in action.option_strings:
            if name.startswith("--"):
                yield name, _first_sentence(action.help)


def _values(arguments: Sequence[argparse.Action]) -> Iterator[tuple[str, str]]:
    for argument in arguments:
        helps = {each.dest: each.help for each in getattr(argument, "_choices_actions", ())}
        for each in argument.choices or ():
            if each != ASK:
                yield str(each), _first_sentence(helps.get(each))


def _first_sentence(text: str | None) -> str:
    return (text or "").partition(". ")[0].replace("\n", " ")
