"""The server of the run API, as an application: its token, its health, its errors; without the page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

pytest.importorskip("starlette")

from starlette.testclient import TestClient

from stategraph import AgentInputs
from stategraph.errors import ConfigurationError
from stategraph.server.application import create_app
from stategraph.server.routes import routes
from stategraph.testing import ScriptedChatModel

TOKEN = "a-token-of-the-test"
WITH_TOKEN = {"Authorization": f"Bearer {TOKEN}"}


def desk() -> AgentInputs:
    return AgentInputs(agent_id="desk", name="Desk", model=ScriptedChatModel(replies=["Hello."]))


def create(client: TestClient, thread: str) -> None:
    """Make a thread whose id is the host's own, as a program with the same store does."""
    app: Any = client.app
    assert client.portal is not None
    client.portal.call(app.state.conversations.runtime.threads.create, thread)


@pytest.fixture
def client() -> Iterator[TestClient]:
    with TestClient(create_app(desk(), token=TOKEN), base_url="http://agents.example") as client:
        yield client


def test_a_turn_is_begun_and_read(client: TestClient) -> None:
    client.headers.update(WITH_TOKEN)
    thread = client.post("/v1/threads", json={"title": "One"}).json()["id"]
    assert client.post(f"/v1/threads/{thread}/turns", json={"run_id": "r", "text": "hi"}).status_code == 201
    frames = client.get("/v1/runs/r/events").text.split("\n\n")
    events = [json.loads(line.removeprefix("data: ")) for frame in frames for line in frame.splitlines()[2:]]
    assert events[-1]["event"] == "on_run_end"
    assert client.get(f"/v1/threads/{thread}").json()["turns"][-1]["content"][0]["text"] == "Hello."
    assert client.post("/v1/runs/none/stop").status_code == 404


@pytest.mark.parametrize("thread", ["user/42", "a/files/b/events", "/", "ü/%2F?#"])
def test_the_id_of_a_thread_may_have_slashes(client: TestClient, thread: str) -> None:
    client.headers.update(WITH_TOKEN)
    address = f"/v1/threads/{quote(thread, safe='')}"
    create(client, thread)
    assert client.post(f"{address}/turns", json={"run_id": "r", "text": "hi"}).status_code == 201
    client.get("/v1/runs/r/events")
    assert client.get(address).json()["thread"]["id"] == thread
    assert client.get(f"{address}/export").json()["thread"]["id"] == thread
    assert client.patch(address, json={"title": "x"}).json()["title"] == "x"
    wrong = client.get(f"{address}/files/threads/x%2Fy")
    assert (wrong.status_code, wrong.json()["error"]) == (404, f"Thread '{thread}' has no file 'threads/x/y'")
    assert client.get(f"{address}/nothing").status_code == 404
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


@pytest.mark.parametrize(
    "header",
    [None, "", TOKEN, "Bearer", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", "Bearer \xe9"],
)
@pytest.mark.parametrize("path", ["/v1/threads", "/v1/nothing", "/", "/static/js/app.js", "/api/threads"])
def test_nothing_is_told_without_the_token(client: TestClient, header: str | None, path: str) -> None:
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    refused = client.get(path, headers=headers)  # type: ignore[arg-type]
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["detail"].startswith("The request has no token, or another one")
    assert TOKEN not in refused.text


def test_there_is_no_page_and_every_error_is_json(client: TestClient) -> None:
    client.headers.update(WITH_TOKEN)
    for path in ("/", "/static/js/app.js", "/api/threads", "/v1"):
        missing = client.get(path)
        assert (missing.status_code, "detail" in missing.json()) == (404, True)
    assert client.post("/v1/threads", content="{}").status_code == 415
    assert client.get("/v1/threads").headers["x-content-type-options"] == "nosniff"
    assert client.get("/v1/threads", headers={"Authorization": f"bearer  {TOKEN}"}).status_code == 200


def test_while_it_stops_nothing_begins_and_all_is_read(client: TestClient) -> None:
    assert (client.get("/health").status_code, client.get("/health").json()) == (200, {"status": "ok"})
    client.headers.update(WITH_TOKEN)
    thread = client.post("/v1/threads", json={}).json()["id"]
    client.app.state.stopping = True  # type: ignore[attr-defined]
    stopping = client.get("/health")
    assert (stopping.status_code, stopping.json()) == (503, {"status": "stopping"})
    for path in ("threads", f"threads/{thread}/turns", f"threads/{thread}/answers", f"threads/{thread}/continue"):
        refused = client.post(f"/v1/{path}", json={})
        assert (refused.status_code, refused.json()["error"][:22]) == (503, "The server is stopping")
    assert client.get(f"/v1/threads/{thread}").status_code == 200
    assert client.post("/v1/runs/none/stop").status_code == 404


def test_without_a_token_pages_of_other_sites_are_kept_away() -> None:
    with TestClient(create_app(desk()), base_url="http://localhost:8000") as client:
        assert client.get("/v1/threads").status_code == 200
        assert client.get("/v1/threads", headers={"Host": "elsewhere.example"}).status_code == 403
        assert client.post("/v1/threads", json={}, headers={"Origin": "http://elsewhere.example"}).status_code == 403


@pytest.mark.parametrize("token", ["", "short", "spaces in a long token", "umlauts-\xe4\xf6\xfc-in-a-token"])
def test_a_token_that_is_guessed_or_cannot_be_sent_is_refused_and_not_told(token: str) -> None:
    with pytest.raises(ConfigurationError, match="16 characters or more") as refused:
        create_app(desk(), token=token)
    assert not token or token not in str(refused.value)


def test_paths_have_the_version_and_no_other_prefix() -> None:
    assert [each.path for each in routes if not each.path.startswith("/v1/")] == ["/health"]
