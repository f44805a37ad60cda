"""The operator on an API server: the same status as on SQLite, finalizers, workloads."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import kopf
import pytest

from stategraph.resources import Metadata, Resource
from stategraph.resources.crds import definitions
from stategraph.resources.kind_table import KINDS
from stategraph.resources.operator.cluster import Cluster
from stategraph.resources.operator.mirror import Operator, OperatorSettings
from stategraph.resources.operator.workloads import PodSettings, path_of, workloads_of
from stategraph.resources.runtime import Runtime
from stategraph.workers.registry.port import StoreUnavailableError
from tests.resources.kubernetes.api_server import ApiServer, serving

pytestmark = [
    pytest.mark.anyio,
    # kopf's own code, on an event loop that it did not make.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings(
        "ignore::kopf.OperatorSettingsWarning" if hasattr(kopf, "OperatorSettingsWarning") else "default"
    ),
]

SAMPLES = "tests.resources.plugins.samples"
GROUP = "stategraph.dev"

#: One folder, as documents: what is right, and what is wrong in ways that controllers tell.
FOLDER: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("Secret", "keys", {"valueFrom": {"env": "TOKEN"}}),
    ("Secret", "missing", {"valueFrom": {"env": "NOBODY_SET_THIS"}}),
    (
        "Plugin",
        "greeter",
        {"module": f"{SAMPLES}:Greeter", "trust": "trusted", "secrets": {"token": {"secret": "keys"}}},
    ),
    ("Plugin", "greedy", {"module": f"{SAMPLES}:Greedy", "trust": "trusted"}),
    ("Plugin", "wrong", {"modul": f"{SAMPLES}:Greeter"}),
    ("Schedule", "daily", {"cron": "0 9 * * *", "ref": "workflow/nowhere"}),
    ("Worker", "pool", {"replicas": {"min": 3, "max": 2}}),
)


@dataclass
class Running:
    """An operator that runs."""

    server: ApiServer
    operator: Operator
    cluster: Cluster

    def path(self, kind: str, name: str) -> tuple[str, str, str, str]:
        found = KINDS.get(kind)
        assert found is not None
        return GROUP, found.plural, "default", name

    async def create(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        key = self.path(kind, name)
        document = {
            "apiVersion": f"{GROUP}/v1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "default"},
            "spec": dict(spec),
        }
        await self.server.put(key, document, None)

    def status(self, kind: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.server.objects.get(self.path(kind, name), {}).get("status", {})
        return found


@asynccontextmanager
async def operating(server: ApiServer | None = None, **settings: Any) -> AsyncIterator[Running]:
    """Run an operator on an API server."""
    server = server or ApiServer(definitions())
    async with serving(server) as address:
        connection = kopf.ConnectionInfo(server=address)
        runtime = Runtime.from_url("memory:", allow=(SAMPLES,), environment={"TOKEN": "hunter22"})
        names = settings.pop("kinds", ("Secret", "Plugin", "Schedule", "Worker", "Agent"))
        kinds = [each for each in KINDS if each.name in names]
        operator = Operator(runtime, OperatorSettings(connection=connection, kinds=kinds, **settings))
        stop, ready = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(operator.run(stop, ready))
        try:
            done, _ = await asyncio.wait(
                (task, asyncio.create_task(ready.wait())), return_when=asyncio.FIRST_COMPLETED, timeout=60
            )
            assert done and not task.done(), task
            async with Cluster(connection) as cluster:
                yield Running(server, operator, cluster)
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)


async def eventually(met: Callable[[], object]) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(60):
        while not met():  # noqa: ASYNC110 - what is waited for happens in other tasks
            await asyncio.sleep(0.02)


def without_times(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status without times."""
    conditions = [
        {key: value for key, value in each.items() if key != "lastTransitionTime"}
        for each in status.get("conditions", ())
    ]
    return {**status, "conditions": conditions}


async def test_one_folder_has_the_same_status_in_a_cluster_as_on_sqlite(tmp_path: Path) -> None:
    environment = {"TOKEN": "hunter22"}
    url = f"sqlite:///{tmp_path}/resources.db"
    async with Runtime.from_url(url, allow=(SAMPLES,), environment=environment) as runtime:
        await runtime.apply([Resource(f"{GROUP}/v1", kind, Metadata(name), spec) for kind, name, spec in FOLDER])
        await runtime.settled()
        expected = {}
        for kind, name, _ in FOLDER:
            stored = await runtime.get(f"{kind}/{name}")
            assert stored is not None
            expected[kind, name] = without_times(stored.status)
    async with operating() as running:
        for kind, name, spec in reversed(FOLDER):
            await running.create(kind, name, spec)

        def found() -> dict[tuple[str, str], dict[str, Any]]:
            return {(kind, name): without_times(running.status(kind, name)) for kind, name, _ in FOLDER}

        async with asyncio.timeout(60):
            while found() != expected:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    assert expected["Plugin", "greeter"]["phase"] == "Ready"
    assert expected["Plugin", "greedy"]["phase"] == "Failed"
    assert "hunter22" not in repr(running.server.objects)


async def test_a_change_is_observed_by_its_generation_and_a_deletion_waits_for_the_controller() -> None:
    async with operating() as running:
        await running.create("Plugin", "greeter", {"module": f"{SAMPLES}:Greeter", "trust": "trusted"})
        await eventually(lambda: running.status("Plugin", "greeter").get("phase") == "Ready")
        key = running.path("Plugin", "greeter")
        await eventually(lambda: "stategraph.dev/operator" in running.server.objects[key]["metadata"]["finalizers"])
        before = running.server.objects[key]
        after = {**before, "metadata": dict(before["metadata"]), "spec": {**before["spec"], "config": {"count": 2}}}
        await running.server.put(key, after, before)
        await eventually(lambda: running.status("Plugin", "greeter").get("observedGeneration") == 2)
        plugin = running.operator._runtime.compiled("plugin/greeter")
        assert await plugin.call("greet", {"name": "Ada"}) == {"text": "hello Ada"}
        await running.server.delete(key)
        await eventually(lambda: key not in running.server.objects)
        assert await running.operator._runtime.get("plugin/greeter") is None


async def test_an_operator_that_comes_back_takes_over_what_is_there() -> None:
    server = ApiServer(definitions())
    async with operating(server) as running:
        await running.create("Secret", "keys", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "keys").get("phase") == "Ready")
        before = running.status("Secret", "keys")
    async with operating(server) as running:
        await running.create("Secret", "more", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "more").get("phase") == "Ready")
        assert running.status("Secret", "keys") == before  # its conditions are as old as they were


AGENT = Resource(
    f"{GROUP}/v1",
    "Agent",
    Metadata("support", uid="u1"),
    {
        "instructions": "Help.",
        "model": {"provider": "openai", "name": "m"},
        "scaling": {"minReplicas": 1, "maxReplicas": 5},
    },
)


def test_an_agent_that_scales_is_a_deployment_and_an_autoscaler() -> None:
    deployment, scaler = workloads_of(AGENT, PodSettings("image:1", environment_secret="keys"))
    assert path_of(deployment) == "/apis/apps/v1/namespaces/default/deployments/agent-support"
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["command"][-1] == "app.agents:support"
    assert container["envFrom"] == [{"secretRef": {"name": "keys"}}]
    assert "replicas" not in deployment["spec"]  # the autoscaler's
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert (scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) == (1, 5)
    assert workloads_of(AGENT, PodSettings()) == []


def test_a_worker_elsewhere_is_a_deployment_and_with_keda_a_scaled_object() -> None:
    spec = {"queue": "slow", "executor": "external", "replicas": {"min": 1, "max": 4}, "capacity": 5}
    worker = Resource(f"{GROUP}/v1", "Worker", Metadata("pool", uid="u2"), spec)
    (deployment,) = workloads_of(worker, PodSettings("image:1"))
    assert deployment["spec"]["replicas"] == 1
    assert deployment["spec"]["template"]["spec"]["containers"][0]["command"][-1] == "slow"
    deployment, scaler = workloads_of(worker, PodSettings("image:1", keda=True))
    assert (scaler["spec"]["minReplicaCount"], scaler["spec"]["maxReplicaCount"]) == (1, 4)
    assert "queue = 'slow'" in scaler["spec"]["triggers"][0]["metadata"]["query"]
    assert path_of(scaler) == "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/worker-pool"


def test_workloads_are_what_kubernetes_takes() -> None:
    import kubernetes_validate

    for document in workloads_of(AGENT, PodSettings("image:1")):
        kubernetes_validate.validate(document, "1.37", strict=True)


async def test_workloads_are_made_and_go_with_their_reason() -> None:
    async with operating(pods=PodSettings("image:1"), kinds=("Agent",)) as running:
        await running.create("Agent", "support", AGENT.spec)
        deployment = ("apps", "deployments", "default", "agent-support")
        scaler = ("autoscaling", "horizontalpodautoscalers", "default", "agent-support")
        await eventually(lambda: deployment in running.server.objects and scaler in running.server.objects)
        key = running.path("Agent", "support")
        before = running.server.objects[key]
        spec = {**before["spec"], "scaling": {"minReplicas": 2, "maxReplicas": 2}}
        await running.server.put(key, {**before, "metadata": dict(before["metadata"]), "spec": spec}, before)
        await eventually(lambda: running.server.objects[deployment]["spec"].get("replicas") == 2)
        await eventually(lambda: scaler not in running.server.objects)


async def test_statuses_are_written_after_whatever_error_of_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.resources.operator.mirror._RETRY_S", 0.001)
    async with operating() as running:
        runtime = running.operator._runtime
        get = runtime.get
        failures = [StoreUnavailableError("away"), TypeError("planted")]

        async def fails_at_first(name: Any) -> Any:
            if failures:
                raise failures.pop(0)
            return await get(name)

        monkeypatch.setattr(runtime, "get", fails_at_first)
        await runtime.apply([Resource(f"{GROUP}/v1", "Secret", Metadata("other"), {"valueFrom": {"env": "TOKEN"}})])
        await eventually(lambda: not failures)
        await running.create("Secret", "token", {"valueFrom": {"env": "TOKEN"}})
        await eventually(lambda: running.status("Secret", "token").get("phase") == "Ready")
