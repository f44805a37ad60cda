"""Checks of objects of Kubernetes beside each other: schemas, and everything that one names of another.

Each function returns what is wrong, in sentences; none: nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import kubernetes_validate

Object = Mapping[str, Any]

VERSION = "1.37"

#: Kinds of others, whose schemas Kubernetes does not have.
FOREIGN = frozenset({"ScaledObject", "PodMonitor"})

WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet")


def title(each: Object) -> str:
    """Return how an object is called in sentences."""
    return f"{each['kind']} {each['metadata']['name']}"


def invalid(objects: Sequence[Object]) -> Iterator[str]:
    """Hold objects against Kubernetes' own schemas, in which nothing may be that they do not know."""
    for each in objects:
        if each["kind"] in FOREIGN:
            continue
        try:
            kubernetes_validate.validate(each, VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{title(each)}: {error}"


@dataclass(frozen=True, slots=True)
class World:
    """Objects, and what is there beside them.

    Attributes:
        objects: The objects.
        secrets: Secrets that somebody else makes, with their keys; no keys: any.
        metrics: Names of metrics that exist.
    """

    objects: Sequence[Object]
    secrets: Mapping[str, Collection[str]] = field(default_factory=dict)
    metrics: Collection[str] = ()

    def of(self, *kinds: str) -> list[Object]:
        """Return the objects of some kinds."""
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object | None:
        """Return an object, if it is there."""
        return next((each for each in self.of(kind) if each["metadata"]["name"] == name), None)

    def selected(self, selector: Mapping[str, Any]) -> list[Object]:
        """Return the workloads whose pods a selector matches."""
        return [each for each in self.of(*WORKLOADS) if matches(selector, labels_of(each))]


def labels_of(workload: Object) -> Mapping[str, str]:
    """Return the labels of a workload's pods."""
    return workload["spec"]["template"]["metadata"].get("labels") or {}


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Return whether a selector matches labels."""
    wanted = selector.get("matchLabels") or {}
    if any(labels.get(name) != value for name, value in wanted.items()):
        return False
    for each in selector.get("matchExpressions") or ():
        assert each["operator"] == "In", "other operators are not used here"
        if labels.get(each["key"]) not in each["values"]:
            return False
    return True


def containers_of(workload: Object) -> list[Mapping[str, Any]]:
    """Return the containers of a workload's pods."""
    return list(workload["spec"]["template"]["spec"]["containers"])


def ports_of(workload: Object) -> set[object]:
    """Return the names and numbers of a workload's ports."""
    given = [port for each in containers_of(workload) for port in each.get("ports") or ()]
    return {each["name"] for each in given if "name" in each} | {each["containerPort"] for each in given}


def broken(world: World) -> Iterator[str]:
    """Return every reference that leads nowhere."""
    for check in (_selectors, _services, _ingresses, _policies, _scalers, _bindings, _pods, _monitors):
        yield from check(world)


def _selectors(world: World) -> Iterator[str]:
    for each in world.of(*WORKLOADS):
        if not matches(each["spec"]["selector"], labels_of(each)):
            yield f"{title(each)}: its selector does not match the labels of its own pods"
    for each in world.of("PodDisruptionBudget"):
        found = world.selected(each["spec"]["selector"])
        if len(found) != 1:
            yield f"{title(each)}: its selector matches the pods of {len(found)} workloads"


def _services(world: World) -> Iterator[str]:
    for each in world.of("Service"):
        found = world.selected({"matchLabels": each["spec"]["selector"]})
        if len(found) != 1:
            yield f"{title(each)}: its selector matches the pods of {len(found)} workloads"
        for port in each["spec"]["ports"]:
            target = port.get("targetPort", port["port"])
            if any(target not in ports_of(workload) for workload in found):
                yield f"{title(each)}: its pods have no port {target!r}"


def _ingresses(world: World) -> Iterator[str]:
    for each in world.of("Ingress"):
        hosts = {host for tls in each["spec"].get("tls") or () for host in tls["hosts"]}
        for rule in each["spec"]["rules"]:
            if rule["host"] not in hosts:
                yield f"{title(each)}: no certificate is named for {rule['host']}"
            for path in rule["http"]["paths"]:
                wanted = path["backend"]["service"]
                service = world.named("Service", wanted["name"])
                if service is None:
                    yield f"{title(each)}: there is no Service {wanted['name']}"
                elif wanted["port"].get("name") not in [port.get("name") for port in service["spec"]["ports"]]:
                    yield f"{title(each)}: the Service {wanted['name']} has no port {wanted['port']}"


def _policies(world: World) -> Iterator[str]:
    for each in world.of("NetworkPolicy"):
        found = world.selected(each["spec"]["podSelector"])
        if not found:
            yield f"{title(each)}: it selects no pods"
        known = {port for workload in found for port in ports_of(workload)}
        for rule in each["spec"].get("ingress") or ():
            for port in rule.get("ports") or ():
                if port["port"] not in known:
                    yield f"{title(each)}: its pods have no port {port['port']!r}"


def _scalers(world: World) -> Iterator[str]:
    for each in world.of("HorizontalPodAutoscaler", "ScaledObject"):
        target = each["spec"]["scaleTargetRef"]
        workload = world.named(target.get("kind", "Deployment"), target["name"])
        if workload is None:
            yield f"{title(each)}: there is no {target.get('kind', 'Deployment')} {target['name']}"
            continue
        if "replicas" in workload["spec"]:
            yield f"{title(each)}: {title(workload)} has a number of replicas of its own, which would be fought over"
        spec = each["spec"]
        low, high = (spec.get(name) for name in ("minReplicas", "maxReplicas"))
        if low is not None and high is not None and low > high:
            yield f"{title(each)}: at least {low} replicas, and at most {high}"
        variables = {env["name"] for container in containers_of(workload) for env in container.get("env") or ()}
        for trigger in spec.get("triggers") or ():
            if (named := trigger["metadata"].get("connectionFromEnv")) is not None and named not in variables:
                yield f"{title(each)}: the pods have no variable {named}"
        for metric in spec.get("metrics") or ():
            if metric["type"] == "External" and metric["external"]["metric"]["name"] not in world.metrics:
                yield f"{title(each)}: there is no metric {metric['external']['metric']['name']}"


def _bindings(world: World) -> Iterator[str]:
    for each in world.of("RoleBinding", "ClusterRoleBinding"):
        if world.named(each["roleRef"]["kind"], each["roleRef"]["name"]) is None:
            yield f"{title(each)}: there is no {each['roleRef']['kind']} {each['roleRef']['name']}"
        for subject in each["subjects"]:
            if subject["kind"] == "ServiceAccount" and world.named("ServiceAccount", subject["name"]) is None:
                yield f"{title(each)}: there is no ServiceAccount {subject['name']}"


def _monitors(world: World) -> Iterator[str]:
    for each in world.of("PodMonitor"):
        found = world.selected(each["spec"]["selector"])
        if not found:
            yield f"{title(each)}: it selects no pods"
        for endpoint in each["spec"]["podMetricsEndpoints"]:
            if any(endpoint["port"] not in ports_of(workload) for workload in found):
                yield f"{title(each)}: its pods have no port {endpoint['port']!r}"


def _pods(world: World) -> Iterator[str]:
    for workload in world.of(*WORKLOADS):
        pod = workload["spec"]["template"]["spec"]
        account = pod.get("serviceAccountName")
        if account is not None and world.named("ServiceAccount", account) is None:
            yield f"{title(workload)}: there is no ServiceAccount {account}"
        volumes = {each["name"]: each for each in pod.get("volumes") or ()}
        for name, volume in volumes.items():
            if "configMap" in volume and world.named("ConfigMap", volume["configMap"]["name"]) is None:
                yield f"{title(workload)}: there is no ConfigMap {volume['configMap']['name']} for the volume {name}"
            if "secret" in volume:
                yield from _secret(world, workload, volume["secret"]["secretName"], None)
        claims = {each["metadata"]["name"] for each in workload["spec"].get("volumeClaimTemplates") or ()}
        yield from _unsafe(workload, pod)
        for container in pod["containers"]:
            for mount in container.get("volumeMounts") or ():
                if mount["name"] not in volumes and mount["name"] not in claims:
                    yield f"{title(workload)}: there is no volume {mount['name']}"
            yield from _environment(world, workload, container)
            for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = (container.get(kind) or {}).get("httpGet")
                if asked is not None and asked["port"] not in ports_of(workload):
                    yield f"{title(workload)}: its {kind} asks at the port {asked['port']!r}, which is not there"


def _environment(world: World, workload: Object, container: Mapping[str, Any]) -> Iterator[str]:
    names = [each["name"] for each in container.get("env") or ()]
    for twice in sorted({each for each in names if names.count(each) > 1}):
        yield f"{title(workload)}: the variable {twice} is there twice"
    for each in container.get("env") or ():
        source = each.get("valueFrom") or {}
        if (wanted := source.get("secretKeyRef")) is not None:
            yield from _secret(world, workload, wanted["name"], wanted["key"])
        if (wanted := source.get("configMapKeyRef")) is not None:
            found = world.named("ConfigMap", wanted["name"])
            if found is None or wanted["key"] not in found["data"]:
                yield f"{title(workload)}: there is no ConfigMap {wanted['name']} with the key {wanted['key']}"
    for each in container.get("envFrom") or ():
        if "secretRef" in each:
            yield from _secret(world, workload, each["secretRef"]["name"], None)


def _secret(world: World, workload: Object, name: str, key: str | None) -> Iterator[str]:
    found = world.named("Secret", name)
    known = (
        world.secrets.get(name) if found is None else {**(found.get("data") or {}), **(found.get("stringData") or {})}
    )
    if known is None:
        yield f"{title(workload)}: there is no Secret {name}"
    elif key is not None and known and key not in known:
        yield f"{title(workload)}: the Secret {name} has no key {key}"


def _unsafe(workload: Object, pod: Mapping[str, Any]) -> Iterator[str]:
    """Return what Kubernetes' restricted standard of pods, and ours, does not allow."""
    context = pod.get("securityContext") or {}
    if context.get("runAsNonRoot") is not True:
        yield f"{title(workload)}: it may run as root"
    if (context.get("seccompProfile") or {}).get("type") != "RuntimeDefault":
        yield f"{title(workload)}: it has no profile of seccomp"
    for each in pod["containers"]:
        security = each.get("securityContext") or {}
        if security.get("readOnlyRootFilesystem") is not True:
            yield f"{title(workload)}: its root file system may be written"
        if security.get("allowPrivilegeEscalation") is not False:
            yield f"{title(workload)}: it may gain privileges"
        if "ALL" not in ((security.get("capabilities") or {}).get("drop") or ()):
            yield f"{title(workload)}: it keeps capabilities"
        if not (each.get("resources") or {}).get("requests"):
            yield f"{title(workload)}: it asks for no resources"
