"""The store on a database: SQLite, libSQL or PostgreSQL, through the interface of the registry of runs.

Rules
-----
* Each write is a transaction that locks the store's version first, so writers come one after the other; what is asked
  for while one goes on is the next one together.
* A write that changes nothing writes nothing, and makes no version: reconciling again is silent.
* Calls run in threads of the store; the event loop never waits for a disk.
* After a commit those who watch are woken, here at once and elsewhere through the bus; they look by themselves as well.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar
from uuid import uuid4

from stategraph.resources.errors import ConflictError, ResourceError
from stategraph.resources.model import Metadata, Resource, ResourceKey
from stategraph.resources.places import Path
from stategraph.resources.store import merging
from stategraph.resources.store.grouping import WriteGroups
from stategraph.resources.store.port import AppliedResource, Change, Listing, Operation, WatchGapError
from stategraph.resources.store.rows import resource_of, to_json, values
from stategraph.resources.store.sql import TABLES, Statements
from stategraph.workers.registry.own_tables import OwnTables
from stategraph.workers.registry.port import ConflictError as CommitConflictError
from stategraph.workers.registry.port import Database, Session
from stategraph.workers.wakeups.bus import Bus
from stategraph.workers.wakeups.signals import Signal, SignalKind

T = TypeVar("T")

_Changes: TypeAlias = list[Change]
_Rows: TypeAlias = list[tuple[Any, ...]]

#: The topic of the bus.
SIGNAL: Final = Signal(SignalKind.EVENTS, "stategraph.resources")

#: How often a watch looks by itself, in seconds: while the bus is live, and while it is not.
LOOK_S: Final = 5.0
LOOK_ALONE_S: Final = 0.5

#: Rows that one reading of the log takes.
BATCH: Final = 1_000

#: Rows that the log keeps, and how often it is pruned, in versions.
LOG_ROWS: Final = 100_000
PRUNE_EVERY: Final = 1_000

_THREADS: Final = 4
_TRIES: Final = 5


class DatabaseStore:
    """A store of resources; see `port.ResourceStore`.

    Args:
        database: Where it is kept.
        bus: Wakes those who watch.
        log_rows: Rows that the log keeps.
    """

    def __init__(self, database: Database, bus: Bus, *, log_rows: int = LOG_ROWS) -> None:
        self._database = database
        self._bus = bus
        self._log_rows = log_rows
        dialect = database.sql.dialect
        self._sql = Statements(dialect.parameter, dialect.lock_row, dialect.now)
        self._tables = OwnTables(database, TABLES)
        self._is_set_up = False
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="stategraph resources")
        self._writes = WriteGroups[_Writing](self._threads, self._written, ConflictError, lambda each: each.version)
        self._is_closed = False

    # Reading.

    async def get(self, key: ResourceKey) -> Resource | None:
        """Return a resource; see `port.ResourceStore`."""
        found = await self.get_many([key])
        return found.get(key)

    async def get_many(self, keys: Iterable[ResourceKey]) -> dict[ResourceKey, Resource]:
        """Return those of several resources that there are."""

        def read(session: Session) -> dict[ResourceKey, Resource]:
            rows = ((key, session.execute(self._sql.get, _columns(key))) for key in keys)
            return {key: resource_of(found[0]) for key, found in rows if found}

        return await self._read(read)

    async def list(
        self, kind: str | None = None, namespace: str | None = None, labels: Mapping[str, str] | None = None
    ) -> Sequence[Resource]:
        """Return resources; see `port.ResourceStore`."""
        sql, parameters = self._sql, tuple[str, ...]()
        match kind, namespace:
            case None, None:
                statement = sql.all
            case str(), None:
                statement, parameters = sql.of_kind, (kind.lower(),)
            case None, str():
                statement, parameters = sql.of_namespace, (namespace,)
            case _:
                statement, parameters = sql.of_both, (str(kind).lower(), str(namespace))
        rows = await self._read(lambda session: session.execute(statement, parameters))
        found = (resource_of(row) for row in rows)
        return [each for each in found if _has_labels(each, labels)]

    async def snapshot(self) -> Listing:
        """Return everything; see `port.ResourceStore`."""

        def read(session: Session) -> tuple[int, _Rows]:
            # The version first: what is written between the two is read twice rather than missed.
            return self._version(session), session.execute(self._sql.all)

        version, rows = await self._read(read)
        return Listing(tuple(resource_of(row) for row in rows), version)

    async def version(self) -> int:
        """Return the version of the last change."""
        return await self._read(self._version)

    async def last_good(self, key: ResourceKey) -> Resource | None:
        """Return a resource with the spec with which it was ready last; see `port.ResourceStore`."""

        def read(session: Session) -> Resource | None:
            rows = session.execute(self._sql.get, _columns(key))
            good = session.execute(self._sql.good, _columns(key))
            if not rows or not good or good[0][0] is None:
                return None
            resource = resource_of(rows[0]).with_metadata(generation=good[0][1])
            return replace(resource, spec=json.loads(good[0][0]))

        return await self._read(read)

    async def last_applied(self, key: ResourceKey) -> Mapping[str, Any] | None:
        """Return what was applied last; see `port.ResourceStore`."""
        rows = await self._read(lambda session: session.execute(self._sql.get_applied, _columns(key)))
        found: Mapping[str, Any] | None = json.loads(rows[0][-1]) if rows and rows[0][-1] else None
        return found

    # Writing.

    async def put(self, resource: Resource) -> Resource:
        """Write spec and metadata; see `port.ResourceStore`."""
        return await self._write(lambda writing: writing.put(resource))

    async def apply(
        self, resources: Sequence[Resource], *, force: bool = False, finalizers: Mapping[str, str] | None = None
    ) -> Sequence[AppliedResource]:
        """Apply manifests in one transaction; see `port.ResourceStore`."""
        names = finalizers or {}

        def work(writing: _Writing) -> Sequence[AppliedResource]:
            return [writing.apply(each, force, names.get(each.key.kind)) for each in resources]

        return await self._write(work)

    async def put_status(self, resource: Resource) -> Resource:
        """Write the status; see `port.ResourceStore`."""
        return await self._write(lambda writing: writing.put_status(resource))

    async def delete(self, key: ResourceKey, *, resource_version: int | None = None) -> Resource | None:
        """Ask for a deletion; see `port.ResourceStore`."""
        return await self._write(lambda writing: writing.delete(key, resource_version))

    # The log.

    async def watch(self, from_version: int) -> AsyncIterator[Change]:
        """Yield changes; see `port.ResourceStore`."""
        async for changes in self.batches(from_version):
            for each in changes:
                yield each

    async def batches(self, from_version: int) -> AsyncIterator[Sequence[Change]]:
        """Yield changes, many at once; see `port.ResourceStore`."""
        position = from_version
        with self._bus.watch([SIGNAL.topic]) as wakes:
            while not self._is_closed:
                changes, version = await self._read(partial(self._changes, after=position))
                if (changes and changes[0].resource_version != position + 1) or (not changes and version != position):
                    raise WatchGapError(
                        f"The log of changes does not go on from version {position} any more, the store is at "
                        f"{version}: list everything, and watch from its version"
                    )
                if changes:
                    position = changes[-1].resource_version
                    yield changes
                else:
                    await wakes.wait(LOOK_S if self._bus.is_live else LOOK_ALONE_S)

    def _changes(self, session: Session, after: int) -> tuple[_Changes, int]:
        version = self._version(session)
        rows = session.execute(self._sql.changes, (after, BATCH))
        found = [Change(op, number, ResourceKey(kind, namespace, name)) for op, number, namespace, kind, name in rows]
        # A row may have been written since the version was read.
        return found, max(version, found[-1].resource_version) if found else version

    # Leases.

    async def take_lease(self, name: str, holder: str, seconds: float, *, instead_of: str = "") -> str:
        """Take or lengthen a lease unless somebody else holds it, and return who does."""

        def work(session: Session) -> str:
            taken = session.execute(self._sql.take_lease, (name, holder, seconds, instead_of))
            found = taken or session.execute(self._sql.holder, (name,))
            return str(found[0][0]) if found else ""

        return await self._in_thread(lambda: self._transaction(work, write=True))

    async def drop_lease(self, name: str, holder: str) -> None:
        """Give a lease back."""
        await self._in_thread(
            lambda: self._transaction(lambda session: session.change(self._sql.drop_lease, (name, holder)), write=True)
        )

    async def close(self) -> None:
        """Close the database; see `port.ResourceStore`."""
        self._is_closed = True
        self._bus.publish([SIGNAL])
        self._threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._close)
        self._writes.close()

    def _close(self) -> None:
        self._threads.shutdown(wait=True)
        self._bus.close()
        self._database.close()

    # Transactions.

    async def _read(self, work: Callable[[Session], T]) -> T:
        return await self._in_thread(lambda: self._transaction(work, write=False))

    async def _write(self, work: Callable[[_Writing], T]) -> T:
        if self._is_closed:
            raise ResourceError("The store is closed")
        result = await asyncio.wrap_future(self._writes.ask(work))
        self._bus.publish([SIGNAL])
        return result

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._is_closed:
            raise ResourceError("The store is closed")
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _written(self, work: Callable[[_Writing], T]) -> T:
        for number in range(_TRIES):
            try:
                with self._transacting(write=True) as session:
                    writing = _Writing(session, self._sql, self._version(session, lock=True))
                    result = work(writing)
                    writing.finish(self._log_rows)
                return result
            except CommitConflictError:  # a deadlock that the database ended
                if number == _TRIES - 1:
                    raise
        raise AssertionError

    def _transaction(self, work: Callable[[Session], T], *, write: bool) -> T:
        with self._transacting(write=write) as session:
            return work(session)

    @contextmanager
    def _transacting(self, *, write: bool) -> Iterator[Session]:
        if not self._is_set_up:
            self._tables.set_up()
            with self._database.transaction() as session:
                session.change(self._sql.first_version)
            self._is_set_up = True
        with self._database.transaction(write=write) as session:
            yield session

    def _version(self, session: Session, *, lock: bool = False) -> int:
        ((version,),) = session.execute(self._sql.lock_version if lock else self._sql.version)
        return int(version)


@dataclass(slots=True)
class _Writing:
    """One transaction that writes.

    Attributes:
        session: The transaction.
        sql: The statements.
        version: The store's version, with what was written so far.
        began: The same at the beginning.
    """

    session: Session
    sql: Statements
    version: int
    began: int = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.version

    def put(self, resource: Resource) -> Resource:
        key, version = resource.key, resource.metadata.resource_version
        stored, applied = self._stored(key)
        if stored is None:
            if version:
                raise ConflictError(f"{key} was deleted meanwhile; read it again")
            return self._insert(resource, None)
        if not version:
            raise ConflictError(f"{key} is there already; read it, or apply a manifest")
        _check_version(stored, version)
        return self._change(stored, resource, applied)

    def apply(self, resource: Resource, force: bool, finalizer: str | None) -> AppliedResource:
        stored, text = self._stored(resource.key)
        new = _declared(resource)
        if stored is None:
            added = () if finalizer is None else (finalizer,)
            created = self._insert(resource.with_metadata(finalizers=added), to_json(new))
            return AppliedResource(created, "created")
        live, last = _declared(stored), json.loads(text) if text else {}
        applied = text if new == last else to_json(new)
        found: tuple[tuple[Path, Any], ...] = () if force else tuple(merging.conflicts(last, live, new))
        if found:
            return AppliedResource(stored, "unchanged", found)
        merged = merging.merge(last, live, new)
        changed = replace(
            stored,
            api_version=resource.api_version,
            kind=resource.kind,
            spec=merged["spec"],
            source=resource.source,
            metadata=replace(stored.metadata, labels=merged["labels"], annotations=merged["annotations"]),
        )
        result = self._change(stored, changed, applied, was=text)
        version = result.metadata.resource_version
        return AppliedResource(result, "unchanged" if version == stored.metadata.resource_version else "configured")

    def put_status(self, resource: Resource) -> Resource:
        key = resource.key
        stored, _ = self._stored(key)
        if stored is None:
            raise ConflictError(f"{key} was deleted meanwhile")
        _check_version(stored, resource.metadata.resource_version)
        if stored.status == resource.status:
            return stored
        self._log("status", key)
        version = stored.metadata.resource_version
        self.session.change(self.sql.set_status, (to_json(resource.status), self.version, *_columns(key), version))
        changed = replace(stored.with_metadata(resource_version=self.version), status=resource.status)
        if changed.is_ready:
            self.session.change(self.sql.set_good, _columns(key))
        return changed

    def delete(self, key: ResourceKey, version: int | None) -> Resource | None:
        stored, _ = self._stored(key)
        if stored is None:
            return None
        if version is not None:
            _check_version(stored, version)
        if not stored.metadata.finalizers:
            self._remove(key)
            return None
        if stored.is_deleting:
            return stored
        self._log("deleting", key)
        changed = stored.with_metadata(deletion_timestamp=_now(), resource_version=self.version)
        self.session.change(self.sql.set_deletion, (changed.metadata.deletion_timestamp, self.version, *_columns(key)))
        return changed

    def finish(self, log_rows: int) -> None:
        """Write the version, and prune the log from time to time."""
        if self.version == self.began:
            return
        self.session.change(self.sql.set_version, (self.version,))
        every = min(PRUNE_EVERY, log_rows)
        if self.version // every > self.began // every:
            self.session.change(self.sql.prune, (self.version - log_rows,))

    def _stored(self, key: ResourceKey) -> tuple[Resource | None, str | None]:
        rows = self.session.execute(self.sql.get_applied, _columns(key))
        return (resource_of(rows[0][:-1]), rows[0][-1]) if rows else (None, None)

    def _insert(self, resource: Resource, applied: str | None) -> Resource:
        self._log("added", resource.key)
        metadata = replace(
            resource.metadata,
            uid=uuid4().hex,
            generation=1,
            resource_version=self.version,
            creation_timestamp=_now(),
            deletion_timestamp="",
        )
        created = replace(resource, metadata=metadata, status={}, spec=_plain(resource.spec))
        self.session.change(self.sql.insert, (*values(created), applied))
        return created

    def _change(self, stored: Resource, wanted: Resource, applied: str | None, was: str | None = None) -> Resource:
        """Write what differs from a stored resource, if anything does."""
        old, new = stored.metadata, wanted.metadata
        metadata = replace(
            old,
            labels=new.labels,
            annotations=new.annotations,
            owner_references=new.owner_references,
            finalizers=new.finalizers,
        )
        changed = replace(
            stored, api_version=wanted.api_version, kind=wanted.kind, spec=_plain(wanted.spec), metadata=metadata
        )
        if changed == stored and (was is None or was == applied):
            if wanted.source is not None and wanted.source != stored.source:  # lines have moved, and nothing else
                self.session.change(self.sql.set_source, (values(wanted)[14], *_columns(stored.key)))
                return replace(stored, source=wanted.source)
            return stored
        if stored.is_deleting and not metadata.finalizers:
            self._remove(stored.key)
            return changed
        self._log("modified", stored.key)
        generation = old.generation + (changed.spec != stored.spec)
        source = stored.source if wanted.source is None else wanted.source
        changed = replace(
            changed, source=source, metadata=replace(metadata, generation=generation, resource_version=self.version)
        )
        columns = values(changed)
        self.session.change(
            self.sql.update,
            (*columns[4:9], *columns[10:15], applied, *_columns(stored.key), old.resource_version),
        )
        return changed

    def _remove(self, key: ResourceKey) -> None:
        self._log("deleted", key)
        self.session.change(self.sql.delete, _columns(key))

    def _log(self, op: Operation, key: ResourceKey) -> None:
        self.version += 1
        self.session.change(self.sql.log, (self.version, op, *_columns(key), _now()))


def _columns(key: ResourceKey) -> tuple[str, str, str]:
    return key.namespace, key.kind, key.name


def _check_version(stored: Resource, version: int) -> None:
    if stored.metadata.resource_version != version:
        raise ConflictError(
            f"{stored.key} was changed meanwhile: it has version {stored.metadata.resource_version}, this was made "
            f"from {version}; read it again"
        )


def _declared(resource: Resource) -> dict[str, Any]:
    meta: Metadata = resource.metadata
    return {"spec": _plain(resource.spec), "labels": dict(meta.labels), "annotations": dict(meta.annotations)}


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a spec as it comes back from JSON, so that a tuple in it is no change."""
    plain: dict[str, Any] = json.loads(to_json(spec))
    return plain


def _has_labels(resource: Resource, labels: Mapping[str, str] | None) -> bool:
    return all(resource.metadata.labels.get(name) == value for name, value in (labels or {}).items())


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
