"""Small logs for tests, made without a thread."""

from __future__ import annotations

from collections.abc import Sequence

from stategraph.governance.audit import preparing
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.audit.filters import ALL, AuditFilter
from stategraph.governance.audit.record import Record, Row, microseconds
from stategraph.governance.audit.storage import AuditStorage, Choice, append
from stategraph.governance.keyring import Keyring
from stategraph.governance.redaction import Redactor
from tests.governance.audit.events import BEGAN, event

REDACTOR = Redactor()
NOW = microseconds(BEGAN)
DAY = 86_400 * 1_000_000
KEYS = Keyring().with_new_key("k1").with_new_signer("s1")


def record(made: AuditEvent, keyring: Keyring | None = None) -> Record:
    return preparing.prepare(made, REDACTOR, keyring, 10_000)


def store(
    storage: AuditStorage, events: Sequence[AuditEvent], *, now: int = NOW, keyring: Keyring | None = None
) -> None:
    append(storage, [record(each, keyring) for each in events], now=now, keyring=keyring)


def fill(storage: AuditStorage, number: int, *, tenant: str = "acme", keyring: Keyring | None = None) -> None:
    store(storage, [event(tenant=tenant) for _ in range(number)], keyring=keyring)


def rows(storage: AuditStorage, tenant: str = "acme", where: AuditFilter = ALL, **chosen: object) -> list[Row]:
    with storage.reading() as reading:
        return list(reading.rows(tenant, Choice(where, **chosen)))  # type: ignore[arg-type]
