"""Objects of Kubernetes that agents and workers ask for, as documents; nothing is sent.

- An Agent with `scaling` gets a Deployment, a Service, and a HorizontalPodAutoscaler if it may grow.
- A Worker whose executor is `external` gets a Deployment, and with KEDA a ScaledObject that counts the runs of its
  queue, if it may grow.
- Each namespace that has such has the manifests of its resources as ConfigMaps, which the pods mount: a pod serves what
  is declared there, and keeps threads in the database that the environment names. Pods of one database take each
  other's runs, so each of them has all manifests. A change of a manifest is a rollout, by an annotation of the pods.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.resources.kind_table import GROUP, KINDS, KindTable
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.operator.events import Subject
from stategraph.resources.operator.objects import owner_of
from stategraph.resources.references import references

#: Where pods have the manifests.
FOLDER: Final = "/etc/stategraph/resources"

#: Bytes of the manifests in one ConfigMap; Kubernetes takes 1 MiB.
LARGEST: Final = 900_000

MANAGED: Final[Mapping[str, str]] = {"app.kubernetes.io/managed-by": "stategraph"}

_DIGEST: Final = "stategraph.dev/manifests"
_PORT: Final = 8123
_CPU_PERCENT: Final = 75
_LONGEST_NAME: Final = 60

#: Kinds that pods have no use for, besides those of one's own: they work in the operator.
_OPERATORS: Final = frozenset({"schedule", "worker", "system", "customresourcedefinition"})

#: Paths of collections by kind.
COLLECTIONS: Final[Mapping[str, tuple[str, str]]] = {
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v2", "horizontalpodautoscalers"),
    "ScaledObject": ("/apis/keda.sh/v1alpha1", "scaledobjects"),
}


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Image and commands of the pods of agents and workers.

    Attributes:
        image: The image; empty: there are no pods.
        agent_command: The command of an agent's pod; `{name}` and `{namespace}` stand for the agent's, `{resources}`
            for the folder of the manifests. In a pod it listens everywhere: a Service and a NetworkPolicy say who
            reaches it.
        worker_command: The command of a worker's pod; `{queue}` stands for its queue. Its further queues are added to
            one that has the option `--queue`.
        allow: Prefixes of modules that manifests may name, which the commands are given too.
        services: What the program gives controllers, as `MODULE:NAME`, which the commands are given too; empty: none.
        environment_secret: A Secret of the namespace whose keys are environment variables; None: none. It has
            `STATEGRAPH_STORE`, and `STATEGRAPH_TOKEN`.
        service_account: The service account of the pods; None: the namespace's.
        keda: Whether workers are scaled by KEDA; else they keep their least number.
        keda_query: A query of KEDA's trigger `postgresql` for the runs that wait; `{queue}` stands for the queue.
        labels: Labels of everything that is made.
    """

    image: str = ""
    agent_command: tuple[str, ...] = (
        "stategraph",
        "serve",
        "--host",
        "0.0.0.0",
        "--port",
        str(_PORT),
        "--resources",
        "{resources}",
        "--resources-only",
    )
    worker_command: tuple[str, ...] = (
        "stategraph",
        "worker",
        "--queue",
        "{queue}",
        "--resources",
        "{resources}",
        "--resources-only",
    )
    allow: tuple[str, ...] = ()
    services: str = ""
    environment_secret: str | None = None
    service_account: str | None = None
    keda: bool = False
    keda_query: str = "SELECT COUNT(*) FROM sg_run WHERE status = 'pending' AND queue = '{queue}'"
    labels: Mapping[str, str] = field(default_factory=dict)

    def options(self) -> list[str]:
        """Return the options that say which code manifests may use."""
        given = [word for each in self.allow for word in ("--allow", each)]
        return [*given, *(["--services", self.services] if self.services else [])]


@dataclass(frozen=True, slots=True)
class Owned:
    """A resource that may ask for objects.

    Attributes:
        resource: The resource.
        subject: Its object, which owns them.
    """

    resource: Resource
    subject: Subject


def wanted(
    owned: Sequence[Owned], resources: Iterable[Resource], settings: PodSettings, kinds: KindTable = KINDS
) -> dict[str, dict[str, Any]]:
    """Return everything that is asked for, by the paths of the objects; nothing without an image.

    Args:
        owned: The resources that are objects of the cluster.
        resources: All resources, those of which pods may need manifests.
        settings: What pods run.
        kinds: The kinds that there are.
    """
    if not settings.image:
        return {}
    asking = [each for each in owned if _asks(each.resource)]
    known = {each.key: each for each in resources}
    found = []
    for namespace in sorted({each.resource.namespace for each in asking}):
        mine = [each for each in asking if each.resource.namespace == namespace]
        maps = _manifests(namespace, mine, _of_namespace(namespace, known, kinds), settings)
        found += maps
        for each in mine:
            found += workloads_of(each, settings, maps)
    return {path_of(each): each for each in found}


def workloads_of(
    owned: Owned, settings: PodSettings, manifests: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """Return the objects of one resource; none for other kinds, and without an image.

    Args:
        owned: The resource, as it is declared in the cluster.
        settings: What pods run.
        manifests: The ConfigMaps that its pods mount.
    """
    if not settings.image or not _asks(owned.resource):
        return []
    make = _agent if owned.resource.kind == "Agent" else _worker
    return make(owned, settings, manifests)


def path_of(document: Mapping[str, Any]) -> str:
    """Return the path of an object that `wanted` returned."""
    root, plural = COLLECTIONS[document["kind"]]
    meta = document["metadata"]
    return f"{root}/namespaces/{meta['namespace']}/{plural}/{meta['name']}"


def _asks(resource: Resource) -> bool:
    if resource.kind == "Agent":
        return isinstance(resource.spec.get("scaling"), Mapping)
    return resource.kind == "Worker" and resource.spec.get("executor") == "external"


# Manifests.


def _of_namespace(namespace: str, known: Mapping[ResourceKey, Resource], kinds: KindTable) -> list[Resource]:
    """Return the resources of a namespace, and those of others that they refer to, in the order of their keys."""
    ours = {each.key for each in kinds if each.group == GROUP} - _OPERATORS
    found = {key for key in known if key.namespace == namespace and key.kind in ours}
    waiting = sorted(found)
    while waiting:
        resource = known[waiting.pop()]
        for each in references(resource, kinds):
            key = each.key(resource.namespace, kinds)
            if key is not None and key in known and key.kind in ours and key not in found:
                found.add(key)
                waiting.append(key)
    return [known[key] for key in sorted(found)]


def _manifests(
    namespace: str, owners: Sequence[Owned], resources: Sequence[Resource], settings: PodSettings
) -> list[dict[str, Any]]:
    """Return the manifests of a namespace as ConfigMaps, each as large as it may be."""
    parts: list[dict[str, str]] = [{}]
    size = 0
    for each in resources:
        name = f"{each.key.kind}.{each.namespace or '_'}.{each.name}.json"
        text = json.dumps(_document(each), ensure_ascii=False, sort_keys=True)
        bytes_ = len(text.encode()) + len(name)
        if parts[-1] and size + bytes_ > LARGEST:
            parts.append({})
            size = 0
        parts[-1][name] = text
        size += bytes_
    references_ = [owner_of(each.subject, controls=False) for each in owners]
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": f"stategraph-resources-{number}",
                "namespace": namespace,
                "labels": {**settings.labels, **MANAGED},
                "ownerReferences": references_,
            },
            "data": part,
        }
        for number, part in enumerate(parts)
    ]


def _document(resource: Resource) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": resource.name}
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


# Pods.


def _agent(owned: Owned, settings: PodSettings, manifests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    resource = owned.resource
    scaling = resource.spec["scaling"]
    least, most = int(scaling.get("minReplicas", 1)), int(scaling.get("maxReplicas", 1))
    words = {"name": resource.name, "namespace": resource.namespace, "resources": FOLDER}
    command = [*(each.format_map(words) for each in settings.agent_command), *settings.options()]
    deployment = _deployment(owned, settings, command, None if most > least else least, manifests)
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    container["ports"] = [{"name": "http", "containerPort": _PORT}]
    container["readinessProbe"] = {"httpGet": {"path": "/ok", "port": "http"}, "periodSeconds": 5}
    container["livenessProbe"] = {
        "httpGet": {"path": "/ok", "port": "http"},
        "initialDelaySeconds": 30,
        "periodSeconds": 20,
        "failureThreshold": 6,
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": _metadata(owned, settings),
        "spec": {
            "selector": deployment["spec"]["selector"]["matchLabels"],
            "ports": [{"name": "http", "port": 80, "targetPort": "http"}],
        },
    }
    if most <= least:
        return [deployment, service]
    target = {"type": "Utilization", "averageUtilization": _CPU_PERCENT}
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(owned, settings),
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]},
            "minReplicas": max(1, least),
            "maxReplicas": most,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
        },
    }
    return [deployment, service, scaler]


def _worker(owned: Owned, settings: PodSettings, manifests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    resource = owned.resource
    replicas = resource.spec.get("replicas") or {}
    least, most = int(replicas.get("min", 1)), int(replicas.get("max", 1))
    queue = str(resource.spec.get("queue", "default"))
    words = {"queue": queue, "name": resource.name, "namespace": resource.namespace, "resources": FOLDER}
    command = [*(each.format_map(words) for each in settings.worker_command), *settings.options()]
    if "--queue" in command:
        further = [str(each) for each in resource.spec.get("queues") or () if each != queue]
        command += [word for each in further for word in ("--queue", each)]
    scaled = settings.keda and most > least
    deployment = _deployment(owned, settings, command, None if scaled else least, manifests)
    if not scaled:
        return [deployment]
    trigger = {
        "type": "postgresql",
        "metadata": {
            "query": settings.keda_query.format_map({**words, "queue": queue.replace("'", "''")}),
            "targetQueryValue": str(int(resource.spec.get("capacity", 10))),
            "connectionFromEnv": "STATEGRAPH_STORE",
        },
    }
    scaler = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(owned, settings),
        "spec": {
            "scaleTargetRef": {"name": deployment["metadata"]["name"]},
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "triggers": [trigger],
        },
    }
    return [deployment, scaler]


def _deployment(
    owned: Owned,
    settings: PodSettings,
    command: list[str],
    replicas: int | None,
    manifests: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return a Deployment; one that something scales has no number of its own, which would be set back each time."""
    meta = _metadata(owned, settings)
    selector = {"app.kubernetes.io/name": meta["name"], **MANAGED}
    container: dict[str, Any] = {
        "name": owned.resource.kind.lower(),
        "image": settings.image,
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},
            {"name": "resources", "mountPath": FOLDER, "readOnly": True},
        ],
    }
    if settings.environment_secret:
        container["envFrom"] = [{"secretRef": {"name": settings.environment_secret}}]
    sources = [{"configMap": {"name": each["metadata"]["name"]}} for each in manifests]
    pod: dict[str, Any] = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "terminationGracePeriodSeconds": 60,  # runs have 30 to come to their end, and are given back after it
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}, {"name": "resources", "projected": {"sources": sources}}],
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    template = {"labels": {**settings.labels, **selector}, "annotations": {_DIGEST: _digest(manifests)}}
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}},
        "template": {"metadata": template, "spec": pod},
    }
    if replicas is not None:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def _digest(manifests: Sequence[Mapping[str, Any]]) -> str:
    told = json.dumps([each["data"] for each in manifests], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(told.encode()).hexdigest()


def _metadata(owned: Owned, settings: PodSettings) -> dict[str, Any]:
    """Return the metadata of an object that goes with the resource."""
    resource = owned.resource
    return {
        "name": _name(resource),
        "namespace": resource.namespace,
        "labels": {**settings.labels, **MANAGED},
        "ownerReferences": [owner_of(owned.subject)],
    }


def _name(resource: Resource) -> str:
    """Return the name of an object that goes with the resource: Services have no dots, and no long names."""
    plain = f"{resource.kind.lower()}-{resource.name}"
    if "." not in plain and len(plain) <= _LONGEST_NAME:
        return plain
    digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
    return f"{plain.replace('.', '-')[: _LONGEST_NAME - 9].rstrip('-')}-{digest}"
