"""The tables.

Those of `langgraph-checkpoint-postgres`, `checkpoints`, `checkpoint_blobs` and `checkpoint_writes`, in both forms. The
compact form adds:

- to `checkpoints` the columns `body` and `refs`, to `checkpoint_writes` the column `refs`. A checkpoint in the compact
  form has a `body`, and `{}` where a plain one is, which their savers refuse instead of reading it wrongly.
- `sg_threads`: the number of a thread, its epoch and the number that its next value gets.
- `sg_values`: the values, by the numbers of their thread and of themselves.

A new database gets the compact form; one that has `checkpoints` and no `sg_threads` is plain, and stays so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

from stategraph.errors import ConfigurationError

Mode = Literal["compact", "plain"]

FORM: Final = "SELECT to_regclass('sg_threads') IS NOT NULL AS wide, to_regclass('checkpoints') IS NOT NULL AS made"

COMPACT: Final = (
    "ALTER TABLE checkpoints ADD COLUMN IF NOT EXISTS body BYTEA, ADD COLUMN IF NOT EXISTS refs TEXT",
    "ALTER TABLE checkpoint_writes ADD COLUMN IF NOT EXISTS refs TEXT",
    """CREATE TABLE IF NOT EXISTS sg_values (
    thread BIGINT NOT NULL,
    number BIGINT NOT NULL,
    type TEXT NOT NULL,
    value BYTEA NOT NULL,
    refs TEXT,
    PRIMARY KEY (thread, number)
)""",
    # The last one: where it is, all the others are.
    """CREATE TABLE IF NOT EXISTS sg_threads (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    thread_id TEXT NOT NULL UNIQUE,
    epoch BIGINT NOT NULL,
    next BIGINT NOT NULL
)""",
)

VERSION: Final = "SELECT max(v) AS version FROM checkpoint_migrations"

#: One saver at a time makes tables. A statement that waits for the lock would keep its snapshot meanwhile, for which
#: `CREATE INDEX CONCURRENTLY` of the one that has it would wait: so it is tried, and again after a pause.
LOCK: Final = "SELECT pg_try_advisory_lock(hashtextextended('stategraph.savers', 0)) AS mine"
PAUSE: Final = "SELECT pg_sleep(0.05)"
UNLOCK: Final = "SELECT pg_advisory_unlock(hashtextextended('stategraph.savers', 0))"

#: The tables of threads in the plain form, and those besides in the compact one.
TABLES: Final = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
WIDE: Final = ("sg_values", "sg_threads")


class Form(NamedTuple):
    """Form of a database's tables.

    Attributes:
        mode: The form of what will be written.
        wide: Whether the tables may hold the compact form.
    """

    mode: Mode
    wide: bool


def checked(mode: object) -> None:
    """Check the mode of a saver.

    Raises:
        ConfigurationError: It is another word.
    """
    if mode not in (None, "compact", "plain"):
        raise ConfigurationError(
            f"The mode of a saver is 'compact', 'plain' or None for that of the database; found {mode!r}"
        )


def form_of(mode: Mode | None, *, wide: bool, made: bool) -> Form:
    """Return what tables are, or will be, like.

    Args:
        mode: The form of what will be written; None for that of the database.
        wide: Whether the tables of the compact form are there.
        made: Whether those of the plain form are.

    Raises:
        ConfigurationError: The mode is another word.
    """
    checked(mode)
    return Form(mode or ("compact" if wide or not made else "plain"), wide)


def deletion(tables: Sequence[str], thread_id: str) -> tuple[str, tuple[Any, ...]]:
    """Return the statement that deletes all rows of a thread."""
    owned = "thread IN (SELECT id FROM sg_threads WHERE thread_id = %s)"
    named = [
        f"d{number} AS (DELETE FROM {name} WHERE {owned if name == 'sg_values' else 'thread_id = %s'})"
        for number, name in enumerate(tables)
    ]
    return f"WITH {', '.join(named)} SELECT 1", (thread_id,) * len(tables)
