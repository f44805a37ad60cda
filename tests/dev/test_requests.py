"""What the server refuses, in which words, and what it sends along with every response."""

from __future__ import annotations

import base64
from typing import Any

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from stategraph.run.threads.threads import Threads
from stategraph.testing import call, reply
from tests.dev.serving import an_agent, new_thread, reading, send, serving

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("method", "path", "status", "says"),
    [
        ("GET", "/api/nothing", 404, "nothing at this address"),
        ("DELETE", "/api/threads", 405, "nothing at this address"),
        ("GET", "/api/threads/none", 404, "no thread 'none'"),
        ("DELETE", "/api/threads/none", 404, "no thread 'none'"),
        ("GET", "/api/threads/none/events", 404, "no thread 'none'"),
        ("GET", "/api/runs/none", 404, "no run 'none'"),
        ("GET", "/api/threads?limit=x", 400, "a number from 0 to 200"),
        ("GET", f"/api/threads?limit={'9' * 5000}", 400, "a number from 0 to 200"),
        ("GET", f"/api/runs/none/events?after_seq={'9' * 5000}", 400, "a number from 0 to"),
        ("GET", "/api/threads?after=x", 400, "'next' of the page before"),
        ("GET", "/static/../application.py", 404, "nothing at this address"),
        ("GET", "/static/%2e%2e/application.py", 404, "nothing at this address"),
    ],
)
async def test_what_is_not_there_is_answered_with_a_sentence(method: str, path: str, status: int, says: str) -> None:
    async with serving(an_agent()) as client:
        answer = await client.request(method, path)
        assert answer.status_code == status
        assert says in answer.json()["error"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "no JSON"),
        (b"{", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "send an object"),
        (b'{"text": "hi"}', "'run_id' is missing"),
        (b'{"run_id": "a/b", "text": "hi"}', "letters, digits"),
        (b'{"run_id": "r1", "text": "  "}', "a text that is not empty"),
        (b'{"run_id": "r1", "text": 1}', "'text' is 1"),
        (b'{"run_id": "r1", "text": "hi", "colour": "red"}', "unknown fields: colour"),
        (b'{"run_id": "r1", "text": "hi", "files": [1]}', "'name', a 'type' and 'data'"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(body: bytes, says: str) -> None:
    async with serving(an_agent()) as client:
        thread = await new_thread(client)
        headers = {"Content-Type": "application/json"}
        answer = await client.post(f"/api/threads/{thread}/turns", content=body, headers=headers)
        assert answer.status_code == 400
        assert says in answer.json()["error"]


@pytest.mark.parametrize("number", ["9" * 5000, "\u00b2".encode("latin-1"), "-1", ""])
async def test_the_id_of_a_frame_that_is_no_number_is_no_fault_of_the_server(number: str | bytes) -> None:
    async with serving(an_agent("Hello.")) as client:
        thread = await new_thread(client)
        await send(client, thread, "Hi.", "r1")
        last = number if isinstance(number, bytes) else number.encode()
        async with client.stream("GET", "/api/runs/r1/events", headers={"Last-Event-ID": last}) as response:
            assert response.status_code == 200
            lines = [line async for line in response.aiter_lines() if line.startswith("data: ")]
        assert "on_run_end" in lines[-1]
        refused = await client.get(f"/api/threads/{thread}/events", headers={"Last-Event-ID": b"r1/" + last})
        assert (refused.status_code, "send the id of a frame" in refused.json()["error"]) == (400, True)


async def test_a_fault_of_the_program_is_no_missing_thing_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(*_: Any) -> None:
        raise KeyError("column")

    monkeypatch.setattr(Threads, "export", failing)
    async with serving(an_agent()) as client:
        answer = await client.get("/api/threads/any/export")
    assert (answer.status_code, answer.json()["error"]) == (
        500,
        "The server failed with KeyError; its log has the details",
    )
    assert "KeyError: 'column'" in caplog.text


async def test_a_form_of_another_page_is_no_request() -> None:
    async with serving(an_agent()) as client:
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"):
            answer = await client.post("/api/threads", content=b"{}", headers={"Content-Type": kind})
            assert answer.status_code == 415


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({}, True),
        ({"Host": "localhost:1"}, True),
        ({"Host": "[::1]:8123"}, True),
        ({"Host": "agents.example:8123"}, True),
        ({"Host": "evil.example"}, False),
        ({"Host": "127.0.0.1.evil.example"}, False),
        ({"Host": "localhost.evil.example"}, False),
        ({"Host": ""}, False),
    ],
)
async def test_another_name_is_not_this_server(headers: dict[str, str], is_allowed: bool) -> None:
    async with serving(an_agent(), allowed_hosts=["agents.example"]) as client:
        answer = await client.get("/api/threads", headers=headers)
        assert (answer.status_code == 200) == is_allowed
        if not is_allowed:
            assert "is not this server" in answer.json()["error"]


@pytest.mark.parametrize(
    ("headers", "is_allowed"),
    [
        ({"Origin": "http://evil.example"}, False),
        ({"Origin": "null"}, False),
        ({"Origin": "http://localhost:9"}, False),
        ({"Origin": "http://{host}", "Sec-Fetch-Site": "same-origin"}, True),
        ({"Sec-Fetch-Site": "cross-site"}, False),
        ({"Sec-Fetch-Site": "none"}, True),
    ],
)
async def test_a_page_of_another_site_changes_nothing(headers: dict[str, str], is_allowed: bool) -> None:
    async with serving(an_agent()) as client:
        host = f"{client.base_url.host}:{client.base_url.port}"
        named = {name: value.format(host=host) for name, value in headers.items()}
        answer = await client.post("/api/threads", json={}, headers=named)
        assert answer.status_code == (201 if is_allowed else 403)
        assert len((await client.get("/api/threads")).json()["threads"]) == int(is_allowed)


async def test_every_response_is_protected() -> None:
    async with serving(an_agent()) as client:
        refused = await client.get("/", headers={"Host": "evil.example"})
        for answer in (refused, *[await client.get(path) for path in ("/", "/static/js/app.js", "/api/info", "/none")]):
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "script-src 'self';" in policy
            assert "unsafe" not in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "access-control-allow-origin" not in answer.headers
        thread = await new_thread(client)
        async with client.stream("GET", f"/api/threads/{thread}/events") as stream:
            assert stream.headers["x-content-type-options"] == "nosniff"
            assert stream.headers["cache-control"] == "no-store"


def file_of(name: str, kind: str, data: bytes) -> dict[str, str]:
    return {"name": name, "type": kind, "data": base64.b64encode(data).decode()}


async def test_files_are_sent_along_as_the_agent_takes_them() -> None:
    files = [file_of('a"<b>.csv', "text/csv", b"x,y\n1,2"), file_of("p.png", "image/png", b"\x89PNG\0")]
    async with serving(an_agent("Seen."), files=("text/*", "image/*")) as client:
        thread = await new_thread(client)
        assert (await send(client, thread, "Look.", "r1", files=files)).status_code == 201
        async with reading(client, thread) as reader:
            await reader.until("paused")
        (asked, _) = (await client.get(f"/api/threads/{thread}")).json()["turns"]
    text, table, picture = asked["content"]
    assert text == {"type": "text", "text": "Look."}
    assert table["text"] == '<file name="a__b_.csv">\nx,y\n1,2\n</file>'
    assert picture == {"type": "image", "base64": files[1]["data"], "mime_type": "image/png"}


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ([file_of("p.png", "image/png", b"\x89PNG\0")], "this agent takes text/*"),
        ([file_of("x.bin", "", b"\0\1")], "of type unknown"),
        ([{"name": "x", "type": "text/plain", "data": "%"}], "no base64"),
        ([file_of("x", "text/plain", b"x")] * 11, "10 files at most"),
        ("x", "a list of 10 files"),
    ],
)
async def test_files_of_another_kind_are_refused(files: Any, says: str) -> None:
    async with serving(an_agent()) as client:
        thread = await new_thread(client)
        answer = await send(client, thread, "Look.", "r1", files=files)
        assert answer.status_code == 400
        assert says in answer.json()["error"]


async def test_files_that_a_tool_returns_are_told_with_the_run_and_in_the_history() -> None:
    picture = {"type": "image", "base64": "iVBORw0KGgo=", "mime_type": "image/png"}

    def chart() -> list[Any]:
        """Draw a chart."""
        return [{"type": "text", "text": "here it is"}, picture]

    async with serving(an_agent(reply(call("chart", id="c1")), "Done.", tools=(chart,))) as client:
        thread = await new_thread(client)
        await send(client, thread, "Draw.", "r1")
        async with reading(client, thread) as reader:
            ended = (await reader.until("paused"))[-1][1]["run"]
        assert ended["files"] == {"c1": [picture]}
        told = (await client.get(f"/api/threads/{thread}")).json()
        (called,) = (part["tool_call"] for part in told["turns"][1]["content"] if part["type"] == "tool_call")
        assert (called["output"], called["files"]) == ("here it is", [picture])


async def test_a_body_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.dev.replies.LARGEST_BODY", 1000)
    async with serving(an_agent()) as client:
        thread = await new_thread(client)
        assert (await send(client, thread, "x" * 2000, "r1")).status_code == 413


async def test_a_thread_is_exported() -> None:
    async with serving(an_agent("Hi.")) as client:
        thread = await new_thread(client)
        answer = await client.get(f"/api/threads/{thread}/export")
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.json()["format"] == "stategraph.thread/1"
