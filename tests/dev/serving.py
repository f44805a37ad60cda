"""The development server on a real port, and what its clients read."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from langchain_core.tools import tool

from stategraph import AgentInputs, HookOutput, HookRegistry
from stategraph.dev.application import create_app
from stategraph.testing import ScriptedChatModel

TIMEOUT_S = 120


@asynccontextmanager
async def serving(target: Any, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a target, and yield a client of the server."""
    app = create_app(target, **options)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", timeout_graceful_shutdown=5))
        task = asyncio.create_task(server.serve([listening]))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        try:
            async with httpx.AsyncClient(base_url=address, timeout=TIMEOUT_S) as client:
                yield client
        finally:
            app.state.changes.close()
            server.should_exit = True
            await task


def an_agent(*replies: Any, **settings: Any) -> AgentInputs:
    model = ScriptedChatModel(replies=list(replies))
    return AgentInputs(**{"agent_id": "ada", "name": "Ada", "model": model, **settings})


@tool
def pay(amount: int) -> str:
    """Pay money."""
    return f"paid {amount}"


def asking(*replies: Any) -> dict[str, Any]:
    """A target whose tool `pay` needs approval."""
    hooks = HookRegistry()
    hooks.register("PreToolUse", _ask, pattern="^pay")
    return {"agents": [an_agent(*replies, tools=(pay,))], "hooks": hooks}


def _ask(_: Any) -> HookOutput:
    return HookOutput(decision="ask", reason="money")


async def new_thread(client: httpx.AsyncClient) -> str:
    made = await client.post("/api/threads", json={})
    assert made.status_code == 201
    return str(made.json()["id"])


async def send(client: httpx.AsyncClient, thread: str, text: str, run_id: str, **more: Any) -> httpx.Response:
    return await client.post(f"/api/threads/{thread}/turns", json={"run_id": run_id, "text": text, **more})


async def answered(client: httpx.AsyncClient, thread: str, answers: dict[str, Any]) -> httpx.Response:
    return await client.post(f"/api/threads/{thread}/answers", json={"answers": answers})


class Reader:
    """Reads the event stream of a thread."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.last_id = ""

    async def frame(self) -> tuple[str, Any]:
        """The next frame, by its name and its data; comments are left out."""
        name, data = "", None
        async with asyncio.timeout(TIMEOUT_S):
            async for line in self._lines:
                field, _, value = line.partition(": ")
                match field:
                    case "event":
                        name = value
                    case "id":
                        self.last_id = value
                    case "data":
                        data = json.loads(value)
                    case "" if data is not None:
                        return name, data
        raise EOFError("the stream has ended")

    async def until(self, wanted: str) -> list[tuple[str, Any]]:
        """The frames up to one of this name, or up to an event of a run of this name."""
        found = []
        while True:
            name, data = await self.frame()
            if name == "threads":
                continue
            found.append((name, data))
            if wanted in (name, data.get("event") if name == "event" else None):
                return found


@asynccontextmanager
async def reading(client: httpx.AsyncClient, thread: str, **options: Any) -> AsyncIterator[Reader]:
    async with client.stream("GET", f"/api/threads/{thread}/events", **options) as response:
        assert response.status_code == 200, await response.aread()
        yield Reader(response.aiter_lines())


def text_of(frames: Iterable[tuple[str, Any]]) -> str:
    """The text that the events of some frames add up to."""
    events = [data for name, data in frames if name == "event" and data["event"] == "on_message_delta"]
    return "".join(piece["text"] for event in events for piece in event["data"]["delta"]["content"])


def numbers_of(frames: Iterable[tuple[str, Any]]) -> list[int]:
    return [data["seq"] for name, data in frames if name == "event"]
