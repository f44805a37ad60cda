"""Events for the tests of the audit log."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

from stategraph.governance.audit.event import AuditEvent, AuditEventType, Severity

BEGAN = datetime(2026, 11, 30, 8, 0, tzinfo=UTC)
_NUMBERS = itertools.count()


def event(type: str = AuditEventType.ACTION_STARTED, tenant: str = "acme", **fields: Any) -> AuditEvent:
    """An event with an id of its own, a millisecond after the one before."""
    number = next(_NUMBERS)
    facts: dict[str, Any] = {
        "at": BEGAN + timedelta(milliseconds=number),
        "id": f"e{number}",
        "severity": Severity.INFO,
        "run_id": f"run-{number // 10}",
        "principal": f"{tenant}/ann",
        "capability_id": "mcp:github/create_issue@1",
        "data": {"number": number},
    }
    return AuditEvent(type, tenant, **{**facts, **fields})
