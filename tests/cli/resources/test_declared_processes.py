"""Servers and workers of what is declared, as processes: runs of schedules and queues, several workers, settings."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from stategraph.resources.controllers.schedule import target_of
from stategraph.resources.loading import load_text
from stategraph.resources.model import Resource, ResourceKey
from stategraph.resources.runtime import Runtime
from stategraph.resources.store.opening import open_store
from stategraph.server.hosting import Hosting, opened
from stategraph.server.service.graphs.declared import Declared
from stategraph.workers.registry.runs import RunRegistry

pytest.importorskip("starlette")

pytestmark = pytest.mark.anyio

LIMIT_S = 120
GREET = ResourceKey("workflow", "default", "greet")

WORKFLOW = """\
apiVersion: stategraph.dev/v1
kind: Workflow
metadata: {name: greet}
spec:
  inputs: {name: {type: string}}
  state: {greeting: {type: string}}
  steps: [{id: say, set: {greeting: "${{ 'Hello, ' + input.name }}"}}]
"""

SCHEDULE = """\
apiVersion: stategraph.dev/v1
kind: Schedule
metadata: {name: often}
spec: {cron: "* * * * * *", ref: workflow/greet, input: {name: Ada}, queue: %s}
"""

WORKER = """\
apiVersion: stategraph.dev/v1
kind: Worker
metadata: {name: pool}
spec: {queue: slow, executor: external, replicas: {min: 2, max: 4}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "greet.yaml").write_text(WORKFLOW, encoding="utf-8")
    return tmp_path


@contextmanager
def process(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """Run the command as a process with a standard output that is read, for a block."""
    known = {name: value for name, value in os.environ.items() if not name.startswith(("STATEGRAPH_", "PYTEST_"))}
    with (folder / "errors").open("ab") as errors:
        started = subprocess.Popen(
            [sys.executable, "-m", "stategraph", *words],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=known,
        )
    watch = threading.Timer(LIMIT_S, started.kill)
    watch.start()
    try:
        yield started
    finally:
        watch.cancel()
        started.kill()
        started.communicate()


def address(folder: Path, served: subprocess.Popen[str]) -> str:
    """Return the address that a server tells."""
    assert served.stdout is not None
    found = re.search(r"http://\S+", served.stdout.readline())
    assert found is not None, (folder / "errors").read_text()
    return found[0]


async def until(true: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for something that is true, and return it."""
    limit = time.monotonic() + LIMIT_S
    while not (found := await true()):
        assert time.monotonic() < limit, "it never came true"
        await anyio.sleep(0.05)
    return found


async def resource(url: str, key: str) -> Resource | None:
    store = open_store(url)
    try:
        return await store.get(ResourceKey.parse(key))
    finally:
        await store.close()


async def pids(registry: RunRegistry) -> set[int]:
    return {each.pid for each in await registry.workers()}


async def test_a_server_with_workers_serves_what_its_settings_declare_and_begins_what_is_due(folder: Path) -> None:
    (folder / "server.toml").write_text('[resources]\nfolder = "app"\n', encoding="utf-8")
    (folder / "app" / "often.yaml").write_text(SCHEDULE % "default", encoding="utf-8")
    url = f"sqlite:///{folder}/app.db"
    words = ["serve", "--port", "0", "--store", "sqlite:///app.db", "--settings", "server.toml", "--workers", "2"]
    registry = RunRegistry.from_url(url)
    with process(folder, *words) as served:
        here = address(folder, served)

        async def two() -> bool:
            return len(await pids(registry)) == 2

        await until(two)
        assert served.pid not in await pids(registry), "the server executes nothing itself"
        async with httpx.AsyncClient(base_url=here, timeout=LIMIT_S, trust_env=False) as client:
            answer = await client.post("/runs/wait", json={"assistant_id": "greet", "input": {"name": "Bob"}})
        assert answer.json()["greeting"] == "Hello, Bob", answer.text

        async def scheduled() -> Any:
            runs = await registry.list(status="success", limit=1_000)
            return [each for each in runs if each.target == target_of(GREET)]

        (run, *_) = await until(scheduled)
        assert run.status == "success"
        often = await resource(url, "schedule/often")
        assert often is not None and often.is_ready and "lastRunId" in often.status
        served.send_signal(signal.SIGTERM)
        assert served.wait(LIMIT_S) == 0, (folder / "errors").read_text()

    async def none() -> bool:
        return not await pids(registry)

    await until(none)
    await registry.aclose()


async def test_workers_elsewhere_are_seen_by_their_queue_and_execute_its_runs(folder: Path) -> None:
    url = f"sqlite:///{folder}/app.db"
    (folder / "app" / "pool.yaml").write_text(WORKER, encoding="utf-8")
    registry = RunRegistry.from_url(url)
    async with Runtime.from_url(url, registry=registry) as runtime:
        await runtime.apply(load_text(WORKER))
        await runtime.settled(60)
        pool = await runtime.get("worker/pool")
        assert pool is not None
        ready = pool.condition("Ready")
        assert ready is not None and (ready.status, ready.reason) == ("False", "WorkersMissing")
        words = ["worker", "--workers", "2", "--resources", "app", "--queue", "slow", "--store", "sqlite:///app.db"]
        with process(folder, *words) as started:
            pool = await runtime.wait("worker/pool", "Ready", LIMIT_S)
            assert pool.status["replicas"] == 2
            assert {each.queues for each in await registry.workers()} == {("slow",)}
            assert started.pid not in await pids(registry)
            run_id = await registry.submit("t", {"name": "Ada"}, target=target_of(GREET), queue="slow")
            other = await registry.submit("other", {"name": "Ada"}, target=target_of(GREET))

            async def ended() -> bool:
                return (await registry.get(run_id)).status not in ("pending", "running")

            await until(ended)
            assert (await registry.get(run_id)).status == "success", (await registry.get(run_id)).error
            assert (await registry.get(other)).status == "pending", "nobody claims from its queue"
            started.send_signal(signal.SIGTERM)
            assert started.wait(LIMIT_S) == 0, (folder / "errors").read_text()

        async def missing() -> bool:
            found = await runtime.get("worker/pool")
            return found is not None and not found.is_ready

        await until(missing)
    await registry.aclose()


INLINE = """\
apiVersion: stategraph.dev/v1
kind: Worker
metadata: {name: main}
spec: {queue: default}
"""


async def test_a_declared_worker_beside_a_server_executes_the_runs_of_what_is_served(folder: Path) -> None:
    url = f"sqlite:///{folder}/app.db"
    (folder / "app" / "main.yaml").write_text(INLINE, encoding="utf-8")
    registry = RunRegistry.from_url(url)
    await registry.set_up()
    before = await registry.submit("before", {"name": "Ada"}, target="graph:greet")
    hosting = Hosting(graphs={}, store=url, capacity=0, resources=Declared(str(folder / "app")).open)
    async with opened(hosting):
        after = await registry.submit("after", {"name": "Bob"}, target="graph:greet")
        for run_id in (before, after):

            async def ended(run_id: str = run_id) -> bool:
                found = await registry.get(run_id)
                assert found.error is None, found.error
                return found.status not in ("pending", "running")

            await until(ended)
            found = await registry.get(run_id)
            assert (found.status, found.attempt) == ("success", 1)
    await registry.aclose()


ASKING = WORKFLOW.replace(
    "[{id: say, set: {greeting: \"${{ 'Hello, ' + input.name }}\"}}]", "[{id: ask, interrupt: {prompt: Good?}}]"
)
KEEPING = WORKFLOW.replace("name: greet", "name: other")


async def test_threads_of_what_is_deleted_are_answered_in_a_sentence(folder: Path) -> None:
    url = "sqlite:///app.db"
    (folder / "app" / "greet.yaml").write_text(f"{ASKING}---\n{KEEPING}", encoding="utf-8")
    with process(folder, "serve", "--port", "0", "--store", url, "--resources", "app") as served:
        here = address(folder, served)
        async with httpx.AsyncClient(base_url=here, timeout=LIMIT_S, trust_env=False) as client:
            thread = (await client.post("/threads", json={})).json()["thread_id"]
            await client.post(f"/threads/{thread}/runs/wait", json={"assistant_id": "greet", "input": {"name": "Bob"}})
            with process(folder, "delete", "workflow/greet", "--force", "--store", url) as deleting:
                assert deleting.wait(LIMIT_S) == 0

            async def gone() -> httpx.Response | None:
                found = await client.get(f"/threads/{thread}/state")
                return None if found.status_code == 200 else found

            state = await until(gone)
            assert state.status_code == 404, state.text
            assert "workflow/default/greet is deleted" in state.json()["detail"]
            await client.post(
                f"/threads/{thread}/runs/wait", json={"assistant_id": "greet", "command": {"resume": "yes"}}
            )
    log = (folder / "errors").read_text()
    assert "Traceback" not in log, log
    assert len([line for line in log.splitlines() if "workflow/default/greet is deleted" in line]) == 1, log


async def test_a_declared_worker_without_a_server_names_no_module_for_what_a_server_serves(folder: Path) -> None:
    url = f"sqlite:///{folder}/app.db"
    registry = RunRegistry.from_url(url)
    async with Runtime.from_url(url, registry=registry) as runtime:
        await runtime.apply(load_text(INLINE))
        run_id = await registry.submit("t", {"name": "Ada"}, target="graph:greet")

        async def told() -> str | None:
            return (await registry.get(run_id)).error

        error = await until(told)
        assert "a graph that a server serves" in error and "stategraph worker" in error
        assert "module" not in error
    await registry.aclose()


async def test_a_manifest_that_cannot_be_read_starts_no_workers(folder: Path) -> None:
    (folder / "app" / "greet.yaml").write_text("kind: [", encoding="utf-8")
    with process(folder, "worker", "--workers", "2", "--resources", "app", "--store", "sqlite:///app.db") as started:
        assert started.wait(LIMIT_S) == 2
    assert "greet.yaml" in (folder / "errors").read_text()
