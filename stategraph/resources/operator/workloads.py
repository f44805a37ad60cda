"""Objects of Kubernetes that an agent or a worker asks for, as documents; nothing is sent.

An Agent with `scaling` gets a Deployment, and a HorizontalPodAutoscaler if it may grow. A Worker whose executor is
`external` gets a Deployment, and a ScaledObject of KEDA that counts the runs of its queue. Pods run the image and the
command that the operator is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from stategraph.resources.model import Resource

_PORT: Final = 8123
_CPU_PERCENT: Final = 75

#: In a pod it listens everywhere: a Service and a NetworkPolicy say who reaches it.
_SERVE: Final = ("stategraph", "serve", "--host", "0.0.0.0", "--port", str(_PORT), "app.agents:{name}")


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Image and commands of the pods of agents and workers.

    Attributes:
        image: The image; empty: there are no pods.
        agent_command: The command of an agent's pod; `{name}` and `{namespace}` stand for the agent's.
        worker_command: The command of a worker's pod; `{queue}` stands for its queue.
        environment_secret: A Secret of the namespace whose keys are environment variables; None: none.
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
        "app.agents:{name}",
    )
    worker_command: tuple[str, ...] = ("stategraph", "worker", "--queue", "{queue}")
    environment_secret: str | None = None
    service_account: str | None = None
    keda: bool = False
    keda_query: str = "SELECT COUNT(*) FROM sg_run WHERE status = 'pending' AND queue = '{queue}'"
    labels: Mapping[str, str] = field(default_factory=dict)


def workloads_of(resource: Resource, settings: PodSettings) -> list[dict[str, Any]]:
    """Return the objects of a resource; none for other kinds, and without an image.

    Args:
        resource: The resource, as it is declared in the cluster.
        settings: What pods run.
    """
    if not settings.image:
        return []
    if resource.kind == "Agent" and isinstance(resource.spec.get("scaling"), Mapping):
        return _agent(resource, settings)
    if resource.kind == "Worker" and resource.spec.get("executor") == "external":
        return _worker(resource, settings)
    return []


def path_of(document: Mapping[str, Any]) -> str:
    """Return the path of an object that `workloads_of` returned."""
    plural = {"Deployment": "deployments", "HorizontalPodAutoscaler": "horizontalpodautoscalers"}
    kind, meta = document["kind"], document["metadata"]
    name = plural.get(kind, "scaledobjects")
    return f"/apis/{document['apiVersion']}/namespaces/{meta['namespace']}/{name}/{meta['name']}"


def _agent(resource: Resource, settings: PodSettings) -> list[dict[str, Any]]:
    scaling = resource.spec["scaling"]
    least, most = int(scaling.get("minReplicas", 1)), int(scaling.get("maxReplicas", 1))
    words = {"name": resource.name, "namespace": resource.namespace}
    command = [each.format_map(words) for each in settings.agent_command]
    ports = [{"name": "http", "containerPort": _PORT}]
    deployment = _deployment(resource, settings, command, least, scaled=most > least, ports=ports)
    if most <= least:
        return [deployment]
    scaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": _metadata(resource, settings),
        "spec": {
            "scaleTargetRef": _target(deployment),
            "minReplicas": max(1, least),
            "maxReplicas": most,
            "metrics": [
                {
                    "type": "Resource",
                    "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": _CPU_PERCENT}},
                }
            ],
        },
    }
    return [deployment, scaler]


def _worker(resource: Resource, settings: PodSettings) -> list[dict[str, Any]]:
    replicas = resource.spec.get("replicas") or {}
    least, most = int(replicas.get("min", 1)), int(replicas.get("max", 1))
    words = {"queue": str(resource.spec.get("queue", "default")), "name": resource.name}
    command = [each.format_map(words) for each in settings.worker_command]
    scaled = settings.keda and most > least
    deployment = _deployment(resource, settings, command, least, scaled=scaled, ports=[])
    if not scaled:
        return [deployment]
    trigger = {
        "type": "postgresql",
        "metadata": {
            "query": settings.keda_query.format_map(words),
            "targetQueryValue": str(int(resource.spec.get("capacity", 10))),
            "connectionFromEnv": "STATEGRAPH_STORE",
        },
    }
    scaler = {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": _metadata(resource, settings),
        "spec": {
            "scaleTargetRef": {"name": deployment["metadata"]["name"]},
            "minReplicaCount": least,
            "maxReplicaCount": most,
            "triggers": [trigger],
        },
    }
    return [deployment, scaler]


def _deployment(
    resource: Resource,
    settings: PodSettings,
    command: list[str],
    replicas: int,
    *,
    scaled: bool,
    ports: list[dict[str, Any]],
) -> dict[str, Any]:
    """Return a Deployment; one that something scales has no number of its own, which would be set back each time."""
    meta = _metadata(resource, settings)
    selector = {"app.kubernetes.io/name": meta["name"], "app.kubernetes.io/managed-by": "stategraph"}
    container: dict[str, Any] = {
        "name": resource.kind.lower(),
        "image": settings.image,
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "100m", "memory": "256Mi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    if ports:
        container["ports"] = ports
    if settings.environment_secret:
        container["envFrom"] = [{"secretRef": {"name": settings.environment_secret}}]
    pod: dict[str, Any] = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {}}],
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    spec: dict[str, Any] = {
        "selector": {"matchLabels": selector},
        "template": {"metadata": {"labels": {**settings.labels, **selector}}, "spec": pod},
    }
    if not scaled:
        spec["replicas"] = replicas
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": spec}


def _metadata(resource: Resource, settings: PodSettings) -> dict[str, Any]:
    """Return the metadata of an object that goes with the resource."""
    return {
        "name": f"{resource.kind.lower()}-{resource.name}",
        "namespace": resource.namespace,
        "labels": {**settings.labels, "app.kubernetes.io/managed-by": "stategraph"},
        "ownerReferences": [
            {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "name": resource.name,
                "uid": resource.metadata.uid,
                "controller": True,
            }
        ],
    }


def _target(deployment: Mapping[str, Any]) -> dict[str, str]:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment["metadata"]["name"]}
