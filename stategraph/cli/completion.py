"""`stategraph completion`: completion of commands, options and their values by a shell.

The scripts ask this program, so they need not be made anew when it is updated. Nothing but the parsers is looked at: no
database is opened, no target is imported.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from stategraph.cli.output import write
from stategraph.cli.parser import Parser

#: Words that the scripts put before the words to complete.
ASK: Final = "words"

_BASH: Final = """\
_stategraph() {
    local IFS=$'\\n'
    COMPREPLY=($(stategraph completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f1))
}
complete -o default -F _stategraph stategraph
"""

_ZSH: Final = """\
#compdef stategraph
_stategraph() {
    local -a found
    local line
    for line in "${(@f)$(stategraph completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        [[ -n $line ]] && found+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
    done
    if (( ${#found} )); then _describe stategraph found; else _files; fi
}
compdef _stategraph stategraph
"""

_FISH: Final = """\
function __stategraph
    set -l words (commandline -opc) (commandline -ct)
    stategraph completion words -- $words[2..] 2>/dev/null
end
complete -c stategraph -a '(__stategraph)'
"""

_SCRIPTS: Final = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_INSTALL: Final = """\
To have it in every shell, put this in its start-up file:

  bash  ~/.bashrc                     source <(stategraph completion bash)
  zsh   ~/.zshrc, below compinit      source <(stategraph completion zsh)
  fish  ~/.config/fish/config.fish    stategraph completion fish | source
"""


def prepare(parser: Parser) -> None:
    """Describe the command's arguments."""
    parser.add_argument("shell", choices=[*_SCRIPTS, ASK], metavar="bash|zsh|fish", help="the shell")
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.epilog = _INSTALL
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the script of a shell, or what may stand in the place of the last of some words."""
    if arguments.shell != ASK:
        write(_SCRIPTS[arguments.shell].rstrip())
        return 0
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
