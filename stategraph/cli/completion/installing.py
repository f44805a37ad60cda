"""The script of a shell, put where the shell reads it at its start.

The script itself is written, and no call of this program: the start of a shell costs nothing, and an environment that
is activated later has its completion too. bash and zsh get a block in their start-up file, fish a file of its own. The
same again changes nothing; another version takes the place of the one before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from stategraph.cli.completion.scripts import SCRIPTS
from stategraph.cli.output import Output
from stategraph.errors import ConfigurationError

_BEGIN: Final = "# >>> stategraph completion >>>"
_END: Final = "# <<< stategraph completion <<<"

#: zsh has `compdef` once `compinit` was called, which start-up files may leave out.
_BEFORE: Final = {"zsh": "(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }\n"}


def install(arguments: argparse.Namespace, output: Output) -> int:
    """Write the script of a shell, say where, and return the exit code."""
    shell = arguments.shell or Path(os.environ.get("SHELL", "")).name
    if shell not in SCRIPTS:
        raise ConfigurationError(
            f"The shell {shell!r} of the variable SHELL is not known: give --shell {' or --shell '.join(SCRIPTS)}"
        )
    file = _file(shell)
    block = f"{_BEGIN}\n{_BEFORE.get(shell, '')}{SCRIPTS[shell]}{_END}\n"
    if arguments.print:
        output.show(None, f"{block}\nThis would be in {file}.")
        return 0
    try:
        before = file.read_text(encoding="utf-8") if file.exists() else ""
        after = block if shell == "fish" else _with(before, block, file)
        if after != before:
            _write(file, after)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"'{file}' cannot be changed: {error}") from error
    if after == before:
        output.show(None, f"{file} has it already.")
    else:
        output.show(None, f"Written to {file}. New shells complete 'stategraph'; this one does after: source {file}")
    return 0


def _file(shell: str) -> Path:
    """Return the file that a shell reads at its start."""
    home = Path.home()
    if shell == "fish":
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
        return folder / "fish" / "completions" / "stategraph.fish"
    return Path(os.environ.get("ZDOTDIR") or home) / ".zshrc" if shell == "zsh" else home / ".bashrc"


def _with(text: str, block: str, file: Path) -> str:
    """Return the text of a start-up file with the block in the place of an older one, or at its end.

    Raises:
        ConfigurationError: There is half of a block.
    """
    before, begin, rest = text.partition(f"{_BEGIN}\n")
    if not begin:
        gap = "" if not text else "\n" if text.endswith("\n") else "\n\n"
        return f"{text}{gap}{block}"
    _, end, after = rest.partition(f"{_END}\n")
    if not end:
        raise ConfigurationError(f"'{file}' has a line '{_BEGIN}' and no '{_END}' below it: take the first one out")
    return f"{before}{block}{after}"


def _write(file: Path, text: str) -> None:
    """Write a file whole or not at all; one that is a link stays one, and permissions stay as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    real = file.resolve()
    descriptor, name = tempfile.mkstemp(dir=real.parent, prefix=f".{real.name}.")
    try:
        with open(descriptor, "w", encoding="utf-8") as new:
            new.write(text)
        if real.exists():
            shutil.copymode(real, name)
        else:
            os.chmod(name, 0o644)
        os.replace(name, real)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
