"""Connections to PostgreSQL: pools whose lost connections are noticed by the call that meets one.

A connection is not asked whether it is well before each use, which would be a round trip more. A call that finds its
connection lost has the pool look at the others, and is made once more: what savers write is the same rows again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

from psycopg import OperationalError
from psycopg.rows import dict_row
from psycopg_pool import PoolTimeout, TooManyRequests

from stategraph.engine.config.procedures import Procedure, Within
from stategraph.savers.postgres.libpq import CONNECT_S, CONNECTIONS, VANISHED, unless_given

T = TypeVar("T")

#: The codes of errors that say that a connection is lost: https://www.postgresql.org/docs/current/errcodes-appendix.html
_LOST: Final = ("08", "57P01", "57P02", "57P03")


def pool_settings(url: str) -> dict[str, Any]:
    """Return the arguments of a pool of `psycopg_pool` for savers on an address.

    Args:
        url: The address; options that it sets itself are left as they are.
    """
    return {
        "min_size": 1,
        "max_size": CONNECTIONS,
        "timeout": CONNECT_S,
        "reconnect_timeout": CONNECT_S,
        "kwargs": {
            "autocommit": True,
            "prepare_threshold": 0,
            "row_factory": dict_row,
            **unless_given(VANISHED, url),
        },
        "open": False,
    }


def is_pool(connection: object) -> bool:
    """Return whether connections are taken from an object, one for each call."""
    return hasattr(connection, "getconn")


def is_lost(error: BaseException) -> bool:
    """Return whether an error says that the connection to the server is lost."""
    return is_away(error) and not isinstance(error, (PoolTimeout, TooManyRequests))


def is_away(error: BaseException) -> bool:
    """Return whether an error says that there was no server to hear the statement."""
    return isinstance(error, OperationalError) and (error.sqlstate is None or error.sqlstate.startswith(_LOST))


def again(connection: Any, make: Callable[[], Procedure[T]]) -> Procedure[T]:
    """Perform a procedure on a pool; once more if a connection was lost, after the pool has dropped those that are."""
    try:
        return cast("T", (yield Within(make())))
    except Exception as error:
        if not is_pool(connection) or not is_lost(error):
            raise
    yield connection.check
    return cast("T", (yield Within(make())))
