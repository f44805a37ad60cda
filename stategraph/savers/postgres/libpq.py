"""Settings of connections to PostgreSQL that savers and registries share; imports `psycopg` where it is used only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

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
