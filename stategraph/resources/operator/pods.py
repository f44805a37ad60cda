"""Keeps the objects of agents and workers as they are wanted."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from stategraph.resources.operator import workloads
from stategraph.resources.operator.cluster import Cluster, ClusterError
from stategraph.resources.operator.events import Events, Subject
from stategraph.resources.operator.workloads import COLLECTIONS, Owned, PodSettings

if TYPE_CHECKING:
    from stategraph.resources.operator.mirror import Mirror
    from stategraph.resources.runtime import Runtime

_log = logging.getLogger("stategraph.operator")

#: After so many seconds what is there is listed again: what somebody deleted is made anew.
_LOOK_S: Final = 300.0
_RETRY_S: Final = 2.0
_SELECTOR: Final = "labelSelector=app.kubernetes.io%2Fmanaged-by%3Dstategraph"


class Pods:
    """Applies the objects that are wanted, and deletes those that are not any more.

    Args:
        settings: What pods run.
        mirror: Knows the objects of resources, and when something changes.
        runtime: Has the resources.
        cluster: The API server.
        events: Writes events.
    """

    def __init__(
        self, settings: PodSettings, mirror: Mirror, runtime: Runtime, cluster: Cluster, events: Events
    ) -> None:
        self._settings = settings
        self._mirror = mirror
        self._runtime = runtime
        self._cluster = cluster
        self._events = events
        self._there: dict[
            str, str
        ] = {}  # digests of what was applied, by path; empty for what is only known to be there

    async def keep(self) -> None:
        """Keep everything as it is wanted, until it is cancelled."""
        if not self._settings.image:
            await asyncio.Event().wait()
        listed = -_LOOK_S
        clock = asyncio.get_running_loop().time
        while True:
            self._mirror.changed.clear()
            pause = _LOOK_S
            try:
                if clock() - listed >= _LOOK_S:
                    await self._list()
                    listed = clock()
                if not await self._set_right():
                    pause = _RETRY_S
            except ClusterError as error:
                _log.warning("Pods of agents and workers are not as they are to be: %s", error)
                pause = _RETRY_S
            try:
                async with asyncio.timeout(pause):
                    await self._mirror.changed.wait()
            except TimeoutError:
                continue

    async def _list(self) -> None:
        """Find what there is; what has vanished is to be applied again."""
        found: set[str] = set()
        for kind, (root, plural) in COLLECTIONS.items():
            if kind == "ScaledObject" and not self._settings.keda:
                continue
            answer = await self._cluster.get(f"{root}/{plural}?{_SELECTOR}")
            for each in (answer or {}).get("items", ()):
                if not each["metadata"].get("deletionTimestamp"):
                    found.add(workloads.path_of({**each, "kind": kind}))
        self._there = {path: self._there.get(path, "") for path in found}

    async def _set_right(self) -> bool:
        """Apply and delete what differs; returns whether all of it went well."""
        resources = await self._runtime.list()
        known = self._mirror.known
        owned = [
            Owned(each, known[each.key].subject) for each in resources if each.key in known and not each.is_deleting
        ]
        wanted = workloads.wanted(owned, resources, self._settings, self._runtime.kinds)
        well = True
        for path, document in wanted.items():
            digest = _digest(document)
            if self._there.get(path) == digest:
                continue
            try:
                await self._cluster.apply(path, document)
            except ClusterError as error:
                well = False
                await self._failed(owned, document, error)
                continue
            self._there[path] = digest
        for path in sorted(set(self._there) - set(wanted)):
            await self._cluster.delete(path)
            del self._there[path]
        return well

    async def _failed(self, owned: list[Owned], document: Mapping[str, Any], error: ClusterError) -> None:
        """Tell what asked for an object that it could not be made."""
        _log.warning("%s was not applied: %s", workloads.path_of(document), error)
        owners = {each["uid"] for each in document["metadata"]["ownerReferences"]}
        about: list[Subject] = [each.subject for each in owned if each.subject.uid in owners]
        message = f"its {document['kind']} {document['metadata']['name']} was not applied: {error}"
        for each in about:
            await self._events.tell(each, "Warning", "ApplyFailed", message)


def _digest(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
