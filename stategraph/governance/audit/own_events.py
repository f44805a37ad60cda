"""Events that the log tells of itself: in the chain that they are about, not encrypted, and never erased."""

from __future__ import annotations

import time
import uuid
from datetime import UTC, datetime
from typing import Any, Final

from stategraph.governance.audit import preparing
from stategraph.governance.audit.event import AuditEvent, AuditEventType, Severity
from stategraph.governance.audit.record import Record
from stategraph.governance.audit.storage import AuditStorage, append
from stategraph.governance.context import Principal
from stategraph.governance.redaction import Redactor

OWN: Final = preparing.OWN
_REDACTOR: Final = Redactor(personal=False)
_LONGEST: Final = 1_000_000


def now() -> int:
    """Return the time, in microseconds since 1970."""
    return time.time_ns() // 1000


def own_record(type: AuditEventType, tenant: str, by: Principal, facts: dict[str, Any]) -> Record:
    """Make a record of an event of the log itself, which is not encrypted."""
    event = AuditEvent(
        type, tenant, datetime.now(UTC), uuid.uuid4().hex, Severity.WARNING, principal=by.name, data=facts
    )
    return preparing.prepare_any(event, _REDACTOR, None, _LONGEST)


def tell_exported(storage: AuditStorage, tenant: str, by: Principal, facts: dict[str, Any]) -> None:
    """Record that somebody exported events."""
    append(storage, [own_record(AuditEventType.AUDIT_EXPORTED, tenant, by, facts)], now=now())
