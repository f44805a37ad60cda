"""Storages of audit logs, by their address: the one place that lists them."""

from __future__ import annotations

from typing import Final

from stategraph.errors import ConfigurationError, MissingPackageError
from stategraph.governance.audit.storage import AuditStorage
from stategraph.savers.sqlite_files import SCHEME, path_in

_JSONL: Final = "jsonl:///"


def storage_at(url: str, *, create: bool = True) -> AuditStorage:
    """Make the storage of an address; nothing is opened before its first use.

    Args:
        url: `sqlite:///audit.db`, `postgresql://user@host/database`, or `jsonl:///folder`.
        create: Whether a file or folder that is not there is made.

    Raises:
        ConfigurationError: The address is not understood, or what has to be there is not.
        MissingPackageError: `psycopg` is not installed.
    """
    if url.startswith(SCHEME):
        from stategraph.governance.audit.storages.sqlite import SqliteAuditStorage

        return SqliteAuditStorage(path_in(url), create=create)
    if url.startswith(_JSONL):
        from stategraph.governance.audit.storages.jsonl import JsonlAuditStorage

        return JsonlAuditStorage(path_in(url.replace(_JSONL, SCHEME, 1)), create=create)
    if url.startswith(("postgresql://", "postgres://")):
        try:
            from stategraph.governance.audit.storages.postgres import PostgresAuditStorage
        except ImportError as error:
            raise MissingPackageError("stategraph[postgres]", "An audit log in PostgreSQL") from error
        return PostgresAuditStorage(url)
    raise ConfigurationError(
        f"An audit log is named 'sqlite:///audit.db', 'postgresql://...' or 'jsonl:///folder'; found "
        f"'{url.partition(':')[0]}:...'"
    )
