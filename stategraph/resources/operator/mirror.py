"""Follows a cluster: what is declared there is applied to a runtime, and its status is written back.

Rules
-----
* The cluster has the truth. The runtime keeps what it has seen in memory, and reconciles it by the same controllers as
  on SQLite or PostgreSQL; a restart lists everything anew, and takes the status over that is in the cluster.
* Events only wake: each is applied as a whole, and what has not changed changes nothing.
* An object that is deleted is held by a finalizer until its controller has cleaned up.
* `observedGeneration` is that of the object in the cluster.
* Resources that others own, such as the members of a System, live in the operator and are no objects of the cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from stategraph.errors import MissingPackageError
from stategraph.resources.errors import ConflictError
from stategraph.resources.kind_table import API_VERSION, GROUP, KINDS, Kind
from stategraph.resources.model import Metadata, Resource, ResourceKey
from stategraph.resources.operator.cluster import Cluster, ClusterError
from stategraph.resources.operator.workloads import PodSettings, path_of, workloads_of

if TYPE_CHECKING:
    import kopf

    from stategraph.resources.runtime import Runtime

FINALIZER: Final = "stategraph.dev/operator"

_VERSION: Final = API_VERSION.partition("/")[2]
_GONE_S: Final = 1.0
_AGAIN_S: Final = 0.1
_RETRY_S: Final = 2.0
_OF_TOOLS: Final = ("kopf.dev/", "kubectl.kubernetes.io/", "kopf.zalando.org/")

_log = logging.getLogger("stategraph.operator")


@dataclass(frozen=True, slots=True)
class OperatorSettings:
    """Settings of an operator.

    Attributes:
        namespaces: The namespaces that it follows; empty: all.
        kinds: The kinds that it follows.
        connection: Address and credentials of the API server; None: those of the pod, or of the kubeconfig.
        liveness: Address of its liveness check, such as `http://0.0.0.0:8080/healthz`; None: none.
        pods: What pods of agents and workers run.
    """

    namespaces: Sequence[str] = ()
    kinds: Sequence[Kind] = tuple(KINDS)
    connection: kopf.ConnectionInfo | None = None
    liveness: str | None = None
    pods: PodSettings = field(default_factory=PodSettings)


@dataclass(slots=True)
class _Known:
    """An object of the cluster, as far as it is known.

    Attributes:
        path: Its path.
        uid: Its uid.
        cluster: Its generation in the cluster.
        own: The generation of the same spec in the runtime.
        status: The status that is in the cluster.
        workloads: Paths of the objects that were made for it.
    """

    path: str
    uid: str
    cluster: int
    own: int
    status: Mapping[str, Any] = field(default_factory=dict)
    workloads: set[str] = field(default_factory=set)


class Operator:
    """Reconciles the resources of a cluster.

    Args:
        runtime: A runtime on a store in memory, which is nobody else's.
        settings: The settings.

    Raises:
        MissingPackageError: `kopf` is not installed.
    """

    def __init__(self, runtime: Runtime, settings: OperatorSettings | None = None) -> None:
        try:
            import kopf  # 0.9 s, and only operators need it
        except ImportError as error:
            raise MissingPackageError("stategraph[kubernetes]", "The operator") from error
        self._kopf = kopf
        self._runtime = runtime
        self._settings = settings or OperatorSettings()
        self._known: dict[ResourceKey, _Known] = {}
        self._locks: dict[ResourceKey, asyncio.Lock] = {}
        self._cluster: Cluster | None = None
        self._pushing: set[asyncio.Task[None]] = set()

    async def run(self, stop: asyncio.Event | None = None, ready: asyncio.Event | None = None) -> None:
        """Follow the cluster until told to stop.

        Args:
            stop: Ends it when it is set; None: a signal does.
            ready: Set when it follows.
        """
        connection = self._settings.connection or self._logged_in()
        async with self._runtime, Cluster(connection) as cluster:
            self._cluster = cluster
            writing = asyncio.create_task(self._write_statuses())
            try:
                await self._kopf.operator(
                    registry=self._registry(connection),
                    settings=self._kopf_settings(),
                    standalone=True,
                    clusterwide=not self._settings.namespaces,
                    namespaces=tuple(self._settings.namespaces),
                    liveness_endpoint=self._settings.liveness,
                    stop_flag=stop,
                    ready_flag=ready,
                )
            finally:
                while not writing.done():  # a wait of Python 3.11 may forget a cancellation that comes with a wake-up
                    writing.cancel()
                    await asyncio.wait((writing,), timeout=_AGAIN_S)

    def _logged_in(self) -> kopf.ConnectionInfo:
        found = self._kopf.login_via_client(logger=_log, settings=self._kopf_settings())
        if found is None:
            raise MissingPackageError("stategraph[kubernetes]", "The login to a cluster")
        return found

    def _kopf_settings(self) -> kopf.OperatorSettings:
        settings = self._kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.persistence.finalizer = FINALIZER
        settings.persistence.progress_storage = self._kopf.AnnotationsProgressStorage(prefix=GROUP)
        settings.persistence.diffbase_storage = self._kopf.AnnotationsDiffBaseStorage(prefix=GROUP)
        return settings

    def _registry(self, connection: kopf.ConnectionInfo) -> kopf.OperatorRegistry:
        registry = self._kopf.OperatorRegistry()

        def login(**_: Any) -> kopf.ConnectionInfo:
            return connection

        self._kopf.on.login(registry=registry)(login)
        for kind in self._settings.kinds:
            self._follow(kind, registry)
        return registry

    def _follow(self, kind: Kind, registry: kopf.OperatorRegistry) -> None:
        async def seen(type: str | None, body: Mapping[str, Any], **_: Any) -> None:
            await self._seen(kind, type, body)

        async def deleted(body: Mapping[str, Any], **_: Any) -> None:
            await self._deleted(kind, body)

        place = (kind.group, _VERSION, kind.plural)
        self._kopf.on.event(*place, registry=registry)(seen)
        self._kopf.on.delete(*place, registry=registry)(deleted)

    # From the cluster to the runtime.

    async def _seen(self, kind: Kind, type: str | None, body: Mapping[str, Any]) -> None:
        meta = body["metadata"]
        if type == "DELETED" or meta.get("deletionTimestamp"):
            return
        resource = _resource(kind, body)
        async with self._lock(resource.key):
            known = self._known.get(resource.key)
            generation = int(meta.get("generation", 1))
            if known is not None and (known.uid, known.cluster) == (meta["uid"], generation):
                return  # its status alone has changed, which is ours
            if known is not None and known.uid != meta["uid"]:
                await self._runtime.delete(resource.key)
            await self._runtime.apply([resource.with_metadata(uid="")], force=True)
            stored = await self._runtime.get(resource.key)
            if stored is None:
                return
            status = dict(body.get("status") or {})
            path = _path(kind, meta)
            made = known.workloads if known is not None else set()
            self._known[resource.key] = _Known(
                path, meta["uid"], generation, stored.metadata.generation, status, set(made)
            )
            if known is None and status and not stored.status:
                with contextlib.suppress(ConflictError):  # it was reconciled already
                    await self._runtime.store.put_status(replace(stored, status=status))
            await self._make_workloads(resource)
        await self._push(resource.key)

    async def _make_workloads(self, resource: Resource) -> None:
        assert self._cluster is not None
        known = self._known[resource.key]
        documents = {path_of(each): each for each in workloads_of(resource, self._settings.pods)}
        for path, document in documents.items():
            await self._cluster.apply(path, document)
        for path in known.workloads - set(documents):
            await self._cluster.delete(path)
        known.workloads = set(documents)

    async def _deleted(self, kind: Kind, body: Mapping[str, Any]) -> None:
        resource = _resource(kind, body)
        await self._runtime.delete(resource.key)
        if await self._runtime.get(resource.key) is not None:
            raise self._kopf.TemporaryError("its controller has not cleaned up yet", delay=_GONE_S)
        self._known.pop(resource.key, None)
        self._locks.pop(resource.key, None)

    def _lock(self, key: ResourceKey) -> asyncio.Lock:
        return self._locks.setdefault(key, asyncio.Lock())

    # From the runtime to the cluster.

    async def _write_statuses(self) -> None:
        while True:
            try:
                async for change in self._runtime.watch():
                    if change.op != "deleted":
                        await self._push_or_again(change.key)
            except Exception:  # the store is away, or its log has lost what came meanwhile
                _log.exception("Resources are not watched, and their statuses not written; it is tried again")
            await asyncio.sleep(_RETRY_S)
            for key in list(self._known):
                await self._push_or_again(key)

    async def _push_or_again(self, key: ResourceKey) -> None:
        """Write the status of a resource, after a pause if that fails now."""
        try:
            await self._push(key)
        except Exception:
            _log.exception("The status of %s was not written; it is tried again", key)
            asyncio.get_running_loop().call_later(_RETRY_S, self._again, key)

    async def _push(self, key: ResourceKey) -> None:
        """Write the status of a resource, as far as it differs from that in the cluster."""
        known, stored = self._known.get(key), await self._runtime.get(key)
        if known is None or stored is None or not stored.status or self._cluster is None:
            return
        status = _of_cluster(stored.status, known)
        changes = {name: value for name, value in status.items() if known.status.get(name) != value}
        changes |= {name: None for name in known.status if name not in status}
        if not changes:
            return
        try:
            await self._cluster.patch_status(known.path, changes)
        except ClusterError as error:
            if error.status != 404:  # gone meanwhile
                _log.warning("The status of %s was not written: %s", key, error)
                asyncio.get_running_loop().call_later(_RETRY_S, self._again, key)
            return
        except OSError as error:  # the server is away
            _log.warning("The status of %s was not written: %s", key, error)
            asyncio.get_running_loop().call_later(_RETRY_S, self._again, key)
            return
        known.status = status

    def _again(self, key: ResourceKey) -> None:
        task = asyncio.ensure_future(self._push_or_again(key))
        self._pushing.add(task)
        task.add_done_callback(self._pushing.discard)


def _resource(kind: Kind, body: Mapping[str, Any]) -> Resource:
    """Return an object of the cluster as a resource."""
    meta = body["metadata"]
    annotations = {
        name: text for name, text in (meta.get("annotations") or {}).items() if not name.startswith((*_OF_TOOLS, GROUP))
    }
    metadata = Metadata(
        meta["name"],
        meta.get("namespace", "") if kind.namespaced else "",
        dict(meta.get("labels") or {}),
        annotations,
        uid=meta.get("uid", ""),
    )
    return Resource(
        API_VERSION if kind.group == GROUP else body["apiVersion"], kind.name, metadata, _plain(body.get("spec"))
    )


def _plain(spec: Any) -> dict[str, Any]:
    """Return a spec as plain values: kopf's are read-only views."""
    import json

    return dict(json.loads(json.dumps(spec, default=dict))) if spec else {}


def _path(kind: Kind, meta: Mapping[str, Any]) -> str:
    place = f"namespaces/{meta['namespace']}/" if kind.namespaced else ""
    return f"/apis/{kind.group}/{_VERSION}/{place}{kind.plural}/{meta['name']}"


def _of_cluster(status: Mapping[str, Any], known: _Known) -> dict[str, Any]:
    """Return a status with the generations of the cluster in place of the runtime's."""

    def counted(value: Mapping[str, Any]) -> dict[str, Any]:
        found = dict(value)
        if "observedGeneration" in found:
            behind = max(0, known.own - int(found["observedGeneration"]))
            found["observedGeneration"] = max(0, known.cluster - behind)
        return found

    told = counted(status)
    told["conditions"] = [counted(each) for each in status.get("conditions", ())]
    return told
