"""Requests that make no sense are refused with a sentence: none of them is a fault of the server."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from stategraph.server import openai, vercel
from tests.server.protocols import logs
from tests.server.protocols.fake_service import FakeService
from tests.server.protocols.serving import app_of, client_of
from tests.server.service.assembly import assembled
from tests.server.service.conftest import steps

pytestmark = pytest.mark.anyio

#: More than a float takes.
ENDLESS = "9" * 400
DEEP = "[" * 100_000


@pytest.mark.parametrize(
    "path",
    ["/threads/search", "/assistants/search", "/runs/crons/search", "/store/items/search", "/store/namespaces"],
)
@pytest.mark.parametrize("number", [ENDLESS, "9" * 25, "1e400"])
async def test_numbers_that_no_database_takes_are_refused(tmp_path: Path, path: str, number: str):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        for field in ("limit", "offset"):
            answer = await client.post(path, content=f'{{"{field}": {number}}}')
            assert (answer.status_code, 'is not of type "integer"' in answer.json()["detail"]) == (422, True)


async def test_numbers_in_addresses_are_refused(tmp_path: Path):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        for text in ("²", "9" * 30, "9" * 5000, "-1", ""):
            for address in (f"runs?limit={text}", f"runs?offset={text}", f"history?limit={text}"):
                answer = await client.get(f"/threads/{thread}/{address}")
                assert (answer.status_code, "expected a number" in answer.json()["detail"]) == (422, True), address


@pytest.mark.parametrize("body", [[], "x", 5, None, {"thread_id": 5}, {"run_ids": 5}, {"status": "gone"}, {}])
async def test_what_names_no_runs_cancels_none(tmp_path: Path, body: Any):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        assert (await client.post("/runs/cancel", json=body)).status_code == 422


@pytest.mark.parametrize("config", [{"configurable": 5}, {"metadata": 5}, {"metadata": ["a"]}])
async def test_configs_of_wrong_types_are_refused(tmp_path: Path, config: Any):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        answer = await client.post("/runs/wait", json={"assistant_id": "steps", "config": config})
        assert (answer.status_code, "expected an object" in answer.json()["detail"]) == (422, True)


@pytest.mark.parametrize(
    "settings",
    [
        {"config": {"tags": 5}},
        {"config": {"tags": "one"}},
        {"config": {"tags": [5]}},
        {"config": {"recursion_limit": "x"}},
        {"config": {"recursion_limit": -1}},
        {"config": {"recursion_limit": True}},
        {"config": {"max_concurrency": 0}},
        {"config": {"run_name": 5}},
        {"config": {"configurable": {"checkpoint_ns": 5}}},
        {"checkpoint": {"checkpoint_ns": 5}},
        {"checkpoint": {"checkpoint_id": 5}},
        {"checkpoint": {"checkpoint_map": "x"}},
        {"after_seconds": 1e300},
        {"after_seconds": -1},
        {"after_seconds": True},
    ],
)
async def test_settings_that_no_run_can_have_are_refused_and_leave_nothing(tmp_path: Path, settings: Any):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        answer = await client.post("/runs", json={"assistant_id": "steps", **settings})
        assert (answer.status_code, "expected" in answer.json()["detail"]) == (422, True)
        assert (await client.post("/threads/count", json={})).json() == 0


async def test_settings_that_no_run_can_have_are_refused_for_assistants_and_schedules(tmp_path: Path):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        config = {"config": {"recursion_limit": -1}}
        for path, body in (("/assistants", {"graph_id": "steps"}), ("/runs/crons", {"assistant_id": "steps"})):
            asked = {**body, "schedule": "* * * * *"}
            assert (await client.post(path, json={**asked, **config})).status_code == 422
            made = (await client.post(path, json=asked)).json()
            made_id = made.get("cron_id") or made["assistant_id"]
            assert (await client.patch(f"{path}/{made_id}", json=config)).status_code == 422


async def test_a_checkpoint_that_is_not_there_is_not_found_before_anything_runs(tmp_path: Path):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        none = "1f0d6c3e-0000-6000-8000-000000000000"
        for path in (f"/threads/{thread}/runs", "/runs"):
            for place in ({"checkpoint_id": none}, {"checkpoint": {"checkpoint_id": none, "checkpoint_ns": ""}}):
                answer = await client.post(path, json={"assistant_id": "steps", "input": {"log": []}, **place})
                assert answer.status_code == 404
                assert f"has no checkpoint '{none}'" in answer.json()["detail"]
        assert (await client.get(f"/threads/{thread}/runs")).json() == []
        assert (await client.post("/threads/count", json={})).json() == 1


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v1/responses", 400),
        ("/v1/chat/completions", 400),
        ("/v1/conversations", 400),
        ("/vercel/agent", 422),
    ],
)
async def test_json_that_is_too_deep_is_refused(path: str, status: int):
    service = FakeService({"agent": logs.looking_up().compile()}).service()
    async with client_of(app_of(service, openai.routes, vercel.routes)) as client:
        assert (await client.post(path, content=DEEP)).status_code == status


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/responses", '{"model": "agent", "input": "x", "metadata": {"a": "\\ud800"}}', 400),
        ("/v1/responses", '{"model": "agent", "input": "\\ud800"}', 400),
        ("/v1/chat/completions", '{"model": "agent", "messages": [{"role": "user", "content": "\\ud800"}]}', 400),
        (
            "/vercel/agent",
            '{"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "\\ud800"}]}]}',
            422,
        ),
    ],
)
async def test_half_of_a_character_is_refused(path: str, body: str, status: int):
    service = FakeService({"agent": logs.looking_up().compile()}).service()
    async with client_of(app_of(service, openai.routes, vercel.routes)) as client:
        assert (await client.post(path, content=body)).status_code == status
        assert (await client.post(path, content=body.replace("\\ud800", "\\ud83d\\ude00"))).status_code == 200


async def test_half_of_a_character_is_refused_in_a_command(tmp_path: Path):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        thread = (await client.post("/threads", json={})).json()["thread_id"]
        command = '{"id": 1, "method": "run.start", "params": {"assistant_id": "steps", "input": {"a": "\\ud800"}}}'
        answer = await client.post(f"/threads/{thread}/commands", content=command)
        assert answer.status_code == 400
        assert "Invalid JSON" in answer.text


async def test_metadata_of_a_conversation_is_an_object():
    service = FakeService({"agent": logs.looking_up().compile()}).service()
    async with client_of(app_of(service, openai.routes)) as client:
        answer = await client.post("/v1/conversations", json={"metadata": 5})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "metadata")


@pytest.mark.parametrize("named", ["key=k&namespace=%00", "key=%00&namespace=notes"])
async def test_names_with_the_character_nul_are_refused_in_the_store(tmp_path: Path, named: str):
    async with assembled(f"sqlite:///{tmp_path / 'threads.db'}", {"steps": steps}) as world, world.client() as client:
        answers = [await client.get(f"/store/items?{named}")]
        fields = {name: unquote(value) for name, value in (each.split("=") for each in named.split("&"))}
        body: dict[str, Any] = {"key": fields["key"], "namespace": [fields["namespace"]]}
        answers += [await client.request("DELETE", "/store/items", json=body)]
        answers += [await client.put("/store/items", json={**body, "value": {}})]
    assert {each.status_code for each in answers} <= {400, 422}
    assert all("the character NUL" in each.text for each in answers)
