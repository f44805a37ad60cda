"""The door of the server: in what order authenticators are asked, what a refusal looks like, owners, limits."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from stategraph.dev.protection import Protection
from stategraph.server.access.door import Door, caller_of
from stategraph.server.access.owners import own_namespace, owned_by, passes
from stategraph.server.access.port import AuthenticationError
from stategraph.server.access.tokens import Token, key_of
from stategraph.server.cors import SocketOrigins, pattern_of
from stategraph.server.errors import refusal
from stategraph.server.limits import Limits, Rates, Sizes
from stategraph.server.service.values import ANYONE, Caller

TOKEN = "a-token-of-the-test"


class Named:
    """Knows callers by a key that says their name."""

    reads_body = False

    async def authenticate(self, connection: Any, /) -> Caller | None:
        key = key_of(connection)
        if key == "wrong":
            raise AuthenticationError("Wrong", headers={"WWW-Authenticate": "Key"})
        return Caller(key) if key in ("ada", "bob") else None

    def challenge(self) -> str:
        return "Key"


async def who(request: Request) -> JSONResponse:
    return JSONResponse([caller_of(request).identity, (await request.body()).decode()])


async def stream(request: Request) -> StreamingResponse:
    async def parts() -> Any:
        yield b": one\n\n"

    return StreamingResponse(parts(), media_type="text/event-stream")


def client(*authenticators: Any, limits: Limits = Limits(), clock: Any = lambda: 0.0) -> TestClient:  # noqa: B008
    door = Middleware(Door, authenticators=authenticators, refuse=refusal, open_paths=("/ok", "/open/*"))
    guards = [Middleware(Sizes, limits=limits), door, Middleware(Rates, limits=limits, clock=clock)]
    routes = [Route(path, who, methods=["GET", "POST"]) for path in ("/who", "/ok", "/open/x", "/v1/models", "/v1/x")]
    return TestClient(Starlette(routes=[*routes, Route("/stream", stream)], middleware=guards))


def as_(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def test_authenticators_are_asked_in_turn_and_the_first_that_knows_decides() -> None:
    app = client(Named(), Token(TOKEN))
    assert app.get("/who", headers=as_("ada")).json()[0] == "ada"
    assert app.get("/who", headers=as_(TOKEN)).json()[0] == ""
    assert app.get("/who", headers={"X-Api-Key": TOKEN}).json()[0] == ""
    wrong = app.get("/who", headers=as_("wrong"))
    assert (wrong.status_code, wrong.headers["www-authenticate"]) == (401, "Key")
    assert app.get("/who").status_code == 401
    assert client(Named()).get("/who").headers["www-authenticate"] == "Key"


def test_open_paths_know_nobody() -> None:
    app = client(Named())
    for path in ("/ok", "/open/x"):
        assert app.get(path, headers=as_("ada")).json()[0] == ""
    assert app.get("/okay").status_code == 401
    assert app.get("/open").status_code == 401


def test_a_refusal_has_the_form_that_the_clients_of_the_path_read() -> None:
    app = client(Named())
    assert list(app.get("/threads").json()) == ["detail"]
    problem = app.get("/v1/x")
    assert problem.headers["content-type"] == "application/problem+json"
    assert problem.json()["status"] == 401 and problem.json()["title"] == "Unauthorized"
    assert app.get("/v1/models").json()["error"]["type"] == "authentication_error"


def test_a_handler_may_read_the_body_and_the_endpoint_reads_it_again() -> None:
    class Reading(Named):
        reads_body = True
        seen: bytes = b""

        async def authenticate(self, connection: Any, /) -> Caller | None:
            self.seen = await connection.body()
            return Caller("ada")

    reading = Reading()
    answer = client(reading).post("/who", content=iter([b"a" * 70_000, b"b"]))
    assert answer.json()[1] == "a" * 70_000 + "b"
    assert reading.seen == b"a" * 70_000 + b"b"


def test_bodies_and_headers_have_a_largest_size() -> None:
    app = client(Named(), limits=Limits(body_bytes=10, header_bytes=1000))
    assert app.post("/who", content=b"x" * 10, headers=as_("ada")).status_code == 200
    for body in (b"x" * 11, iter([b"x" * 6, b"x" * 6])):
        refused = app.post("/who", content=body, headers=as_("ada"))
        assert (refused.status_code, "larger than" in refused.json()["detail"]) == (413, True)
    assert app.get("/who", headers={"X": "x" * 1000}).status_code == 431


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "counted"])
def test_the_rest_of_a_body_that_is_too_large_is_read_before_the_refusal_ends(declared: bool) -> None:
    asyncio.run(_refused(declared, pieces=6, read=6))


def test_a_body_without_an_end_is_not_read_to_its_end() -> None:
    asyncio.run(_refused(declared=False, pieces=1000, read=23))  # 11 bytes, and ten times as many as are allowed


async def _refused(declared: bool, pieces: int, read: int) -> None:
    sent: list[Any] = []
    left = pieces

    async def receive() -> Any:
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"x" * 5, "more_body": left > 0}

    async def send(message: Any) -> None:
        sent.append((message, pieces - left))

    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass

    headers = [(b"content-length", str(5 * pieces).encode())] if declared else []
    scope = {"type": "http", "method": "POST", "path": "/threads", "headers": headers}
    await Sizes(reading, Limits(body_bytes=10))(scope, receive, send)
    (start, _), (body, before), (end, after) = sent
    assert start["status"] == 413
    assert b"larger than" in body["body"]
    assert before == (0 if declared else 3)
    assert (body["more_body"], end["body"], after) == (True, b"", read)


def test_refusals_of_hosts_and_pages_have_the_form_of_their_path() -> None:
    app = TestClient(Starlette(middleware=[Middleware(Protection, refuse=refusal)]), base_url="http://evil.example")
    assert "--allowed-host" in app.get("/threads").json()["detail"]
    assert app.get("/v1/models").json()["error"]["type"] == "permission_error"
    assert app.get("/agui/agent").json()["status"] == 403


def test_requests_of_each_caller_are_counted_by_themselves() -> None:
    now = [0.0]
    app = client(Named(), limits=Limits(requests_per_minute=2), clock=lambda: now[0])
    statuses = [app.get("/who", headers=as_(name)).status_code for name in ("ada", "ada", "ada", "bob")]
    assert statuses == [200, 200, 429, 200]
    refused = app.get("/who", headers=as_("ada"))
    assert refused.headers["retry-after"] == "30"
    now[0] += 30
    assert [app.get("/who", headers=as_("ada")).status_code for _ in range(2)] == [200, 429]


async def echo(socket: WebSocket) -> None:
    await socket.accept()
    async for text in socket.iter_text():
        await socket.send_text(f"{caller_of(socket).identity}: {text}")


def sockets(*middleware: Middleware) -> TestClient:
    return TestClient(Starlette(routes=[WebSocketRoute("/echo", echo)], middleware=middleware))


HERE = {"Host": "127.0.0.1:2024"}


def test_the_messages_of_a_websocket_are_requests_of_its_caller() -> None:
    door = Middleware(Door, authenticators=[Named()], refuse=refusal)
    limits = Limits(requests_per_minute=3, streams=2)
    app = sockets(door, Middleware(Rates, limits=limits, clock=lambda: 0.0))
    with app.websocket_connect("/echo", headers=as_("ada")) as socket:
        for _ in range(2):
            socket.send_text("hello")
            assert socket.receive_text() == "ada: hello"
        socket.send_text("too much")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
        assert closed.value.reason == "More than 3 requests in a minute"
    for name in ("ada", "nobody"):
        with pytest.raises(WebSocketDisconnect), app.websocket_connect("/echo", headers=as_(name)):
            pass
    with ExitStack() as opened:
        for _ in range(2):
            opened.enter_context(app.websocket_connect("/echo", headers=as_("bob")))
        with pytest.raises(WebSocketDisconnect), app.websocket_connect("/echo", headers=as_("bob")):
            pass


@pytest.mark.parametrize(
    "guard",
    [
        Middleware(SocketOrigins, origins=pattern_of(["https://chat.example.com"])),
        Middleware(Protection, origins=pattern_of(["https://chat.example.com"])),
    ],
    ids=["with credentials", "without"],
)
def test_pages_of_other_sites_open_no_websocket(guard: Middleware) -> None:
    app = sockets(guard)
    for origin in (None, "http://127.0.0.1:2024", "https://chat.example.com"):
        with app.websocket_connect("/echo", headers=HERE if origin is None else {**HERE, "Origin": origin}) as socket:
            socket.send_text("hello")
            assert socket.receive_text() == ": hello"
    for origin in ("https://evil.example", "null"):
        with pytest.raises(WebSocketDisconnect), app.websocket_connect("/echo", headers={**HERE, "Origin": origin}):
            pass


def test_without_credentials_a_websocket_for_another_host_is_refused() -> None:
    headers = {"Host": "evil.example", "Origin": "http://evil.example"}
    with (
        pytest.raises(WebSocketDisconnect),
        sockets(Middleware(Protection)).websocket_connect("/echo", headers=headers),
    ):
        pass


def test_streams_of_a_caller_are_counted_while_they_are_open() -> None:
    asyncio.run(_streams())


async def _streams() -> None:
    release = asyncio.Event()
    app = Rates(_streaming(release), Limits(streams=2))
    opened = [asyncio.create_task(_statuses(app, "ada")) for _ in range(2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await _statuses(app, "ada") == [429]
    other = asyncio.create_task(_statuses(app, "bob"))
    release.set()
    assert [await each for each in (*opened, other)] == [[200]] * 3
    assert await _statuses(app, "ada") == [200]


def _streaming(release: asyncio.Event) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        await release.wait()
        await send({"type": "http.response.body", "body": b""})

    return app


async def _statuses(app: Any, name: str) -> list[int]:
    found: list[int] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found.append(message["status"])

    scope = {"type": "http", "path": "/x", "headers": [], "stategraph.server.caller": Caller(name)}
    await app(scope, None, send)
    return found


def test_a_caller_has_what_it_made() -> None:
    async def scenario() -> None:
        authorize = owned_by("ada")
        value: dict[str, Any] = {"metadata": {"owner": "bob", "x": 1}}
        assert await authorize("threads", "create", value) == {"owner": "ada"}
        assert value == {"metadata": {"owner": "ada", "x": 1}}
        assert await authorize("threads", "search", {}) == {"owner": "ada"}
        seen = await authorize("assistants", "read", {})
        assert [
            passes(seen, metadata) for metadata in ({"owner": "ada"}, {"created_by": "system"}, {"owner": "bob"}, {})
        ] == [True, True, False, False]
        assert await authorize("assistants", "delete", {}) == {"owner": "ada"}
        for given in ((), ("x",), ("user:ada", "x")):
            value = {"namespace": given}
            await authorize("store", "put", value)
            assert value["namespace"][0] == "user:ada"

    asyncio.run(scenario())


def test_namespaces_of_callers_cannot_be_one() -> None:
    names = ["a", "a.b", "a%2Eb", "a/b", "user:a", "ü", "a b", "A"]
    labels = {own_namespace(each, ())[0] for each in names}
    assert len(labels) == len(names) and not any("." in each for each in labels)
    assert own_namespace("ada", ("user:bob", "x")) == ("user:ada", "user:bob", "x")


@pytest.mark.parametrize(
    ("condition", "metadata", "seen"),
    [
        (None, {}, True),
        ({"owner": {"$eq": "ada"}}, {"owner": "ada"}, True),
        ({"tags": {"$contains": "x"}}, {"tags": ["x", "y"]}, True),
        ({"tags": {"$contains": ["x", "y"]}}, {"tags": ["x"]}, False),
        ({"tags": {"$contains": "x"}}, {"tags": "xyz"}, False),
        ({"owner": {"$gt": "a"}}, {"owner": "ada"}, False),
        ({"$and": [{"a": 1}, {"b": 2}]}, {"a": 1, "b": 2}, True),
    ],
)
def test_filters(condition: Any, metadata: Any, seen: bool) -> None:
    assert passes(condition, metadata) is seen


def test_nobody_is_a_caller_without_a_name() -> None:
    assert ANYONE.identity == ""
