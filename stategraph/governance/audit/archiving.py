"""Archives: months that are over, written to files that can be verified, and deleted from the log.

A month is verified, written to a file with its hashes, told of in the chain of each tenant, and deleted, in this order:
a crash in between leaves the rows where they are. If data were erased while the file was written, it is written anew;
once the chains were told, nothing in the month is erased any more.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import IO, Any, Final

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.erasing import erased_within
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.audit.lines import read_row_line, row_line
from stategraph.governance.audit.own_events import now, own_record
from stategraph.governance.audit.record import Row
from stategraph.governance.audit.storage import AuditStorage, add, sign_heads
from stategraph.governance.audit.storages import files
from stategraph.governance.audit.verification import ChainVerifier, Verification
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring

_OVER: Final = timedelta(days=1)
"""Time after the end of a month until nobody, whatever their clock, stores rows in it any more."""


@dataclass(frozen=True, slots=True)
class ArchivedChain:
    """A tenant's part of an archived month.

    Attributes:
        first: The number of its first row.
        before: The hash of the row before it, in hex.
        last: The number of its last row.
        hash: The hash of that, in hex.
    """

    first: int
    before: str
    last: int
    hash: str


@dataclass(frozen=True, slots=True)
class ArchivedMonth:
    """A month that was archived.

    Attributes:
        month: The month, as `2026-11`.
        rows: Its rows.
        file: The name of the file; empty: the rows were deleted, and not written to a file.
        sha256: The hash of the file, in hex.
        tenants: The chains in it, by tenant.
    """

    month: str
    rows: int
    file: str
    sha256: str
    tenants: dict[str, ArchivedChain]


def months_before(storage: AuditStorage, limit: datetime) -> list[str]:
    """Return the months that are over at a time, and for a day, and have rows."""
    limit = min(limit, datetime.now(UTC) - _OVER)
    with storage.reading() as reading:
        first = limit.date().isoformat()[:7]  # `%Y` has three digits before the year 1000
        return [month for month in reading.months() if month < first]


def archive(
    storage: AuditStorage,
    month: str,
    folder: str | os.PathLike[str] | None,
    *,
    by: Principal,
    keyring: Keyring | None = None,
) -> ArchivedMonth:
    """Write a month to a file, and delete it from the log.

    Args:
        storage: The log.
        month: The month; that before it has to be archived already.
        folder: For the file, `audit-2026-11.jsonl.gz`, and its description, `audit-2026-11.json`. None: the rows are
            deleted without a file.
        by: Who archives.
        keyring: Signs the description, and a head behind what is told of the archive.

    Raises:
        ConfigurationError: The month is not over, an earlier one is there, or it has no rows.
        AuditTampered: The month does not verify: it stays.
        OSError: The file cannot be written.
    """
    _check_archivable(storage, month)
    while True:
        done, ends = _written(storage, month, folder, keyring)
        if _told(storage, done, ends, by):
            break
    if keyring is not None and keyring.signer is not None:
        sign_heads(storage, list(done.tenants), keyring, now())
    storage.drop_month(month)
    return done


def _written(
    storage: AuditStorage, month: str, folder: str | os.PathLike[str] | None, keyring: Keyring | None
) -> tuple[ArchivedMonth, dict[str, int]]:
    """Verify a month and write it; returns what was written, and the ends of the chains before that."""
    chains: dict[str, ChainVerifier] = {}
    name = "" if folder is None else f"audit-{month}.jsonl.gz"
    with storage.reading() as reading:
        ends = {tenant: reading.head(tenant).seq for tenant in reading.tenants()}
        verified = _verified(reading.month(month), chains, keyring)
        if folder is None:
            rows, sha256 = sum(1 for _ in verified), ""
        else:
            Path(folder).mkdir(parents=True, exist_ok=True)
            rows, sha256 = _write(Path(folder) / name, verified)
    tenants = {
        tenant: ArchivedChain(chain.first, chain.before.hex(), chain.last, chain.hash.hex())
        for tenant, chain in chains.items()
    }
    for chain in chains.values():
        _check(chain.finish(None), month)
    done = ArchivedMonth(month, rows, name, sha256, tenants)
    if folder is not None:
        _write_description(Path(folder) / f"audit-{month}.json", done, keyring)
    return done, ends


def _told(storage: AuditStorage, done: ArchivedMonth, ends: Mapping[str, int], by: Principal) -> bool:
    """Tell the chains of an archive; False if data in it were erased meanwhile, so that it has to be written anew.

    Both are found out and told in one transaction, and an erasure that comes later finds that the rows are archived.
    """
    with storage.transaction(list(done.tenants)) as session:
        heads = {tenant: session.head(tenant) for tenant in sorted(done.tenants)}
        for tenant, its in done.tenants.items():
            if erased_within(session.reading, tenant, ends.get(tenant, 0), its.first, its.last):
                return False
        for tenant, head in heads.items():
            its = done.tenants[tenant]
            facts = {"month": done.month, "up_to": its.last, "hash": its.hash, "file": done.file, "sha256": done.sha256}
            add(session, head, [own_record(AuditEventType.AUDIT_ARCHIVED, tenant, by, facts)], now())
    return True


def _check_archivable(storage: AuditStorage, month: str) -> None:
    months = months_before(storage, datetime.now(UTC))
    if month not in months:
        raise ConfigurationError(
            f"The month {month} cannot be archived: it has no rows, or is not over for a day yet. "
            f"Those that can be are: {', '.join(months) or 'none'}"
        )
    if month != months[0]:
        raise ConfigurationError(
            f"The month {month} cannot be archived before {months[0]}: a chain is cut off in front"
        )


def _verified(rows: Iterable[Row], chains: dict[str, ChainVerifier], keyring: Keyring | None) -> Iterator[Row]:
    for tenant, its in groupby(rows, attrgetter("tenant")):
        chain = chains[tenant] = ChainVerifier(tenant, keyring, part=True)
        for row in its:
            chain.row(row)
            yield row


def _check(found: Verification, month: str) -> None:
    try:
        found.check()
    except AuditTampered as error:
        raise AuditTampered(f"The month {month} was not archived, and stays where it is. {error}") from None


def _line(row: Row) -> bytes:
    try:
        return f"{row_line(row)}\n".encode()
    except (TypeError, AttributeError, ValueError) as error:
        raise AuditTampered(
            f"Nothing was archived: row {row.seq!r} of tenant '{row.tenant}' was changed, and cannot be written: "
            f"{type(error).__name__}"
        ) from error


def _write(path: Path, rows: Iterable[Row]) -> tuple[int, str]:
    """Write rows to a file, all of them or none; returns their number and the hash of the file."""
    new = path.with_name(f"{path.name}.{secrets.token_hex(4)}.new")
    number = 0
    try:
        with open(new, "xb", opener=files.private) as raw:
            with gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
                for row in rows:
                    packed.write(_line(row))
                    number += 1
            raw.flush()
            os.fsync(raw.fileno())
        with open(new, "rb") as raw:
            sha256 = hashlib.file_digest(raw, "sha256").hexdigest()
        os.replace(new, path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return number, sha256


def _write_description(path: Path, done: ArchivedMonth, keyring: Keyring | None) -> None:
    described: dict[str, Any] = {"archive": asdict(done)}
    if keyring is not None and keyring.signer is not None:
        key_id, signature = keyring.sign(_described(described["archive"]))
        described |= {"key_id": key_id, "signature": signature.hex()}
    files.write_anew(path, [json.dumps(described, indent=2, sort_keys=True)])


def _described(archive: dict[str, Any]) -> bytes:
    return b"stategraph.audit.archive.1\0" + json.dumps(archive, sort_keys=True, separators=(",", ":")).encode()


def verify_archive(path: str | os.PathLike[str], *, keyring: Keyring | None = None) -> list[Verification]:
    """Verify an archived month.

    Args:
        path: Its description, `audit-2026-11.json`; the file is beside it.
        keyring: Reads encrypted data and checks the signature. None: neither is done.

    Returns:
        The outcome for each tenant. Erasures are told of in later months, so data that are missing count as erased.

    Raises:
        ConfigurationError: There is no such description, or its file is not there.
        AuditTampered: The file or the description is not what was written.
    """
    described = _read_description(Path(path), keyring)
    archive = described["archive"]
    file = Path(path).with_name(str(archive["file"]))
    try:
        with open(file, "rb") as raw:
            if hashlib.file_digest(raw, "sha256").hexdigest() != archive["sha256"]:
                raise AuditTampered(f"The archive '{file}' is not the file that was written: its hash differs")
            raw.seek(0)
            chains: dict[str, ChainVerifier] = {}
            for _ in _verified(_rows_in(raw), chains, keyring):
                pass
    except OSError as error:
        raise ConfigurationError(f"The archive '{file}' cannot be read: {error}") from error
    found = {
        tenant: {"first": chain.first, "before": chain.before.hex(), "last": chain.last, "hash": chain.hash.hex()}
        for tenant, chain in chains.items()
    }
    if found != archive["tenants"]:
        raise AuditTampered(f"The archive '{file}' does not hold the rows that '{path}' describes")
    return [chain.finish(None) for chain in chains.values()]


def _read_description(path: Path, keyring: Keyring | None) -> dict[str, Any]:
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
        archive = described["archive"]
        signature = bytes.fromhex(described.get("signature", ""))
        key_id = str(described.get("key_id", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(f"'{path}' is no description of an archived month: {type(error).__name__}") from error
    if (
        keyring is not None
        and keyring.can_verify
        and (not signature or not keyring.is_signature(key_id, signature, _described(archive)))
    ):
        raise AuditTampered(f"The description '{path}' is not signed as it stands: it was changed")
    return dict(described)


def _rows_in(raw: IO[bytes]) -> Iterator[Row]:
    with gzip.GzipFile(fileobj=raw) as packed:
        for line in packed:
            yield read_row_line(line.decode())
