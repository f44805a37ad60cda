"""Logs, metrics, pages of other origins, settings from a file, the application of a program."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from stategraph import AgentInputs
from stategraph.errors import ConfigurationError
from stategraph.server import configuring
from stategraph.server.access import api_keys
from stategraph.server.application import create_app
from stategraph.server.custom import within
from stategraph.server.service.values import Caller
from stategraph.server.settings import Settings
from stategraph.testing import ScriptedChatModel

TOKEN = "a-token-of-the-test"


def app(**options: Any) -> Starlette:
    desk = AgentInputs(agent_id="desk", name="Desk", model=ScriptedChatModel(replies=["Hello."]))
    return create_app(desk, **options)


def client(**options: Any) -> TestClient:
    return TestClient(app(**options), base_url="http://localhost:2024")


def test_a_line_of_the_log_has_no_query_and_no_header(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "stategraph.server.access_log"):
        one = client(token=TOKEN, settings=Settings(access_log=True))
        one.get("/v1/threads?api_key=hidden&x=1", headers={"Authorization": f"Bearer {TOKEN}", "Cookie": "hidden"})
        one.get("/v1/a%0Ab", headers={"Authorization": "Bearer hidden"})
    lines = [each.getMessage() for each in caplog.records]
    assert [line.split()[1:5] for line in lines] == [["-", "GET", "/v1/threads", "200"], ["-", "GET", "/v1/a?b", "401"]]
    assert not any("hidden" in line or TOKEN in line for line in lines)


def test_metrics_name_routes_and_not_paths() -> None:
    with client() as one:
        thread = one.post("/v1/threads", json={}).json()["id"]
        one.get(f"/v1/threads/{thread}")
        one.get("/v1/threads/none")
        one.get("/nothing/at/all")
        text = one.get("/metrics").text
    route = 'http_route="/v1/threads/{thread_id}",http_request_method="GET",http_response_status_code'
    assert f'http_server_request_duration_seconds_count{{{route}="200"}} 1\n' in text
    assert f'http_server_request_duration_seconds_count{{{route}="404"}} 1\n' in text
    assert 'http_route="",http_request_method="GET",http_response_status_code="404"' in text
    assert thread not in text and "nothing" not in text
    assert "http_server_active_requests 1\n" in text and "stategraph_server_streams 0\n" in text
    buckets = [line for line in text.splitlines() if line.startswith("http_server_request_duration_seconds_bucket")]
    assert all(line.rpartition(" ")[2] == "1" for line in buckets if 'le="+Inf"' in line)


def test_no_page_of_another_origin_reads_anything_unless_it_is_named() -> None:
    origin = {"Origin": "https://chat.example.com"}
    asked = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    assert "access-control-allow-origin" not in client().get("/ok", headers=origin).headers
    assert client().post("/v1/threads", json={}, headers=origin).status_code == 403
    with client(settings=Settings(cors=["https://chat.example.com", "http://localhost:*"])) as one:
        allowed = one.options("/v1/threads", headers=asked)
        assert (allowed.status_code, allowed.headers["access-control-allow-origin"]) == (200, origin["Origin"])
        made = one.post("/v1/threads", json={}, headers=origin)
        assert (made.status_code, made.headers["access-control-allow-origin"]) == (201, origin["Origin"])
        assert one.post("/v1/threads", json={}, headers={"Origin": "http://localhost:3000"}).status_code == 201
        for other in ("https://chat.example.com.evil.example", "http://localhost.evil.example", "https://localhost:1"):
            assert one.options("/v1/threads", headers={**asked, "Origin": other}).status_code == 400
            assert one.post("/v1/threads", json={}, headers={"Origin": other}).status_code == 403


def test_a_preflight_needs_no_credentials_and_a_refusal_can_be_read() -> None:
    one = client(token=TOKEN, settings=Settings(cors=["https://chat.example.com"]))
    asked = {"Origin": "https://chat.example.com", "Access-Control-Request-Method": "GET"}
    assert one.options("/v1/threads", headers=asked).status_code == 200
    refused = one.get("/v1/threads", headers={"Origin": "https://chat.example.com"})
    assert (refused.status_code, "access-control-allow-origin" in refused.headers) == (401, True)


@pytest.mark.parametrize("origin", ["chat.example.com", "https://", "https://a/b", "null"])
def test_an_origin_that_is_none(origin: str) -> None:
    with pytest.raises(ConfigurationError, match="origin"):
        client(settings=Settings(cors=[origin]))


def test_ok_and_the_end() -> None:
    one = client(token=TOKEN)
    assert one.get("/ok").json() == {"ok": True}
    one.app.state.stopping = True  # type: ignore[attr-defined]
    stopping = one.get("/ok")
    assert (stopping.status_code, stopping.headers["retry-after"]) == (503, "5")


def written(folder: Path, text: str) -> Path:
    (folder / "server.toml").write_text(text, encoding="utf-8")
    return folder / "server.toml"


def test_hosts_of_the_settings_may_be_told_of_ends_and_others_not() -> None:
    for hosts, status in ((["127.0.0.1"], 200), ([], 422)):
        with client(settings=Settings(webhook_hosts=hosts)) as one:
            asked = {"assistant_id": "desk", "after_seconds": 600, "webhook": "http://127.0.0.1:1/told"}
            answer = one.post("/runs", json=asked)
            assert answer.status_code == status, answer.text


def test_settings_are_read_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATEGRAPH_JWT_SECRET", "a-secret-of-thirty-two-bytes-or-more")
    secret, key = api_keys.make("ada")
    (tmp_path / "keys.jsonl").write_text(f"{key.to_line()}\n", encoding="utf-8")
    settings = configuring.read(
        written(
            tmp_path,
            """
            cors = ["https://chat.example.com"]
            protocols = ["runs", "langgraph", "mcp"]
            webhook_hosts = ["127.0.0.1"]
            drain_s = 5
            access_log = true

            [limits]
            body_bytes = 1000

            [auth.jwt]
            issuer = "https://id.example.com/"
            audience = "https://agents.example.com"

            [auth.api_keys]
            file = "keys.jsonl"

            [auth.oauth]
            resource = "https://agents.example.com"
            issuers = { "https://id.example.com/" = "https://id.example.com/keys" }

            [auth.proxies]
            networks = ["10.0.0.0/8"]
            """,
        )
    )
    names = [type(each).__name__ for each in settings.auth]
    assert names == ["TrustedProxies", "ApiKeys", "OAuthResource", "Jwt"]
    assert (settings.limits.body_bytes, settings.limits.streams, settings.drain_s) == (1000, 100, 5.0)
    assert settings.webhook_hosts == ("127.0.0.1",)
    with client(settings=settings) as one:
        assert one.get("/v1/threads").status_code == 401
        assert one.get("/v1/threads", headers={"X-Api-Key": secret}).status_code == 200
        metadata = one.get("/.well-known/oauth-protected-resource/mcp").json()
        assert metadata["resource"] == "https://agents.example.com/mcp"
        assert metadata["authorization_servers"] == ["https://id.example.com/"]


def test_skills_for_clients_of_mcp_are_loaded_from_their_folders(tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    (tmp_path / "desk" / "SKILL.md").write_text("---\nname: desk\ndescription: Answer people.\n---\nHello.\n")
    settings = configuring.read(written(tmp_path, "[mcp]\nname = 'Desk'\nskills = ['desk']"))
    mcp = settings.options["mcp"]
    assert (mcp.name, [each.name for each in mcp.skills]) == ("Desk", ["desk"])


def test_the_cards_of_agents_and_secrets_of_their_clients_are_set_in_the_file(tmp_path: Path) -> None:
    settings = configuring.read(written(tmp_path, "[a2a]\norganization = 'Example'\npush_secrets = false"))
    a2a = settings.options["a2a"]
    assert (a2a.organization, a2a.push_secrets, a2a.pushes) == ("Example", False, True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "no TOML"),
        ("corse = []", "corse is not known"),
        ("cors = 'x'", "list of texts"),
        ("protocols = ['x']", "no protocol 'x'"),
        ("[limits]\nbody_bytes = -1", "body_bytes is -1"),
        ("[limits]\nbody_bytes = true", "body_bytes is True"),
        ("[limits]\nbytes = 1", "bytes is not known"),
        ("[auth]\nx = 1", "x is not known"),
        ("[auth.jwt]\nissuer = 'x'", "STATEGRAPH_JWT_SECRET"),
        ("[auth.jwt]\nissuer = 'x'\nsecret = 'y'", "STATEGRAPH_JWT_SECRET"),
        ("[auth.jwt]\nissuer = 'x'\njwks_url = 'http://id.example.com'", "https"),
        ("[auth.jwt]\njwks_url = 'https://id.example.com'", "issuer"),
        ("[auth.jwt]\nissuer='x'\naudience='y'\njwks_url='https://id.example.com'\nalgorithm='x'", "algorithm"),
        ("[auth.proxies]\nnetworks = ['0.0.0.0/0']", "not all addresses"),
        ("[auth.api_keys]\nfile = 'none'", "cannot be read"),
        ("[auth.oauth]\nresource = 'https://x.example.com'", "authorization server"),
        ("[a2a]\npush_secrets = 'no'", "push_secrets is 'no'; expected true or false"),
        ("[a2a]\norganization = true", "expected a text"),
        ("[a2a]\nsigning = 'x'", r"signing is 'x'; expected tables, \[\[a2a.signing\]\]"),
        ("[a2a]\nsignature = 'x'", "signature is not known"),
        ("[mcp]\nskills = ['none']", "there is no such folder"),
        ("[mcp]\nname = 1", "expected a text"),
        ("[mcp]\ntools = 1", "tools is not known"),
        ("drain_s = 'x'", "seconds"),
        ("access_log = 1", "true or false"),
        ("auth = 1", "expected a table"),
    ],
)
def test_settings_that_make_no_sense_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as error:
        configuring.read(written(tmp_path, text))
    assert "server.toml" in str(error.value)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        configuring.read(tmp_path / "none.toml")


def test_routes_of_a_program_come_first_and_its_lifespan_is_around_the_servers() -> None:
    order: list[str] = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[dict[str, str]]:
        order.append("begin")
        yield {"mine": "yes"}
        order.append("end")

    async def hello(request: Request) -> JSONResponse:
        return JSONResponse({"mine": request.state.mine})

    async def marked(request: Request, call_next: Any) -> Any:
        answer = await call_next(request)
        answer.headers["x-mine"] = "1"
        return answer

    own = Starlette(
        routes=[Route("/hello", hello), Route("/ok", hello), Route("/docs", hello, name="swagger_ui_html")],
        middleware=[Middleware(BaseHTTPMiddleware, dispatch=marked)],
        lifespan=lifespan,
    )
    with TestClient(within(own, app(token=TOKEN)), base_url="http://agents.example") as one:
        assert one.get("/hello").json() == {"mine": "yes"}
        assert one.get("/ok").json() == {"mine": "yes"}
        assert one.get("/docs").status_code == 401
        assert one.get("/v1/threads").status_code == 401
        listed = one.get("/v1/threads", headers={"Authorization": f"Bearer {TOKEN}"})
        assert (listed.status_code, listed.headers["x-mine"]) == (200, "1")
    assert order == ["begin", "end"]
    with pytest.raises(ConfigurationError, match="of type dict"):
        within({}, app())


def test_threads_of_the_run_api_are_their_owners() -> None:
    class Names:
        async def authenticate(self, connection: Any, /) -> Any:
            name = connection.headers.get("x-name")
            return Caller(name) if name else None

        def challenge(self) -> str:
            return ""

    with client(settings=Settings(auth=[Names()])) as one:
        ada, bob = {"X-Name": "ada"}, {"X-Name": "bob"}
        thread = one.post("/v1/threads", json={"title": "Secret"}, headers=ada).json()
        assert thread["owner"] == "ada"
        one.post(f"/v1/threads/{thread['id']}/turns", json={"run_id": "r", "text": "hi"}, headers=ada)
        one.get("/v1/runs/r/events", headers=ada)
        assert one.get("/v1/runs/r", headers=ada).status_code == 200
        assert len(one.get("/v1/threads?q=Secret", headers=ada).json()["threads"]) == 1
        assert one.get("/v1/threads", headers=bob).json()["threads"] == []
        assert one.get("/v1/threads?q=Secret", headers=bob).json()["threads"] == []
        paths = [f"threads/{thread['id']}{rest}" for rest in ("", "/events", "/export", "/files/x")] + [
            "runs/r",
            "runs/r/events",
        ]
        for path in paths:
            theirs, none = (
                one.get(f"/v1/{each}", headers=bob)
                for each in (path, path.replace(thread["id"], "none").replace("runs/r", "runs/none"))
            )
            assert theirs.status_code == none.status_code == 404
            assert "Secret" not in theirs.text and "hi" not in json.dumps(theirs.json())
        for path in ("turns", "answers", "continue"):
            body = {"run_id": "s", "text": "x"} if path == "turns" else {}
            assert one.post(f"/v1/threads/{thread['id']}/{path}", json=body, headers=bob).status_code == 404
        assert one.patch(f"/v1/threads/{thread['id']}", json={"title": "x"}, headers=bob).status_code == 404
        assert one.delete(f"/v1/threads/{thread['id']}", headers=bob).status_code == 404
        assert one.post("/v1/runs/r/stop", headers=bob).status_code == 404
        assert one.delete(f"/v1/threads/{thread['id']}", headers=ada).status_code == 204
