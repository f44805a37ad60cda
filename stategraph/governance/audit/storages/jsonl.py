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
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Final
from urllib.parse import quote

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.chain import Head, SignedHead, genesis
from stategraph.governance.audit.lines import head_line, read_head_line, read_row_line, row_line
from stategraph.governance.audit.record import Row
from stategraph.governance.audit.storage import EVERY, Choice, checked_month
from stategraph.governance.audit.storages import files

_HEADS: Final = "heads.jsonl"


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
        files.warn_of_others(self._path, *self._path.glob("*/*.jsonl"))

    @contextmanager
    def transaction(self, tenants: Collection[str]) -> Iterator[_Session]:
        """Open a transaction; see `storage.AuditStorage`."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        with ExitStack() as locks:
            for tenant in sorted(tenants):
                folder = _folder(self._path, tenant)
                folder.mkdir(mode=0o700, exist_ok=True)
                named = folder / "tenant"
                if not named.exists():
                    files.write_anew(named, [tenant])
                locks.enter_context(_locked(folder))
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
            with _locked(folder):  # who writes the month's file anew would bring it back
                _file(folder, month).unlink(missing_ok=True)

    def scrub(self) -> None:
        """Do nothing: the files were written anew."""

    def close(self) -> None:
        """Do nothing: every file was closed after its use."""


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    import fcntl  # not on Windows

    with open(folder / "lock", "ab", opener=files.private) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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


def _head(path: Path, tenant: str) -> Head:
    """Read the end of a tenant's chain."""
    folder = _folder(path, tenant)
    last = next((line for month in reversed(_months(folder)) if (line := files.last_line(_file(folder, month)))), None)
    if last is None:
        return genesis(tenant)
    row = read_row_line(last)
    line = files.last_line(folder / _HEADS) if (folder / _HEADS).exists() else None
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
        return {row.id for row in self.reading.rows(tenant, Choice(after=after))}

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
            files.append(_file(_folder(self._path, tenant), month), map(row_line, rows))
        for head in self._heads:
            files.append(_folder(self._path, head.tenant) / _HEADS, [head_line(head)])
        by_tenant: dict[str, dict[int, Row]] = defaultdict(dict)
        for row in self._replaced:
            by_tenant[row.tenant][row.seq] = row
        for tenant, replaced in by_tenant.items():
            self._write_replaced(_folder(self._path, tenant), replaced)

    def _write_replaced(self, folder: Path, replaced: dict[int, Row]) -> None:
        for month in _months(folder):
            path = _file(folder, month)
            if any(read_row_line(line).seq in replaced for line in files.whole_lines(path)):
                rows = (read_row_line(line) for line in files.whole_lines(path))
                changed = (
                    row._replace(data=new.data, key_id=new.key_id) if (new := replaced.get(row.seq)) else row
                    for row in rows
                )
                files.write_anew(path, map(row_line, changed))


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
        found = [read_head_line(line) for line in files.whole_lines(_folder(self._path, tenant) / _HEADS)]
        return sorted(found, key=lambda head: (head.seq, head.at))

    def rows(
        self,
        tenant: str,
        chosen: Choice = EVERY,
    ) -> Iterator[Row]:
        folder = _folder(self._path, tenant)
        months = _months(folder)
        before = self.head(tenant).seq + 1 if chosen.before is None else chosen.before
        found = (
            row
            for month in (reversed(months) if chosen.newest else months)
            for row in self._in_month(folder, month, chosen.newest)
            if chosen.after < row.seq < before and chosen.where.matches(row)
        )
        return islice(found, chosen.limit)

    def _in_month(self, folder: Path, month: str, newest: bool) -> Iterator[Row]:
        rows = (read_row_line(line) for line in files.whole_lines(_file(folder, month)))
        return reversed(list(rows)) if newest else rows

    def month(self, month: str) -> Iterator[Row]:
        for tenant in self.tenants():
            yield from self._in_month(_folder(self._path, tenant), month, newest=False)
