"""Environment variables, and folders that modules are imported from, as a configuration asks for them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.server.service.graphs.configuration import Configuration

#: `NAME=value`, with `export` before it or not; a value in quotes ends at the quote, else at a comment.
_LINE: Final = re.compile(
    r"""^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*(?:'([^']*)'|"((?:[^"\\]|\\.)*)"|([^#\n]*?))\s*(?:\#.*)?$"""
)

_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r"}


def prepare(configuration: Configuration) -> None:
    """Set the variables that are not set, and put the folders on the path of imports.

    Raises:
        ConfigurationError: The file of the variables, or a folder, is not there.
    """
    env = configuration.env
    pairs = variables_in(configuration.folder / env) if isinstance(env, str) else env.items()
    for name, value in pairs:
        os.environ.setdefault(name, value)
    for folder in (configuration.folder, *_folders(configuration)):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))


def variables_in(file: Path) -> Iterator[tuple[str, str]]:
    """Read the variables of a file, as `.env` files have them: lines of `NAME=value`.

    Raises:
        ConfigurationError: It cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"The file of variables '{file}' cannot be read: {error.strerror}") from error
    for line in text.splitlines():
        if found := _LINE.match(line):
            name, single, double, plain = found.groups()
            if double is not None:
                yield name, re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), double)
            else:
                yield name, plain if single is None else single


def _folders(configuration: Configuration) -> Iterator[Path]:
    """List the folders among the dependencies; other names are packages, which are imported where they are used."""
    for each in configuration.dependencies:
        if not each.startswith("."):
            continue
        folder = (configuration.folder / each).resolve()
        if not folder.is_dir():
            raise ConfigurationError(f"The dependency '{each}' is no folder of '{configuration.folder}'")
        yield folder
        if (source := folder / "src").is_dir():
            yield source
