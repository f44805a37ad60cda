"""Errors of PostgreSQL that a user meets first, with what was found and a way out.

An error keeps its class, by which programs tell them apart, and gets a message that names the database and says what to
do. The server's own words stand in it; a password never does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from psycopg import OperationalError, ProgrammingError, errors
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import PoolClosed, PoolTimeout

from stategraph.engine.config.procedures import Procedure
from stategraph.errors import ConfigurationError
from stategraph.savers.postgres.libpq import CONNECT_S, unless_given

#: Time limit, in seconds, for the connection by which the reason is found that a pool has none.
LOOK_S: Final = 2

SET_UP: Final = (
    "The database has no tables for checkpoints yet: call the saver's setup() once (an AsyncPostgresSaver: 'await "
    "saver.setup()') before the first run"
)

#: What to do, by words of the server or of libpq.
_ADVICE: Final = (
    ("password authentication failed", "Look at the user and the password: in the address, PGPASSWORD or ~/.pgpass"),
    ("no password supplied", "Give the password in the address, in PGPASSWORD or in ~/.pgpass"),
    ("pg_hba.conf", "The server admits this user from this host, with or without TLS, by a line of its pg_hba.conf"),
    ('role "', "Make the user, as with 'createuser', or name another one"),
    ('database "', "Make the database, as with 'createdb', or name another one"),
    ("too many clients", "Let savers share a pool, make pools smaller, or raise the server's max_connections"),
    ("connection slots", "Let savers share a pool, make pools smaller, or raise the server's max_connections"),
    ("starting up", "Try again in a moment"),
    ("shutting down", "Try again once the server is back"),
    ("certificate verify failed", "Name the authority that signed the server's certificate: sslrootcert=FILE"),
    ("root certificate file", "Name the authority that signed the server's certificate: sslrootcert=FILE"),
    ("does not match host name", "Write the host in the address as the server's certificate has it"),
    ("does not support SSL", "Give the server a certificate (ssl=on), or do without TLS where nobody can listen"),
    ("host name", "Look at the host in the address"),
    ("SSL", "Look at 'sslmode' in the address"),
)
_LOOK: Final = "Look whether the server runs and listens there ('pg_isready'), and at the host and port in the address"


_NOT_OPEN: Final = (
    "The saver's pool is not open yet: call its open(), or enter it with 'with' (or 'async with'), before"
)
_CLOSED: Final = (
    "The saver was used after its pool was closed: a saver of from_conn_string is open inside of its 'with' (or 'async "
    "with') block only; keep that open for as long as graphs run"
)
_PRIVILEGES: Final = (
    "The saver's user needs CREATE on the schema to make the tables: 'GRANT CREATE ON SCHEMA public TO ...', or have a "
    "user who may do so call setup() once. After that SELECT, INSERT, UPDATE and DELETE on the tables (checkpoints, "
    "checkpoint_blobs, checkpoint_writes, checkpoint_migrations, sg_threads, sg_values) are enough"
)


def address_of(conninfo: str, options: Mapping[str, Any] | None = None) -> str:
    """Return how an address names its database, without the password.

    Args:
        conninfo: The address, for libpq.
        options: What is given beside it.

    Raises:
        ConfigurationError: It is not one that libpq can read.
    """
    try:
        found = {**conninfo_to_dict(conninfo), **(options or {})}
    except ProgrammingError:
        # The message quotes the address.
        raise ConfigurationError(
            "The database's address is not one that libpq can read: write 'postgresql://user@host:5432/database'"
        ) from None
    place = found.get("host") or found.get("hostaddr") or "the default host"
    port = f", port {found['port']}" if found.get("port") else ""
    user = f" as user '{found['user']}'" if found.get("user") else ""
    name = f"database '{found['dbname']}'" if found.get("dbname") else "the default database"
    return f"{name} on {place}{port}{user}"


def unreachable(error: OperationalError, address: str, password: object = None) -> OperationalError:
    """Return the error of a connection that could not be made."""
    said = _sentence(error)
    if password:
        said = said.replace(str(password), "***")
    advice = next((text for words, text in _ADVICE if words in said), _LOOK)
    return OperationalError(f"There is no connection to PostgreSQL, {address}: {said} {advice}")


def explained(error: Exception, connection: Any) -> Procedure[Exception]:
    """Return the error that a caller of a saver is to get for one of its database.

    Args:
        error: The error.
        connection: The saver's connection or pool.
    """
    match error:
        case PoolTimeout():
            return (yield from _of_timeout(error, connection))
        case PoolClosed():
            return PoolClosed(_NOT_OPEN if "not open yet" in str(error) else _CLOSED)
        case errors.UndefinedTable() | errors.UndefinedColumn() if _is_ours(str(error)):
            return type(error)(f"{_sentence(error)} {SET_UP}")
        case errors.InsufficientPrivilege():
            return errors.InsufficientPrivilege(f"{_sentence(error)} {_PRIVILEGES}")
        case errors.ReadOnlySqlTransaction():
            return errors.ReadOnlySqlTransaction(
                f"{_sentence(error)} The server is a standby, or the database is read-only: add "
                "'target_session_attrs=read-write' to the address, with the hosts of all servers"
            )
        case OperationalError() if not hasattr(connection, "getconn") and connection.closed:
            return type(error)(
                f"{_sentence(error)} The saver stands on one connection, which was closed or lost and is not "
                "replaced: open it with from_conn_string, or on a pool, and use it while that is open"
            )
    return error


def _of_timeout(error: PoolTimeout, pool: Any) -> Procedure[Exception]:
    """Tell a server that cannot be reached from a pool all of whose connections are in use, by connecting once."""
    conninfo, options = getattr(pool, "conninfo", None), getattr(pool, "kwargs", None)
    if not isinstance(conninfo, str) or not isinstance(options, Mapping):
        return error  # they are made anew by code of the program
    place = address_of(conninfo, options)
    tried = f"The saver waited {pool.timeout:g} s for a connection of its pool to {place}"
    given = {**options, "connect_timeout": LOOK_S}
    try:
        connection = yield partial(pool.connection_class.connect, conninfo, **given)
    except OperationalError as reason:
        found = unreachable(reason, place, {**conninfo_to_dict(conninfo), **options}.get("password"))
        return PoolTimeout(f"{tried}. {found}")
    yield connection.close
    return PoolTimeout(
        f"{tried}: the server answers, and all of the pool's connections (at most {pool.max_size}) were in use. Make "
        "the pool larger (max_size), or look what holds them (pg_stat_activity)"
    )


def connecting(connect: Callable[..., Any], conninfo: str) -> Procedure[None]:
    """Make one connection and close it: its error says at once what is wrong, where a pool's time runs out.

    Args:
        connect: Makes a connection, sync or async.
        conninfo: The address.

    Raises:
        ConfigurationError: The address is not one that libpq can read.
        psycopg.OperationalError: There is no connection; the message says why.
    """
    place = address_of(conninfo)
    try:
        connection = yield partial(connect, conninfo, **unless_given({"connect_timeout": int(CONNECT_S)}, conninfo))
    except OperationalError as error:
        raise unreachable(error, place, conninfo_to_dict(conninfo).get("password")) from None
    yield connection.close


def _is_ours(said: str) -> bool:
    return "checkpoint" in said or "sg_" in said or '"body"' in said or '"refs"' in said


def _sentence(error: Exception) -> str:
    """Return the words of an error as one sentence, without the statement that it quotes."""
    words = " ".join(str(error).partition("\nLINE ")[0].split())
    return words if words.endswith((".", "?")) else f"{words}."
