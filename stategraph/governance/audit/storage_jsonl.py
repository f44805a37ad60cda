"""The audit log in files of JSON lines: a folder for each tenant, in it a file for each month and one of signed heads.

Rules
-----
* A tenant's chain grows under a lock of its folder's file `lock` (`flock`): several processes of one machine may write.
* Rows are appended and flushed to the disk before a transaction ends. A line that was cut off by a crash, which nobody
  was told to be stored, is cut off before the next row.
* The end of a chain is read from its files: nothing is stored twice.
* Erased data are removed by writing the month's file anew, beside the old one, and exchanging them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import secrets
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.chain import Head, SignedHead, genesis
from stategraph.governance.audit.filters import ALL, AuditFilter
from stategraph.governance.audit.lines import head_line, read_head_line, read_row_line, row_line
from stategraph.governance.audit.record import Row
from stategraph.governance.audit.storage import checked_month

_HEADS: Final = "heads.jsonl"
_TAIL: Final = 64 * 1024

_logger = logging.getLogger("stategraph.governance.audit")


class JsonlAuditStorage:
    """An audit log in a folder, on a system with `flock`.

    Args:
        path: The folder; made if it is not there.
        create: Whether it may be made.

    Raises:
        ConfigurationError: There is no folder and none may be made.
    """

    def __init__(self, path: str, *, create: bool = True) -> None:
        if not path:
            raise ConfigurationError("An audit log in files is named 'jsonl:///folder', or 'jsonl:////var/log/audit'")
        self._path = Path(path)
        if not create and not self._path.is_dir():
            raise ConfigurationError(f"There is no folder '{path}' with an audit log: check the address")

    @property
    def name(self) -> str:
        """The address."""
        return f"jsonl:///{self._path}"

    def set_up(self) -> None:
        """Make the folder, for its owner alone."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def transaction(self, tenants: Collection[str]) -> Iterator[_Session]:
        """Open a transaction; see `storage.AuditStorage`."""
        import fcntl  # not on Windows

        self.set_up()
        with ExitStack() as locks:
            for tenant in sorted(tenants):
                folder = _folder(self._path, tenant)
                folder.mkdir(mode=0o700, exist_ok=True)
                named = folder / "tenant"
                if not named.exists():
                    _write_anew(named, [tenant])
                lock = locks.enter_context(open(folder / "lock", "ab"))
                fcntl.flock(lock, fcntl.LOCK_EX)
            session = _Session(self._path)
            yield session
            session.commit()

    @contextmanager
    def reading(self) -> Iterator[_Reading]:
        """Read the log as it is now; rows that are stored meanwhile are behind the end that is known."""
        yield _Reading(self._path)

    def drop_month(self, month: str) -> None:
        """Delete all rows of a month."""
        for folder in _folders(self._path):
            _file(folder, month).unlink(missing_ok=True)

    def scrub(self) -> None:
        """Do nothing: the files were written anew."""

    def close(self) -> None:
        """Do nothing: every file was closed after its use."""


def _folder(path: Path, tenant: str) -> Path:
    """Return the folder of a tenant; no two share one, whatever their names and the file system."""
    readable = quote(tenant, safe="").replace(".", "%2E")[:80]
    return path / f"{readable}-{hashlib.sha256(tenant.encode()).hexdigest()[:16]}"


def _folders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if (each / "tenant").is_file()) if path.is_dir() else []


def _file(folder: Path, month: str) -> Path:
    return folder / f"{checked_month(month)}.jsonl"


def _months(folder: Path) -> list[str]:
    return sorted(each.stem for each in folder.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9].jsonl"))


def _write_anew(path: Path, lines: Iterable[str]) -> None:
    """Write a file in place of one that may be there, all of it or nothing."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    try:
        with open(new, "x", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, path)
        _flush_folder(path.parent)
    except BaseException:
        new.unlink(missing_ok=True)
        raise


def _append(path: Path, lines: Iterable[str]) -> None:
    """Add lines to a file, and flush it to the disk; a last line that was cut off is cut off first."""
    is_new = not path.exists()
    with open(path, "ab+") as file:
        if not is_new:
            _cut_torn(file, path)
        file.write("".join(f"{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
    if is_new:
        _flush_folder(path.parent)


def _cut_torn(file: Any, path: Path) -> None:
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


def _lines(path: Path) -> Iterator[str]:
    """Yield the lines of a file that are whole."""
    try:
        with open(path, encoding="utf-8", newline="\n") as file:
            for line in file:
                if line.endswith("\n"):
                    yield line
    except FileNotFoundError:
        return


def _last_line(path: Path) -> str | None:
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


def _head(path: Path, tenant: str) -> Head:
    """Read the end of a tenant's chain."""
    folder = _folder(path, tenant)
    last = next((line for month in reversed(_months(folder)) if (line := _last_line(_file(folder, month)))), None)
    if last is None:
        return genesis(tenant)
    row = read_row_line(last)
    line = _last_line(folder / _HEADS) if (folder / _HEADS).exists() else None
    signed = 0 if line is None else read_head_line(line).seq
    return Head(tenant, row.seq, row.hash, row.stored, signed, 0 if signed == row.seq else row.stored)


class _Session:
    """An open transaction; see `storage.AuditSession`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: dict[tuple[str, str], list[Row]] = defaultdict(list)
        self._heads: list[SignedHead] = []
        self._replaced: list[Row] = []

    @property
    def reading(self) -> _Reading:
        return _Reading(self._path)

    def head(self, tenant: str) -> Head:
        return _head(self._path, tenant)

    def ids(self, tenant: str, after: int) -> set[str]:
        return {row.id for row in self.reading.rows(tenant, after=after)}

    def insert(self, month: str, rows: Sequence[Row]) -> None:
        self._rows[rows[0].tenant, month] += rows

    def put_head(self, head: Head) -> None:
        """Do nothing: it is read from the files."""

    def add_signed_head(self, head: SignedHead) -> None:
        self._heads.append(head)

    def replace_data(self, rows: Sequence[Row]) -> None:
        self._replaced += rows

    def commit(self) -> None:
        """Write what was collected: rows before the heads that sign them, and what is erased last."""
        for (tenant, month), rows in self._rows.items():
            _append(_file(_folder(self._path, tenant), month), map(row_line, rows))
        for head in self._heads:
            _append(_folder(self._path, head.tenant) / _HEADS, [head_line(head)])
        by_tenant: dict[str, dict[int, Row]] = defaultdict(dict)
        for row in self._replaced:
            by_tenant[row.tenant][row.seq] = row
        for tenant, replaced in by_tenant.items():
            self._write_replaced(_folder(self._path, tenant), replaced)

    def _write_replaced(self, folder: Path, replaced: dict[int, Row]) -> None:
        for month in _months(folder):
            path = _file(folder, month)
            if any(read_row_line(line).seq in replaced for line in _lines(path)):
                rows = (read_row_line(line) for line in _lines(path))
                changed = (
                    row._replace(data=new.data, key_id=new.key_id) if (new := replaced.get(row.seq)) else row
                    for row in rows
                )
                _write_anew(path, map(row_line, changed))


class _Reading:
    """A log as it was at one moment; see `storage.AuditReading`."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends: dict[str, Head] = {}

    def tenants(self) -> list[str]:
        return sorted((each / "tenant").read_text(encoding="utf-8").removesuffix("\n") for each in _folders(self._path))

    def months(self) -> list[str]:
        return sorted({month for folder in _folders(self._path) for month in _months(folder)})

    def head(self, tenant: str) -> Head:
        if tenant not in self._ends:
            self._ends[tenant] = _head(self._path, tenant)
        return self._ends[tenant]

    def signed_heads(self, tenant: str) -> list[SignedHead]:
        found = [read_head_line(line) for line in _lines(_folder(self._path, tenant) / _HEADS)]
        return sorted(found, key=lambda head: (head.seq, head.at))

    def rows(
        self,
        tenant: str,
        where: AuditFilter = ALL,
        *,
        after: int = 0,
        before: int | None = None,
        newest: bool = False,
        limit: int | None = None,
    ) -> Iterator[Row]:
        folder = _folder(self._path, tenant)
        months = _months(folder)
        before = self.head(tenant).seq + 1 if before is None else before
        found = (
            row
            for month in (reversed(months) if newest else months)
            for row in self._in_month(folder, month, newest)
            if after < row.seq < before and where.matches(row)
        )
        return islice(found, limit)

    def _in_month(self, folder: Path, month: str, newest: bool) -> Iterator[Row]:
        rows = (read_row_line(line) for line in _lines(_file(folder, month)))
        return reversed(list(rows)) if newest else rows

    def month(self, month: str) -> Iterator[Row]:
        for tenant in self.tenants():
            yield from self._in_month(_folder(self._path, tenant), month, newest=False)
