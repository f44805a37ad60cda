"""Storages of audit logs, by their address: the one place that lists them."""

from __future__ import annotations

from stategraph.errors import ConfigurationError
from stategraph.governance.audit.storage import AuditStorage
from stategraph.savers.sqlite_files import SCHEME, path_in


def storage_at(url: str, *, create: bool = True) -> AuditStorage:
    """Make the storage of an address; nothing is opened before its first use.

    Args:
        url: `sqlite:///audit.db`.
        create: Whether a file or folder that is not there is made.

    Raises:
        ConfigurationError: The address is not understood, or what has to be there is not.
    """
    if url.startswith(SCHEME):
        from stategraph.governance.audit.storage_sqlite import SqliteAuditStorage

        return SqliteAuditStorage(path_in(url), create=create)
    raise ConfigurationError(f"An audit log is named 'sqlite:///audit.db'; found '{url.partition(':')[0]}:...'")
