"""Verification: what of a log is as it was recorded, and what cannot be proved.

What is found, in the rows that are there
-----------------------------------------
* Any changed byte of a row: its header, its data, its hashes, the id of its key.
* A row that is missing, added, exchanged or there twice: numbers have no gaps, and each hash depends on the row before.
* Data that are missing without an erasure that the log tells of itself (`audit.erased`).
* A beginning that is missing without an archive that the log tells of itself (`audit.archived`).
* An end that is missing, as far as a signed head covers it: one in the database, or one that was kept elsewhere.

What is not
-----------
* Rows behind the last signed head can be taken away, or written anew, by who can write to the database, unless a head
  that covers them was kept elsewhere. `Verification.unsigned` counts them. Without a signing key this is the whole log.
* So can all rows of a tenant, with its heads.
* Encrypted data are not checked without their keys; `Verification.unread` counts them.
* Who has the signing key can write any history.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

from stategraph.governance.audit.chain import Head, SignedHead, genesis, row_hash
from stategraph.governance.audit.event import AuditEventType
from stategraph.governance.audit.record import NO_DATA, SALT_BYTES, Row, header_parts, plain_data
from stategraph.governance.audit.storage import AuditReading, AuditStorage
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring, KeyUnavailable

_HEAD: Final = (str, int, bytes, int, str, bytes)
"""The types of the fields of a signed head."""

FINDINGS: Final = 100
"""Findings of a tenant that are told; there may be more."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was recorded.

    Attributes:
        seq: The number of the row, or of the first of several; None: it is about the whole chain.
        message: What was found.
    """

    seq: int | None
    message: str


@dataclass(frozen=True, slots=True)
class Verification:
    """Outcome of verifying a tenant's chain.

    Attributes:
        tenant: The tenant.
        rows: Rows that were read.
        first: The number of the first; rows before it are in archives. 0: there is none.
        last: The number of the last.
        signed: The number of the last row that a valid signed head covers; 0: none.
        erased: Rows whose data were erased, as the log tells.
        unread: Rows whose data are encrypted with keys that were not given.
        findings: What is not as it was recorded, at most 100.
        heads_checked: Signed heads whose signatures were checked.
        heads_unchecked: Signed heads for which no key was given.
    """

    tenant: str
    rows: int
    first: int
    last: int
    signed: int
    erased: int
    unread: int
    findings: tuple[Finding, ...]
    heads_checked: int
    heads_unchecked: int

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.findings

    @property
    def unsigned(self) -> int:
        """Rows behind the last signed head, whose end cannot be proved."""
        return self.last - max(self.signed, self.first - 1) if self.rows else 0

    def check(self) -> None:
        """Return if nothing was found.

        Raises:
            AuditTampered: Something was.
        """
        if self.findings:
            first = self.findings[0]
            where = "" if first.seq is None else f", row {first.seq}"
            raise AuditTampered(
                f"The audit log of tenant '{self.tenant}' does not verify{where}: {first.message}"
                + (f" ({len(self.findings)} findings)" if len(self.findings) > 1 else "")
            )


def verify(
    storage: AuditStorage,
    tenants: Iterable[str] | None = None,
    *,
    keyring: Keyring | None = None,
    heads: Iterable[SignedHead] = (),
) -> list[Verification]:
    """Verify chains.

    Args:
        storage: The log.
        tenants: The tenants; None: all that are known of, also by `heads`.
        keyring: Keys that read encrypted data and check signatures. None: neither is done.
        heads: Signed heads that were kept elsewhere.

    Returns:
        The outcome for each tenant.
    """
    elsewhere: dict[str, list[SignedHead]] = {}
    for head in heads:
        elsewhere.setdefault(head.tenant, []).append(head)
    with storage.reading() as reading:
        chosen = sorted({*reading.tenants(), *elsewhere}) if tenants is None else list(tenants)
        return [_verify(reading, tenant, keyring, elsewhere.get(tenant, [])) for tenant in chosen]


def _verify(reading: AuditReading, tenant: str, keyring: Keyring | None, heads: list[SignedHead]) -> Verification:
    chain = ChainVerifier(tenant, keyring)
    heads = [*chain.whole(chain.unless_damaged(lambda: reading.signed_heads(tenant), [])), *heads]
    end = chain.unless_damaged(lambda: reading.head(tenant), None)
    chain.wanted = {head.seq for head in heads}
    try:
        for row in reading.rows(tenant):
            chain.row(row)
    except ValueError as error:  # a line of a file that is none
        chain.find(chain.last + 1, str(error))
    return chain.finish(end, heads)


class ChainVerifier:
    """Verifies the rows of one tenant, in order.

    Args:
        tenant: The tenant.
        keyring: Keys; None: none.
        part: Whether the rows are a part of a chain: it may begin anywhere, and erasures may be told of elsewhere.

    Attributes:
        wanted: Numbers of rows whose hashes are needed in the end.
        last: The number of the last row.
        hash: Its hash.
        first: The number of the first row; 0: there was none.
        before: The hash of the row before the first.
    """

    def __init__(self, tenant: str, keyring: Keyring | None, *, part: bool = False) -> None:
        self._part = part
        self.wanted: set[int] = set()
        self.first = 0
        self.last = 0
        self.hash = self.before = genesis(tenant).hash
        self._tenant = tenant
        self._keyring = keyring
        self._reads = keyring is not None and bool(keyring.ids)
        self._findings: list[Finding] = []
        self._hashes: dict[int, bytes] = {}
        self._rows = self._unread = 0
        self._missing: list[int] = []
        self._erased: list[tuple[int, int]] = []
        self._archived: set[tuple[int, str]] = set()

    def find(self, seq: int | None, message: str) -> None:
        """Note a finding."""
        if len(self._findings) < FINDINGS:
            self._findings.append(Finding(seq, message))

    def unless_damaged(self, read: Any, otherwise: Any) -> Any:
        """Return what a function reads; what it cannot read is a finding."""
        try:
            return read()
        except ValueError as error:
            self.find(None, str(error))
            return otherwise

    def whole(self, heads: Iterable[SignedHead]) -> list[SignedHead]:
        """Return the signed heads whose fields have the types that they were stored with; another one is a finding."""
        found = []
        for head in heads:
            if tuple(map(type, astuple(head))) == _HEAD:
                found.append(head)
            else:
                self.find(None, "a signed head was changed, and cannot be read")
        return found

    def row(self, row: Row) -> None:
        """Verify the next row."""
        self._rows += 1
        seq = row.seq
        if type(seq) is not int:
            self.find(self.last + 1, "it was changed, and has no number")
            return
        if not self.first:
            self._begin(row)
        elif seq != self.last + 1:
            self._find_gap(seq)
        try:
            first, second, third = header_parts(row[:15])
            actual = row_hash(row.prev_hash, f"{first}{seq:d}{second}{row.stored:d}{third}", row.data_hash)
            if row.prev_hash != self.hash and seq == self.last + 1:
                self.find(seq, "it does not follow the row before it: one of them was changed or exchanged")
            if actual != row.hash:
                self.find(seq, "it was changed")
            elif row.data is None or row.key_id is not None or hashlib.sha256(row.data).digest() != row.data_hash:
                self._data(row)
            if row.type[:6] == "audit.":
                self._own(row)
        except (TypeError, ValueError, AttributeError, LookupError, RecursionError) as error:
            self.find(seq, f"it was changed, and cannot be read: {type(error).__name__}")
        if seq in self.wanted:
            self._hashes[seq] = row.hash
        self.last, self.hash = seq, _bytes(row.hash)

    def _begin(self, row: Row) -> None:
        self.first = row.seq
        if row.seq == 1:
            self.last = 0
        else:
            self.last = row.seq - 1
            self.hash = self.before = _bytes(row.prev_hash)

    def _find_gap(self, seq: int) -> None:
        expected = self.last + 1
        if seq > expected:
            self.find(expected, f"{_rows(expected, seq - 1)} missing")
        else:
            self.find(seq, "it is there twice, or out of order")

    def _data(self, row: Row) -> None:
        """Verify data that are missing, or encrypted, or that do not have their commitment."""
        if row.data is None:
            if row.key_id is not None:
                self.find(row.seq, "it names a key, and has no data")
            if row.data_hash != NO_DATA:
                self._missing.append(row.seq)
            return
        if row.key_id is not None and not self._reads:
            self._unread += 1
            if hashlib.sha256(row.data).digest() == row.data_hash:
                self.find(row.seq, "it names a key, and its data are not encrypted")
            return
        try:
            plain = plain_data(row, self._keyring)
        except KeyUnavailable as error:
            self.find(row.seq, f"its data cannot be read: {error}")
            return
        if plain is None or hashlib.sha256(plain).digest() != row.data_hash:
            self.find(row.seq, "its data were changed")

    def _own(self, row: Row) -> None:
        """Take note of what the log tells of itself; its own data are never encrypted."""
        if row.data is None or row.key_id is not None or hashlib.sha256(row.data).digest() != row.data_hash:
            return
        facts: Mapping[str, Any] = json.loads(row.data[SALT_BYTES:])
        if row.type == AuditEventType.AUDIT_ERASED:
            self._erased += [(int(begin), int(end)) for begin, end in facts["ranges"]]
        elif row.type == AuditEventType.AUDIT_ARCHIVED:
            self._archived.add((facts["up_to"], facts["hash"]))

    def finish(self, end: Head | None, heads: Iterable[SignedHead] = ()) -> Verification:
        """Compare the chain with its end, its signed heads and what it tells of itself.

        Args:
            end: The end of the chain as the storage has it; None: not known.
            heads: Signed heads.
        """
        if not self._part and self.first > 1 and (self.first - 1, self.before.hex()) not in self._archived:
            self.find(1, f"{_rows(1, self.first - 1)} missing, and no archive of them is told of")
        if end is not None and (end.seq, end.hash) != (self.last, self.hash):
            self.find(self.last + 1, f"the end of the chain is said to be row {end.seq}, with another hash")
        for seq in () if self._part else self._not_erased():
            self.find(seq, "its data are missing, and no erasure of them is told of")
        signed, checked, unchecked = 0, 0, 0
        for head in heads:
            verdict = self._head(head)
            checked += verdict is not None
            unchecked += verdict is None
            signed = max(signed, head.seq) if verdict else signed
        return Verification(
            self._tenant,
            self._rows,
            self.first,
            self.last,
            signed,
            len(self._missing),
            self._unread,
            tuple(self._findings),
            checked,
            unchecked,
        )

    def _not_erased(self) -> Iterator[int]:
        """Yield rows whose data are missing without an erasure."""
        ranges = iter(sorted(self._erased))
        begin, end = next(ranges, (0, 0))
        for seq in self._missing:
            while end and seq > end:
                begin, end = next(ranges, (0, 0))
            if not (end and begin <= seq):
                yield seq

    def _head(self, head: SignedHead) -> bool | None:
        """Verify a signed head.

        Returns:
            Whether it is valid and its row is what it says; None if there is no key for it.
        """
        if self._keyring is None or not self._keyring.can_verify:
            known = None
        else:
            try:
                known = self._keyring.is_signature(head.key_id, head.signature, head.statement)
            except (KeyUnavailable, ValueError) as error:
                self.find(head.seq, f"the signed head of row {head.seq} cannot be checked: {error}")
                return False
            if not known:
                self.find(head.seq, f"the signed head of row {head.seq} has a wrong signature: it was changed")
                return False
        if head.seq > self.last:
            self.find(self.last + 1, f"{_rows(self.last + 1, head.seq)} missing, which a signed head covers")
            return known and False
        is_before = head.seq < self.first - 1  # of an archive
        actual = self.before if head.seq == self.first - 1 else self._hashes.get(head.seq)
        if not is_before and actual != head.hash:
            self.find(head.seq, "it is not the row that a signed head was made of: the chain was written anew")
            return known and False
        return known


def _bytes(value: bytes) -> bytes:
    """Return a hash; an empty one, which no row has, if the storage has it as something else."""
    return value if type(value) is bytes else b""


def _rows(first: int, last: int) -> str:
    return f"row {first} is" if first == last else f"rows {first} to {last} are"
