"""The end of the run API's server: what comes late is refused, and what is stopped is continued by the next server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")

from langchain_core.tools import tool

from stategraph.dev import loading
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.server.application import Served, application
from stategraph.server.settings import Settings
from stategraph.server.stopping import Stopped, ended
from stategraph.testing import call, reply
from tests.dev.serving import TIMEOUT_S, an_agent, asking

pytestmark = pytest.mark.anyio

JSON = {"Content-Type": "application/json"}


class Client:
    """Speaks to a server in this process."""

    def __init__(self, app: Any, http: httpx.AsyncClient) -> None:
        self.app = app
        self.http = http

    async def ask(self, path: str, body: object = None) -> Any:
        """Send a request, which has to be answered well, and return the answer."""
        answer = await (self.http.get(path) if body is None else self.http.post(path, json=body))
        assert answer.is_success, answer.text
        return answer.json()

    async def begin(self) -> str:
        """Begin a run, and return the path of its thread."""
        path = f"/v1/threads/{(await self.ask('/v1/threads', {}))['id']}"
        await self.ask(f"{path}/turns", {"run_id": "r", "text": "hi"})
        return path

    async def stored(self, path: str) -> list[Any]:
        """The messages of a thread, once there are some."""
        for _ in range(100 * TIMEOUT_S):
            if found := (await self.ask(f"{path}/export"))["messages"]:
                return list(found)
            await asyncio.sleep(0.01)
        raise TimeoutError("Nothing was stored")

    async def at_rest(self, path: str) -> Any:
        """A thread once nothing goes on in it."""
        if tasks := self.app.state.conversations.going_on():
            await asyncio.wait(tasks, timeout=TIMEOUT_S)
        return await self.ask(path)

    async def stop(self) -> Stopped | None:
        """Stop the server as the second signal does."""
        self.app.state.stopping = True
        return await ended(self.app.state.conversations, 0.0, asyncio.Event())

    async def late(self, path: str, body: object) -> httpx.Response:
        """Send a request that has come to its endpoint when the server is told to stop, and its body later."""

        async def content() -> AsyncIterator[bytes]:
            self.app.state.stopping = True
            yield json.dumps(body).encode()

        try:
            return await self.http.post(path, content=content(), headers=JSON)
        finally:
            self.app.state.stopping = False


@asynccontextmanager
async def serving(target: Any, saver: Any, **config: Any) -> AsyncIterator[Client]:
    loaded = replace(loading.load(target, None), config=config)
    app = application(Served(loaded, {}, "ada", Settings()), saver)
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
            yield Client(app, http)


def waiting(called: asyncio.Event) -> Any:
    """A tool that comes to no end."""

    @tool
    async def wait() -> str:
        """Wait."""
        called.set()
        await asyncio.Event().wait()
        return "never"

    return wait


async def test_an_agent_that_was_stopped_is_continued_by_the_next_server() -> None:
    saver, called = in_memory_saver(), asyncio.Event()
    agent = an_agent(reply("I wait. ", call("wait")), "Never said.", tools=(waiting(called),))
    async with serving(agent, saver) as client:
        path = await client.begin()
        await asyncio.wait_for(called.wait(), TIMEOUT_S)
        await client.stored(path)
        assert await client.stop() == Stopped(runs=1, unfinished=1)
        assert (await client.ask("/v1/runs/r"))["running"] is False

    @tool("wait")
    def quick() -> str:
        """Wait."""
        return "waited"

    async with serving(an_agent("Said by the next one.", tools=(quick,)), saver) as client:
        assert (await client.ask(path))["thread"]["status"] == "unfinished"
        refused = await client.late(f"{path}/continue", {})
        assert (refused.status_code, refused.json()["error"][:22]) == (503, "The server is stopping")
        await client.ask(f"{path}/continue", {})
        thread = await client.at_rest(path)
    assert thread["thread"]["status"] == "idle"
    assert thread["turns"][-1]["content"][-1]["text"] == "Said by the next one."


async def test_a_run_of_which_nothing_is_stored_keeps_its_message() -> None:
    saver, called = in_memory_saver(), asyncio.Event()
    agent = an_agent(reply("I wait. ", call("wait")), tools=(waiting(called),))
    async with serving(agent, saver, durability="exit") as client:
        path = await client.begin()
        await asyncio.wait_for(called.wait(), TIMEOUT_S)
        assert await client.stop() == Stopped(runs=1, unfinished=0)
    async with serving(an_agent("Hello."), saver) as client:
        assert (await client.stored(path))[0]["data"]["content"] == "hi"
        assert (await client.ask(path))["thread"]["status"] == "idle"
        assert (await client.http.post(f"{path}/continue", json={})).status_code == 409


async def test_a_server_without_runs_has_nothing_to_stop() -> None:
    async with serving(an_agent("Hello."), in_memory_saver()) as client:
        await client.at_rest(await client.begin())
        assert await client.stop() is None


async def test_a_turn_whose_body_comes_after_the_stop_does_not_begin() -> None:
    async with serving(an_agent("Hello."), in_memory_saver()) as client:
        path = f"/v1/threads/{(await client.ask('/v1/threads', {}))['id']}"
        refused = await client.late(f"{path}/turns", {"run_id": "r", "text": "hi"})
        assert (refused.status_code, refused.json()["error"][:22]) == (503, "The server is stopping")
        assert client.app.state.conversations.going_on() == ()
        assert (await client.ask(path))["turns"] == []
        await client.ask(f"{path}/turns", {"run_id": "r", "text": "hi"})
        assert len((await client.at_rest(path))["turns"]) == 2


async def test_an_answer_whose_body_comes_after_the_stop_is_still_waited_for() -> None:
    async with serving(asking(reply("I pay. ", call("pay", amount=7)), "It is paid."), in_memory_saver()) as client:
        path = await client.begin()
        question = (await client.at_rest(path))["run"]["waiting"][0]["id"]
        answers = {"answers": {question: [{"type": "approve"}]}}
        assert (await client.late(f"{path}/answers", answers)).status_code == 503
        assert (await client.ask(path))["thread"]["status"] == "interrupted"
        await client.ask(f"{path}/answers", answers)
        assert (await client.at_rest(path))["turns"][-1]["content"][-1]["text"] == "It is paid."
