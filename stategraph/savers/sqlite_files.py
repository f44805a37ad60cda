"""SQLite files: their paths, and errors that name them, what was found, and a way out."""

from __future__ import annotations

import codecs
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import unquote

from stategraph.core.explain import add_words
from stategraph.errors import ConfigurationError

SCHEME: Final = "sqlite:///"

_HEADER: Final = b"SQLite format 3\x00"
_KIND: Final = 0xFF
"""The lowest byte of an error's code is its kind, the next one its variant (https://sqlite.org/rescode.html)."""

_UNOPENED: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOTADB})


def path_in(url: str) -> str:
    """Return the path in an address of SQLite, with the home directory in place of `~`."""
    return expanded(unquote(url.removeprefix(SCHEME)))


def expanded(path: str | os.PathLike[str]) -> str:
    """Return a path with the home directory in place of `~` at its beginning."""
    return os.path.expanduser(path)


def log_of(path: str) -> Path:
    """Return the log that SQLite writes beside a file, which it empties into the file from time to time."""
    return Path(f"{path}-wal")


def bytes_on_disk(path: str) -> int:
    """Return the bytes of a file and of its log; 0 for a database in memory."""
    found = [each.stat().st_size for each in (Path(path), log_of(path)) if path and each.is_file()]
    return sum(found)


@contextmanager
def named(path: str) -> Iterator[None]:
    """Name the file in errors: one that is no database or cannot be opened, and, in sqlite3's own, a lock or a disk.

    Raises:
        ConfigurationError: The file is no database, or cannot be opened.
    """
    try:
        yield
    except sqlite3.DatabaseError as error:
        if _kind(error) in _UNOPENED and (words := words_of(error, path)):
            raise ConfigurationError(words) from error
        explain(error, path)
        raise


def explain(error: BaseException, path: str) -> None:
    """Add to an error of sqlite3 which file it is about, what was found and a way out; once."""
    if isinstance(error, sqlite3.Error) and (words := words_of(error, path)) and words not in str(error):
        add_words(error, words)


def words_of(error: sqlite3.Error, path: str) -> str | None:
    """Return a sentence about an error; None if SQLite's own says it all.

    Args:
        error: The error.
        path: The file, or an empty text for a database in memory.
    """
    file = f"'{os.path.abspath(path)}'" if path and not _is_in_memory(path) else "the database in memory"
    match _kind(error):
        case sqlite3.SQLITE_CANTOPEN:
            return f"The database {file} cannot be opened: {_obstacle(path)}"
        case sqlite3.SQLITE_NOTADB:
            return f"The file {file} is no SQLite database; name another one. {_contents(path)}"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return (
                f"This process may only read {file}, or opened it so, and nothing was stored: let it write to the "
                "file and to the folder, where SQLite keeps its log, or name another one"
            )
        case sqlite3.SQLITE_FULL:
            return (
                f"There is no room for {file}{_room(path)}, and what was to be stored is not: free some, then save "
                "again. 'stategraph store prune' makes room inside of the file"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return (
                f"Another connection writes to {file} for longer than this one waits: end its transaction, or open "
                "this one with sqlite3.connect(path, timeout=...), in seconds"
            )
        case sqlite3.SQLITE_CORRUPT:
            return f"What is in {file} is damaged: bring back a copy, or what sqlite3 can read with '.recover'"
        case sqlite3.SQLITE_IOERR:
            name = getattr(error, "sqlite_errorname", "SQLITE_IOERR")
            return f"The disk did not do what SQLite asked of it for {file} ({name}): look at it in the system's log"
    if "closed database" in str(error):
        return (
            f"The saver on {file} was closed, or its 'with' statement has ended: run graphs that use it inside of the "
            "statement, or open it anew"
        )
    if "created in a thread" in str(error):
        return "Open the connection with sqlite3.connect(path, check_same_thread=False): the saver locks it by itself"
    return None


def is_readonly(error: sqlite3.Error) -> bool:
    """Return whether an error says that a file was opened to be read only."""
    return _kind(error) == sqlite3.SQLITE_READONLY


def _kind(error: sqlite3.Error) -> int | None:
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & _KIND


def _is_in_memory(path: str) -> bool:
    return ":memory:" in path


def _obstacle(path: str) -> str:
    found = Path(os.path.abspath(path))
    folder = found.parent
    if found.is_dir():
        return "it has to be a file, and is a folder. Name a file in it"
    if not folder.is_dir():
        return f"there is no folder '{folder}'. Make it first"
    return f"let this process read and write it, and the folder '{folder}', where SQLite keeps its log"


def _contents(path: str) -> str:
    """Describe what is in a file, without showing any of it."""
    with suppress(OSError), open(path, "rb") as file:
        beginning = file.read(1024)
        if beginning.startswith(_HEADER):
            return "It begins as one, and is damaged or cut off"
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder("utf-8")().decode(beginning)  # the last character may be cut
            if b"\x00" not in beginning:
                return "It holds text"
        return (
            "It is of another program, or encrypted as a whole: a saver reads neither. To encrypt what is stored, give "
            "it an EncryptedSerializer"
        )
    return "It cannot be read"


def _room(path: str) -> str:
    with suppress(OSError):
        return f" ({shutil.disk_usage(Path(path).parent).free:,} bytes are free on its disk)" if path else ""
    return ""
