"""The API of the console: resources seen, followed and run, and refused without the token or the right to write."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from stategraph.dev.console.console import Console
from stategraph.resources.runtime import Runtime
from tests.console_app import APP
from tests.dev.serving import an_agent, serving

pytestmark = pytest.mark.anyio
LIMIT_S = 60

GREET, BROKEN = "/api/resources/workflow/default/greet", "/api/resources/workflow/default/broken"


@asynccontextmanager
async def consoled(folder: Path, *, writes: bool = False) -> AsyncIterator[tuple[httpx.AsyncClient, Console]]:
    """Serve the page with a console, and yield a client that has its token."""
    (folder / "app.yaml").write_text(APP, encoding="utf-8")
    console = Console(Runtime.from_url("memory:"), folder=str(folder), writes=writes)
    async with serving(an_agent("Hello."), console=console) as client:
        client.headers["X-Stategraph-Token"] = console.token
        await client.get("/api/info")  # answered once the server has started
        await console.runtime.settled(LIMIT_S)
        yield client, console


async def frames(client: httpx.AsyncClient, path: str) -> AsyncIterator[dict[str, Any]]:
    async with client.stream("GET", path) as answer:
        assert answer.status_code == 200
        async for line in answer.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line[6:])


async def ended(client: httpx.AsyncClient, run: str) -> list[dict[str, Any]]:
    async with asyncio.timeout(LIMIT_S), aclosing(frames(client, f"/api/resources/runs/{run}/events")) as events:
        return [each async for each in events]


async def test_resources_are_listed_and_described(tmp_path: Path) -> None:
    async with consoled(tmp_path) as (client, _):
        listed = (await client.get("/api/resources")).json()
        assert (listed["writes"], [(each["key"], each["ready"]) for each in listed["resources"]]) == (
            False,
            [("workflow/default/broken", "False"), ("workflow/default/greet", "True")],
        )
        greet = (await client.get(GREET)).json()
        assert (greet["ready"], greet["runnable"], greet["why"]) == ("True", False, [])
        assert 'data-node="say"' in greet["svg"] and "kind: Workflow" in greet["yaml"]
        broken = (await client.get(BROKEN)).json()
        assert "app.yaml:16:" in broken["why"][0] and "finder" in broken["why"][0]
        assert broken["uses"] == [{"key": "tool/default/finder", "ready": "False", "reason": "NotFound"}]
        assert (await client.get("/api/resources/workflow/default/none")).status_code == 404
        assert (await client.get("/api/info")).json()["resources"] is True


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/resources"),
        ("GET", GREET),
        ("GET", "/api/resources/changes"),
        ("GET", "/api/resources/runs/x/events"),
        ("POST", "/api/resources"),
        ("DELETE", GREET),
        ("POST", f"{GREET}/runs"),
    ],
)
async def test_nothing_is_told_without_the_token(tmp_path: Path, method: str, path: str) -> None:
    async with consoled(tmp_path, writes=True) as (client, _):
        for token in ("", "x"):
            answer = await client.request(method, path, headers={"X-Stategraph-Token": token}, json={})
            assert answer.status_code == 401, path
            assert "by the address that the server has printed" in answer.json()["error"]


async def test_nothing_is_changed_by_a_console_that_only_reads(tmp_path: Path) -> None:
    async with consoled(tmp_path) as (client, console):
        for method, path, body in (
            ("POST", "/api/resources", {"text": APP}),
            ("DELETE", GREET, None),
            ("POST", f"{GREET}/runs", {"input": {"name": "Ada"}}),
        ):
            answer = await client.request(method, path, json=body)
            assert (answer.status_code, "--write" in answer.json()["error"]) == (403, True)
        assert len(await console.runtime.list()) == 2


async def test_a_run_is_followed_through_the_drawing_and_answered(tmp_path: Path) -> None:
    async with consoled(tmp_path, writes=True) as (client, _):
        begun = await client.post(f"{GREET}/runs", json={"input": {"name": "Ada"}})
        assert begun.status_code == 201
        run = begun.json()["run"]
        events = await ended(client, run)
        assert events[-1]["status"] == "waits"
        assert events[-1]["result"]["values"]["greeting"] == "Hello, Ada"
        assert events[-1]["path"]["visits"]["say"] == 1
        path = f"/api/resources/runs/{run}"
        assert (await client.post(f"{path}/answer", json={"answer": "fine"})).status_code == 200
        rest = [each for each in await ended(client, run) if each["number"] > events[-1]["number"]]
        assert (rest[-1]["status"], rest[-1]["result"]["values"]["mood"]) == ("done", "fine")
        edges = {(each["source"], each["target"]) for each in rest[-1]["path"]["edges"]}
        assert edges == {("__start__", "say"), ("say", "ask"), ("ask", "__end__")}
        assert (await client.post(f"{path}/answer", json={"answer": "again"})).status_code == 404


async def test_a_run_that_fails_says_with_what(tmp_path: Path) -> None:
    async with consoled(tmp_path, writes=True) as (client, _):
        run = (await client.post(f"{GREET}/runs", json={"input": {"nom": "Ada"}})).json()["run"]
        last = (await ended(client, run))[-1]
        assert last["status"] == "failed" and last["result"]["error"]
        answer = await client.post(f"{BROKEN}/runs", json={"input": {}})
        assert (answer.status_code, "cannot be run" in answer.json()["error"]) == (409, True)


async def test_changes_are_told_as_they_come_and_manifests_are_applied(tmp_path: Path) -> None:
    async with consoled(tmp_path, writes=True) as (client, _), asyncio.timeout(LIMIT_S):
        async with aclosing(frames(client, "/api/resources/changes")) as changes:
            following = asyncio.ensure_future(_until(changes, "workflow/default/new"))
            text = APP.replace("name: broken", "name: new")
            while not following.done():  # the reader may not be there yet at the first change
                applied = await client.post("/api/resources", json={"text": text})
                assert applied.status_code == 200
                text = text.replace("id: find,", "id: find, name: again,", 1)
                await asyncio.wait({following}, timeout=0.2)
                if not following.done():
                    await client.delete("/api/resources/workflow/default/new")
            assert following.result()["reason"]
        wrong = await client.post("/api/resources", json={"text": "kind: Workflw"})
        assert (wrong.status_code, "apiVersion" in wrong.json()["error"]) == (400, True)


async def _until(changes: AsyncIterator[dict[str, Any]], key: str) -> dict[str, Any]:
    async for each in changes:
        if each.get("row", {}).get("key") == key:
            row: dict[str, Any] = each["row"]
            return row
    raise AssertionError("the stream has ended")


async def test_a_server_without_resources_has_no_console() -> None:
    async with serving(an_agent("Hello.")) as client:
        assert (await client.get("/api/info")).json()["resources"] is False
        assert (await client.get("/api/resources")).status_code == 404
