"""Erasure of data, and change of keys: what changes rows that are stored, without breaking the chain.

An erasure tells of itself in the chain that it changes, in the transaction in which it changes it: who verifies can
tell it from a theft. Erased are the data of events, and nothing else of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.own_events import OWN, now, own_record
from stategraph.governance.audit.record import SALT_BYTES, Row, about, plain_data
from stategraph.governance.audit.storage import AuditReading, AuditStorage, Choice, add, sign_heads
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring

AT_ONCE: Final = 1000
"""Rows that are changed in one transaction."""


def erase(
    storage: AuditStorage,
    tenant: str,
    where: AuditFilter,
    *,
    by: Principal,
    reason: str,
    keyring: Keyring | None = None,
) -> int:
    """Erase the data of events: their types, times and ids stay, and the chain verifies as before.

    Args:
        storage: The log.
        tenant: The tenant.
        where: Chooses the events; it has to choose by something.
        by: Who erases.
        reason: Why, such as the number of a request; it stays in the log, so it must not have personal data.
        keyring: Signs a head behind the erasure.

    Returns:
        Events whose data were erased.

    Raises:
        ConfigurationError: The filter would choose all events, or some that are being archived.
    """
    chosen = where.facts()
    if not chosen:
        raise ConfigurationError("Erasing needs to know what: give a run, a principal, a time or another choice")
    erased, after, matched = 0, 0, False
    while True:
        with storage.transaction([tenant]) as session:
            head = session.head(tenant)
            found = list(session.reading.rows(tenant, Choice(where, after, head.seq + 1, limit=AT_ONCE)))
            rows = [row for row in found if row.data is not None and not row.type.startswith(OWN)]
            if rows:
                _require_not_archived(session.reading, tenant, rows[0])
                facts = {"ranges": _ranges(rows), "rows": len(rows), "reason": reason, "chosen_by": sorted(chosen)}
                session.replace_data([row._replace(data=None, key_id=None) for row in rows])
                add(session, head, [own_record(AuditEventType.AUDIT_ERASED, tenant, by, facts)], now())
        erased, matched = erased + len(rows), matched or bool(found)
        if len(found) < AT_ONCE:
            break
        after = found[-1].seq
    if matched:  # also for one that was cut off before this
        storage.scrub()
    if erased and keyring is not None and keyring.signer is not None:
        sign_heads(storage, [tenant], keyring, now())
    return erased


def _require_not_archived(reading: AuditReading, tenant: str, first: Row) -> None:
    """Return unless rows that are still there stand in an archive, where an erasure would not reach them.

    Raises:
        ConfigurationError: They do.
    """
    archived = Choice(AuditFilter(types=(AuditEventType.AUDIT_ARCHIVED,)), newest=True, limit=1)
    for row in reading.rows(tenant, archived):
        facts = told_facts(row)
        if first.seq <= facts["up_to"]:
            raise ConfigurationError(
                f"Nothing more was erased: rows up to {facts['up_to']} of tenant '{tenant}' are being archived, or "
                f"were until that was cut off. Archive {facts['month']} to its end, and see '{facts['file']}'"
            )


def erased_within(reading: AuditReading, tenant: str, after: int, first: int, last: int) -> bool:
    """Return whether data of a stretch of rows were erased, as the rows with numbers above `after` tell."""
    erasures = AuditFilter(types=(AuditEventType.AUDIT_ERASED,))
    return any(
        begin <= last and end >= first
        for row in reading.rows(tenant, Choice(erasures, after=after))
        for begin, end in told_facts(row)["ranges"]
    )


def told_facts(row: Row) -> dict[str, Any]:
    """Return the facts of an event that the log tells of itself; such data are never encrypted.

    Raises:
        AuditTampered: They were changed.
    """
    try:
        facts: dict[str, Any] = json.loads((row.data or b"")[SALT_BYTES:])
    except ValueError as error:
        raise AuditTampered(f"Row {row.seq} of tenant '{row.tenant}' was changed: verify the log") from error
    return facts


def rekey(storage: AuditStorage, tenant: str, keyring: Keyring) -> int:
    """Encrypt a tenant's data with the active key of a keyring, those that were not encrypted too.

    Afterwards the older keys may be taken away. The chain is over the data themselves, and stays as it is.

    Returns:
        Rows that were encrypted.

    Raises:
        KeyUnavailable: A key that encrypted some of them is not there, or there is no active one.
    """
    changed, after = 0, 0
    while True:
        with storage.transaction([tenant]) as session:
            end = session.head(tenant).seq
            found = list(session.reading.rows(tenant, Choice(after=after, before=end + 1, limit=AT_ONCE)))
            stale = [
                row
                for row in found
                if row.data is not None and row.key_id != keyring.active and not row.type.startswith(OWN)
            ]
            session.replace_data([_encrypted_anew(row, keyring) for row in stale])
        changed += len(stale)
        if len(found) < AT_ONCE:
            break
        after = found[-1].seq
    if changed:
        storage.scrub()
    return changed


def _encrypted_anew(row: Row, keyring: Keyring) -> Row:
    plain = plain_data(row, keyring)
    assert plain is not None
    key_id, sealed = keyring.encrypt(plain, about(row.tenant, row.id))
    return row._replace(data=sealed, key_id=key_id)


def _ranges(rows: Iterable[Row]) -> list[list[int]]:
    """Return the numbers of rows as ranges, both ends included."""
    ranges: list[list[int]] = []
    for row in rows:
        if ranges and ranges[-1][1] == row.seq - 1:
            ranges[-1][1] = row.seq
        else:
            ranges.append([row.seq, row.seq])
    return ranges
