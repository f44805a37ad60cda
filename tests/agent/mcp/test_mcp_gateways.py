"""Servers over HTTP, and what answers in their place."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from stategraph.agent.mcp import McpBadAnswer, McpError, McpRefused, McpSessions, McpUnavailable
from stategraph.agent.mcp import http as http_door
from stategraph.agent.mcp.exchange import Request, current
from stategraph.agent.mcp.http import Door
from stategraph.agent.mcp.servers import HttpServer
from stategraph.errors import ConfigurationError
from stategraph.run.runtime import AgentRuntime
from tests import loopback
from tests.agent.mcp.conftest import failing
from tests.agent.test_secrets import chain
from tests.conftest import Listen

pytestmark = pytest.mark.anyio

PASSWORD, TOKEN, HEADER = "a-password", "a-token-in-the-query", "a-header-value"


class Server:
    """A server of the handshake protocols with JSON answers, and a gateway before it."""

    def __init__(self) -> None:
        self.sessions: set[str] = set()
        self.ran: list[int] = []
        self.asked: list[str] = []
        self.seen: list[tuple[str, str | None]] = []
        self.instead: tuple[int, str, bytes] | None = None
        server = self

        class Handler(loopback.Handler):
            protocol_version = "HTTP/1.1"

            def post(self) -> None:
                message = json.loads(self.body())
                server.seen.append((self.path, self.headers["authorization"]))
                method, number = message.get("method"), message.get("id")
                server.asked.append(method)
                if method == "server/discover":
                    self.answer(400)
                elif method == "initialize":
                    server.sessions.add(name := uuid.uuid4().hex)
                    info = {"name": "s", "version": "1"}
                    result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
                    self.say(number, result, mcp_session_id=name)
                elif self.headers["mcp-session-id"] not in server.sessions:
                    self.answer(404)
                elif method == "tools/call" and server.instead is not None:
                    status, kind, body = server.instead
                    self.answer(status, body.replace(b"ID", str(number).encode()), kind)
                elif method == "tools/list":
                    self.say(number, {"tools": [{"name": "add", "inputSchema": {"type": "object"}}]})
                elif method == "tools/call":
                    server.ran.append(message["params"]["arguments"]["n"])
                    self.say(number, {"content": [{"type": "text", "text": str(server.ran[-1])}]})
                else:
                    self.answer(202) if number is None else self.say(number, {})

            def say(self, number: int, result: dict[str, Any], **more: str) -> None:
                body = json.dumps({"jsonrpc": "2.0", "id": number, "result": result}).encode()
                self.answer(200, body, **more)

        self.handler = Handler
        self.where = ""


@pytest.fixture
def server(listen: Listen) -> Server:
    made = Server()
    made.where = listen(made.handler)
    return made


ITS_OWN = b'{"jsonrpc": "2.0", "id": ID, "error": {"code": -32602, "message": "wrong arguments"}}'


@pytest.mark.parametrize(
    ("instead", "kind", "said"),
    [
        ((500, "text/plain", b"oops"), McpUnavailable, "HTTP status 500"),
        ((502, "text/html", b"<html>"), McpUnavailable, "HTTP status 502"),
        ((503, "application/json", b'{"error": "busy"}'), McpUnavailable, "HTTP status 503"),
        ((429, "text/plain", b"slow down"), McpUnavailable, "HTTP status 429"),
        ((403, "text/plain", b"no"), McpRefused, "HTTP status 403"),
        ((200, "text/html", b"<html>Sign in</html>"), McpBadAnswer, "content of type 'text/html'"),
        ((200, "application/json", b"{"), McpBadAnswer, "the answer cannot be read"),
        ((200, "application/json", b"null"), McpBadAnswer, "the answer cannot be read"),
        ((200, "application/json", b'{"jsonrpc": "2.0", "id": 4711, "result": {}}'), McpBadAnswer, "another request"),
        ((200, "text/event-stream", b"data: {nope}\n\n"), McpBadAnswer, "cannot be used"),
        ((202, "application/json", b""), McpBadAnswer, "HTTP status 202"),
        ((200, "application/json", ITS_OWN), McpRefused, "refused tool 'add': wrong arguments"),
        ((500, "application/json", ITS_OWN), McpRefused, "refused tool 'add': wrong arguments"),
    ],
)
async def test_errors_are_sorted_by_who_answered_and_the_call_is_sent_once(
    server: Server, instead: tuple[int, str, bytes], kind: type[McpError], said: str
) -> None:
    async with McpSessions({"one": {"url": f"http://{server.where}/mcp", "call_timeout_s": None}}) as sessions:
        (add,) = await sessions.tools()
        server.instead = instead
        async with asyncio.timeout(30):
            with failing(McpError, said) as caught:
                await add.ainvoke({"n": 1})
        assert type(caught.value) is kind
        assert server.asked.count("tools/call") == 1
        server.instead = None
        assert await add.ainvoke({"n": 2}) == "2"
        assert server.asked.count("initialize") == 1  # the session is kept
        assert server.ran == [2]


async def test_of_calls_made_side_by_side_none_is_lost_when_a_server_forgets_its_sessions(server: Server) -> None:
    async with McpSessions({"one": {"url": f"http://{server.where}/mcp"}}) as sessions:
        (add,) = await sessions.tools()
        server.sessions.clear()
        found = await asyncio.gather(*(add.ainvoke({"n": n}) for n in range(10)))
    assert found == [str(n) for n in range(10)]
    assert sorted(server.ran) == list(range(10))  # each once
    assert server.asked.count("initialize") == 2


async def test_what_is_secret_of_an_address_reaches_the_server_and_nobody_else(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    url = f"http://user:{PASSWORD}@{server.where}/mcp?token={TOKEN}"
    described = {"url": url, "headers": {"x-gateway": HEADER}}
    async with McpSessions({"one": described}) as sessions:
        (add,) = await sessions.tools()
        assert await add.ainvoke({"n": 1}) == "1"
        server.instead = (200, "application/json", f'{{"id": {TOKEN} {HEADER}'.encode())
        with failing(McpBadAnswer) as caught:
            await add.ainvoke({"n": 2})
        server.instead = (
            401,
            "application/json",
            ITS_OWN.replace(b"arguments", f"{PASSWORD} {TOKEN} {HEADER}".encode()),
        )
        with failing(McpRefused, r"wrong \[redacted\] \[redacted\] \[redacted\]") as refused:
            await add.ainvoke({"n": 3})
        texts = [repr(sessions), repr(add), str(add), repr(add.metadata)]
    assert {path for path, _ in server.seen} == {f"/mcp?token={TOKEN}"}
    assert {given for _, given in server.seen} == {"Basic dXNlcjphLXBhc3N3b3Jk"}
    texts += [f"{each} {each!r} {vars(each)}" for each in (*chain(caught.value), *chain(refused.value))]
    texts += [record.getMessage() for record in caplog.records]  # also of the packages below
    assert not any(secret in text for secret in (PASSWORD, TOKEN, HEADER, "dXNlcjphLXBhc3N3b3Jk") for text in texts)


@pytest.mark.parametrize("value", ["Bearer key-0123\n", " key-0123", "key-0123 ", "key\n0123"])
def test_a_header_that_cannot_be_sent_is_refused_by_its_name(value: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'authorization' has characters .* or white space") as caught:
        McpSessions({"one": {"url": "http://host/mcp", "headers": {"authorization": value}}})
    assert "0123" not in str(caught.value)


# The way through which requests go.


class Packed(httpx2.AsyncByteStream):
    """A body as it is sent."""

    def __init__(self, raw: bytes) -> None:
        self.raw = raw

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self.raw


class Answers(httpx2.AsyncBaseTransport):
    """Answers every request with the same."""

    def __init__(self, status: int, raw: bytes, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        self.status, self.raw = status, raw

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(self.status, headers=self.headers, stream=Packed(self.raw))


async def passed(answers: Answers, **message: Any) -> tuple[httpx2.Response, Request]:
    """What comes back for a message that is sent on behalf of a request, and what is known of the request then."""
    asked = Request()
    token = current.set(asked)
    described = HttpServer(url="http://127.0.0.1/mcp")
    door = Door(described, described.secrets, Request(), lambda: None, answers)
    sent = httpx2.Request("POST", described.url, headers={"mcp-session-id": "1"}, json={"jsonrpc": "2.0", **message})
    response = await door.handle_async_request(sent)
    current.reset(token)
    return response, asked


@pytest.mark.parametrize("status", [404, 400, 500])
@pytest.mark.parametrize("message", [{"method": "notifications/cancelled"}, {"id": 7, "result": {}}])
async def test_what_becomes_of_a_notification_says_nothing_about_the_request(
    status: int, message: dict[str, Any]
) -> None:
    response, asked = await passed(Answers(status, b""), **message)
    assert (response.status_code, asked.not_done, asked.trouble, asked.status) == (status, None, None, None)
    _, asked = await passed(Answers(404, b""), id=7, method="tools/call")
    assert asked.not_done is not None  # that of the request itself does


CALL = {"id": 7, "method": "tools/call"}
RESULT = b'{"jsonrpc": "2.0", "id": 7, "result": {"content": []}}'


async def test_an_answer_that_was_packed_is_passed_on_unpacked() -> None:
    packed = Answers(200, gzip.compress(RESULT), content_type="application/json", content_encoding="gzip")
    response, asked = await passed(packed, **CALL)
    assert (response.content, asked.trouble) == (RESULT, None)
    assert "content-encoding" not in response.headers


@pytest.mark.parametrize("status", [200, 500])
async def test_an_answer_is_as_large_as_it_is_unpacked(status: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_door, "LARGEST_ANSWER", 10_000)
    monkeypatch.setattr(http_door, "LARGEST_ERROR", 10_000)
    raw = gzip.compress(RESULT + b" " * 100_000)
    assert len(raw) < 1_000
    packed = Answers(status, raw, content_type="application/json", content_encoding="gzip")
    response, asked = await passed(packed, **CALL)
    assert asked.trouble is not None
    assert len(response.content) < 1_000


async def test_an_answer_that_cannot_be_unpacked_fails_its_request_alone() -> None:
    wrong = Answers(200, b"not what gzip makes", content_type="application/json", content_encoding="gzip")
    response, asked = await passed(wrong, **CALL)
    assert asked.trouble is not None and "content-encoding" in asked.trouble.text
    assert response.json()["id"] == 7


def test_a_runtime_can_be_opened_again_in_another_event_loop(server: Server) -> None:
    runtime = AgentRuntime(mcp_servers={"one": {"url": f"http://{server.where}/mcp"}})

    async def request(n: int) -> str:
        async with runtime:
            (add,) = await runtime.tools()
            return str(await add.ainvoke({"n": n}))

    assert [asyncio.run(request(n)) for n in range(3)] == ["0", "1", "2"]
    assert repr(runtime) == "<AgentRuntime closed: 0 runs known, 0 models kept>"


async def test_a_runtime_that_is_open_is_not_opened_again() -> None:
    async with AgentRuntime() as runtime:
        with pytest.raises(ConfigurationError, match="The runtime is open already"):
            await runtime.__aenter__()
        assert "open" in repr(runtime)
