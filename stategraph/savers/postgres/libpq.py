"""Connections to PostgreSQL, as far as savers and workers share it; imports `psycopg` where it is used only."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any, Final

from stategraph.engine.config.procedures import Procedure

#: Connections of a pool at most.
CONNECTIONS: Final = 8

#: Time limit, in seconds, for a connection of a pool.
CONNECT_S: Final = 5.0

#: Options of libpq that end a connection whose server vanished without a word, as in a failover, within ten seconds.
#: Without them a statement waits for as long as the system sends it again, which is a quarter of an hour.
VANISHED: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def unless_given(options: Mapping[str, int], url: str) -> dict[str, Any]:
    """Return the options of libpq that an address does not set; none if libpq cannot read it: connecting says why."""
    import psycopg  # an extra
    from psycopg.conninfo import conninfo_to_dict

    try:
        given = conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        return {}
    return {name: value for name, value in options.items() if name not in given}


# Pipelines: https://www.postgresql.org/docs/current/libpq-pipeline-mode.html

_FAILURES: Final = itertools.count()
_SKIPPED: Final = 10
_WAIT: Final = "SELECT 1"  # a pipeline reads the results of what was sent before when this one's is asked for


class Synchronised:
    """A pipeline that stays open, and is synchronised when its context is left.

    Args:
        pipe: The pipeline, sync or async.
    """

    def __init__(self, pipe: Any) -> None:
        self._pipe = pipe

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pipe.sync()

    async def __aenter__(self) -> None:
        pass

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._pipe.sync()


def forget_prepared(connection: Any, pipe: Any) -> Procedure[None]:
    """Have a connection forget its prepared statements, after one in a pipeline has failed.

    psycopg notes a statement as prepared when it sends it. Behind a statement that failed, the server skips it, also
    the preparation, and each later use of it would fail. A connection that cannot be told is broken, which the next
    use of it says.

    Args:
        connection: The connection, sync or async.
        pipe: The pipeline that it is in all along; None if it is in none any more.
    """
    for _ in range(_SKIPPED):
        with suppress(Exception):  # of statements that were skipped, which a pipeline tells one after the other
            if pipe is not None:
                yield pipe.sync
            # psycopg, too, has to take it as the end of all prepared ones, and reads a new text only.
            yield partial(connection.execute, f"DEALLOCATE ALL -- {next(_FAILURES)}")
            waiting = yield partial(connection.execute, _WAIT, prepare=False)
            yield waiting.fetchone
            return


def has_sqlstate(error: BaseException, sqlstate: str) -> bool:
    """Return whether a statement of a pipeline failed with a code.

    The error that says so may be followed by others, of the statements behind it and of the rollback.
    """
    found: BaseException | None = error
    while found is not None:
        if getattr(found, "sqlstate", None) == sqlstate:
            return True
        found = None if found.__suppress_context__ else found.__context__
    return False
