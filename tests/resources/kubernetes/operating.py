"""Operators that run in a test, on an API server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from stategraph.resources.crds import definitions
from stategraph.resources.kind_table import GROUP, KINDS, Kind
from stategraph.resources.operator import connecting
from stategraph.resources.operator.running import Operator, OperatorSettings
from stategraph.resources.runtime import Runtime
from tests.resources.kubernetes.api_server import ApiServer, Key, serving

SAMPLES = "tests.resources.plugins.samples"


@dataclass
class Running:
    """An operator that runs."""

    server: ApiServer
    operator: Operator
    task: asyncio.Task[None]

    def path(self, kind: str, name: str, namespace: str = "default") -> Key:
        return key_of(self.operator.runtime.kinds.get(kind), name, namespace)

    async def create(self, kind: str, name: str, spec: Mapping[str, Any]) -> None:
        await created(self.server, kind, name, spec)

    async def change(self, kind: str, name: str, **fields: Any) -> None:
        """Change fields of a spec; None takes one away."""
        key = self.path(kind, name)
        before = self.server.objects[key]
        spec = {field: value for field, value in {**before["spec"], **fields}.items() if value is not None}
        await self.server.put(key, {**before, "metadata": dict(before["metadata"]), "spec": spec}, before)

    async def becomes(self, kind: str, name: str, *phases: str) -> None:
        """Wait until a status has a phase; without phases, any."""

        def has() -> bool:
            phase = self.status(kind, name).get("phase")
            return bool(phase) if not phases else phase in phases

        await eventually(has)

    async def is_held(self, kind: str, name: str) -> None:
        """Wait until an object has the operator's finalizer."""
        await eventually(lambda: self.server.objects[self.path(kind, name)]["metadata"].get("finalizers"))

    def status(self, kind: str, name: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.server.objects.get(self.path(kind, name), {}).get("status", {})
        return found


def key_of(kind: Kind | None, name: str, namespace: str = "default") -> Key:
    """Return the key of an object."""
    assert kind is not None
    return kind.group, kind.plural, namespace if kind.namespaced else "", name


async def created(server: ApiServer, kind: str, name: str, spec: Mapping[str, Any]) -> None:
    """Make an object of a built-in kind."""
    known = KINDS.get(kind)
    key = key_of(known, name)
    meta = {"name": name, **({"namespace": key[2]} if key[2] else {})}
    await server.put(key, {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": meta, "spec": dict(spec)}, None)


@asynccontextmanager
async def operating(
    server: ApiServer | None = None,
    *,
    runtime: Runtime | None = None,
    login: connecting.Login | None = None,
    fails: bool = False,
    **settings: Any,
) -> AsyncIterator[Running]:
    """Run an operator on an API server.

    Args:
        server: The API server; None: a new one.
        runtime: The operator's; None: one that may import the samples of plug-ins.
        login: How it logs in to a server that is served already; None: the server is served for it.
        fails: Whether it may end by itself, with an error.
        settings: Further settings.
    """
    server = server or ApiServer(definitions())
    if login is None:
        async with (
            serving(server) as address,
            operating(server, runtime=runtime, login=connecting.at(address), fails=fails, **settings) as running,
        ):
            yield running
        return
    runtime = runtime or Runtime.from_url("memory:", allow=(SAMPLES,), environment={"TOKEN": "hunter22"})
    names = settings.pop("kinds", ("Secret", "Plugin", "Schedule", "Worker", "Agent"))
    kinds = [each for each in KINDS if each.name in names] if names else list(KINDS)
    operator = Operator(runtime, OperatorSettings(login=login, kinds=kinds, **settings))
    stop, ready = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(operator.run(stop, ready))
    follows = asyncio.create_task(ready.wait())
    try:
        done, _ = await asyncio.wait((task, follows), return_when=asyncio.FIRST_COMPLETED, timeout=60)
        if task in done:
            task.result()
        assert done, "it does not follow"
        yield Running(server, operator, task)
    finally:
        follows.cancel()
        stop.set()
        await asyncio.wait((task,), timeout=60)
        assert task.done()
        if not fails:
            task.result()


async def eventually(met: Callable[[], object], seconds: float = 60) -> None:
    """Wait until something is true."""
    async with asyncio.timeout(seconds):
        while not met():  # noqa: ASYNC110 - what is waited for happens in other tasks
            await asyncio.sleep(0.02)


def without_times(status: Mapping[str, Any]) -> dict[str, Any]:
    """Return a status without times."""
    conditions = [
        {key: value for key, value in each.items() if key != "lastTransitionTime"}
        for each in status.get("conditions", ())
    ]
    return {**status, "conditions": conditions}
