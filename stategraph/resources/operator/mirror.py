"""Follows a cluster: what is declared there is applied to a runtime, and its status is written back.

Rules
-----
* The cluster has the truth. The runtime keeps what it has seen in memory, and reconciles it by the same controllers as
  on SQLite or PostgreSQL; a restart lists everything anew, and takes the status over that is in the cluster.
* Events only wake: each is applied as a whole, and what has not changed changes nothing.
* An object that is deleted is held by a finalizer until its controller has cleaned up, also if nobody was there when it
  was deleted.
* `observedGeneration` is that of the object in the cluster.
* Members of a System are objects that it owns, written by the operator; what others change in them is set back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from stategraph.resources.errors import ConflictError
from stategraph.resources.kind_table import GROUP, Kind
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.operator import objects, statuses
from stategraph.resources.operator.cluster import Cluster, ClusterError
from stategraph.resources.operator.events import Events
from stategraph.resources.operator.objects import Known
from stategraph.resources.store.port import Change

if TYPE_CHECKING:
    from stategraph.resources.runtime import Runtime

_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 60.0
_OWN: Final = "observedGeneration"

_log = logging.getLogger("stategraph.operator")


class Mirror:
    """Carries declarations from a cluster into a runtime, and statuses back.

    Args:
        runtime: A runtime on a store in memory, which is nobody else's.
        cluster: The API server.
        events: Writes events.

    Attributes:
        known: The objects that are there, by the keys of their resources.
        changed: Set when something was declared, changed or deleted.
        kinds_changed: Set when a kind may have come or gone.
    """

    def __init__(self, runtime: Runtime, cluster: Cluster, events: Events) -> None:
        self._runtime = runtime
        self._cluster = cluster
        self._events = events
        self._locks: dict[ResourceKey, asyncio.Lock] = {}
        self._waiting: set[asyncio.Task[None]] = set()
        self.known: dict[ResourceKey, Known] = {}
        self.changed = asyncio.Event()
        self.kinds_changed = asyncio.Event()

    # From the cluster to the runtime.

    async def list(self, kind: Kind, namespace: str, api_version: str = "") -> bool:
        """Take every object of a kind; returns whether the API server has the kind.

        Raises:
            ClusterError: The server refused, or is away.
        """
        path, more = objects.collection_of(kind, namespace, api_version), ""
        while True:
            found = await self._cluster.get(f"{path}?limit=500{more}")
            if found is None:
                return False
            for each in found.get("items", ()):
                body = {"apiVersion": found["apiVersion"], "kind": kind.name, **each}
                if not each["metadata"].get("deletionTimestamp"):
                    await self.take(kind, body)
            rest = (found.get("metadata") or {}).get("continue")
            if not rest:
                return True
            more = f"&continue={rest}"

    async def take(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Take an object as it is now."""
        meta = body["metadata"]
        resource = objects.resource_of(kind, body)
        key = resource.key
        async with self._lock(key):
            known = self.known.get(key)
            if known is not None and (known.uid, known.cluster) == (meta["uid"], int(meta.get("generation", 1))):
                return  # its status alone has changed, which is ours
            if _is_member(body):
                await self._take_member(kind, key, body)
            else:
                await self._take_declared(kind, resource, body)
        self.changed.set()
        await self.push(key)

    async def _take_declared(self, kind: Kind, resource: Resource, body: Mapping[str, Any]) -> None:
        key, known = resource.key, self.known.get(resource.key)
        before = await self._runtime.get(key)
        if before is not None and (
            before.metadata.owner_references or (known is not None and known.uid != body["metadata"]["uid"])
        ):
            await self._runtime.delete(key)
        await self._runtime.apply([resource.with_metadata(uid="")], force=True)
        stored = await self._runtime.get(key)
        if stored is None:
            return
        now = self.known[key] = Known.of(kind, body, stored.metadata.generation)
        if known is None and now.status and not stored.status:
            await self._take_over(stored, now)

    async def _take_over(self, stored: Resource, known: Known) -> None:
        """Have the runtime begin with the status that is in the cluster, counted as it counts."""

        def counted(value: Mapping[str, Any]) -> dict[str, Any]:
            found = dict(value)
            if _OWN in found:
                found[_OWN] = max(0, known.own - max(0, known.cluster - int(found[_OWN])))
            return found

        status = counted(known.status)
        status["conditions"] = [counted(each) for each in known.status.get("conditions", ())]
        try:
            await self._runtime.store.put_status(replace(stored, status=status))
        except ConflictError as error:  # it was reconciled already
            _log.debug("The status of %s was not taken over: %s", stored.key, error)

    # Members of Systems.

    async def _take_member(self, kind: Kind, key: ResourceKey, body: Mapping[str, Any]) -> None:
        stored = await self._runtime.get(key)
        if stored is None:  # its System was not reconciled yet
            self.known[key] = Known.of(kind, body, 0)
            return
        self.known[key] = Known.of(kind, body, stored.metadata.generation)
        if objects.plain(body.get("spec")) != stored.spec:
            await self._write_member(stored)

    async def _write_member(self, stored: Resource) -> None:
        """Make the object of a member, or set it right."""
        owner = await self._owner(stored)
        kind = self._runtime.kinds.get(stored.kind)
        if owner is None or kind is None:
            return
        path = objects.path_of(kind, {"name": stored.name, "namespace": stored.namespace}, stored.api_version)
        there = await self._cluster.get(path)
        owners = {each["uid"] for each in ((there or {}).get("metadata") or {}).get("ownerReferences") or ()}
        if there is not None and owner.uid not in owners:
            _log.warning("%s is there already and is no member of %s: it was left as it is", path, owner.subject.name)
            message = f"{stored.key} is there already and belongs to somebody else; rename or delete it"
            await self._events.tell(owner.subject, "Warning", "NameTaken", message)
            return
        body = await self._cluster.apply(path, objects.object_of(stored, objects.owner_of(owner.subject)))
        known = Known.of(kind, {"apiVersion": stored.api_version, **body}, stored.metadata.generation)
        self.known[stored.key] = known

    async def _owner(self, stored: Resource) -> Known | None:
        """Return the object of the System that a resource belongs to; None if it is none's, or that is not there."""
        for each in stored.metadata.owner_references:
            key = ResourceKey(each.kind, stored.namespace, each.name)
            owner = await self._runtime.get(key)
            if owner is not None and owner.metadata.uid == each.uid:
                return self.known.get(key)
        return None

    async def gone(self, kind: Kind, body: Mapping[str, Any]) -> None:
        """Notice that an object has gone; that of a member which its System still has is made again."""
        key = objects.resource_of(kind, body).key
        known = self.known.get(key)
        if known is not None and known.uid == body["metadata"]["uid"]:
            del self.known[key]
            self.changed.set()
        stored = await self._runtime.get(key)
        if stored is not None and stored.metadata.owner_references and not stored.is_deleting:
            await self.push(key)

    async def delete(self, kind: Kind, body: Mapping[str, Any]) -> bool:
        """Delete what an object declares; returns whether its controller has cleaned up.

        Raises:
            ClusterError: The server refused, or is away.
        """
        resource = objects.resource_of(kind, body)
        key = resource.key
        async with self._lock(key):
            stored = await self._runtime.get(key)
            if stored is None and key not in self.known:  # nobody was there when it was deleted
                await self._runtime.apply([resource.with_metadata(uid="")], force=True)
                self.known[key] = Known.of(kind, body, 1)
            if key.kind == "customresourcedefinition" and await self._has_instances(body):
                return False
            await self._runtime.delete(key)
            after = await self._runtime.get(key)
            if after is not None and (stored is None or after.metadata.uid == stored.metadata.uid):
                return False
            self.known.pop(key, None)
        self.changed.set()
        return True

    async def _has_instances(self, body: Mapping[str, Any]) -> bool:
        spec = body.get("spec") or {}
        kind = self._runtime.kinds.get((spec.get("names") or {}).get("kind", ""))
        if kind is None or kind.group == GROUP:
            return False
        found = await self._cluster.get(f"{objects.collection_of(kind, '', version_of(spec))}?limit=1")
        return bool(found and found.get("items"))

    def _lock(self, key: ResourceKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    # From the runtime to the cluster.

    async def follow(self, since: int) -> None:
        """Write statuses as they change, and again after whatever error, until it is cancelled.

        Args:
            since: The version of the store before anything was reconciled: what changes before this task has begun to
                watch is written, too.
        """
        version: int | None = since
        while True:
            try:
                async for change in self._runtime.watch(version):
                    self.changed.set()
                    if change.key.kind == "customresourcedefinition":
                        self.kinds_changed.set()
                    await self._write(change)
            except Exception:  # the store is away, or its log has lost what came meanwhile
                _log.exception("Resources are not watched, and their statuses not written; it is tried again")
            version = None  # all statuses are written below
            await asyncio.sleep(_RETRY_S)
            for key in list(self.known):
                self._later(key, 0)

    async def _write(self, change: Change) -> None:
        """Write what a change of the runtime means for the cluster, later if that fails now."""
        try:
            if change.op != "deleted":
                await self.push(change.key)
            elif change.key in self.known and await self._runtime.get(change.key) is None:
                await self._member_gone(change.key)
        except Exception as error:
            self._failed(change.key, error)
            self._later(change.key, 1)

    @staticmethod
    def _failed(key: ResourceKey, error: Exception) -> None:
        unexpected = None if isinstance(error, ClusterError) else error
        _log.warning("%s was not written, it is tried again: %s", key, error, exc_info=unexpected)

    async def _member_gone(self, key: ResourceKey) -> None:
        """Delete the object of a member that its System has no more."""
        known = self.known[key]
        body = await self._cluster.get(known.path)
        if body is not None and _is_member(body) and not body["metadata"].get("deletionTimestamp"):
            await self._cluster.delete(known.path)

    async def push(self, key: ResourceKey) -> None:
        """Write the status of a resource, as far as it differs from that in the cluster."""
        async with self._lock(key):
            await self._push(key)

    async def _push(self, key: ResourceKey) -> None:
        stored = await self._runtime.get(key)
        if stored is None:
            return
        known = self.known.get(key)
        if stored.metadata.owner_references and (known is None or known.own != stored.metadata.generation):
            try:
                await self._write_member(stored)
            except ClusterError as error:
                _log.warning("The member %s was not written: %s", key, error)
                self._later(key, 1)
                return
            known = self.known.get(key)
        if known is None or not stored.status:
            return
        status = statuses.of_cluster(stored.status, known.own, known.cluster)
        changes = statuses.changes_of(status, known.status)
        if not changes:
            return
        try:
            await self._cluster.patch_status(known.path, changes)
        except ClusterError as error:
            if error.status != 404:  # gone meanwhile
                known.failures += 1
                _log.warning("The status of %s was not written: %s", key, error)
                self._later(key, known.failures)
            return
        before, known.status, known.failures = known.status, status, 0
        await self._tell(known, before)

    async def _tell(self, known: Known, before: Mapping[str, Any]) -> None:
        """Write an event if `Ready` has become something else."""
        was, ready = _ready(before), _ready(known.status)
        if ready and [was.get(each) for each in ("status", "reason")] != [ready["status"], ready["reason"]]:
            kind = "Warning" if ready["status"] == "False" else "Normal"
            await self._events.tell(known.subject, kind, ready["reason"] or "Ready", ready["message"])

    def _later(self, key: ResourceKey, failures: int) -> None:
        """Write a status again, after a while."""

        async def again() -> None:
            await asyncio.sleep(min(_LONGEST_RETRY_S, _RETRY_S * 2 ** min(failures, 10)))
            try:
                await self.push(key)
            except Exception as error:
                self._failed(key, error)
                self._later(key, failures + 1)

        task = asyncio.create_task(again())
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    async def close(self) -> None:
        """End what waits."""
        for each in list(self._waiting):
            each.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)


def _is_member(body: Mapping[str, Any]) -> bool:
    """Return whether an object belongs to a System, whose runtime makes it by itself."""
    return any(
        each.get("kind") == "System" and str(each.get("apiVersion")).startswith(f"{GROUP}/")
        for each in body["metadata"].get("ownerReferences") or ()
    )


def version_of(spec: Mapping[str, Any]) -> str:
    """Return the version of the objects of a custom kind, of the spec of its definition."""
    stored = next((each for each in spec.get("versions") or () if each.get("storage", True)), None)
    return "v1" if stored is None else str(stored["name"])


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    return next((each for each in status.get("conditions", ()) if each["type"] == "Ready"), {})
