"""The databases that can hold a registry, by the scheme of their address: the one place that lists them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.savers.sqlite_files import SCHEME, path_in
from stategraph.workers.registry.port import Database

_SCHEME: Final = re.compile(r"\w+(?=:)")

#: What libpq takes for hosts and database: a login ends at the first "@", unless there is a "/" before.
_WHERE: Final = re.compile(r"\w+://(?:[^@/]*@)?([^?]*).*", re.DOTALL)


def open_database(url: str, *, create: bool = True) -> Database:
    """Make the database of an address; nothing is opened before its first use.

    Args:
        url: The address.
        create: Whether a file that is not there is made.

    Raises:
        ConfigurationError: The address is not understood.
        MissingPackageError: `psycopg` is not installed.
    """
    found = _SCHEME.match(url)  # `urlsplit` refuses a password with "["
    scheme = found[0] if found else ""
    if scheme not in _DATABASES:
        raise ConfigurationError(
            f"The registry's address has the scheme '{scheme}'; expected 'sqlite:///...' or 'postgresql://...'"
        )
    return _DATABASES[scheme](url, create)


def _sqlite(url: str, create: bool) -> Database:
    path = path_in(url)
    if not url.startswith(SCHEME) or not path:
        raise ConfigurationError("A SQLite registry is named 'sqlite:///runs.db', or 'sqlite:////var/lib/runs.db'")
    from stategraph.workers.registry.sqlite import SqliteDatabase  # only one of the two is needed

    return SqliteDatabase(path, create=create)


def _postgres(url: str, create: bool) -> Database:
    del create  # databases are made by administrators
    from stategraph.workers.registry.postgres import PostgresDatabase  # imports an extra

    if "@" in _WHERE.sub(r"\1", url):
        # libpq would take the rest of the password for a host, and name it in an error.
        raise ConfigurationError(
            "The registry's address has an '@' or '/' in its user or password, or an '@' in its database: write '%40' "
            "and '%2F' for them"
        )
    try:
        return PostgresDatabase(url)
    except ImportError as error:
        raise MissingPackageError("psycopg[binary,pool]", "A registry in PostgreSQL") from error


_DATABASES: Final[Mapping[str, Callable[[str, bool], Database]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
}
