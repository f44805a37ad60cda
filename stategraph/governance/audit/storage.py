"""The port of storages, and how records are stored in any of them.

A storage keeps, for each tenant: rows, by number; the end of its chain; and signed heads. Rows stand in the month in
which they were stored, and times of a chain never decrease, so each month has one stretch of a tenant's numbers.

All of it is synchronous and thread-safe. An error, whatever it is, means: not known to be stored.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Final, Protocol

from stategraph.errors import ConfigurationError
from stategraph.governance.audit import chain
from stategraph.governance.audit.chain import Head, SignedHead
from stategraph.governance.audit.filters import ALL, AuditFilter
from stategraph.governance.audit.record import Record, Row, moment
from stategraph.governance.errors import AuditTampered
from stategraph.governance.keyring import Keyring


class Damaged(AuditTampered, ValueError):
    """A table, a file or a line of a log is not there, or not as it was made."""


@dataclass(frozen=True, slots=True)
class Choice:
    """A choice of a tenant's rows.

    Attributes:
        where: What is said of their events.
        after: Only rows with greater numbers.
        before: Only rows with smaller numbers; None: all.
        newest: Begin with the greatest number.
        limit: At most so many; None: all.
    """

    where: AuditFilter = ALL
    after: int = 0
    before: int | None = None
    newest: bool = False
    limit: int | None = None

    def clauses(self, tenant: str, parameter: str, moment: str = "{}") -> tuple[str, list[object]]:
        """Return it as a condition and an order of SQL, without the limit, and their parameters.

        Args:
            tenant: The tenant.
            parameter: The mark of parameters.
            moment: How a time is made of a parameter of microseconds.
        """
        clauses, parameters = self.where.clauses(parameter, moment)
        clauses, values = [f"tenant = {parameter}", f"seq > {parameter}", *clauses], [tenant, self.after, *parameters]
        if self.before is not None:
            clauses.append(f"seq < {parameter}")
            values.append(self.before)
        return f"WHERE {' AND '.join(clauses)} ORDER BY seq {'DESC' if self.newest else 'ASC'}", values


EVERY: Final = Choice()


class AuditReading(Protocol):
    """A log as it was at one moment. A `ValueError` says that something of it was damaged, such as `Damaged`."""

    def tenants(self) -> list[str]:
        """Return the tenants that have rows, in order."""

    def months(self) -> list[str]:
        """Return the months that have rows, as `2026-11`, in order."""

    def head(self, tenant: str) -> Head:
        """Return the end of a tenant's chain."""

    def signed_heads(self, tenant: str) -> list[SignedHead]:
        """Return a tenant's signed heads, in the order of their numbers."""

    def rows(self, tenant: str, chosen: Choice = EVERY) -> Iterator[Row]:
        """Yield rows of a tenant, in the order of their numbers.

        Args:
            tenant: The tenant.
            chosen: Which, in which order.
        """

    def month(self, month: str) -> Iterator[Row]:
        """Yield the rows of a month, of all tenants, by tenant and number."""


class AuditSession(Protocol):
    """An open transaction, which nobody else stores rows of its tenants beside."""

    @property
    def reading(self) -> AuditReading:
        """The log as this transaction sees it."""

    def head(self, tenant: str) -> Head:
        """Return the end of a tenant's chain."""

    def ids(self, tenant: str, after: int) -> set[str]:
        """Return the ids of a tenant's events with greater numbers."""

    def insert(self, month: str, rows: Sequence[Row]) -> None:
        """Add rows, in order."""

    def put_head(self, head: Head) -> None:
        """Store the end of a tenant's chain."""

    def add_signed_head(self, head: SignedHead) -> None:
        """Store a signed head."""

    def replace_data(self, rows: Sequence[Row]) -> None:
        """Store other `data` and `key_id` of rows; all else stays."""


class AuditStorage(Protocol):
    """Keeps an audit log."""

    @property
    def name(self) -> str:
        """The name in messages; without a password."""

    def set_up(self) -> None:
        """Make what is not there: files, tables, partitions for the months ahead; several processes may do so at once.

        Raises:
            ConfigurationError: It cannot be made, and trying again would not help.
        """

    def transaction(self, tenants: Collection[str]) -> AbstractContextManager[AuditSession]:
        """Open a transaction over the chains of tenants; what it did is stored when the block has ended."""

    def reading(self) -> AbstractContextManager[AuditReading]:
        """Read the log as it is now."""

    def drop_month(self, month: str) -> None:
        """Delete all rows of a month."""

    def scrub(self) -> None:
        """Overwrite what was erased, as far as the storage can."""

    def close(self) -> None:
        """Close every file and connection."""


def checked_month(month: str) -> str:
    """Return a month that has the form of one: it becomes a part of names of tables and files.

    Raises:
        ConfigurationError: It has not.
    """
    if re.fullmatch(r"[0-9]{4}-(?:0[1-9]|1[0-2])", month) is None:
        raise ConfigurationError(f"{month!r} is no month; expected one as 2026-11")
    return month


def month_of(microseconds: int) -> str:
    """Return the month of a time, as `2026-11`, in UTC."""
    return f"{moment(microseconds):%Y-%m}"


@dataclass(slots=True)
class Appended:
    """Outcome of storing records.

    Attributes:
        heads: The ends of the chains behind them, by tenant.
        signed: The heads that were signed.
    """

    heads: dict[str, Head] = field(default_factory=dict)
    signed: list[SignedHead] = field(default_factory=list)


def append(
    storage: AuditStorage,
    records: Sequence[Record],
    *,
    now: int,
    keyring: Keyring | None = None,
    seen: dict[str, int] | None = None,
) -> Appended:
    """Store records, in order, in one transaction.

    Args:
        storage: The storage.
        records: The records; those of one tenant stay in order.
        now: The time, in microseconds since 1970.
        keyring: Signs heads, if it has a signing key.
        seen: The ends of chains that an earlier call with the same records has seen, which failed: it may have stored
            them all the same. This call adds to it.

    Returns:
        The ends of the chains behind them, and the heads that were signed.
    """
    seen = {} if seen is None else seen
    ordered = sorted(records, key=attrgetter("tenant"))  # the sort is stable
    tenants = {tenant: list(its) for tenant, its in groupby(ordered, attrgetter("tenant"))}
    done = Appended()
    with storage.transaction(tenants) as session:
        for tenant, its in tenants.items():
            head = session.head(tenant)
            if tenant in seen:
                stored = session.ids(tenant, seen[tenant]) if head.seq > seen[tenant] else set()
                its = [each for each in its if each.id not in stored]
            else:
                seen[tenant] = head.seq
            done.heads[tenant] = add(session, head, its, now)
            if keyring is not None and keyring.signer is not None and chain.due(done.heads[tenant], now):
                _sign(session, done, tenant, keyring, now)
    return done


def add(session: AuditSession, head: Head, records: Sequence[Record], now: int) -> Head:
    """Store records of one tenant and return the end of its chain."""
    rows, after = chain.link(head, records, now)
    if rows:
        session.insert(month_of(after.stored), rows)
        session.put_head(after)
    return after


def sign_heads(storage: AuditStorage, tenants: Collection[str], keyring: Keyring, now: int) -> Appended:
    """Sign the ends of tenants' chains, as far as no signed head covers them."""
    done = Appended()
    with storage.transaction(tenants) as session:
        for tenant in sorted(tenants):
            done.heads[tenant] = head = session.head(tenant)
            if head.seq > head.signed_seq:
                _sign(session, done, tenant, keyring, now)
    return done


def _sign(session: AuditSession, done: Appended, tenant: str, keyring: Keyring, now: int) -> None:
    signed, done.heads[tenant] = chain.sign(done.heads[tenant], keyring, now)
    session.add_signed_head(signed)
    session.put_head(done.heads[tenant])
    done.signed.append(signed)
