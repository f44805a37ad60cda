"""Tables and statements of the ends of chains and of signed heads, in the words of SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import astuple
from typing import Any, Final, Protocol

from stategraph.governance.audit.chain import Head, SignedHead, genesis

HEAD: Final = "sg_audit_head"
SIGNED_HEAD: Final = "sg_audit_signed_head"

_HEAD_COLUMNS: Final = "tenant, seq, hash, stored, signed_seq, unsigned_since"
_SIGNED_COLUMNS: Final = "tenant, seq, hash, at, key_id, signature"


class _Executing(Protocol):
    """A connection of sqlite3, or a cursor of psycopg."""

    def execute(self, statement: Any, parameters: Any = ..., /) -> Any:
        """Execute a statement."""


class HeadsSql:
    """Reads and writes heads.

    Args:
        parameter: The mark of parameters.
        integer: The type of whole numbers of 64 bits.
        bytes: The type of bytes.
        options: What stands behind the columns of a table.
        locked: What locks the rows of a selection; empty: transactions are alone.
    """

    def __init__(self, parameter: str, *, integer: str, bytes: str, options: str = "", locked: str = "") -> None:
        marks = ", ".join([parameter] * 6)
        of_tenant = f"WHERE tenant = {parameter}"
        self.tables = (
            f"""CREATE TABLE IF NOT EXISTS {HEAD} (
                tenant TEXT PRIMARY KEY, seq {integer} NOT NULL, hash {bytes} NOT NULL, stored {integer} NOT NULL,
                signed_seq {integer} NOT NULL, unsigned_since {integer} NOT NULL
            ){options}""",
            f"""CREATE TABLE IF NOT EXISTS {SIGNED_HEAD} (
                tenant TEXT NOT NULL, seq {integer} NOT NULL, hash {bytes} NOT NULL, at {integer} NOT NULL,
                key_id TEXT NOT NULL, signature {bytes} NOT NULL, PRIMARY KEY (tenant, seq, at)
            ){options}""",
        )
        self._locked = locked
        self._read = f"SELECT {_HEAD_COLUMNS} FROM {HEAD} {of_tenant}"
        self._begin = f"INSERT INTO {HEAD} ({_HEAD_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"
        self._put = (
            f"INSERT INTO {HEAD} ({_HEAD_COLUMNS}) VALUES ({marks}) ON CONFLICT (tenant) DO UPDATE SET seq = "
            "excluded.seq, hash = excluded.hash, stored = excluded.stored, signed_seq = excluded.signed_seq, "
            "unsigned_since = excluded.unsigned_since"
        )
        self._read_signed = f"SELECT {_SIGNED_COLUMNS} FROM {SIGNED_HEAD} {of_tenant} ORDER BY seq, at"
        self._add_signed = f"INSERT INTO {SIGNED_HEAD} ({_SIGNED_COLUMNS}) VALUES ({marks}) ON CONFLICT DO NOTHING"

    def head(self, database: _Executing, tenant: str) -> Head:
        """Return the end of a tenant's chain."""
        found = database.execute(self._read, (tenant,)).fetchone()
        return genesis(tenant) if found is None else Head(*found)

    def locked_head(self, database: _Executing, tenant: str) -> Head:
        """Return the end of a tenant's chain, and hold up others who lock it until the transaction has ended."""
        if not self._locked:
            return self.head(database, tenant)
        statement = f"{self._read} {self._locked}"
        found = database.execute(statement, (tenant,)).fetchone()
        if found is None:  # there has to be a row that can be locked
            database.execute(self._begin, astuple(genesis(tenant)))
            found = database.execute(statement, (tenant,)).fetchone()
        return Head(*found)

    def put(self, database: _Executing, head: Head) -> None:
        """Store the end of a tenant's chain."""
        database.execute(self._put, astuple(head))

    def signed(self, database: _Executing, tenant: str) -> list[SignedHead]:
        """Return a tenant's signed heads, in the order of their numbers."""
        return [SignedHead(*each) for each in database.execute(self._read_signed, (tenant,)).fetchall()]

    def add_signed(self, database: _Executing, head: SignedHead) -> None:
        """Store a signed head, unless it is there."""
        database.execute(self._add_signed, astuple(head))
