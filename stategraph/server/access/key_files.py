"""Files of API keys, read and changed.

Only its owner may read such a file. A change is a new file in the place of the old one, so that a server never reads
half of it; lines that are comments stay.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stategraph.errors import ConfigurationError
from stategraph.server.access.api_keys import PREFIX, ApiKey


def read(path: str | Path) -> list[ApiKey]:
    """Return the keys of a file.

    Raises:
        ConfigurationError: It is not there, or has a line that is no key.
    """
    return [key for line, key in _lines(Path(path), must_exist=True) if key is not None]


def add(path: str | Path, key: ApiKey) -> None:
    """Add a key to a file, which is made if it is not there.

    Raises:
        ConfigurationError: The key is nobody's, or the file has a line that is no key.
        OSError: It cannot be written.
    """
    if not key.identity.strip():
        raise ConfigurationError("A key is somebody's: give it an identity, such as the name of a user or a program")
    lines = [line for line, _ in _lines(Path(path), must_exist=False)]
    _replace(Path(path), [*lines, key.to_line()])


def revoke(path: str | Path, key_id: str) -> bool:
    """Take a key out of a file.

    Args:
        path: The file.
        key_id: The id of the key, or the beginning of the key itself (`sg_ID`).

    Returns:
        Whether it was there.

    Raises:
        ConfigurationError: The file is not there, or has a line that is no key.
        OSError: It cannot be written.
    """
    name = key_id.removeprefix(PREFIX).partition("_")[0]
    lines = _lines(Path(path), must_exist=True)
    kept = [line for line, key in lines if key is None or key.key_id != name]
    if len(kept) == len(lines):
        return False
    _replace(Path(path), kept)
    return True


def _lines(path: Path, *, must_exist: bool) -> list[tuple[str, ApiKey | None]]:
    """Return the lines of a file, each with its key; None for those that are comments or empty."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if must_exist:
            raise ConfigurationError(
                f"There is no file of API keys '{path}': 'stategraph keys create' makes one"
            ) from None
        return []
    found: list[tuple[str, ApiKey | None]] = []
    for number, line in enumerate(text.splitlines(), 1):
        is_key = line.strip() and not line.startswith("#")
        try:
            found.append((line, ApiKey.from_line(line) if is_key else None))
        except ValueError:
            raise ConfigurationError(f"Line {number} of the file of API keys is none: {path}") from None
    return found


def _replace(path: Path, lines: list[str]) -> None:
    target = path.resolve()  # a link stays one
    number, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")  # for its owner alone
    try:
        with open(number, "w", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
