"""The HTTP interface of a host."""

from __future__ import annotations

from collections.abc import AsyncGenerator

import httpx
import pytest

from stategraph.fleet.adapters.host import MOST_BYTES
from stategraph.fleet.adapters.port import About, Fact, Sessions, Turn
from tests.fleet.adapters.asking import URL, hosted

pytestmark = pytest.mark.anyio
CARD = f"{URL}/.well-known/agent-card.json"
TOKEN = "a-token-of-sixteen"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def echo(turn: Turn) -> AsyncGenerator[Fact | str]:
    yield turn.message.text


async def test_the_card_says_who_answers_and_has_an_etag() -> None:
    skills = {"weather": "Say how the weather is", "news": ""}
    about = About("scripted", "2.1", "Says things", skills)
    async with hosted(Sessions(about, lambda context_id: None)) as asks:  # type: ignore[arg-type, return-value]
        answer = await asks.http.get(CARD)
        card = answer.json()
        assert (card["name"], card["description"], card["version"]) == ("agent", "Says things", "2.1")
        assert card["supportedInterfaces"][0] == {"url": URL, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}
        assert [(each["id"], each["description"], each["tags"]) for each in card["skills"]] == [
            ("weather", "Say how the weather is", ["scripted"]),
            ("news", "news", ["scripted"]),
        ]
        again = await asks.http.get(CARD, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert answer.headers["cache-control"] == "public, max-age=30"


async def test_an_agent_that_says_nothing_of_itself_has_a_card_all_the_same() -> None:
    async with hosted(echo) as asks:
        card = (await asks.http.get(CARD)).json()
        assert card["description"] == "An agent of scripted 1"
        assert [each["id"] for each in card["skills"]] == ["agent"]


async def test_statistics_and_health_are_told() -> None:
    async with hosted(echo) as asks:
        await asks.ask("hi", "a")
        said = (await asks.http.get(f"{URL}/statistics")).json()
        assert (said["agent"], said["framework"], said["requests"], said["conversations"]) == (
            "agent",
            "scripted",
            1,
            1,
        )
        assert said["latency"]["count"] == 1
        assert (await asks.http.get(f"{URL}/health")).json()["status"] == "ok"


async def test_a_draining_host_sends_requests_elsewhere() -> None:
    async with hosted(echo) as asks:
        asks.host.is_draining = True
        for answer in (
            await asks.http.get(CARD),
            await asks.http.get(f"{URL}/health"),
            await asks.http.post(URL, json={}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        assert (await asks.http.get(f"{URL}/statistics")).status_code == 200


async def test_a_token_is_asked_for_by_all_but_card_and_health() -> None:
    async with hosted(echo, token=TOKEN) as asks:
        assert (await asks.ask("hi")).text == "hi"
        async with httpx.AsyncClient(transport=httpx.ASGITransport(asks.host.app)) as stranger:
            assert (await stranger.post(URL, json={})).status_code == 401
            assert (await stranger.get(f"{URL}/statistics")).headers["www-authenticate"] == "Bearer"
            for wrong in ("Bearer nonsense", f"Basic {TOKEN}", "Bearer", f"Bearer {TOKEN}x"):
                refused = await stranger.get(f"{URL}/statistics", headers={"Authorization": wrong})
                assert refused.status_code == 401
            card = (await stranger.get(CARD)).json()
            assert card["securitySchemes"] == {"bearer": {"httpAuthSecurityScheme": {"scheme": "bearer"}}}
            assert card["securityRequirements"]
            assert (await stranger.get(f"{URL}/health")).status_code == 200


async def test_bodies_have_a_length_and_a_limit() -> None:
    async with hosted(echo) as asks:

        async def endless() -> AsyncGenerator[bytes]:
            yield b"{"

        assert (await asks.http.post(URL, content=endless())).status_code == 411
        headers = {"Content-Length": str(MOST_BYTES + 1)}
        assert (await asks.http.post(URL, content=b"{}", headers=headers)).status_code == 413
        assert (await asks.http.post(URL, content=b"{}", headers={"Content-Length": "many"})).status_code == 413


async def test_rubbish_is_an_error_of_the_protocol() -> None:
    async with hosted(echo) as asks:
        assert "error" in await asks.call("Nonsense")
        assert "error" in await asks.call("SendMessage", message={"role": "ROLE_USER", "messageId": "m", "parts": []})
        assert (await asks.http.post(URL, content=b"{", headers={"A2A-Version": "1.0"})).json()["error"][
            "code"
        ] == -32700
        assert asks.host.counter.active == 0
