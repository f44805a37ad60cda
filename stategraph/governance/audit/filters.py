"""Filters of audit rows: the same for rows in a database and in a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from stategraph.governance.audit.event import Severity
from stategraph.governance.audit.record import Row, microseconds

#: The columns of texts.
_TEXTS: Final = ("id", "run_id", "thread_id", "call_id", "principal", "capability_id", "decision", "trace_id")

#: Those of them in which `*` at the end of the filter stands for any end: their names are not made up by users.
_PATTERNS: Final = frozenset({"type", "capability_id"})


class Prefix(str):
    """A beginning, for a filter that chooses all texts that begin so: `AuditFilter(run_id=Prefix("nightly-"))`.

    A `*` in it is one.
    """

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Chooses rows; what is None, or empty, chooses all.

    Texts are compared as a whole: the user `ann*` is one user. A `Prefix` chooses by a beginning; in `types` and
    `capability_id` so does a text that ends with `*`, as in `mcp:github/*`.

    Attributes:
        types: Types of events, such as `action.started` or `approval.*`.
        run_id: The run.
        thread_id: The thread.
        call_id: The call of a tool.
        principal: Who acted, as `Principal.name`.
        capability_id: What was used.
        decision: The policy's decision.
        trace_id: The trace.
        id: The event's own id.
        since: Events of this time and later.
        until: Events before this time.
        severity: Events of this severity and above.
    """

    types: tuple[str, ...] = ()
    run_id: str | None = None
    thread_id: str | None = None
    call_id: str | None = None
    principal: str | None = None
    capability_id: str | None = None
    decision: str | None = None
    trace_id: str | None = None
    id: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    severity: Severity | None = field(default=None)

    def facts(self) -> dict[str, Any]:
        """Return what is chosen, as JSON; an empty object: everything."""
        found: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(self, name)) is not None}
        if self.types:
            found["types"] = [str(each) for each in self.types]
        for name in ("since", "until"):
            if (moment := getattr(self, name)) is not None:
                found[name] = moment.isoformat()
        if self.severity is not None:
            found["severity"] = int(self.severity)
        return found

    def clauses(self, mark: str, timestamp: str = "{}") -> tuple[list[str], list[Any]]:
        """Return conditions of SQL, and their parameters.

        Args:
            mark: The mark of a parameter: `?` or `%s`.
            timestamp: Makes a parameter in microseconds comparable with the column `at`.
        """
        clauses, parameters = [], []
        for name in _TEXTS:
            if (value := getattr(self, name)) is not None:
                clause, values = _condition(name, value, mark)
                clauses.append(clause)
                parameters += values
        if self.types:
            conditions = [_condition("type", str(each), mark) for each in self.types]
            clauses.append(f"({' OR '.join(clause for clause, _ in conditions)})")
            parameters += [value for _, values in conditions for value in values]
        if self.severity is not None:
            clauses.append(f"severity >= {mark}")
            parameters.append(int(self.severity))
        for moment, comparison in ((self.since, ">="), (self.until, "<")):
            if moment is not None:
                clauses.append(f"at {comparison} {timestamp.format(mark)}")
                parameters.append(microseconds(moment))
        return clauses, parameters

    def matches(self, row: Row) -> bool:
        """Return whether a row is chosen."""
        for name in _TEXTS:
            wanted = getattr(self, name)
            if wanted is not None and not _matches(name, getattr(row, name), wanted):
                return False
        if self.types and not any(_matches("type", row.type, str(each)) for each in self.types):
            return False
        if self.severity is not None and row.severity < self.severity:
            return False
        if self.since is not None and row.at < microseconds(self.since):
            return False
        return self.until is None or row.at < microseconds(self.until)


ALL: Final = AuditFilter()


def _condition(column: str, value: str, mark: str) -> tuple[str, list[Any]]:
    if (prefix := _prefix(column, value)) is not None:
        return f"substr({column}, 1, {len(prefix)}) = {mark}", [prefix]
    return f"{column} = {mark}", [value]


def _matches(column: str, value: str | None, wanted: str) -> bool:
    if value is None:
        return False
    prefix = _prefix(column, wanted)
    return value == wanted if prefix is None else value.startswith(prefix)


def _prefix(column: str, wanted: str) -> str | None:
    """Return the beginning that a filter chooses by; None: it is compared as a whole."""
    if isinstance(wanted, Prefix):
        return str(wanted)
    return wanted[:-1] if column in _PATTERNS and wanted.endswith("*") else None
