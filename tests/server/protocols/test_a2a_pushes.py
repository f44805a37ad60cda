"""Clients are told of tasks at addresses that they gave, whichever replica is there to tell them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stategraph.agent.mcp.oauth.files import opened, sealed
from stategraph.errors import ConfigurationError
from stategraph.server.a2a import A2aSettings, push_keys, push_store, pushes, routes
from stategraph.server.a2a.push_store import DatabasePushStore, MemoryPushStore, Push
from stategraph.server.a2a.views import Views
from stategraph.server.service.port import NotFoundError, UnavailableError
from tests.server.protocols.fake_service import FakeService
from tests.server.protocols.live import listening
from tests.server.protocols.serving import app_of
from tests.server.protocols.test_a2a import graphs

pytestmark = pytest.mark.anyio

SECRET = "tell-nobody"
VERSION = {"A2A-Version": "1.0"}


class Receiver:
    """Is told of tasks."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.news = asyncio.Condition()

    async def answer(self, request: Request) -> Response:
        self.told.append((dict(request.headers), await request.json()))
        async with self.news:
            self.news.notify_all()
        return Response()

    async def until(self, state: str) -> None:
        """Wait until it has been told that a task is in a state."""
        async with asyncio.timeout(60), self.news:
            await self.news.wait_for(lambda: state in [_state(each) for _, each in self.told])


def _state(told: dict[str, Any]) -> str:
    return str((told.get("statusUpdate") or told.get("task") or {}).get("status", {}).get("state", ""))


@asynccontextmanager
async def receiving() -> AsyncIterator[tuple[Receiver, str]]:
    receiver = Receiver()
    async with listening(Starlette(routes=[Route("/told", receiver.answer, methods=["POST"])])) as url:
        yield receiver, f"{url}/told"


@asynccontextmanager
async def serving(service: Any, ends: list[Any] | None = None, **options: Any) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a service; `ends` gets what ends its tasks."""
    settings = A2aSettings(push_hosts=["127.0.0.1"], **options)
    made = routes(service, settings)
    if ends is not None:
        ends += [each.endpoint.aclose for each in made if hasattr(getattr(each, "endpoint", None), "aclose")]
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(listening(app_of(service, lambda _: made)))
        client = httpx.AsyncClient(base_url=f"{url}/a2a/chat", timeout=60, headers=VERSION)
        yield await stack.enter_async_context(client)


def message(text: str, **more: Any) -> dict[str, Any]:
    return {"messageId": text, "role": "ROLE_USER", "parts": [{"text": text}], **more}


def config(url: str) -> dict[str, Any]:
    return {"id": "one", "url": url, "token": SECRET, "authentication": {"scheme": "Bearer", "credentials": SECRET}}


async def test_a_client_is_told_of_statuses_and_of_whole_artifacts_with_its_token(caplog: Any) -> None:
    with caplog.at_level(logging.DEBUG):
        async with receiving() as (receiver, url), serving(FakeService(graphs()).service()) as http:
            body = {"message": message("ask"), "configuration": {"taskPushNotificationConfig": config(url)}}
            task = (await http.post("/message:send", json=body)).json()["task"]
            await receiver.until("TASK_STATE_INPUT_REQUIRED")
            await http.post("/message:send", json={"message": message("blue", taskId=task["id"])})
            await receiver.until("TASK_STATE_COMPLETED")
            shown = await http.get(f"/tasks/{task['id']}/pushNotificationConfigs/one")
    headers, _ = receiver.told[-1]
    assert headers["x-a2a-notification-token"] == SECRET
    assert headers["authorization"] == f"Bearer {SECRET}"
    (artifact,) = [each["artifactUpdate"]["artifact"] for _, each in receiver.told if "artifactUpdate" in each]
    assert artifact["parts"] == [{"text": "You like blue"}]
    assert shown.json()["url"] == url
    assert SECRET not in shown.text
    assert SECRET not in caplog.text


async def test_addresses_are_listed_deleted_and_refused() -> None:
    async with serving(FakeService(graphs()).service()) as http:
        task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        path = f"/tasks/{task['id']}/pushNotificationConfigs"
        inside = await http.post(path, json=config("https://192.168.0.1/told"))
        assert inside.status_code == 400
        assert "public" in inside.json()["error"]["message"]
        smuggled = {**config("https://127.0.0.1/told"), "token": "a\r\nX-Admin: 1"}
        assert (await http.post(path, json=smuggled)).status_code == 400
        assert (await http.post(path, json=config("https://127.0.0.1/told"))).status_code == 200
        (listed,) = (await http.get(path)).json()["configs"]
        assert (listed["id"], "token" in listed) == ("one", False)
        assert (await http.delete(f"{path}/one")).status_code == 200
        assert (await http.delete(f"{path}/one")).status_code == 200
        assert (await http.get(f"{path}/one")).status_code == 404
        assert (await http.get(path)).json().get("configs", []) == []


async def test_another_replica_tells_what_the_first_one_did_not(tmp_path: Path, monkeypatch: Any) -> None:
    for module in (push_store, pushes):
        monkeypatch.setattr(module, "HOLD_S", 0.05)  # a row is free as soon as nobody prolongs its hold
    service = FakeService(graphs()).service()
    database = f"sqlite:///{tmp_path / 'pushes.db'}"
    gone, there = DatabasePushStore.from_url(database), DatabasePushStore.from_url(database)
    async with receiving() as (receiver, url):
        async with serving(service, pushes=False) as http:
            task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
            assert (await http.get(f"/tasks/{task['id']}/pushNotificationConfigs")).status_code == 400
        await gone.put(Push(task["id"], "one", json.dumps({"id": "one", "url": url})), ended=False)
        assert await gone.claim("a replica that died")
        async with serving(service, push_store=there) as http:
            await http.post("/message:send", json={"message": message("red", taskId=task["id"])})
            await receiver.until("TASK_STATE_COMPLETED")
    await gone.aclose()
    await there.aclose()


async def test_a_server_may_refuse_to_store_secrets_of_clients() -> None:
    async with serving(FakeService(graphs()).service(), push_secrets=False) as http:
        task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        path = f"/tasks/{task['id']}/pushNotificationConfigs"
        refused = await http.post(path, json=config("https://127.0.0.1/told"))
        assert (refused.status_code, "the address alone" in refused.text, SECRET in refused.text) == (400, True, False)
        assert (await http.post(path, json={"id": "one", "url": "https://127.0.0.1/told"})).status_code == 200


def test_keys_of_the_environment_encrypt_and_older_ones_decrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.delenv(push_keys.VARIABLE, raising=False)
    assert push_keys.cipher() is None
    monkeypatch.setenv(push_keys.VARIABLE, old)
    before = sealed(SECRET, push_keys.cipher())
    assert SECRET.encode() not in before
    monkeypatch.setenv(push_keys.VARIABLE, f"{new}, {old}")
    assert opened(before, push_keys.cipher()) == SECRET
    assert Fernet(new).decrypt(sealed(SECRET, push_keys.cipher())) == SECRET.encode()
    monkeypatch.setenv(push_keys.VARIABLE, "no key")
    with pytest.raises(ConfigurationError, match=push_keys.VARIABLE):
        push_keys.cipher()


class Reversed:
    """A cipher for tests."""

    def encrypt(self, data: bytes) -> bytes:
        return data[::-1]

    def decrypt(self, token: bytes) -> bytes:
        return token[::-1]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_both_stores_hold_claim_and_end_alike(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "pushes.db"
    kept = DatabasePushStore.from_url(f"sqlite:///{file}", cipher=Reversed())
    store: Any = MemoryPushStore() if kind == "memory" else kept
    one, two = Push("task", "one", SECRET), Push("task", "two", "{}")
    await store.put(one, ended=False)
    await store.put(two, ended=True)
    assert await store.of_task("task") == [one, two]
    assert await store.claim("me") == [one]
    assert await store.claim("another") == []
    assert await store.hold("me") == {("task", "one")}
    await store.end(one, "another")
    assert await store.hold("me") == {("task", "one")}
    await store.end(one, "me")
    assert await store.hold("me") == set()
    await store.delete("task", "one")
    assert await store.of_task("task") == [two]
    assert SECRET not in repr(one)
    await kept.aclose()
    if kind == "sqlite":
        assert SECRET.encode() not in file.read_bytes()


async def test_a_task_that_could_not_be_told_is_told_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(pushes, "HOLD_S", 0.05)
    fake = FakeService(graphs())
    async with receiving() as (receiver, url), serving(fake.service()) as http:
        task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        errors = [NotFoundError("the graph is not served here"), UnavailableError("away"), TypeError("planted")]
        left = list(errors)
        stream = Views.stream

        def failing(self: Views, *arguments: Any, **named: Any) -> Any:
            if left:
                raise left.pop(0)
            return stream(self, *arguments, **named)

        monkeypatch.setattr(Views, "stream", failing)
        await http.post(f"/tasks/{task['id']}/pushNotificationConfigs", json=config(url))
        async with asyncio.timeout(60):
            while left:  # noqa: ASYNC110 # a task of the server does it
                await asyncio.sleep(0.01)
        await http.post("/message:send", json={"message": message("blue", taskId=task["id"])})
        await receiver.until("TASK_STATE_COMPLETED")
    told = [record.exc_info[1] for record in caplog.records if record.exc_info and "is tried again" in record.msg]
    assert told == errors
    assert SECRET not in caplog.text


async def test_a_task_that_was_deleted_is_told_nobody_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushes, "HOLD_S", 0.05)
    fake, store = FakeService(graphs()), MemoryPushStore()
    async with receiving() as (receiver, url), serving(fake.service(), push_store=store) as http:
        task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        fake._deleted.add(task["id"])
        await store.put(Push(task["id"], "one", json.dumps({"id": "one", "url": url})), ended=False)
        other = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        await http.post(f"/tasks/{other['id']}/pushNotificationConfigs", json=config("https://127.0.0.1/told"))
        async with asyncio.timeout(60):
            while not store._kept[task["id"], "one"].ended:  # noqa: ASYNC110 # a task of the server does it
                await asyncio.sleep(0.01)
    assert receiver.told == []


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_replica_that_ends_gives_back_what_it_tells(kind: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'pushes.db'}"
    store: Any = MemoryPushStore() if kind == "memory" else DatabasePushStore.from_url(database)
    ends: list[Any] = []
    async with serving(FakeService(graphs()).service(), ends, push_store=store) as http:
        task = (await http.post("/message:send", json={"message": message("ask")})).json()["task"]
        await http.post(f"/tasks/{task['id']}/pushNotificationConfigs", json=config("https://127.0.0.1/told"))
        assert await store.claim("another") == []
    for end in ends:
        await end()
    after = store if kind == "memory" else DatabasePushStore.from_url(database)
    assert [each.key for each in await after.claim("another")] == [(task["id"], "one")]
    await after.give_back([(task["id"], "one")], "a third")  # which does not hold it
    assert await after.claim("a third") == []
    if kind == "sqlite":
        await after.aclose()
