"""The chain of hashes over a tenant's rows, and signed heads of it. Pure.

    H(0) = sha256("stategraph.audit.1" NUL tenant)
    H(n) = sha256(H(n-1) || header(n) || commitment(n))

A head says: tenant T had n rows, and the hash of the last was H(n). Signed with Ed25519 it proves all rows up to n, as
no others have that hash.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from stategraph.governance.audit.record import VERSION, Record, Row
from stategraph.governance.canonical import canonical_json
from stategraph.governance.keyring import Keyring

HEAD_ROWS: Final = 1000
"""Rows between two signed heads at most."""

HEAD_US: Final = 60 * 1_000_000
"""Microseconds from a row to the head that signs it, at most, while a log is open."""


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a tenant's chain.

    Attributes:
        tenant: The tenant.
        seq: The number of its last row; 0: there is none.
        hash: The hash of that.
        stored: When it was stored, in microseconds since 1970; times of a chain never decrease.
        signed_seq: The number of the last row that a signed head covers.
        unsigned_since: When the first row behind that was stored; 0: there is none.
    """

    tenant: str
    seq: int
    hash: bytes
    stored: int
    signed_seq: int = 0
    unsigned_since: int = 0


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A signed statement about a tenant's chain.

    Attributes:
        tenant: The tenant.
        seq: The number of the last row that it covers.
        hash: The hash of that row.
        at: When it was signed, in microseconds since 1970.
        key_id: The key that signed it.
        signature: Ed25519, over `statement`.
    """

    tenant: str
    seq: int
    hash: bytes
    at: int
    key_id: str
    signature: bytes

    @property
    def statement(self) -> bytes:
        """The text that is signed."""
        return _statement(self.tenant, self.seq, self.hash, self.at, self.key_id)


def genesis(tenant: str) -> Head:
    """Return the head of a chain without rows."""
    return Head(tenant, 0, hashlib.sha256(f"stategraph.audit.{VERSION}\0{tenant}".encode()).digest(), 0)


def row_hash(previous: bytes, header: str, commitment: bytes) -> bytes:
    """Return the hash of a row."""
    return hashlib.sha256(b"%b%b%b" % (previous, header.encode(), commitment)).digest()


def link(head: Head, records: Sequence[Record], now: int) -> tuple[list[Row], Head]:
    """Put records behind a chain.

    Args:
        head: The end of the chain.
        records: Those of its tenant, in order.
        now: The time, in microseconds since 1970.

    Returns:
        The rows, and the end of the chain behind them.
    """
    seq, previous, stored = head.seq, head.hash, max(now, head.stored)
    rows = []
    for record in records:
        seq += 1
        first, second, third = record.header
        hash = row_hash(previous, f"{first}{seq}{second}{stored}{third}", record.data_hash)
        tenant, _, id, at, _, *others = record.values
        rows.append(
            Row._make(
                (tenant, seq, id, at, stored, *others, record.data, record.data_hash, record.key_id, previous, hash)
            )
        )
        previous = hash
    since = stored if head.seq == head.signed_seq else head.unsigned_since
    return rows, replace(head, seq=seq, hash=previous, stored=stored, unsigned_since=since)


def due(head: Head, now: int) -> bool:
    """Return whether a head is to be signed: `HEAD_ROWS` rows are not covered, or one since `HEAD_US`."""
    unsigned = head.seq - head.signed_seq
    return unsigned >= HEAD_ROWS or (unsigned > 0 and now - head.unsigned_since >= HEAD_US)


def sign(head: Head, keyring: Keyring, now: int) -> tuple[SignedHead, Head]:
    """Sign the end of a chain.

    Returns:
        The signed head, and the end of the chain, which knows of it.

    Raises:
        KeyUnavailable: The keyring has no signing key.
    """
    key_id = keyring.signer or ""
    key_id, signature = keyring.sign(_statement(head.tenant, head.seq, head.hash, now, key_id))
    signed = SignedHead(head.tenant, head.seq, head.hash, now, key_id, signature)
    return signed, replace(head, signed_seq=head.seq, unsigned_since=0)


def _statement(tenant: str, seq: int, hash: bytes, at: int, key_id: str) -> bytes:
    return canonical_json(
        {
            "at": at,
            "hash": hash.hex(),
            "key_id": key_id,
            "kind": f"stategraph.audit.head.{VERSION}",
            "seq": seq,
            "tenant": tenant,
        }
    )
