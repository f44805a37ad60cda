"""Reading the log: a reader has a principal, and sees the events of its tenant, as far as its roles go."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import IO, Any, Final, Literal, TypeAlias

from stategraph.agent.messages.encodable import encodable_value
from stategraph.errors import ConfigurationError
from stategraph.governance.audit import erasing, verification
from stategraph.governance.audit.event import AuditEvent, Severity
from stategraph.governance.audit.filters import ALL, AuditFilter
from stategraph.governance.audit.own_events import tell_exported
from stategraph.governance.audit.record import NO_DATA, SALT_BYTES, Row, moment, plain_data
from stategraph.governance.audit.storage import AuditStorage, Choice
from stategraph.governance.context import Principal
from stategraph.governance.errors import AuditDenied
from stategraph.governance.keyring import Keyring, KeyUnavailable
from stategraph.savers.methods import in_thread

Format: TypeAlias = Literal["jsonl", "csv"]
FORMATS: Final[tuple[Format, ...]] = ("jsonl", "csv")
LONGEST_PAGE: Final = 1000

_FIELDS: Final = (
    *("seq", "stored", "at", "type", "severity", "tenant", "id", "run_id", "thread_id", "call_id", "principal"),
    *("capability_id", "decision", "duration_ms", "trace_id", "data", "erased", "unreadable", "hash"),
)

#: Fields of events that are texts.
_NAMES: Final = ("run_id", "thread_id", "call_id", "principal", "capability_id", "decision", "trace_id")

_FORMULA: Final = re.compile(r"[\s\x00-\x20\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]|[\t\r\n]")
"""The beginning of a cell that a spreadsheet may take for a formula, also behind white space and in full width."""


@dataclass(frozen=True, slots=True)
class AuditAccess:
    """The roles that may do something with the log of their tenant.

    Attributes:
        read: May read and verify events.
        export: May export them.
        erase: May erase data of events.
        own: Whether everybody may read the events in which they acted.
    """

    read: frozenset[str] = frozenset({"auditor", "admin"})
    export: frozenset[str] = frozenset({"auditor", "admin"})
    erase: frozenset[str] = frozenset({"privacy-officer"})
    own: bool = False


DEFAULT_ACCESS: Final = AuditAccess()


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An event as it stands in the log.

    Attributes:
        seq: Its number in the tenant's chain.
        stored: When it was stored.
        event: The event; without data, if they cannot be read.
        hash: The hash of its row, in hex.
        erased: Whether its data were erased.
        unreadable: Why its data cannot be read, such as a key that is not there, or why the whole row cannot; None:
            they can.
    """

    seq: int
    stored: datetime
    event: AuditEvent
    hash: str
    erased: bool
    unreadable: str | None

    def facts(self) -> dict[str, Any]:
        """Return the entry as JSON."""
        event = self.event
        values = (
            *(self.seq, self.stored.isoformat(), event.at.isoformat(), event.type, event.severity.name.lower()),
            *(event.tenant, event.id, event.run_id, event.thread_id, event.call_id, event.principal),
            *(event.capability_id, event.decision, event.duration_ms, event.trace_id, dict(event.data)),
            *(self.erased, self.unreadable, self.hash),
        )
        return dict(zip(_FIELDS, values, strict=True))


@dataclass(frozen=True, slots=True)
class AuditPage:
    """A page of entries.

    Attributes:
        entries: The entries.
        cursor: Where the next page begins; None: there is none.
    """

    entries: tuple[AuditEntry, ...]
    cursor: str | None


class AuditReader:
    """Reads the log of a principal's tenant.

    Args:
        storage: The log.
        principal: Who reads, as the host authenticated it.
        access: The roles that may read, export and erase.
        keyring: Reads encrypted data; None: they are not shown.
    """

    def __init__(
        self,
        storage: AuditStorage,
        principal: Principal,
        *,
        access: AuditAccess = DEFAULT_ACCESS,
        keyring: Keyring | None = None,
    ) -> None:
        self._storage = storage
        self._principal = principal
        self._access = access
        self._keyring = keyring

    @property
    def tenant(self) -> str:
        """The tenant whose events are read."""
        return self._principal.org_id

    def page(
        self, where: AuditFilter = ALL, *, limit: int = 100, cursor: str | None = None, newest: bool = True
    ) -> AuditPage:
        """Return a page of entries.

        Args:
            where: Chooses events.
            limit: Entries of the page at most, up to 1,000.
            cursor: Where it begins: that of the page before; None: the first page.
            newest: Begin with the newest event.

        Raises:
            AuditDenied: The principal may not read them.
            ConfigurationError: The limit or the cursor makes no sense.
        """
        if not 0 < limit <= LONGEST_PAGE:
            raise ConfigurationError(f"A page has 1 to {LONGEST_PAGE} entries; limit is {limit}")
        where = self._readable(where)
        at = _number(cursor)
        bounds: dict[str, Any] = {} if at is None else {"before": at} if newest else {"after": at}
        with self._storage.reading() as reading:
            rows = list(reading.rows(self.tenant, Choice(where, **bounds, newest=newest, limit=limit + 1)))
        more = len(rows) > limit
        entries = tuple(entry(row, self._keyring) for row in rows[:limit])
        return AuditPage(entries, str(entries[-1].seq) if more else None)

    def entries(self, where: AuditFilter = ALL) -> Iterator[AuditEntry]:
        """Yield all entries that are chosen, the oldest first.

        Raises:
            AuditDenied: The principal may not read them.
        """
        where = self._readable(where)
        return self._entries(where)

    def _entries(self, where: AuditFilter) -> Iterator[AuditEntry]:
        with self._storage.reading() as reading:
            for row in reading.rows(self.tenant, Choice(where)):
                yield entry(row, self._keyring)

    def export(self, file: IO[str], where: AuditFilter = ALL, *, format: Format = "jsonl") -> int:
        """Write entries to a file, and record that this was done.

        Args:
            file: Is written to; for CSV, opened with `newline=""`.
            where: Chooses events.
            format: `jsonl`, an object on each line; or `csv`, with the data as JSON in one column. Texts that a
                spreadsheet would take for a formula begin with `'` there.

        Returns:
            Entries that were written.

        Raises:
            AuditDenied: The principal may not export.
            ConfigurationError: There is no such format.
        """
        if format not in FORMATS:
            raise ConfigurationError(f"format is {format!r}; expected {' or '.join(FORMATS)}")
        self._require(self._access.export, "export")
        number = _WRITERS[format](file, self._entries(where))
        facts = {"rows": number, "format": format, "chosen_by": sorted(where.facts())}
        tell_exported(self._storage, self.tenant, self._principal, facts)
        return number

    def verify(self) -> verification.Verification:
        """Verify the tenant's chain.

        Raises:
            AuditDenied: The principal may not read it.
        """
        self._require(self._access.read, "verify")
        (found,) = verification.verify(self._storage, [self.tenant], keyring=self._keyring)
        return found

    def erase(self, where: AuditFilter, *, reason: str) -> int:
        """Erase the data of events of the tenant; see `erasing.erase`.

        Raises:
            AuditDenied: The principal may not erase.
            ConfigurationError: The filter would choose all events.
        """
        self._require(self._access.erase, "erase data of")
        return erasing.erase(
            self._storage, self.tenant, where, by=self._principal, reason=reason, keyring=self._keyring
        )

    apage = in_thread(page)
    aexport = in_thread(export)
    averify = in_thread(verify)
    aerase = in_thread(erase)

    def _readable(self, where: AuditFilter) -> AuditFilter:
        """Return a filter that chooses only what the principal may read."""
        if self._access.own and not self._principal.roles & self._access.read:
            if where.principal not in (None, self._principal.name):
                self._require(self._access.read, "read others' events in")
            return replace(where, principal=self._principal.name)
        self._require(self._access.read, "read")
        return where

    def _require(self, roles: frozenset[str], what: str) -> None:
        if not self._principal.roles & roles:
            raise AuditDenied(
                f"{self._principal.name} may not {what} the audit log: that needs one of the roles "
                f"{', '.join(sorted(roles)) or '(none)'}"
            )


def entry(row: Row, keyring: Keyring | None) -> AuditEntry:
    """Return a row as an entry; what cannot be read of it is left out, and why is said."""
    try:
        return _entry(row, keyring)
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        return _changed(row, f"The row was changed, and cannot be read ({type(error).__name__}): verify the log")


def _changed(row: Row, unreadable: str) -> AuditEntry:
    """Return what is left of a row with values of other types than were stored: its names, and times if they are any.

    A time that is none is that of 1970.
    """
    texts: dict[str, Any] = {name: value for name in _NAMES if isinstance(value := getattr(row, name), str)}
    type_ = row.type if isinstance(row.type, str) else str(row.type)
    event = AuditEvent(type_, row.tenant, _moment(row.at), str(row.id), Severity.DEBUG, **texts)
    hash_ = row.hash.hex() if isinstance(row.hash, bytes) else ""
    return AuditEntry(row.seq, _moment(row.stored), event, hash_, erased=False, unreadable=unreadable)


def _moment(value: Any) -> datetime:
    try:
        return moment(value)
    except (TypeError, OverflowError):
        return moment(0)


def _entry(row: Row, keyring: Keyring | None) -> AuditEntry:
    data: dict[str, Any] = {}
    unreadable = None
    try:
        plain = plain_data(row, keyring)
        data = _json(plain[SALT_BYTES:]) if plain is not None else {}
    except KeyUnavailable as error:
        unreadable = str(error)
    except ValueError:
        unreadable = "The data are not what was stored: verify the log"
    event = AuditEvent(
        row.type,
        row.tenant,
        moment(row.at),
        row.id,
        _severity(row.severity),
        row.run_id,
        row.thread_id,
        row.call_id,
        row.principal,
        row.capability_id,
        row.decision,
        None if row.duration_us is None else row.duration_us / 1000,
        row.trace_id,
        data if isinstance(data, dict) else {"data": data},
    )
    return AuditEntry(
        row.seq, moment(row.stored), event, row.hash.hex(), row.data is None and _had_data(row), unreadable
    )


def _json(text: bytes) -> Any:
    """Read data; halves of characters, which earlier versions recorded as escapes, are replaced."""
    data = json.loads(text)
    return encodable_value(data) if b"\\ud" in text else data


def _had_data(row: Row) -> bool:
    return row.data_hash != NO_DATA


def _severity(number: int) -> Severity:
    known = [each for each in Severity if each <= number]
    return known[-1] if known else Severity.DEBUG


def _number(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdecimal() and len(cursor) < 20):
        raise ConfigurationError("The cursor is none of this log: pass that of the page before, unchanged")
    return int(cursor)


def _write_jsonl(file: IO[str], entries: Iterator[AuditEntry]) -> int:
    number = 0
    for each in entries:
        file.write(json.dumps(each.facts(), ensure_ascii=False, separators=(",", ":")) + "\n")
        number += 1
    return number


def _write_csv(file: IO[str], entries: Iterator[AuditEntry]) -> int:
    writer = csv.writer(file)
    writer.writerow(_FIELDS)
    number = 0
    for each in entries:
        facts = each.facts()
        facts["data"] = json.dumps(facts["data"], ensure_ascii=False, separators=(",", ":"))
        writer.writerow([_cell(value) for value in facts.values()])
        number += 1
    return number


def _cell(value: Any) -> Any:
    """Return a value as a spreadsheet takes it for text (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


_WRITERS: Final[dict[Format, Callable[[IO[str], Iterator[AuditEntry]], int]]] = {
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
