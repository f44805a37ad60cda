"""The buses that can carry signals, by the scheme of their address: the one place that lists them."""

from __future__ import annotations

from typing import Final

from stategraph.errors import ConfigurationError
from stategraph.workers.nats.address import is_nats
from stategraph.workers.wakeups.bus import Bus, Polling

#: Stands for no bus in place of an address.
POLLING: Final = "polling"

_POSTGRES: Final = ("postgresql", "postgres")


def open_bus(url: str | None, database_url: str) -> Bus:
    """Make the bus of a registry; nothing is opened before its first use.

    Args:
        url: `nats://...` or `tls://...`, see `stategraph.workers.nats.address`; `polling` for none; None: that of the
            database, if it has one.
        database_url: The address of the registry's database.

    Raises:
        ConfigurationError: The address is not understood.
        ImportError: A package that it needs is not installed.
    """
    if url is not None and is_nats(url):
        from stategraph.workers.wakeups.nats import nats_bus  # for an extra

        return nats_bus(url)
    if url == POLLING:
        return Polling()
    if url is None:
        if _scheme(database_url) not in _POSTGRES:
            return Polling()
        from stategraph.workers.wakeups.postgres import postgres_bus  # imports an extra

        return postgres_bus(database_url)
    raise ConfigurationError(
        f"The bus has an address of the scheme '{_scheme(url)}'; expected 'nats://...', '{POLLING}', or None "
        "for that of the database"
    )


def _scheme(url: str) -> str:
    return url.partition(":")[0]
