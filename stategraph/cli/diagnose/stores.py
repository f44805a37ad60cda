"""The database: latency, clock, schema, sizes, runs that wait or are held by nobody, effects in doubt, agents."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.diagnose.findings import Finding

if TYPE_CHECKING:
    from stategraph.workers.registry.operations import RegistryOperations

AREA: Final = "database"

#: Questions whose median is the latency.
_TIMES: Final = 5

#: A database that is slower than this, in seconds, slows down every step.
SLOW_S: Final = 0.05

#: Clocks may differ by so much, in seconds.
SKEW_S: Final = 2.0

#: A log of SQLite that is larger, in bytes, is read too seldom to its end.
_WAL_BYTES: Final = 256 << 20

_OLD_S: Final = 60.0


def check(url: str) -> Iterator[Finding]:
    """Look at a database, and change nothing.

    Args:
        url: Its address.
    """
    from stategraph.errors import ConfigurationError, MissingPackageError
    from stategraph.savers.sqlite_files import SCHEME, path_in
    from stategraph.workers.registry.port import StoreUnavailableError
    from stategraph.workers.registry.runs import RunRegistry

    if url.startswith(SCHEME):
        file = Path(path_in(url))
        if not file.exists():
            yield Finding(
                "warn", AREA, "file", f"there is no {file}", "a database", "the first server or worker makes it"
            )
            return
        yield from _file(file)
    try:
        registry = RunRegistry.from_url(url, bus="polling", create=False)
    except (ConfigurationError, MissingPackageError) as error:
        yield Finding("fail", AREA, "address", str(error), "sqlite:///... or postgresql://...", "correct --store")
        return
    operations = registry.operations
    try:
        yield from _answers(operations, is_file=url.startswith(SCHEME))
        yield from _contents(operations)
    except ConfigurationError as error:
        yield Finding("warn", AREA, "schema", str(error), "tables of runs", "start a server or a worker once")
    except StoreUnavailableError as error:
        yield Finding(
            "fail", AREA, "connection", str(error), "an answer",
            "look whether it runs, whether this machine may reach it, and whether user and password are right",
        )  # fmt: skip
    finally:
        operations.close()


def _file(file: Path) -> Iterator[Finding]:
    size = file.stat().st_size
    wal = file.with_name(f"{file.name}-wal")
    of_wal = wal.stat().st_size if wal.exists() else 0
    said = f"{file}: {size / 1e6:.1f} MB, and {of_wal / 1e6:.1f} MB in its log (WAL)"
    if of_wal > _WAL_BYTES:
        way_out = "end readers that stay open; the last process that closes the file empties the log"
        yield Finding("warn", AREA, "size", said, f"a log below {_WAL_BYTES / 1e6:.0f} MB", way_out)
    else:
        yield Finding("ok", AREA, "size", said)


def _ask(operations: RegistryOperations, statement: str) -> list[tuple[Any, ...]]:
    with operations.database.transaction(write=False) as session:
        return session.execute(statement)


def _answers(operations: RegistryOperations, *, is_file: bool) -> Iterator[Finding]:
    dialect = operations.database.sql.dialect
    took, skew_s = [], 0.0
    for _ in range(_TIMES):
        began = time.perf_counter()
        ((now,),) = _ask(operations, f"SELECT {dialect.now}")
        took.append(time.perf_counter() - began)
        skew_s = now - (time.time() - took[-1] / 2)
    latency_s = median(took[1:])  # the first one opens the connection
    said = f"answers in {1000 * latency_s:.1f} ms; the first time in {1000 * took[0]:.1f} ms"
    if latency_s > SLOW_S:
        way_out = "bring it nearer to the workers, or look what holds it up: each step waits for it a few times"
        yield Finding("warn", AREA, "latency", said, f"less than {1000 * SLOW_S:.0f} ms", way_out)
    else:
        yield Finding("ok", AREA, "latency", said)
    if is_file:
        return
    said = f"its clock is {abs(skew_s):.2f} s {'ahead of' if skew_s > 0 else 'behind'} this machine's"
    if abs(skew_s) > SKEW_S:
        yield Finding("warn", AREA, "clock", said, f"{SKEW_S:g} s at most", "have both set their clocks by NTP")
    else:
        yield Finding("ok", AREA, "clock", said)
    yield from _server(operations)


def _server(operations: RegistryOperations) -> Iterator[Finding]:
    """Look at a server of PostgreSQL."""
    ((version, most, used, size, replica),) = _ask(
        operations,
        "SELECT current_setting('server_version'), current_setting('max_connections')::int, "
        "(SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), "
        "pg_database_size(current_database()), pg_is_in_recovery()",
    )
    yield Finding("ok", AREA, "server", f"PostgreSQL {version}, {size / 1e6:.1f} MB")
    said = f"{used} of {most} connections are in use"
    if used > 0.8 * most:
        yield Finding("warn", AREA, "connections", said, "four in five at most", "fewer processes, or max_connections")
    else:
        yield Finding("ok", AREA, "connections", said)
    if replica:
        yield Finding(
            "fail", AREA, "role", "it is a replica that can only be read", "the primary", "correct the address"
        )


def _contents(operations: RegistryOperations) -> Iterator[Finding]:
    from stategraph.workers.watching.registry import figures_of

    operations.set_up()
    yield Finding("ok", AREA, "schema", "its tables are of the version that this stategraph knows")
    found = figures_of(operations)
    by_status = dict(_ask(operations, "SELECT status, count(*) FROM sg_run GROUP BY status"))
    yield Finding(
        "ok", AREA, "runs", ", ".join(f"{number:,} {status}" for status, number in sorted(by_status.items())) or "none"
    )
    if interrupted := by_status.get("interrupted", 0):
        yield Finding("ok", AREA, "interrupts", f"{interrupted:,} runs have asked somebody: stategraph runs list")
    waiting = sum(each.waiting for each in found.queues)
    oldest_s = max((each.oldest_s for each in found.queues), default=0.0)
    said = f"{waiting:,} runs wait, the oldest for {oldest_s:.0f} s; {found.scheduled:,} are scheduled"
    if waiting and not found.workers:
        yield Finding("fail", AREA, "queue", f"{said}; there is no worker", "a worker", "start one: stategraph worker")
    elif waiting and oldest_s > _OLD_S:
        yield Finding("warn", AREA, "queue", said, f"{_OLD_S:.0f} s at most", "more workers, or more --capacity")
    else:
        yield Finding("ok", AREA, "queue", said)
    said = f"{found.workers} workers for {found.capacity} runs, which execute {found.running}; {found.gone} were killed"
    if found.gone:
        yield Finding("warn", AREA, "workers", said, "a goodbye of each", "stategraph runs workers says which")
    else:
        yield Finding("ok", AREA, "workers", said)
    if found.expired:
        way_out = "a worker with room takes them over; start one, or look why those that are there do not"
        yield Finding("warn", AREA, "leases", f"{found.expired} leases have run out", "none", way_out)
    else:
        yield Finding("ok", AREA, "leases", "none has run out")
    ((doubt,),) = _ask(operations, "SELECT count(*) FROM sg_effect WHERE state = 'in_doubt'")
    if doubt:
        way_out = "look them up where they would be: stategraph runs effects"
        yield Finding("warn", AREA, "effects", f"{doubt} effects are in doubt", "none", way_out)
    else:
        yield Finding("ok", AREA, "effects", "none is in doubt")
    if dead := by_status.get("dead", 0):
        yield Finding("warn", AREA, "dead", f"{dead} runs were given up", "none", "stategraph runs dead lists them")
