"""A host in this process, and requests to it as routers make them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

import anyio.lowlevel
import httpx

from stategraph.fleet import A2aTransport, AgentEndpoint, message
from stategraph.fleet.adapters.history import Remembered
from stategraph.fleet.adapters.host import Host, HostSettings
from stategraph.fleet.adapters.port import About, Adapter, Answering, Sessions
from tests.frameworks.frame import Heard

URL = "https://agent.test"
ENDPOINT = AgentEndpoint(agent="agent", url=URL)


def adapter_of(answering: Answering) -> Sessions:
    """Return an adapter whose conversations the host remembers."""
    return Sessions(About("scripted", "1"), lambda context_id: Remembered(context_id, answering))


class Asking:
    """Asks a host."""

    def __init__(self, host: Host, http: httpx.AsyncClient, transport: A2aTransport) -> None:
        self.host = host
        self.http = http
        self.transport = transport

    async def ask(self, text: str, context_id: str = "", request: Any = None) -> Heard:
        """Ask, and return what was answered."""
        heard = Heard()
        async for event in self.transport.stream(ENDPOINT, request or message(text, context_id=context_id)):
            heard.take(event)
        return heard

    async def task_of(self, context_id: str) -> str:
        """Return the id of the only task of a conversation, once it is stored."""
        async with asyncio.timeout(10):
            while not (tasks := (await self.call("ListTasks", contextId=context_id))["result"]["tasks"]):
                await anyio.lowlevel.checkpoint()
        (task,) = tasks
        return str(task["id"])

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its answer."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        answer = await self.http.post(URL, json=body, headers={"A2A-Version": "1.0"})
        found: dict[str, Any] = answer.json()
        return found


@contextlib.asynccontextmanager
async def hosted(adapter: Adapter | Answering, *, token: str = "", most: int = 100) -> AsyncGenerator[Asking]:
    """Serve an adapter, or a function, as long as the block runs."""
    served = adapter if isinstance(adapter, Adapter) else adapter_of(adapter)
    host = Host(served, HostSettings(name="agent", url=URL, token=token, most_conversations=most))
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    client = httpx.AsyncClient(transport=httpx.ASGITransport(host.app), headers=headers)
    async with client as http, A2aTransport(http) as transport:
        try:
            yield Asking(host, http, transport)
        finally:
            await host.close()
