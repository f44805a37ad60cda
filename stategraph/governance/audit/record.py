"""Rows of the audit log: what is stored of an event, and the text of it that is hashed.

Rules
-----
* `header` is the event without its data, as canonical JSON (RFC 8785) of the fields in `HEADER`. It has texts, integers
  and nulls only, so its form depends on no library: keys in order, no white space, the escapes of JSON.
* Times are microseconds since 1970-01-01T00:00:00Z, durations are microseconds.
* `data` is 16 random bytes with the event's data as JSON behind them, encrypted if there is an active key. Its
  commitment is the SHA-256 of both, so data that was erased cannot be guessed from what stays.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from json.encoder import encode_basestring as _text
from typing import Any, Final, NamedTuple

from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.keyring import Keyring

VERSION: Final = 1
"""The version of the form of headers and of the chain."""

SALT_BYTES: Final = 16
NO_DATA: Final = hashlib.sha256(b"").digest()
"""The commitment of an event without data."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Row(NamedTuple):
    """A row of the log, as it is stored."""

    tenant: str
    seq: int
    id: str
    at: int
    stored: int
    type: str
    severity: int
    run_id: str | None
    thread_id: str | None
    call_id: str | None
    principal: str | None
    capability_id: str | None
    decision: str | None
    duration_us: int | None
    trace_id: str | None
    data: bytes | None
    data_hash: bytes
    key_id: str | None
    prev_hash: bytes
    hash: bytes


COLUMNS: Final = Row._fields
HEADER: Final = tuple(sorted({*COLUMNS} - {"data", "data_hash", "key_id", "prev_hash", "hash"} | {"v"}))
"""The fields of a header."""


@dataclass(frozen=True, slots=True)
class Record:
    """An event that is ready to be stored: cleaned and encrypted, and without its place in the chain.

    Attributes:
        values: The first columns of a row, with 0 for `seq` and `stored`.
        header: The text of the header around `seq` and `stored`, in three parts.
        data: The salted data, encrypted if `key_id` says so; None: there are none.
        data_hash: The commitment.
        key_id: The key that encrypted the data; None: they are not encrypted.
    """

    values: tuple[Any, ...]
    header: tuple[str, str, str]
    data: bytes | None
    data_hash: bytes
    key_id: str | None

    @property
    def tenant(self) -> str:
        """The tenant."""
        return str(self.values[0])

    @property
    def id(self) -> str:
        """The event's id."""
        return str(self.values[2])


def microseconds(moment: datetime) -> int:
    """Return a moment as microseconds since 1970; one without a time zone is UTC."""
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _MICROSECOND


def moment(microseconds: int) -> datetime:
    """Return the moment, in UTC, of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _nullable(value: str | None) -> str:
    return "null" if value is None else _text(value)


def header_parts(values: tuple[Any, ...]) -> tuple[str, str, str]:
    """Return the text of a header around `seq` and `stored`, in three parts.

    Args:
        values: The first 15 columns of a row.
    """
    (tenant, _, id, at, _, type, severity, run, thread, call, principal, capability, decision, duration, trace) = values
    first = (
        f'{{"at":{at:d},"call_id":{_nullable(call)},"capability_id":{_nullable(capability)},'
        f'"decision":{_nullable(decision)},"duration_us":{"null" if duration is None else f"{duration:d}"},'
        f'"id":{_text(id)},"principal":{_nullable(principal)},"run_id":{_nullable(run)},"seq":'
    )
    third = (
        f',"tenant":{_text(tenant)},"thread_id":{_nullable(thread)},"trace_id":{_nullable(trace)},'
        f'"type":{_text(type)},"v":{VERSION}}}'
    )
    return first, f',"severity":{severity:d},"stored":', third


def about(tenant: str, id: str) -> bytes:
    """Return what encrypted data belongs to, as associated data: its event."""
    return f"stategraph.audit.{VERSION}\0{tenant}\0{id}".encode()


def make_record(event: AuditEvent, texts: tuple[str | None, ...], data: str, keyring: Keyring | None) -> Record:
    """Make a record of an event.

    Args:
        event: The event.
        texts: Its cleaned texts: run_id, thread_id, call_id, principal, capability_id, decision, trace_id.
        data: Its cleaned data as JSON; empty: none.
        keyring: Encrypts the data, if it has an active key.
    """
    run, thread, call, principal, capability, decision, trace = texts
    duration = None if event.duration_ms is None else round(event.duration_ms * 1000)
    values = (
        *(event.tenant, 0, event.id, microseconds(event.at), 0, str(event.type), int(event.severity)),
        *(run, thread, call, principal, capability, decision, duration, trace),
    )
    if not data:
        return Record(values, header_parts(values), None, NO_DATA, None)
    plain = os.urandom(SALT_BYTES) + data.encode()
    commitment = hashlib.sha256(plain).digest()
    if keyring is None or keyring.active is None:
        return Record(values, header_parts(values), plain, commitment, None)
    key_id, sealed = keyring.encrypt(plain, about(event.tenant, event.id))
    return Record(values, header_parts(values), sealed, commitment, key_id)


def plain_data(row: Row, keyring: Keyring | None) -> bytes | None:
    """Return the salted data of a row; None if it has none.

    Raises:
        KeyUnavailable: They are encrypted, and the key is not there or does not open them.
    """
    if row.data is None or row.key_id is None:
        return row.data
    return (keyring or Keyring()).decrypt(row.key_id, row.data, about(row.tenant, row.id))
