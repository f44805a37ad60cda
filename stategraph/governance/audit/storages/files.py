"""Files of an audit log: for their owner alone, and all of what is written or nothing.

- Files are made with the mode 0600. One that is there keeps its mode, as somebody may have given a group the right to
  read; who may read or replace it besides its owner is said in warnings.
- Lines are appended and flushed to the disk. A last line that was cut off by a crash, of which nobody was told that it
  is stored, is cut off before the next one.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

_TAIL: Final = 64 * 1024
_PRIVATE: Final = 0o600

_logger = logging.getLogger("stategraph.governance.audit")


def private(path: str | os.PathLike[str], flags: int) -> int:
    """Open a file, and make it for its owner alone if it is not there: an `opener` for `open`."""
    return os.open(path, flags, _PRIVATE)


def make_private(path: str | os.PathLike[str]) -> None:
    """Make an empty file for its owner alone, unless there is one."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, _PRIVATE))


def warn_of_others(*paths: str | os.PathLike[str]) -> None:
    """Warn of files and folders of a log that others than their owner may read or replace."""
    if os.name == "nt":
        return
    for path in map(Path, paths):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        is_folder = stat.S_ISDIR(mode)
        if is_folder and mode & 0o022 and not mode & stat.S_ISVTX:
            _logger.warning("Others may replace the audit log in %s (mode %o): chmod go-w", path, stat.S_IMODE(mode))
        elif not is_folder and mode & 0o077:
            _logger.warning("Others may read or change %s (mode %o): chmod 600", path, stat.S_IMODE(mode))


def write_anew(path: Path, lines: Iterable[str]) -> None:
    """Write a file in place of one that may be there, all of it or nothing."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(new, "x", encoding="utf-8", opener=private) as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _flush_folder(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def append(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file, and flush it to the disk."""
    is_new = not path.exists()
    with open(path, "ab+", opener=private) as file, locked(file):
        if not is_new:
            _cut_torn(file, path)
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _flush_folder(path.parent)


@contextmanager
def locked(file: IO[bytes]) -> Iterator[None]:
    """Hold up others who lock a file until it is closed; where there is no `flock`, nobody is."""
    with suppress(ImportError):  # not on Windows
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX)
    yield


def _cut_torn(file: IO[bytes], path: Path) -> None:
    size = file.seek(0, os.SEEK_END)
    kept = size
    while kept:
        begin = max(0, kept - _TAIL)
        file.seek(begin)
        found = file.read(kept - begin).rfind(b"\n")
        if found >= 0:
            kept = begin + found + 1
            break
        kept = begin
    if kept < size:
        _logger.warning("The last line of %s was cut off by a crash; its %d bytes are removed", path, size - kept)
        file.truncate(kept)
        file.seek(kept)


def _flush_folder(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def whole_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that are whole; none if there is no file."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in file:
                if line.endswith("\n"):
                    yield line
    except FileNotFoundError:
        return


def last_line(path: Path) -> str | None:
    """Return the last whole line of a file; None if there is none."""
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        tail, begin = b"", size
        while begin:
            begin = max(0, begin - _TAIL)
            file.seek(begin)
            tail = file.read(min(_TAIL, size - begin)) + tail
            size = begin
            whole = tail[: tail.rfind(b"\n") + 1]
            if whole.count(b"\n") > 1 or (whole and not begin):
                return whole[:-1].rpartition(b"\n")[2].decode()
    return None
