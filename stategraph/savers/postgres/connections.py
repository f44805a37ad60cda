"""Connections to PostgreSQL: pools whose lost connections are noticed by the call that meets one.

A connection is not asked whether it is well before each use, which would be a round trip more. A call that finds its
connection lost has the pool look at the others, and is made once more: what savers write is the same rows again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar, cast

from psycopg import OperationalError
from psycopg.rows import dict_row
from psycopg_pool import PoolClosed, PoolTimeout, TooManyRequests

from stategraph.engine.config.procedures import Enter, Procedure, Within
from stategraph.savers.postgres.explaining import explained
from stategraph.savers.postgres.libpq import (
    CONNECT_S,
    CONNECTIONS,
    VANISHED,
    Synchronised,
    forget_prepared,
    unless_given,
)

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
    return is_away(error) and not isinstance(error, (PoolClosed, PoolTimeout, TooManyRequests))


def is_away(error: BaseException) -> bool:
    """Return whether an error says that there was no server to hear the statement."""
    return isinstance(error, OperationalError) and (error.sqlstate is None or error.sqlstate.startswith(_LOST))


def again(connection: Any, make: Callable[[], Procedure[T]]) -> Procedure[T]:
    """Perform a procedure on a pool; once more if a connection was lost, after the pool has dropped those that are.

    Raises:
        Exception: What it failed with, explained if it is an error that a user can do something about.
    """
    try:
        return cast("T", (yield Within(make())))
    except Exception as error:
        if not is_pool(connection) or not is_lost(error):
            yield from _raise_explained(error, connection)
    yield connection.check
    try:
        return cast("T", (yield Within(make())))
    except Exception as error:
        yield from _raise_explained(error, connection)
        raise


def _raise_explained(error: Exception, connection: Any) -> Procedure[None]:
    found = yield from explained(error, connection)
    if found is error:
        raise error
    raise found from error


def execute_after(
    cursor: Any, pipe: Any, before: Sequence[tuple[str, tuple[Any, ...]]], statement: tuple[str, tuple[Any, ...]]
) -> Procedure[None]:
    """Execute a statement in one transaction with others, which come before it, and in one round trip.

    Args:
        cursor: It has the rows of the statement then.
        pipe: The pipeline that the connection is in all along; None if it is in none.
        before: The others. If one fails, none of this is left.
        statement: The statement.
    """
    connection = cursor.connection
    try:
        yield Within(_executed_after(cursor, pipe, before, statement))
    except BaseException:
        yield from forget_prepared(connection, pipe)
        raise


def _executed_after(
    cursor: Any, pipe: Any, before: Sequence[tuple[str, tuple[Any, ...]]], statement: tuple[str, tuple[Any, ...]]
) -> Procedure[None]:
    connection = cursor.connection
    yield Enter(connection.pipeline() if pipe is None else Synchronised(pipe))
    first = yield Enter(connection.cursor())
    try:
        for text, given in before:
            yield partial(first.execute, text, given)
        yield partial(cursor.execute, *statement)
    except BaseException:
        yield partial(first.execute, "ROLLBACK")
        raise
