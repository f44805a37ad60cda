"""Objects of Kubernetes: those of deploy/ are whole, and a fault that is planted in them is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest

from tests.deploy import objects, rendering
from tests.deploy.__main__ import METRICS, SECRETS
from tests.deploy.objects import World
from tests.deploy.rendering import UnavailableError

FOLDERS = ("", *(f"overlays/{each}" for each in rendering.OVERLAYS))


@lru_cache
def _built(folder: str) -> str:
    try:
        return json.dumps(rendering.folder(rendering.KUSTOMIZE / folder))
    except UnavailableError as error:
        pytest.skip(str(error))


def built(folder: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(_built(folder))
    return found


def found(all_objects: list[dict[str, Any]]) -> list[str]:
    return [*objects.invalid(all_objects), *objects.broken(World(all_objects, SECRETS, METRICS))]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_folders_for_kustomize_are_whole(folder: str) -> None:
    assert found(built(folder)) == []


def of(all_objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    return next(each for each in all_objects if each["kind"] == kind and name in each["metadata"]["name"])


def container(all_objects: list[dict[str, Any]], name: str = "server") -> dict[str, Any]:
    given: dict[str, Any] = of(all_objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]
    return given


def pod(all_objects: list[dict[str, Any]]) -> dict[str, Any]:
    given: dict[str, Any] = of(all_objects, "Deployment", "server")["spec"]["template"]["spec"]
    return given


#: Faults, each with a part of the sentence that names it.
FAULTS: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "unknown field": (lambda all: container(all).update(livenesProbe={}), "livenesProbe"),
    "value of a wrong type": (lambda all: container(all)["ports"][0].update(containerPort="x"), "containerPort"),
    "labels": (
        lambda all: of(all, "Deployment", "server")["spec"]["template"]["metadata"]["labels"].clear(),
        "does not match the labels of its own pods",
    ),
    "service of nobody": (
        lambda all: of(all, "Service")["spec"].update(selector={"app.kubernetes.io/name": "nobody"}),
        "matches the pods of 0 workloads",
    ),
    "port of a service": (
        lambda all: of(all, "Service")["spec"]["ports"][0].update(targetPort="nothing"),
        "no port 'nothing'",
    ),
    "port of a probe": (
        lambda all: container(all)["livenessProbe"]["httpGet"].update(port="nothing"),
        "livenessProbe asks at the port 'nothing'",
    ),
    "backend of an ingress": (
        lambda all: of(all, "Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"].update(name="x"),
        "there is no Service x",
    ),
    "host without a certificate": (
        lambda all: of(all, "Ingress")["spec"]["rules"][0].update(host="other.example.com"),
        "no certificate is named for other.example.com",
    ),
    "budget of nobody": (
        lambda all: of(all, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].update({"x": "y"}),
        "matches the pods of 0 workloads",
    ),
    "policy of nobody": (
        lambda all: of(all, "NetworkPolicy")["spec"]["podSelector"]["matchExpressions"][0].update(values=["x"]),
        "selects no pods",
    ),
    "port of a policy": (
        lambda all: of(all, "NetworkPolicy")["spec"]["ingress"][0]["ports"][0].update(port="nothing"),
        "no port 'nothing'",
    ),
    "scaler of nothing": (
        lambda all: of(all, "HorizontalPodAutoscaler")["spec"]["scaleTargetRef"].update(name="x"),
        "there is no Deployment x",
    ),
    "scaler and replicas": (
        lambda all: of(all, "Deployment", "worker")["spec"].update(replicas=3),
        "would be fought over",
    ),
    "scaler upside down": (
        lambda all: of(all, "HorizontalPodAutoscaler")["spec"].update(minReplicas=90),
        "at least 90 replicas, and at most",
    ),
    "metric that there is not": (
        lambda all: of(all, "HorizontalPodAutoscaler", "worker")["spec"]["metrics"][0]["external"]["metric"].update(
            name="queue_length"
        ),
        "there is no metric queue_length",
    ),
    "account": (lambda all: pod(all).update(serviceAccountName="x"), "there is no ServiceAccount x"),
    "volume": (lambda all: container(all)["volumeMounts"][0].update(name="x"), "there is no volume x"),
    "configuration": (
        lambda all: pod(all)["volumes"].append({"name": "x", "configMap": {"name": "x"}}),
        "there is no ConfigMap x",
    ),
    "secret": (
        lambda all: container(all)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "x", "key": "y"}}}
        ),
        "there is no Secret x",
    ),
    "key of a secret": (
        lambda all: container(all)["env"].append(
            {"name": "X", "valueFrom": {"secretKeyRef": {"name": "stategraph-token", "key": "y"}}}
        ),
        "has no key y",
    ),
    "variable twice": (lambda all: container(all)["env"].append({"name": "STATEGRAPH_STORE", "value": ""}), "twice"),
    "root": (lambda all: pod(all)["securityContext"].update(runAsNonRoot=False), "may run as root"),
    "seccomp": (lambda all: pod(all)["securityContext"].pop("seccompProfile"), "no profile of seccomp"),
    "root file system": (
        lambda all: container(all)["securityContext"].update(readOnlyRootFilesystem=False),
        "may be written",
    ),
    "privileges": (
        lambda all: container(all)["securityContext"].update(allowPrivilegeEscalation=True),
        "may gain privileges",
    ),
    "capabilities": (lambda all: container(all)["securityContext"].pop("capabilities"), "keeps capabilities"),
    "resources": (lambda all: container(all)["resources"].clear(), "asks for no resources"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str) -> None:
    plant, sentence = FAULTS[fault]
    planted = copy.deepcopy(built("overlays/production"))
    plant(planted)
    changed = [each for each, before in zip(planted, built("overlays/production"), strict=True) if each != before]
    wrong = [*objects.invalid(changed), *objects.broken(World(planted, SECRETS, METRICS))]
    assert any(sentence in each for each in wrong), wrong


def test_a_binding_without_its_role_is_found() -> None:
    planted = built("")
    planted.remove(of(planted, "ClusterRole"))
    assert any("there is no ClusterRole" in each for each in objects.broken(World(planted)))


def test_kinds_of_others_are_held_against_what_they_name() -> None:
    planted = built("overlays/staging")
    planted.append(
        {
            "kind": "ScaledObject",
            "metadata": {"name": "x"},
            "spec": {
                "scaleTargetRef": {"name": "stategraph-worker"},
                "triggers": [{"metadata": {"connectionFromEnv": "DATABASE"}}],
            },
        }
    )
    monitor = {"selector": {"matchLabels": {"app.kubernetes.io/part-of": "stategraph"}}}
    endpoints = {"podMetricsEndpoints": [{"port": "nothing"}]}
    planted.append({"kind": "PodMonitor", "metadata": {"name": "y"}, "spec": {**monitor, **endpoints}})
    wrong = list(objects.broken(World(planted, SECRETS, METRICS)))
    assert any("have no variable DATABASE" in each for each in wrong)
    assert any("PodMonitor y: its pods have no port 'nothing'" in each for each in wrong)
