"""Differences between the two databases, in the statements of upkeep.

Statements are written with `?` for their parameters, and with the names below in braces.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias, TypeVar

from stategraph.savers.compact.nodes import Run

T = TypeVar("T")
Rows: TypeAlias = Sequence[Sequence[Any]]
Statements: TypeAlias = Generator[tuple[str, Sequence[Any]], Rows, T]
"""Yields statements and their parameters, is sent their rows, and returns a result."""


@dataclass(frozen=True, slots=True)
class Words:
    """The words of one database.

    Attributes:
        writes: The table of what tasks have written.
        written: Its column with the value.
        blobs: The table of values in the plain form, where they are not in the checkpoints; None.
        checkpoint_bytes: Bytes of a row of `checkpoints c`.
        has_table: Returns a row if there is a table of the name that is the parameter.
        lock: Ends a statement that reads a thread's row, so that nobody else saves to it until the end.
        owned: Condition for `sg_values` of a thread; its parameters are those of `owns`.
        owns: The parameters for a thread's number, and a first and last number of values.
        number: The number of a value among those of its thread.
        measure: The bytes of the text or bytes in braces.
        total: Bytes of the database as a whole.
        vacuum: Returns what gives space back to the disk, outside of a transaction, if the tables are wide or not.
        tidy: Bring the tables back to the plain form.
    """

    writes: str
    written: str
    blobs: str | None
    checkpoint_bytes: str
    has_table: str
    lock: str
    owned: str
    owns: Callable[[int, Run], tuple[int, ...]]
    number: str
    measure: str
    total: str
    vacuum: Callable[[bool], tuple[str, ...]]
    tidy: tuple[str, ...]


SHIFT: Final = 32
_MASK: Final = (1 << SHIFT) - 1

SQLITE: Final = Words(
    writes="writes",
    written="value",
    blobs=None,
    checkpoint_bytes="LENGTH(CAST(c.checkpoint AS BLOB)) + LENGTH(CAST(c.metadata AS BLOB))",
    has_table="SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
    lock="",
    owned="id BETWEEN ? AND ?",
    owns=lambda thread, run: (thread << SHIFT | run[0], thread << SHIFT | run[1]),
    number=f"(id & {_MASK})",
    measure="LENGTH(CAST({} AS BLOB))",
    total="SELECT (SELECT page_count FROM pragma_page_count()) * (SELECT page_size FROM pragma_page_size())",
    vacuum=lambda _: ("PRAGMA wal_checkpoint(PASSIVE)", "VACUUM", "PRAGMA wal_checkpoint(TRUNCATE)"),
    tidy=(
        "DROP INDEX IF EXISTS sg_values_refs",
        "DROP TABLE sg_values",
        "DROP TABLE sg_threads",
        "ALTER TABLE checkpoints DROP COLUMN refs",
        "ALTER TABLE writes DROP COLUMN refs",
    ),
)

_TABLES: Final = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
_WIDE: Final = ("sg_values", "sg_threads")

POSTGRES: Final = Words(
    writes="checkpoint_writes",
    written="blob",
    blobs="checkpoint_blobs",
    checkpoint_bytes="octet_length(c.checkpoint::text) + octet_length(c.metadata::text)",
    has_table="SELECT 1 WHERE to_regclass(?) IS NOT NULL",
    lock=" FOR UPDATE",
    owned="thread = ? AND number BETWEEN ? AND ?",
    owns=lambda thread, run: (thread, run[0], run[1]),
    number="number",
    measure="octet_length({})",
    total="SELECT SUM(pg_total_relation_size(to_regclass(name))) FROM unnest(ARRAY['checkpoints', 'checkpoint_blobs', "
    "'checkpoint_writes', 'sg_values', 'sg_threads']) AS name WHERE to_regclass(name) IS NOT NULL",
    vacuum=lambda wide: tuple(f"VACUUM (ANALYZE) {name}" for name in (*_TABLES, *(_WIDE if wide else ()))),
    tidy=(
        "DROP TABLE sg_values",
        "DROP TABLE sg_threads",
        "ALTER TABLE checkpoints DROP COLUMN body, DROP COLUMN refs",
        "ALTER TABLE checkpoint_writes DROP COLUMN refs",
    ),
)

LAST_NUMBER: Final = _MASK
"""The largest number of a value."""
