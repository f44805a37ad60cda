"""The audit log: events without secrets in a signed chain, an erasure that verifies, and a change that is found.

Prints::

    1 action.started {'arguments': {'api_key': '[redacted]', 'to': '[redacted:email]'}}
    2 action.completed {'result': 'sent'}
    verified: 2 rows, all of them signed
    after an erasure: verified, 1 of 3 rows erased
    after a change by SQL: row 2: it was changed
"""

import asyncio
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from stategraph.governance.audit.event import AuditEvent, AuditEventType
from stategraph.governance.audit.filters import AuditFilter
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.reader import AuditReader
from stategraph.governance.context import Principal
from stategraph.governance.keyring import Keyring

OTTO = Principal("acme", "otto", frozenset({"auditor", "privacy-officer"}))


def happened(type: AuditEventType, run_id: str, data: dict[str, Any]) -> AuditEvent:
    return AuditEvent(type, "acme", datetime.now(UTC), uuid4().hex, run_id=run_id, principal="acme/ann", data=data)


async def main(folder: str) -> None:
    keyring = Keyring().with_new_key().with_new_signer()  # a program reads them from a file
    async with AuditLog(f"sqlite:///{folder}/audit.db", keyring=keyring) as log:
        arguments = {"to": "bob@example.org", "api_key": "sk-not-for-the-log"}
        # Before an action that is more than reading: it returns when the row is stored.
        await log.record(happened(AuditEventType.ACTION_STARTED, "run-1", {"arguments": arguments}), durable=True)
        await log.record(happened(AuditEventType.ACTION_COMPLETED, "run-2", {"result": "sent"}))

    reader = AuditReader(log.storage, OTTO, keyring=keyring)
    for entry in reader.entries():
        print(entry.seq, entry.event.type, entry.event.data)
    found = reader.verify()
    print(f"verified: {found.rows} rows, {'all' if not found.unsigned else 'not all'} of them signed")

    await reader.aerase(AuditFilter(run_id="run-1"), reason="request 17")
    found = reader.verify()
    print(f"after an erasure: {'verified' if found.ok else 'changed'}, {found.erased} of {found.rows} rows erased")
    log.storage.close()

    with closing(sqlite3.connect(f"{folder}/audit.db")) as connection, connection:
        month = f"sg_audit_{datetime.now(UTC):%Y_%m}"
        connection.execute(f"UPDATE {month} SET principal = 'acme/eve' WHERE seq = 2")
    (finding,) = reader.verify().findings
    print(f"after a change by SQL: row {finding.seq}: {finding.message}")


with tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(folder))
