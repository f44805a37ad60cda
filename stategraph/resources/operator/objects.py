"""Objects of a cluster as resources, and resources as objects."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.resources.kind_table import API_VERSION, GROUP, Kind
from stategraph.resources.model import Metadata, Resource
from stategraph.resources.operator.events import Subject

_VERSION: Final = API_VERSION.partition("/")[2]
_OF_TOOLS: Final = ("kopf.dev/", "kubectl.kubernetes.io/", "kopf.zalando.org/", GROUP)


@dataclass(slots=True)
class Known:
    """An object of the cluster, as far as it is known.

    Attributes:
        path: Its path.
        subject: What events about it name.
        cluster: Its generation in the cluster.
        own: The generation of the same spec in the runtime.
        status: The status that is in the cluster.
        failures: How often writing its status has failed in a row.
    """

    path: str
    subject: Subject
    cluster: int
    own: int
    status: Mapping[str, Any] = field(default_factory=dict)
    failures: int = 0

    @property
    def uid(self) -> str:
        """Its uid in the cluster."""
        return self.subject.uid

    @staticmethod
    def of(kind: Kind, body: Mapping[str, Any], own: int) -> Known:
        """Return what is known of an object that was read."""
        meta = body["metadata"]
        return Known(
            path_of(kind, meta, body.get("apiVersion", "")),
            subject_of(kind, body),
            int(meta.get("generation", 1)),
            own,
            plain(body.get("status")),
        )


def resource_of(kind: Kind, body: Mapping[str, Any]) -> Resource:
    """Return an object of the cluster as a resource."""
    meta = body["metadata"]
    annotations = {
        name: text for name, text in (meta.get("annotations") or {}).items() if not name.startswith(_OF_TOOLS)
    }
    metadata = Metadata(
        meta["name"],
        meta.get("namespace", "") if kind.namespaced else "",
        dict(meta.get("labels") or {}),
        annotations,
        uid=meta.get("uid", ""),
    )
    api_version = API_VERSION if kind.group == GROUP else body["apiVersion"]
    return Resource(api_version, kind.name, metadata, plain(body.get("spec")))


def object_of(resource: Resource, owner: Mapping[str, Any]) -> dict[str, Any]:
    """Return a resource that another one owns as an object.

    Args:
        resource: The resource.
        owner: The reference to its owner.
    """
    meta: dict[str, Any] = {"name": resource.name, "ownerReferences": [dict(owner)]}
    if resource.namespace:
        meta["namespace"] = resource.namespace
    for word, given in (("labels", resource.metadata.labels), ("annotations", resource.metadata.annotations)):
        if given:
            meta[word] = dict(given)
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "metadata": meta,
        "spec": dict(resource.spec),
    }


def owner_of(subject: Subject, *, controls: bool = True) -> dict[str, Any]:
    """Return the reference to an object as an owner."""
    found: dict[str, Any] = {
        "apiVersion": subject.api_version,
        "kind": subject.kind,
        "name": subject.name,
        "uid": subject.uid,
    }
    return {**found, "controller": True} if controls else found


def subject_of(kind: Kind, body: Mapping[str, Any]) -> Subject:
    """Return what events about an object name."""
    meta = body["metadata"]
    namespace = meta.get("namespace", "") if kind.namespaced else ""
    return Subject(body.get("apiVersion") or API_VERSION, kind.name, namespace, meta["name"], meta["uid"])


def path_of(kind: Kind, meta: Mapping[str, Any], api_version: str = "") -> str:
    """Return the path of an object."""
    return f"{collection_of(kind, meta.get('namespace', ''), api_version)}/{meta['name']}"


def collection_of(kind: Kind, namespace: str = "", api_version: str = "") -> str:
    """Return the path of the objects of a kind; without a namespace, those of all."""
    version = api_version.rpartition("/")[2] or _VERSION
    place = f"namespaces/{namespace}/" if kind.namespaced and namespace else ""
    return f"/apis/{kind.group}/{version}/{place}{kind.plural}"


def plain(value: Any) -> dict[str, Any]:
    """Return a mapping as plain values: kopf's are read-only views."""
    return dict(json.loads(json.dumps(value, default=dict))) if value else {}
