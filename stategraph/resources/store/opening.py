"""Stores by the address of their database: the one place that lists them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.resources.store.database import DatabaseStore
from stategraph.savers.sqlite_files import path_in
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.port import Database
from stategraph.workers.wakeups.bus import Bus

MEMORY: Final = "memory:"


def open_store(url: str) -> DatabaseStore:
    """Make the store of an address; nothing is opened before its first use.

    Args:
        url: `memory:`, `sqlite:///resources.db`, `libsql:///resources.db` (a file, as for SQLite) or `postgresql://...`.

    Raises:
        ConfigurationError: The address is not understood.
        MissingPackageError: A package that it needs is not installed.
    """
    return DatabaseStore(*open_parts(url))


def open_parts(url: str) -> tuple[Database, Bus]:
    """Make the database of an address and the bus that wakes those who watch it; errors as `open_store`."""
    scheme = url.partition(":")[0]
    if scheme not in _SCHEMES:
        raise ConfigurationError(
            f"A store of resources has the scheme '{scheme}'; expected memory:, sqlite:///..., libsql:///... or "
            "postgresql://..."
        )
    return _SCHEMES[scheme](url)


def _memory(url: str) -> tuple[Database, Bus]:
    from stategraph.workers.registry.sqlite import SqliteDatabase  # only one of them is needed
    from stategraph.workers.wakeups.local import LocalBus

    if url not in (MEMORY, "memory://"):
        raise ConfigurationError(f"A store in memory has no name; write '{MEMORY}'")
    return SqliteDatabase(":memory:"), LocalBus()


def _sqlite(url: str) -> tuple[Database, Bus]:
    from stategraph.resources.store.wakeups import FileBus  # as above

    return open_database(url), FileBus(path_in(url))


def _libsql(url: str) -> tuple[Database, Bus]:
    from stategraph.resources.store.libsql import LibsqlDatabase  # as above
    from stategraph.resources.store.wakeups import FileBus

    if not url.startswith("libsql:///"):
        raise ConfigurationError(
            "A store in libSQL is a file, named 'libsql:///resources.db': a server of libSQL is not supported, as its "
            "client has no transactions over the network that lock"
        )
    path = path_in("sqlite" + url.removeprefix("libsql"))
    return LibsqlDatabase(path), FileBus(path)


def _postgres(url: str) -> tuple[Database, Bus]:
    from stategraph.workers.wakeups.buses import open_bus  # as above

    return open_database(url), open_bus(None, url)


_SCHEMES: Final[Mapping[str, Callable[[str], tuple[Database, Bus]]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "libsql": _libsql,
    "postgresql": _postgres,
    "postgres": _postgres,
}
