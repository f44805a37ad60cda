"""The databases that can hold a registry, by the scheme of their address: the one place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import unquote, urlsplit

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.workers.registry.port import Database


def open_database(url: str, *, create: bool = True) -> Database:
    """Make the database of an address; nothing is opened before its first use.

    Args:
        url: The address.
        create: Whether a file that is not there is made.

    Raises:
        ConfigurationError: The address is not understood.
        MissingPackageError: `psycopg` is not installed.
    """
    scheme = urlsplit(url).scheme
    if scheme not in _DATABASES:
        raise ConfigurationError(
            f"The registry's address has the scheme '{scheme}'; expected 'sqlite:///...' or 'postgresql://...'"
        )
    return _DATABASES[scheme](url, create)


def _sqlite(url: str, create: bool) -> Database:
    path = unquote(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or not path:
        raise ConfigurationError("A SQLite registry is named 'sqlite:///runs.db', or 'sqlite:////var/lib/runs.db'")
    from stategraph.workers.registry.sqlite import SqliteDatabase  # only one of the two is needed

    return SqliteDatabase(path, create=create)


def _postgres(url: str, create: bool) -> Database:
    del create  # databases are made by administrators
    from stategraph.workers.registry.postgres import PostgresDatabase  # imports an extra

    try:
        return PostgresDatabase(url)
    except ImportError as error:
        raise MissingPackageError("psycopg[binary,pool]", "A registry in PostgreSQL") from error


_DATABASES: Final[Mapping[str, Callable[[str, bool], Database]]] = {
    "sqlite": _sqlite,
    "postgresql": _postgres,
    "postgres": _postgres,
}
