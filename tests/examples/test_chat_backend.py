"""The chat backend of the README: a real server, a real client, a connection that is lost."""

from __future__ import annotations

import asyncio
import json
import runpy
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from stategraph.testing import script
from stategraph.testing.openai_server import FakeOpenAIServer

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("langchain_openai")

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
JSON = {"Content-Type": "application/json; charset=utf-8"}
EXAMPLE = ROOT / "examples" / "chat_backend.py"


@pytest.fixture
async def backend(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Any, FakeOpenAIServer]]:
    """A client of the running example, and the provider behind it."""
    async with FakeOpenAIServer() as provider:
        monkeypatch.setenv("OPENAI_API_KEY", "key")
        monkeypatch.setenv("OPENAI_BASE_URL", provider.base_url)
        app = runpy.run_path(str(EXAMPLE))["app"]
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
            serving = asyncio.create_task(server.serve([listening]))
            address = f"http://127.0.0.1:{listening.getsockname()[1]}"
            try:
                async with httpx.AsyncClient(base_url=address, timeout=20) as client:
                    yield client, provider
            finally:
                server.should_exit = True
                await serving


def turn(message_id: str, text: str) -> dict[str, Any]:
    return {"message_id": message_id, "thread_id": "t", "text": text}


async def frames(response: Any) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    number = 0
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield number, json.loads(line[6:])


async def test_turns_are_streamed_and_a_lost_connection_is_taken_up_again(
    backend: tuple[Any, FakeOpenAIServer],
) -> None:
    client, provider = backend
    asks = script.reply(script.call("temperature", {"city": "Rome"}))
    gate = script.Gate()
    slow = script.Reply((script.Text("one "), script.Hold(gate), script.Text("two")))
    provider.script("gpt-5-mini", [asks, "It is warm.", slow])

    async with client.stream("POST", "/chat", json=turn("m1", "Is it warm in Rome?")) as response:
        events = [event async for _, event in frames(response)]
    kinds = [event["event"] for event in events]
    assert kinds.index("on_run_step_completed") < kinds.index("on_message_delta")
    assert (events[-1]["event"], events[-1]["data"]["status"]) == ("on_run_end", "completed")
    assert events[-1]["data"]["usage"]["modelCalls"] > 0
    assert "Be brief." not in json.dumps(events)

    seen: list[int] = []
    async with client.stream("POST", "/chat", json=turn("m2", "Count.")) as response:
        async for number, event in frames(response):
            seen.append(number)
            if event["event"] == "on_message_delta":
                break
    gate.open()
    async with client.stream("GET", "/chat/m2", headers={"Last-Event-ID": str(seen[-1])}) as response:
        rest = [(number, event) async for number, event in frames(response)]
    assert min(number for number, _ in rest) > seen[-1]
    text = [event["data"]["delta"]["content"][0]["text"] for _, event in rest if event["event"] == "on_message_delta"]
    assert "".join(text) == "two"
    assert rest[-1][1]["data"]["status"] == "completed"
    roles = [message["role"] for message in provider.requests[-1].messages]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]


async def test_a_turn_is_stopped_and_what_is_not_there_is_not_found(backend: tuple[Any, FakeOpenAIServer]) -> None:
    client, provider = backend
    slow = script.Reply((script.Text("one "), script.Hold(script.Gate()), script.Text("two")))
    provider.script("gpt-5-mini", [slow])
    kinds = []
    async with client.stream("POST", "/chat", json=turn("m1", "Count.")) as response:
        async for _, event in frames(response):
            kinds.append(event["event"])
            if event["event"] == "on_message_delta":
                assert (await client.delete("/chat/m1")).status_code == 202
    error = {"type": "AbortError", "message": "The person stopped it"}
    assert (event["event"], event["data"]["status"], event["data"]["error"]) == ("on_run_end", "cancelled", error)
    assert event["data"]["usage"]["modelCalls"] == 1
    assert kinds.count("on_run_step_closed") == 1
    assert (await client.delete("/chat/m1")).status_code == 404
    assert (await client.get("/chat/unknown")).status_code == 404


async def test_a_turn_that_is_sent_again_is_not_made_again(backend: tuple[Any, FakeOpenAIServer]) -> None:
    client, provider = backend
    provider.script("gpt-5-mini", ["Hello."])
    told = []
    for _ in range(2):
        async with client.stream("POST", "/chat", json=turn("m1", "Hi.")) as response:
            assert response.status_code == 200
            told.append([frame async for frame in frames(response)])
    assert told[0] == told[1]
    assert len(provider.requests) == 1


async def test_a_second_turn_of_a_thread_that_is_answering_is_a_conflict(
    backend: tuple[Any, FakeOpenAIServer],
) -> None:
    client, provider = backend
    gate = script.Gate()
    provider.script("gpt-5-mini", [script.Reply((script.Text("one "), script.Hold(gate))), "Two."])
    async with client.stream("POST", "/chat", json=turn("m1", "Count.")) as response:
        async for _, event in frames(response):
            if event["event"] == "on_message_delta":
                refused = await client.post("/chat", json=turn("m2", "And?"))
                gate.open()
    assert refused.status_code == 409
    assert "m1" in refused.text
    async with client.stream("POST", "/chat", json=turn("m2", "And?")) as response:
        last = [event async for _, event in frames(response)][-1]
    assert last["data"]["status"] == "completed"


async def test_requests_that_cannot_be_read_are_refused(backend: tuple[Any, FakeOpenAIServer]) -> None:
    client, provider = backend
    provider.script("gpt-5-mini", ["Hello."])
    for body in (b"", b"{", b"[]", b'{"message_id": "m1"}', b"null"):
        assert (await client.post("/chat", content=body, headers=JSON)).status_code == 400
    for kind in ("text/plain", "application/x-www-form-urlencoded"):  # what a page of another site may send unasked
        sent = await client.post("/chat", content=json.dumps(turn("m0", "Hi.")), headers={"Content-Type": kind})
        assert sent.status_code == 415
    async with client.stream("POST", "/chat", json=turn("m1", "Hi.")) as response:
        assert [event async for event in frames(response)]
    for number in ("x", "-1", "1.5", ""):
        assert (await client.get("/chat/m1", headers={"Last-Event-ID": number})).status_code == 400
