"""Pods of agents: made, kept, rolled out; and what runs in them, started as the Deployment says it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from stategraph.resources.controllers.schedule import target_of
from stategraph.resources.crds import definitions
from stategraph.resources.model import ResourceKey
from stategraph.resources.operator import pods as keeping
from stategraph.resources.operator.workloads import FOLDER, PodSettings
from stategraph.resources.runtime import Runtime
from stategraph.workers.eventlog import attach
from stategraph.workers.registry.runs import RunRegistry
from tests.resources.kubernetes.api_server import ApiServer, failure
from tests.resources.kubernetes.operating import Running, eventually, operating
from tests.resources.kubernetes.pod_program import services

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings("ignore::DeprecationWarning")]

PROGRAM = "tests.resources.kubernetes.pod_program"
SETTINGS = PodSettings(
    "image:1", allow=("tests.",), services=f"{PROGRAM}:services", environment_secret="keys", service_account="agents"
)
DEPLOYMENT = ("apps", "deployments", "default", "agent-chef")
MANIFESTS = ("", "configmaps", "default", "stategraph-resources-0")

CHEF = {"instructions": "Cook.", "scaling": {"minReplicas": 1, "maxReplicas": 3}}


def dinner(answer: str) -> dict[str, Any]:
    """Return a workflow that asks, and then says something."""
    return {
        "inputs": {"dish": {"type": "string"}},
        "state": {"advice": {"type": "string"}, "said": {"type": "string"}},
        "steps": [
            {
                "id": "advise",
                "agent": "chef",
                "input": {"messages": "${{ input.dish }}"},
                "output": {"advice": "${{ result.text }}"},
                "next": "ask",
            },
            {"id": "ask", "interrupt": {"prompt": "Good?"}, "next": "say"},
            {"id": "say", "set": {"said": answer}},
        ],
    }


@asynccontextmanager
async def with_pods(server: ApiServer | None = None) -> AsyncIterator[Running]:
    """Run an operator that makes pods."""
    runtime = Runtime.from_url("memory:", allow=("tests.",), **services())
    async with operating(server, runtime=runtime, pods=SETTINGS, kinds=("Agent", "Workflow")) as running:
        yield running


async def test_workloads_are_made_changed_and_collected_with_their_agent() -> None:
    async with with_pods() as running:
        server = running.server
        made = {
            ("", "services"),
            ("", "configmaps"),
            ("apps", "deployments"),
            ("autoscaling", "horizontalpodautoscalers"),
        }

        def there() -> set[tuple[str, str]]:
            return {key[:2] for key in server.objects} & made

        await running.create("Agent", "chef", CHEF)
        await eventually(lambda: there() == made)
        assert "replicas" not in server.objects[DEPLOYMENT]["spec"]
        await running.change("Agent", "chef", scaling={"minReplicas": 2, "maxReplicas": 2})
        await eventually(lambda: server.objects[DEPLOYMENT]["spec"].get("replicas") == 2)
        await eventually(lambda: there() == made - {("autoscaling", "horizontalpodautoscalers")})
        await running.change("Agent", "chef", scaling={"minReplicas": 1, "maxReplicas": 3})
        await eventually(lambda: "replicas" not in server.objects[DEPLOYMENT]["spec"])  # the autoscaler's again
        await server.delete(running.path("Agent", "chef"))
        await eventually(lambda: not there())


async def test_what_an_operator_of_before_made_is_known_to_the_next_one() -> None:
    server = ApiServer(definitions())
    async with with_pods(server) as running:
        await running.create("Agent", "chef", CHEF)
        await eventually(lambda: DEPLOYMENT in server.objects)
    before = server.objects[running.path("Agent", "chef")]
    spec = {key: value for key, value in before["spec"].items() if key != "scaling"}
    await server.put(
        running.path("Agent", "chef"), {**before, "metadata": dict(before["metadata"]), "spec": spec}, before
    )
    async with with_pods(server):
        await eventually(lambda: DEPLOYMENT not in server.objects and MANIFESTS not in server.objects)


async def test_what_somebody_deletes_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "_LOOK_S", 0.2)
    async with with_pods() as running:
        await running.create("Agent", "chef", CHEF)
        await eventually(lambda: DEPLOYMENT in running.server.objects)
        before = running.server.objects[DEPLOYMENT]["metadata"]["uid"]
        await running.server.delete(DEPLOYMENT)
        await eventually(
            lambda: running.server.objects.get(DEPLOYMENT, {}).get("metadata", {}).get("uid", before) != before
        )


async def test_an_object_that_is_refused_is_told_to_its_agent_and_tried_again() -> None:
    server = ApiServer(definitions())
    refusing = [True]
    server.refuse = lambda request: (
        failure(422, "no quota") if refusing and request.url.path.endswith("/deployments/agent-chef") else None
    )
    async with with_pods(server) as running:
        await running.create("Agent", "chef", CHEF)

        def told() -> list[str]:
            return [
                each["message"]
                for key, each in server.objects.items()
                if key[1] == "events" and each["reason"] == "ApplyFailed"
            ]

        await eventually(told)
        assert "Deployment agent-chef" in told()[0] and "no quota" in told()[0]
        await eventually(lambda: ("", "services", "default", "agent-chef") in server.objects)  # others are not held up
        refusing.clear()
        await eventually(lambda: DEPLOYMENT in server.objects)


class Pod:
    """A process that runs what a Deployment says, with its ConfigMap mounted as the kubelet does it."""

    def __init__(
        self, deployment: Mapping[str, Any], manifests: Mapping[str, Any], folder: Path, database: str
    ) -> None:
        container = deployment["spec"]["template"]["spec"]["containers"][0]
        self._words = container["command"]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        mounted = folder / "mounted"
        hidden = mounted / "..2026_01_01"
        hidden.mkdir(parents=True)
        for name, text in manifests["data"].items():
            (hidden / name).write_text(text, encoding="utf-8")
        (mounted / "..data").symlink_to(hidden.name)
        for name in manifests["data"]:
            (mounted / name).symlink_to(f"..data/{name}")
        self._swaps = {FOLDER: str(mounted), "0.0.0.0": "127.0.0.1", "8123": str(self._port)}
        self._folder, self._database = folder, database
        self._process: asyncio.subprocess.Process | None = None
        self.address = f"http://127.0.0.1:{self._port}"
        self.headers = {"Authorization": "Bearer 0123456789abcdef0123456789abcdef"}

    async def start(self) -> asyncio.subprocess.Process:
        """Start the process, without waiting for anything."""
        program, *words = (self._swaps.get(each, each) for each in self._words)
        assert program == "stategraph"
        root = Path(__file__).parents[3]
        variables = {
            **os.environ,
            "STATEGRAPH_STORE": self._database,
            "STATEGRAPH_TOKEN": self.headers["Authorization"].partition(" ")[2],
            "PYTHONPATH": str(root),
            "PYTHONWARNINGS": "ignore",
        }
        self._log = (self._folder / "log").open("wb")
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "stategraph", *words),
            cwd=self._folder,
            env=variables,
            stdout=self._log,
            stderr=self._log,
        )
        return self._process

    async def __aenter__(self) -> httpx.AsyncClient:
        process = await self.start()
        self._client = httpx.AsyncClient(base_url=self.address, headers=self.headers, timeout=60)
        async with asyncio.timeout(120):
            while True:
                assert process.returncode is None, (self._folder / "log").read_text()
                try:
                    if (await self._client.get("/ok")).status_code == 200:
                        return self._client
                except httpx.TransportError:
                    await asyncio.sleep(0.1)

    async def __aexit__(self, *exc: object) -> None:
        await self._client.aclose()
        await self.stop()

    async def stop(self) -> None:
        """End the process as the kubelet does it."""
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), 60)
        finally:
            if self._process.returncode is None:
                self._process.kill()
                await self._process.wait()
            self._log.close()


async def _asked(client: httpx.AsyncClient, graph: str, thread: str, **given: Any) -> Any:
    answer = await client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": graph, **given})
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_pod_answers_and_a_rollout_keeps_the_threads_that_wait(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/threads.db"
    async with with_pods() as running:
        server = running.server
        await running.create("Agent", "chef", CHEF)
        await running.create("Workflow", "dinner", dinner("one"))
        await eventually(
            lambda: DEPLOYMENT in server.objects and len(server.objects.get(MANIFESTS, {}).get("data", {})) == 2
        )

        def version() -> str:
            found: str = server.objects[DEPLOYMENT]["spec"]["template"]["metadata"]["annotations"][
                "stategraph.dev/manifests"
            ]
            return found

        await eventually(lambda: version())
        first, before = json.loads(json.dumps([server.objects[DEPLOYMENT], server.objects[MANIFESTS]])), version()
        (tmp_path / "one").mkdir()
        async with Pod(first[0], first[1], tmp_path / "one", database) as client:
            assert (await client.get("/threads/x", headers={"Authorization": "Bearer wrong"})).status_code == 401
            thread = (await client.post("/threads", json={})).json()["thread_id"]
            waiting = await _asked(client, "dinner", thread, input={"dish": "leeks"})
            assert waiting["advice"] == "Leek soup"
            spoken = await _asked(
                client,
                "chef",
                (await client.post("/threads", json={})).json()["thread_id"],
                input={"messages": [{"role": "user", "content": "leeks?"}]},
            )
            assert spoken["messages"][-1]["content"] == "Leek soup"
            await running.change("Workflow", "dinner", steps=dinner("two")["steps"])
            await eventually(lambda: version() != before)  # Kubernetes begins a rollout
            await eventually(lambda: '"two"' in server.objects[MANIFESTS]["data"]["workflow.default.dinner.json"])
            second = json.loads(json.dumps([server.objects[DEPLOYMENT], server.objects[MANIFESTS]]))
            (tmp_path / "two").mkdir()
            async with Pod(second[0], second[1], tmp_path / "two", database) as other:
                pass_on = await _asked(
                    other, "dinner", (await other.post("/threads", json={})).json()["thread_id"], input={"dish": "eggs"}
                )
                assert pass_on["advice"] == "Leek soup"
        (tmp_path / "three").mkdir()
        async with Pod(second[0], second[1], tmp_path / "three", database) as client:  # the old pods are gone
            done = await _asked(client, "dinner", thread, command={"resume": "yes"})
            assert done["said"] == "one"  # the thread is finished on the version that it began with
            fresh = (await client.post("/threads", json={})).json()["thread_id"]
            await _asked(client, "dinner", fresh, input={"dish": "leeks"})
            assert (await _asked(client, "dinner", fresh, command={"resume": "yes"}))["said"] == "two"


POOL = {"queue": "slow", "queues": ["slower"], "executor": "external"}
GREET = {"state": {"said": {"type": "string"}}, "steps": [{"id": "say", "set": {"said": "Hello."}}]}


async def test_a_pod_of_a_worker_executes_the_runs_of_its_queues_and_is_counted(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/runs.db"
    registry = RunRegistry.from_url(database)
    await registry.set_up()
    given = {**services(), "registry": registry, "database": database}
    runtime = Runtime.from_url("memory:", allow=("tests.",), **given)
    kinds = ("Worker", "Workflow")
    async with operating(runtime=runtime, pods=SETTINGS, kinds=kinds) as running:
        server = running.server
        await running.create("Worker", "pool", POOL)
        await running.create("Workflow", "greet", GREET)
        deployment = ("apps", "deployments", "default", "worker-pool")
        await eventually(lambda: deployment in server.objects and server.objects.get(MANIFESTS, {}).get("data"))
        await running.becomes("Worker", "pool", "Failed")
        pod = Pod(server.objects[deployment], server.objects[MANIFESTS], tmp_path, database)
        await pod.start()
        try:
            await running.becomes("Worker", "pool", "Ready")
            assert running.status("Worker", "pool")["replicas"] == 1
            target = target_of(ResourceKey("workflow", "default", "greet"))
            runs = [await registry.submit(queue, {}, target=target, queue=queue) for queue in ("slow", "slower")]
            async with asyncio.timeout(60):
                for each in runs:
                    assert [event.type async for event in attach(registry, each)][-1] == "run.end"
            assert {(await registry.get(each)).status for each in runs} == {"success"}
        finally:
            await pod.stop()
        await running.becomes("Worker", "pool", "Failed", "Degraded")
    await registry.aclose()
