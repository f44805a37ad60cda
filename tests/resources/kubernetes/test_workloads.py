"""What agents and workers ask for: Deployments, Services, scalers and manifests, as Kubernetes takes them."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import pytest

from stategraph.resources import Metadata, Resource
from stategraph.resources.kind_table import GROUP
from stategraph.resources.operator.events import Subject
from stategraph.resources.operator.workloads import LARGEST, Owned, PodSettings, path_of, wanted, workloads_of

NUMBERS = {"Agent": "u1", "Worker": "u2"}


def owned(kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> Owned:
    """Return a resource with its object."""
    subject = Subject(f"{GROUP}/v1", kind, namespace, name, NUMBERS.get(kind, "u3"))
    return Owned(Resource(f"{GROUP}/v1", kind, Metadata(name, namespace), spec), subject)


AGENT = owned(
    "Agent",
    "support",
    {"instructions": "Help.", "modelRef": "shared/default", "scaling": {"minReplicas": 1, "maxReplicas": 5}},
)
WORKER = owned(
    "Worker",
    "pool",
    {"queue": "it's slow", "executor": "external", "replicas": {"min": 1, "max": 4}, "capacity": 5},
)
SETTINGS = PodSettings("image:1", allow=("app.",), services="app.main:services", environment_secret="keys", keda=True)


def by_kind(documents: Any) -> dict[str, dict[str, Any]]:
    return {each["kind"]: each for each in documents}


def test_an_agent_that_scales_is_a_deployment_a_service_and_an_autoscaler() -> None:
    made = by_kind(workloads_of(AGENT, SETTINGS))
    assert sorted(made) == ["Deployment", "HorizontalPodAutoscaler", "Service"]
    deployment, service, scaler = made["Deployment"], made["Service"], made["HorizontalPodAutoscaler"]
    assert path_of(deployment) == "/apis/apps/v1/namespaces/default/deployments/agent-support"
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == [
        *("stategraph", "serve", "--host", "0.0.0.0", "--port", "8123", "--resources", "/etc/stategraph/resources"),
        *("--resources-only", "--allow", "app.", "--services", "app.main:services"),
    ]
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/ok", "port": "http"}
    assert "replicas" not in deployment["spec"]  # the autoscaler's
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 5)
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    for each in made.values():
        assert each["metadata"]["ownerReferences"][0] == {
            "apiVersion": "stategraph.dev/v1",
            "kind": "Agent",
            "name": "support",
            "uid": "u1",
            "controller": True,
        }
    assert workloads_of(AGENT, PodSettings()) == []


def test_an_agent_of_one_size_has_its_number_and_no_autoscaler() -> None:
    fixed = owned("Agent", "support", {"scaling": {"minReplicas": 3, "maxReplicas": 3}})
    made = by_kind(workloads_of(fixed, SETTINGS))
    assert sorted(made) == ["Deployment", "Service"]
    assert made["Deployment"]["spec"]["replicas"] == 3
    assert workloads_of(owned("Agent", "plain", {"instructions": "x"}), SETTINGS) == []


def test_a_worker_elsewhere_is_a_deployment_and_with_keda_a_scaled_object() -> None:
    (deployment,) = workloads_of(WORKER, PodSettings("image:1"))
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][2:4] == ["--queue", "it's slow"]
    several = owned("Worker", "pool", {**WORKER.resource.spec, "queues": ["slower", "it's slow"]})
    (other,) = workloads_of(several, PodSettings("image:1"))
    assert other["spec"]["template"]["spec"]["containers"][0]["command"][-2:] == ["--queue", "slower"]
    deployment, scaler = workloads_of(WORKER, SETTINGS)
    assert "replicas" not in deployment["spec"]
    assert (scaler["spec"]["minReplicaCount"], scaler["spec"]["maxReplicaCount"]) == (1, 4)
    assert "queue = 'it''s slow'" in scaler["spec"]["triggers"][0]["metadata"]["query"]
    assert path_of(scaler) == "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/worker-pool"
    assert workloads_of(owned("Worker", "inside", {"queue": "x"}), SETTINGS) == []


def _resources() -> list[Resource]:
    def made(kind: str, name: str, spec: dict[str, Any], namespace: str = "default") -> Resource:
        return owned(kind, name, spec, namespace).resource

    return [
        AGENT.resource,
        WORKER.resource,
        made("Workflow", "flow", {"steps": [{"id": "a", "agent": "support"}]}),
        made("Schedule", "daily", {"cron": "0 9 * * *", "ref": "workflow/flow"}),
        made("Model", "default", {"provider": "p", "name": "m", "secretRef": "key"}, "shared"),
        made("Secret", "key", {"valueFrom": {"env": "KEY"}}, "shared"),
        made("Agent", "stranger", {"instructions": "x"}, "elsewhere"),
        Resource("example.dev/v1", "DataSource", Metadata("orders"), {"url": "x"}),
    ]


def test_pods_have_the_manifests_of_their_namespace_and_of_what_these_refer_to() -> None:
    found = wanted([AGENT, WORKER], _resources(), SETTINGS)
    (manifests,) = [each for each in found.values() if each["kind"] == "ConfigMap"]
    assert sorted(manifests["data"]) == [
        "agent.default.support.json",
        "model.shared.default.json",
        "secret.shared.key.json",
        "workflow.default.flow.json",
    ]
    assert json.loads(manifests["data"]["agent.default.support.json"])["spec"] == AGENT.resource.spec
    assert [each["uid"] for each in manifests["metadata"]["ownerReferences"]] == ["u1", "u2"]
    assert not any("controller" in each for each in manifests["metadata"]["ownerReferences"])


def test_a_change_of_any_manifest_is_a_rollout_of_all_pods_and_nothing_else_is() -> None:
    def digests(resources: list[Resource]) -> set[str]:
        found = wanted([AGENT, WORKER], resources, SETTINGS)
        pods = [each["spec"]["template"]["metadata"] for each in found.values() if each["kind"] == "Deployment"]
        return {each["annotations"]["stategraph.dev/manifests"] for each in pods}

    before = digests(_resources())
    assert len(before) == 1 and digests(list(reversed(_resources()))) == before
    changed = [each for each in _resources() if each.name != "key"]
    assert digests(changed) != before
    assert digests([each for each in _resources() if each.kind != "Schedule"]) == before


def test_manifests_that_are_too_large_for_one_config_map_are_several() -> None:
    large = [owned("Workflow", f"w{number}", {"description": "x" * 400_000}).resource for number in range(4)]
    found = wanted([AGENT], [AGENT.resource, *large], SETTINGS)
    maps = [each for each in found.values() if each["kind"] == "ConfigMap"]
    assert len(maps) == 2
    assert all(len(json.dumps(each["data"])) < LARGEST * 1.1 for each in maps)
    (deployment,) = [each for each in found.values() if each["kind"] == "Deployment"]
    volume = deployment["spec"]["template"]["spec"]["volumes"][1]
    names = [each["configMap"]["name"] for each in volume["projected"]["sources"]]
    assert names == [each["metadata"]["name"] for each in maps]


@pytest.mark.parametrize("name", ["a", "cooking.chef", "x" * 200, f"{'y' * 100}.z"])
def test_names_are_such_that_services_may_have_them(name: str) -> None:
    service = by_kind(workloads_of(owned("Agent", name, {"scaling": {}}), SETTINGS))["Service"]
    made = service["metadata"]["name"]
    assert len(made) <= 63 and "." not in made and made[-1].isalnum()


def test_names_that_are_cut_stay_apart() -> None:
    several = [owned("Agent", f"{'x' * 80}{number}", {"scaling": {}}) for number in range(3)]
    assert len({workloads_of(each, SETTINGS)[0]["metadata"]["name"] for each in several}) == 3


def test_kubernetes_takes_them() -> None:
    found = wanted([AGENT, WORKER], _resources(), SETTINGS)
    checked = [each for each in found.values() if each["kind"] != "ScaledObject"]  # KEDA's schema is not Kubernetes'
    assert len(checked) == 5
    for each in checked:
        kubernetes_validate.validate(each, "1.37", strict=True)


def test_commands_of_ones_own_are_filled_in() -> None:
    settings = PodSettings("image:1", agent_command=("run", "{namespace}/{name}", "{resources}"))
    container = workloads_of(AGENT, settings)[0]["spec"]["template"]["spec"]["containers"][0]
    assert container["command"] == ["run", "default/support", "/etc/stategraph/resources"]
