"""A process that writes to an audit log until it has written enough, or is killed; prints the id of each durable event.

python -m tests.governance.audit.writing URL NAME NUMBER
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime

from stategraph.governance.audit.event import AuditEvent, AuditEventType
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.keyring import Keyring


def main(url: str, name: str, number: int) -> None:
    with AuditLog(url, keyring=Keyring.from_environment()) as log:
        for at in range(number):
            durable = at % 3 == 0
            id = f"{name}-{at}"
            event = AuditEvent(AuditEventType.ACTION_STARTED, "acme", datetime.now(UTC), id, data={"at": at})
            log.record_sync(event, durable=durable)
            if durable:
                print(id, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
