"""What passes between a session and its server: watched message by message, and request by request over HTTP."""

from __future__ import annotations

import asyncio
import json
import logging
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import anyio
import httpx2
import mcp_types as wire
import pytest
from mcp.shared.message import SessionMessage

from stategraph.agent.mcp import http
from stategraph.agent.mcp.exchange import Exchange, Request, Trouble, Unreadable, current, read_message
from stategraph.agent.mcp.http import Door
from stategraph.agent.mcp.servers import HttpServer
from stategraph.agent.reporting import ToolProgress

NEVER_MADE = "the answer is for a request that was never made"


class Watched:
    """An exchange without streams."""

    def __init__(self, version: str | None = None) -> None:
        self.ends = 0
        nothing: Any = None
        self.exchange = Exchange(nothing, nothing, self._end, lambda: version)

    def _end(self) -> None:
        self.ends += 1

    def ask(self, number: int | str, method: str = "tools/call") -> Request:
        token = current.set(request := Request())
        try:
            self.exchange.tell(message(id=number, method=method))
        finally:
            current.reset(token)
        return request

    def passes(self, heard: SessionMessage) -> bool:
        return self.exchange.hear(heard) is heard

    def fails(self, heard: SessionMessage | Exception) -> tuple[Any, str] | None:
        """The id and the words of the error that the session hears in place of a message."""
        made = self.exchange.hear(heard)
        if made is None:
            return None
        assert isinstance(made.message, wire.JSONRPCError)
        assert made.message.error.code == wire.PARSE_ERROR
        return made.message.id, made.message.error.message


def message(**fields: Any) -> SessionMessage:
    read = read_message(json.dumps({"jsonrpc": "2.0", **fields}).encode())
    assert isinstance(read, SessionMessage)
    return read


def answer(number: int | str | None, **result: Any) -> SessionMessage:
    return message(id=number, result=result)


def error(number: int | str | None) -> SessionMessage:
    return message(id=number, error={"code": -32602, "message": "wrong"})


# Messages.


def test_an_answer_passes_and_so_does_one_that_comes_late() -> None:
    watched = Watched()
    watched.ask(4)
    watched.ask(5)
    assert watched.passes(answer(5))
    assert watched.passes(answer(5))
    assert watched.passes(answer(3))  # given up before
    assert watched.passes(answer("4"))
    assert watched.passes(answer("of another kind"))
    assert watched.passes(answer("9" * 16))
    assert watched.exchange.hear(answer(9)) is None  # nothing waits for it
    assert watched.passes(message(method="notifications/message", params={"level": "info", "data": 1}))


def test_the_answer_to_a_text_that_is_a_number_is_found_under_the_number() -> None:
    watched = Watched()
    watched.ask("7")
    watched.ask(8)
    assert watched.passes(answer(7))
    assert watched.fails(answer(9)) == (8, NEVER_MADE)


@pytest.mark.parametrize("stray", [answer(9), error(9), error(None), answer("9")], ids=str)
def test_an_answer_to_no_request_fails_the_only_one_that_waits(stray: SessionMessage) -> None:
    watched = Watched()
    request = watched.ask(5)
    assert watched.fails(stray) == (5, NEVER_MADE)
    assert request.trouble == Trouble("bad", NEVER_MADE)
    assert watched.exchange.hear(stray) is None


def test_an_answer_to_the_request_after_the_newest_one_was_never_asked_for() -> None:
    watched = Watched()
    watched.ask("in words")
    assert watched.fails(answer(1)) == ("in words", NEVER_MADE)
    watched.ask(1)
    assert watched.passes(answer(1))
    watched.ask("again")
    assert watched.fails(answer(2)) == ("again", NEVER_MADE)


def test_an_answer_to_no_request_fails_none_of_several() -> None:
    watched = Watched()
    requests = [watched.ask(5), watched.ask(6)]
    assert watched.exchange.hear(answer(9)) is None
    assert [request.trouble for request in requests] == [None, None]
    assert watched.passes(answer(6))
    assert watched.fails(answer(9)) == (5, NEVER_MADE)


def test_an_answer_of_a_server_to_its_own_request_passes() -> None:
    watched = Watched()
    watched.ask(5)
    for number in range(100, 165):
        assert watched.passes(message(id=number, method="ping"))
    assert watched.passes(answer(101))
    assert watched.passes(error("101"))
    assert watched.fails(answer(100)) == (5, NEVER_MADE)  # no longer remembered


def test_a_request_that_is_cancelled_waits_no_longer() -> None:
    watched = Watched()
    watched.ask(5)
    watched.ask(6)
    watched.exchange.tell(answer(5))  # to a request of the server's own
    watched.exchange.tell(message(method="notifications/cancelled"))
    watched.exchange.tell(message(method="notifications/progress", params={"requestId": 6}))
    watched.exchange.tell(message(method="notifications/cancelled", params={"requestId": "5"}))
    assert watched.fails(answer(9)) == (6, NEVER_MADE)


def test_what_is_known_of_a_failure_stays() -> None:
    watched = Watched()
    request = watched.ask(5)
    request.trouble = known = Trouble("gone", "broke off")
    assert watched.fails(answer(9)) == (5, NEVER_MADE)
    assert request.trouble is known
    watched.exchange.tell(message(id=6, method="ping"))  # on behalf of nobody
    assert watched.fails(answer(9)) == (6, NEVER_MADE)


@pytest.mark.parametrize(
    ("raw", "fails"),
    [
        ('{"jsonrpc": "2.0", "id": 5, "resu', 5),
        ('  {"id" : 6', 6),
        ('{"id": 7', None),
        ('{"id": 5, "method": "ping"', None),
        ("null \n", None),
        ("some words", None),
        ('"id": 5', None),
        ("", None),
    ],
)
def test_a_line_that_is_no_message_fails_the_request_that_it_names(raw: str, fails: int | None) -> None:
    watched = Watched()
    watched.ask(5)
    watched.ask(6)
    assert watched.fails(Unreadable("broken", raw)) == (None if fails is None else (fails, "broken"))
    assert watched.fails(ValueError("without a line")) is None


@pytest.mark.parametrize(
    ("raw", "fails"), [("{", True), ("null", True), (" null ", True), ("nul", False), ("[", False)]
)
def test_a_line_that_names_no_request_fails_the_only_one(raw: str, fails: bool) -> None:
    watched = Watched()
    watched.ask("listen-1", "subscriptions/listen")
    watched.ask(5)
    assert watched.fails(Unreadable("broken", raw)) == ((5, "broken") if fails else None)


def test_lines_that_are_no_messages_are_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "stategraph.agent.mcp")
    watched = Watched()
    for text in ("first", "second", "third"):
        assert watched.exchange.hear(Unreadable(text, "words")) is None
    (record,) = caplog.records
    assert "said once: first" in record.getMessage()


def test_a_message_is_read_or_the_reason_is_told() -> None:
    read = read_message(b'{"jsonrpc": "2.0", "id": 5, "result": {}}')
    assert isinstance(read, SessionMessage)
    for raw, said in (
        (b"x" * 5000, "Invalid JSON"),
        (b"\xff", "the answer cannot be read: "),
        (b"[]", "cannot be read"),
    ):
        broken = read_message(raw)
        assert isinstance(broken, Unreadable)
        assert said in str(broken)
        assert str(broken).startswith("the answer cannot be read: ")
        assert broken.raw == raw[:4096].decode("utf-8", "replace")


@pytest.mark.anyio
async def test_what_is_said_about_a_request_reaches_a_listener_if_there_is_one() -> None:
    assert not Request().tell(ToolProgress(1))
    queue: asyncio.Queue[Any] = asyncio.Queue()
    assert not Request(queue).tell(ToolProgress(1))
    assert Request(queue, reports=True).tell(ToolProgress(1))
    assert queue.get_nowait() == ToolProgress(1)


# Listings.

GOOD = {"name": "good", "inputSchema": {"type": "object"}}


def test_a_tool_that_breaks_the_protocol_is_taken_out_of_its_listing() -> None:
    watched = Watched("2025-06-18")
    request = watched.ask(5, "tools/list")
    heard = answer(5, tools=[GOOD, {"name": "bad"}, {"name": ""}, {"name": 7}, "text", GOOD | {"name": "too"}], more=1)
    assert watched.passes(heard)
    assert isinstance(heard.message, wire.JSONRPCResponse)
    assert heard.message.result == {"tools": [GOOD, GOOD | {"name": "too"}], "more": 1}
    nameless = "a tool without a name: its description breaks the protocol"
    assert request.dropped == ["tool 'bad': its description breaks the protocol", nameless, nameless, nameless]


def test_a_listing_on_behalf_of_nobody_is_sorted_all_the_same() -> None:
    watched = Watched("2025-06-18")
    watched.exchange.tell(message(id=5, method="tools/list"))
    heard = answer(5, tools=[GOOD, {"name": "bad"}])
    assert watched.passes(heard)
    assert isinstance(heard.message, wire.JSONRPCResponse)
    assert heard.message.result == {"tools": [GOOD]}


@pytest.mark.parametrize(
    ("version", "method", "result"),
    [
        (None, "tools/list", {"tools": [{"name": "bad"}]}),
        ("2025-06-18", "prompts/list", {"tools": [{"name": "bad"}]}),
        ("2025-06-18", "tools/list", {"tools": {"name": "bad"}}),
        ("2025-06-18", "tools/list", {}),
        ("2025-06-18", "tools/list", {"tools": [GOOD]}),
        ("2025-06-18", "tools/list", {"tools": []}),
    ],
)
def test_other_answers_are_left_as_they_are(version: str | None, method: str, result: dict[str, Any]) -> None:
    watched = Watched(version)
    request = watched.ask(5, method)
    heard = answer(5, **result)
    assert isinstance(heard.message, wire.JSONRPCResponse)
    tools = heard.message.result.get("tools")
    assert watched.passes(heard)
    assert heard.message.result == result
    assert heard.message.result.get("tools") is tools
    assert request.dropped == []
    watched.ask(6, "tools/list")
    assert watched.passes(error(6))


# Streams.


@pytest.mark.anyio
async def test_a_session_reads_and_writes_through_the_exchange() -> None:
    ends: list[int] = []
    to_session, read = anyio.create_memory_object_stream[SessionMessage | Exception](9)
    write, to_server = anyio.create_memory_object_stream[SessionMessage](9)
    exchange = Exchange(read, write, lambda: ends.append(1), lambda: None)
    async with exchange.write as out, exchange.read as heard:
        asked = message(id=5, method="tools/call")
        await out.send(asked)
        assert to_server.receive_nowait() is asked
        for each in (Unreadable("words", "words"), answer(5)):
            await to_session.send(each)
        assert (await heard.receive()).message.id == 5  # type: ignore[union-attr]
        await out.send(message(id=6, method="tools/call"))
        await to_session.send(answer(9))
        await to_session.aclose()
        rest = [each.message async for each in heard]  # type: ignore[union-attr]
        assert [(type(each), each.id) for each in rest] == [(wire.JSONRPCError, 6)]  # type: ignore[union-attr]
        assert ends == [1]
    with pytest.raises(anyio.ClosedResourceError):
        read.receive_nowait()
    with pytest.raises(anyio.ClosedResourceError):
        write.send_nowait(asked)
    to_server.close()


@pytest.mark.anyio
async def test_a_stream_that_was_closed_is_at_its_end() -> None:
    ends: list[int] = []
    to_session, read = anyio.create_memory_object_stream[SessionMessage | Exception](1)
    write, to_server = anyio.create_memory_object_stream[SessionMessage](1)
    exchange = Exchange(read, write, lambda: ends.append(1), lambda: None)
    await exchange.read.aclose()
    await exchange.write.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await exchange.read.receive()
    assert ends == [1]
    to_session.close()
    to_server.close()


# The way of requests over HTTP.


class Server(httpx2.AsyncBaseTransport):
    """Answers requests by a function, and keeps them."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response]) -> None:
        self.answer = answer
        self.got: list[httpx2.Request] = []
        self.closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.got.append(request)
        return self.answer(request)

    async def aclose(self) -> None:
        self.closed = True


class Asked:
    """A request that goes through a door, and what became of it."""

    def __init__(self, answer: Callable[[httpx2.Request], httpx2.Response] | httpx2.Response, **server: Any) -> None:
        self.server = Server(answer if callable(answer) else lambda _: answer)
        self.handshake, self.request = Request(), Request()
        self.forgotten = 0
        described = HttpServer(**{"url": "http://host/mcp", **server})
        self.door = Door(described, described.secrets, self.handshake, self._forget, self.server)

    def _forget(self) -> None:
        self.forgotten += 1

    async def send(
        self, body: Any = None, method: str = "POST", request: Request | None = None, **headers: str
    ) -> httpx2.Response:
        body = {"jsonrpc": "2.0", "id": 7, "method": "tools/call"} if body is None else body
        token = current.set(self.request if request is None else request)
        try:
            sent = httpx2.Request(method, self.door.address, json=body, headers=headers)
            return await self.door.handle_async_request(sent)
        finally:
            current.reset(token)


def fails(kind: type[httpx2.TransportError], text: str = "no way") -> Callable[[httpx2.Request], httpx2.Response]:
    def answer(request: httpx2.Request) -> httpx2.Response:
        raise kind(text)

    return answer


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("kind", "text", "done", "said"),
    [
        (httpx2.ConnectError, "no way", False, "it could not be reached (ConnectError: no way)"),
        (httpx2.ConnectTimeout, "", False, "it could not be reached (ConnectTimeout)"),
        (httpx2.ReadError, "no way", True, "ReadError: no way"),
        (httpx2.RemoteProtocolError, "", True, "RemoteProtocolError"),
    ],
)
async def test_a_request_that_fails_on_the_way_is_answered_in_the_place_of_the_server(
    kind: type[httpx2.TransportError], text: str, done: bool, said: str
) -> None:
    asked = Asked(fails(kind, text))
    response = await asked.send()
    assert response.status_code == 200
    words = f"{kind.__name__}: {text}" if text else kind.__name__
    assert response.json() == {"jsonrpc": "2.0", "id": 7, "error": {"code": wire.CONNECTION_CLOSED, "message": words}}
    known = (asked.request.not_done, asked.request.trouble)
    assert known == ((None, Trouble("gone", said)) if done else (said, None))


@pytest.mark.anyio
async def test_a_message_that_needs_no_answer_may_be_lost() -> None:
    asked = Asked(fails(httpx2.ReadError))
    response = await asked.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (response.status_code, asked.request.trouble, asked.request.not_done) == (202, None, None)


@pytest.mark.anyio
async def test_what_opens_a_session_fails_as_it_does() -> None:
    asked = Asked(fails(httpx2.ReadError))
    for method, request in (("GET", asked.request), ("DELETE", asked.request), ("POST", asked.handshake)):
        with pytest.raises(httpx2.ReadError):
            await asked.send(method=method, request=request)
    assert (asked.request.trouble, asked.handshake.trouble) == (None, None)


@pytest.mark.anyio
async def test_each_way_of_opening_a_session_is_looked_at_by_itself() -> None:
    statuses = iter((500, 200))
    asked = Asked(
        lambda _: httpx2.Response(next(statuses), json={"jsonrpc": "2.0", "id": 7, "result": {}}),
    )
    await asked.send(request=asked.handshake)
    assert (asked.handshake.status, asked.handshake.trouble) == (500, Trouble("unavailable", "HTTP status 500"))
    await asked.send(request=asked.handshake)
    assert (asked.handshake.status, asked.handshake.trouble) == (None, None)


@pytest.mark.anyio
async def test_an_answer_that_is_not_for_a_request_is_none_of_its() -> None:
    for body in ({"jsonrpc": "2.0", "id": 7, "result": {}}, [1]):
        asked = Asked(httpx2.Response(500))
        assert (await asked.send(body)).status_code == 500
        assert (asked.request.status, asked.request.trouble) == (None, None)


RESULT = {"jsonrpc": "2.0", "id": 7, "result": {}}


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("response", "trouble"),
    [
        (httpx2.Response(200, json=RESULT), None),
        (httpx2.Response(200, json=RESULT, headers={"content-type": "Application/JSON; charset=utf-8"}), None),
        (httpx2.Response(200, json=RESULT | {"id": "7"}), None),
        (httpx2.Response(200, json={"jsonrpc": "2.0", "method": "ping", "id": 7}), None),
        (httpx2.Response(200, json={"jsonrpc": "2.0", "method": "notifications/message"}), None),
        (httpx2.Response(200, json=RESULT | {"id": 8}), "the answer is for another request"),
        (httpx2.Response(202, json=RESULT), "it answered with HTTP status 202 and content of type 'application/json'"),
        (httpx2.Response(200, content=b"hi", headers={"content-type": "text/html"}), "content of type 'text/html'"),
        (httpx2.Response(200), "it answered with HTTP status 200 and no content"),
        (httpx2.Response(307, headers={"location": "/other"}), None),
        (httpx2.Response(304), "it answered with HTTP status 304 and no content"),
        (httpx2.Response(200, content=b"data: x\n\n", headers={"content-type": "text/event-stream"}), None),
    ],
    ids=lambda value: None,
)
async def test_an_answer_over_http_passes_unless_it_is_no_answer(
    response: httpx2.Response, trouble: str | None
) -> None:
    asked = Asked(response)
    got = await asked.send()
    assert asked.request.status is None
    if trouble is None:
        assert asked.request.trouble is None
        assert (got.status_code, got.content) == (response.status_code, response.content)
    else:
        assert asked.request.trouble is not None
        assert (asked.request.trouble.kind, asked.request.not_done) == ("bad", None)
        assert trouble in asked.request.trouble.text


@pytest.mark.anyio
async def test_an_answer_that_cannot_be_used_is_an_error_to_the_session() -> None:
    got = await Asked(httpx2.Response(200, json=RESULT | {"id": 8})).send()
    said = {"code": wire.PARSE_ERROR, "message": "the answer is for another request"}
    assert (got.status_code, got.json()) == (200, {"jsonrpc": "2.0", "id": 7, "error": said})


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, "unavailable") for status in (404, 408, 410, 425, 429, 500, 502, 599)),
        *((status, "refused") for status in (400, 401, 403, 405, 499)),
    ],
)
async def test_a_status_says_whether_to_ask_again(status: int, kind: str) -> None:
    asked = Asked(httpx2.Response(status, content=b"sorry", headers={"content-type": "text/plain"}))
    got = await asked.send()
    assert (got.status_code, got.content) == (status, b"sorry")
    assert asked.request.status == status
    assert asked.request.trouble is not None
    assert asked.request.trouble.kind == kind
    assert asked.request.trouble.text.startswith(f"HTTP status {status}")
    assert ("`oauth`" in asked.request.trouble.text) == (status == 401)
    assert (asked.request.not_done, asked.forgotten) == (None, 0)


@pytest.mark.anyio
async def test_an_error_in_the_words_of_the_server_is_its_own() -> None:
    own = {"jsonrpc": "2.0", "id": 7, "error": {"code": -32602, "message": "wrong"}}
    for body, kind, is_own in (
        (own, "application/json", True),
        (own, "text/plain", False),
        (RESULT, "application/json", False),
        ({"error": "busy"}, "application/json", False),
    ):
        asked = Asked(httpx2.Response(400, json=body, headers={"content-type": kind}))
        assert (await asked.send()).json() == body
        assert (asked.request.trouble is None) is is_own
        assert asked.request.status == 400


@pytest.mark.anyio
async def test_a_session_that_is_not_found_was_forgotten() -> None:
    asked = Asked(httpx2.Response(404))
    await asked.send(**{"mcp-session-id": "1"})
    assert (asked.request.not_done, asked.request.trouble) == ("it was restarted and forgot the session", None)
    assert asked.forgotten == 1
    asked = Asked(httpx2.Response(400))
    await asked.send(**{"mcp-session-id": "1"})
    assert (asked.request.not_done, asked.forgotten) == (None, 0)


@pytest.mark.anyio
async def test_only_the_server_sees_headers_login_and_query() -> None:
    own = {"X-Key": "a-secret-key", "Accept": "a", "MCP-Protocol-Version": "0", "Content-Type": "b"}
    asked = Asked(httpx2.Response(200, json=RESULT), url="http://me:s3cr%20et@host:1/mcp?key=a-token", headers=own)
    assert asked.door.address == "http://host:1/mcp"
    await asked.send(accept="application/json")
    (got,) = asked.server.got
    assert str(got.url) == "http://host:1/mcp?key=a-token"
    assert got.headers["x-key"] == "a-secret-key"
    assert (got.headers["accept"], got.headers["content-type"]) == ("application/json", "application/json")
    assert "mcp-protocol-version" not in got.headers
    assert got.headers["authorization"] == f"Basic {b64encode(b'me:s3cr et').decode()}"
    assert json.loads(await got.aread())["id"] == 7


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("url", "asked", "sent"),
    [
        ("http://host?key=a-token", "http://host/", "http://host/?key=a-token"),
        ("http://host/mcp?key=a-token", "http://host/other", "http://host/other"),
        ("http://host/mcp?key=a-token", "http://host/mcp?page=1", "http://host/mcp?page=1"),
        ("http://host/mcp", "http://host/mcp", "http://host/mcp"),
    ],
)
async def test_a_query_is_added_to_the_servers_own_address_only(url: str, asked: str, sent: str) -> None:
    given = Asked(httpx2.Response(200, json=RESULT), url=url)
    await given.door.handle_async_request(httpx2.Request("GET", asked))
    (got,) = given.server.got
    assert str(got.url) == sent
    assert "authorization" not in got.headers


@pytest.mark.anyio
@pytest.mark.parametrize(("login", "pair"), [("me@", b"me:"), (":pass-word@", b":pass-word")])
async def test_half_of_a_login_is_sent_too(login: str, pair: bytes) -> None:
    asked = Asked(httpx2.Response(200, json=RESULT), url=f"http://{login}host/mcp")
    await asked.send()
    assert asked.server.got[0].headers["authorization"] == f"Basic {b64encode(pair).decode()}"


@pytest.mark.anyio
async def test_closing_a_door_closes_its_connections() -> None:
    asked = Asked(httpx2.Response(200))
    await asked.door.aclose()
    assert asked.server.closed


def test_requests_go_through_the_proxy_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    assert http._proxy("http", "host") is None
    monkeypatch.setenv("all_proxy", "http://all")
    assert http._proxy("http", "host") == "http://all"
    monkeypatch.setenv("http_proxy", "http://plain")
    assert (http._proxy("http", "host"), http._proxy("https", "host")) == ("http://plain", "http://all")
    monkeypatch.setenv("no_proxy", "host")
    assert http._proxy("http", "host") is None
