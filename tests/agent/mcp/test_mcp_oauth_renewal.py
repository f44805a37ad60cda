"""Refreshing tokens side by side, across cancellation and closing; what errors show of a token endpoint's answer."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import anyio
import httpx2
import pytest

from stategraph.agent.mcp.exchange import Request
from stategraph.agent.mcp.http import Door
from stategraph.agent.mcp.oauth import AuthorizationCode, MemoryTokens, renewal
from stategraph.agent.mcp.oauth.flow import Authorization, AuthorizationFailed
from stategraph.agent.mcp.servers import HttpServer
from stategraph.agent.settings.secrets import Secrets

pytestmark = pytest.mark.anyio

SERVER = "https://mcp.example.com/mcp"
LOGIN = "https://login.example.com"
BACK = "https://chat.example.com/back"
METADATA = {
    "issuer": LOGIN,
    "authorization_endpoint": f"{LOGIN}/authorize",
    "token_endpoint": f"{LOGIN}/token",
    "registration_endpoint": f"{LOGIN}/register",
    "response_types_supported": ["code"],
    "code_challenge_methods_supported": ["S256"],
}
RESOURCE = {"resource": SERVER, "authorization_servers": [LOGIN]}

Answer = Callable[[dict[str, str]], Awaitable[httpx2.Response]]


async def nothing() -> None:
    """Do nothing."""


class Remote(httpx2.AsyncBaseTransport):
    """A server and its authorization server, which takes a refresh token once.

    Attributes:
        refreshed: The refresh tokens that were sent.
        before_answer: Awaited when a new token was made, before it is sent.
        when_refused: Awaited before a refresh token is refused.
        without_token: Awaited when the server is sent a request without a token.
        token: Answers at the token endpoint in its place.
        moved: Where the token endpoint redirects to.
        closed: The access tokens that were good when the connections were closed.
    """

    def __init__(self) -> None:
        self.good: set[str] = set()
        self.refresh = "refresh-token-0"
        self.refreshed: list[str] = []
        self.before_answer = self.when_refused = self.without_token = nothing
        self.token: Answer = self.renew
        self.moved: str | None = None
        self.closed: list[str] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        match address := str(request.url):
            case _ if address == SERVER:
                header = request.headers.get("authorization", "")
                if not header:
                    await self.without_token()
                return httpx2.Response(200 if header.removeprefix("Bearer ") in self.good else 401)
            case _ if "oauth-protected-resource" in address:
                return httpx2.Response(200, json=RESOURCE)
            case _ if "/.well-known/" in address:
                return httpx2.Response(200, json=METADATA)
            case _ if address == f"{LOGIN}/token" and self.moved is not None:
                return httpx2.Response(307, headers={"location": self.moved})
        return await self.token(dict(parse_qsl((await request.aread()).decode())))

    async def aclose(self) -> None:
        self.closed += self.good

    async def renew(self, sent: dict[str, str]) -> httpx2.Response:
        self.refreshed.append(sent["refresh_token"])
        if sent["refresh_token"] != self.refresh:
            await self.when_refused()
            return httpx2.Response(400, json={"error": "invalid_grant"})
        granted = self.grant()
        await self.before_answer()
        return httpx2.Response(200, json=granted)

    def grant(self) -> dict[str, Any]:
        number = len(self.refreshed)
        self.refresh = f"refresh-token-{number}"
        self.good.add(f"access-token-{number}")
        access = f"access-token-{number}"
        return {"access_token": access, "token_type": "Bearer", "expires_in": 3600, "refresh_token": self.refresh}


class Person:
    """Somebody who agrees at once."""

    def __init__(self) -> None:
        self.asked = 0

    async def __call__(self, page: str) -> str:
        self.asked += 1
        return f"{BACK}?code=code-of-the-person&state={parse_qs(urlsplit(page).query)['state'][0]}"


def document(tokens: dict[str, Any], ends_in_s: float) -> str:
    client = {"client_id": "c", "redirect_uris": [BACK], "issuer": LOGIN, "token_endpoint_auth_method": "none"}
    kept = {"tokens": tokens, "ends_at": time.time() + ends_in_s, "client": client}
    return json.dumps(kept | {"authorization_server": METADATA, "resource": RESOURCE})


async def stored(ends_in_s: float = -10.0) -> MemoryTokens:
    """A storage with a token that the server does not take any more."""
    kept = MemoryTokens()
    tokens = {"access_token": "access-token-old", "token_type": "Bearer", "refresh_token": "refresh-token-0"}
    await kept.save(SERVER, document(tokens, ends_in_s))
    return kept


class Session:
    """The authorization of one session."""

    def __init__(self, remote: Remote, kept: MemoryTokens, person: Person, timeout_s: float = 5.0) -> None:
        settings = AuthorizationCode(authorize=person, redirect_uri=BACK, storage=kept)
        self.authorization = Authorization(SERVER, settings, Secrets(), remote, timeout_s)
        self.aclose = self.authorization.aclose

    async def status(self) -> int:
        return (await self.authorization.send(httpx2.Request("POST", SERVER, json={}))).status_code


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def person() -> Person:
    return Person()


def renewing() -> list[asyncio.Task[Any]]:
    return [each for each in asyncio.all_tasks() if each.get_name().startswith("token of MCP server")]


# Side by side.


@pytest.mark.parametrize("ends_in_s", [-10.0, 1000.0], ids=["ended", "refused"])
async def test_sessions_with_one_storage_refresh_once(remote: Remote, person: Person, ends_in_s: float) -> None:
    kept = await stored(ends_in_s)
    remote.before_answer = remote.when_refused = lambda: asyncio.sleep(0.02)
    sessions = [Session(remote, kept, person) for _ in range(4)]
    assert await asyncio.gather(*(session.status() for session in sessions)) == [200] * 4
    assert (remote.refreshed, person.asked) == (["refresh-token-0"], 0)
    assert json.loads(await kept.load(SERVER) or "")["tokens"]["refresh_token"] == remote.refresh


async def test_a_turn_is_kept_from_other_event_loops_and_left_by_who_is_cancelled() -> None:
    kept, inside, others = MemoryTokens(), threading.Event(), threading.Event()

    async def elsewhere() -> None:
        async with renewal.turn(kept, SERVER):
            inside.set()

    async with renewal.turn(kept, SERVER), renewal.turn(kept, "https://other.example.com/mcp"):
        thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
        thread.start()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                async with renewal.turn(kept, SERVER):
                    others.set()
        assert not inside.is_set() and not others.is_set()
    await asyncio.to_thread(thread.join, 10)
    assert inside.is_set() and not renewal._held


@pytest.mark.parametrize(
    ("when", "ends_in_s"), [("when_refused", -10.0), ("when_refused", 1000.0), ("without_token", -10.0)]
)
async def test_a_token_that_another_process_got_first_is_taken_when_ours_is_refused(
    remote: Remote, person: Person, when: str, ends_in_s: float
) -> None:
    kept = await stored(ends_in_s)
    remote.refreshed.append("refresh-token-0")
    granted = remote.grant()

    async def saved() -> None:
        await kept.save(SERVER, document(granted, 3600.0))

    setattr(remote, when, saved)
    assert await Session(remote, kept, person).status() == 200
    assert (remote.refreshed, person.asked) == (["refresh-token-0"] * 2, 0)


async def test_a_token_that_ended_is_looked_for_in_the_storage_first(remote: Remote, person: Person) -> None:
    kept = await stored()
    first, second = Session(remote, kept, person), Session(remote, kept, person)
    assert [await first.status(), await second.status()] == [200, 200]
    first.authorization._provider.context.token_expiry_time = 1.0
    remote.refreshed.append("by another process")
    await kept.save(SERVER, document(remote.grant(), 3600.0))
    assert await first.status() == 200
    assert (remote.refreshed, person.asked) == (["refresh-token-0", "by another process"], 0)


async def test_a_refused_refresh_token_is_sent_once_before_a_person_is_asked(remote: Remote, person: Person) -> None:
    kept, first = await stored(), remote.renew
    remote.refresh = "another"

    async def token(sent: dict[str, str]) -> httpx2.Response:
        return await first(sent) if "refresh_token" in sent else httpx2.Response(200, json=remote.grant())

    remote.token = token
    assert await Session(remote, kept, person).status() == 200
    assert (remote.refreshed, person.asked) == (["refresh-token-0"], 1)


# Cancelled, closed, away.


@pytest.fixture
def held(remote: Remote) -> Iterator[tuple[asyncio.Event, asyncio.Event]]:
    """Set when a new token was made; to be set when it may be sent."""
    made, sent = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        made.set()
        await sent.wait()

    remote.before_answer = hold
    yield made, sent


Held = tuple[asyncio.Event, asyncio.Event]


async def cancelled_in_the_middle(session: Session, made: asyncio.Event) -> None:
    call = asyncio.create_task(session.status())
    await asyncio.wait_for(made.wait(), 10)
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call


async def test_a_refresh_outlives_the_request_that_is_given_up(remote: Remote, person: Person, held: Held) -> None:
    session = Session(remote, await stored(), person)
    made, sent = held
    await cancelled_in_the_middle(session, made)
    following = asyncio.create_task(session.status())
    await asyncio.sleep(0)
    sent.set()
    assert await following == 200
    assert (remote.refreshed, person.asked) == (["refresh-token-0"], 0)
    await session.aclose()
    assert not renewing()


async def test_closing_waits_for_a_refresh_even_in_a_cancelled_scope(
    remote: Remote, person: Person, held: Held
) -> None:
    kept = await stored()
    session = Session(remote, kept, person)
    made, sent = held
    await cancelled_in_the_middle(session, made)
    asyncio.get_running_loop().call_later(0.05, sent.set)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await session.aclose()
    assert not renewing()
    assert json.loads(await kept.load(SERVER) or "")["tokens"]["refresh_token"] == "refresh-token-1"


async def test_the_connections_of_a_server_are_closed_after_a_refresh(
    remote: Remote, person: Person, held: Held
) -> None:
    kept, made, sent = await stored(), *held
    oauth = AuthorizationCode(authorize=person, redirect_uri=BACK, storage=kept)
    server = HttpServer(url=SERVER, oauth=oauth)
    door = Door(server, Secrets(), Request(), lambda: None, remote)
    call = asyncio.create_task(door.handle_async_request(httpx2.Request("GET", SERVER)))
    await asyncio.wait_for(made.wait(), 10)
    call.cancel()
    closing = asyncio.create_task(door.aclose())
    await asyncio.wait((call,))
    assert not remote.closed
    sent.set()
    await closing
    assert remote.closed == [json.loads(await kept.load(SERVER) or "")["tokens"]["access_token"]] == ["access-token-1"]


async def test_closing_does_not_wait_for_ever(
    remote: Remote, person: Person, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renewal, "CLOSING_S", 0.01)
    session = Session(remote, await stored(), person, timeout_s=1000.0)
    await cancelled_in_the_middle(session, held[0])
    async with asyncio.timeout(10):
        await session.aclose()
    assert not renewing() and not renewal._held


async def test_an_authorization_server_that_does_not_answer_a_refresh_is_said_to_be_away(
    remote: Remote, person: Person, held: Held
) -> None:
    with pytest.raises(AuthorizationFailed, match=r"login.example.com/token did not answer \(TimeoutError\)"):
        await Session(remote, await stored(), person, timeout_s=0.05).status()
    assert (person.asked, renewal._held) == (0, {})


@pytest.mark.parametrize(
    ("moved", "asked"), [(f"{LOGIN}/token/", 0), ("https://elsewhere.example.com/token", 1)], ids=["within", "away"]
)
async def test_a_refresh_follows_redirects_within_the_origin(
    remote: Remote, person: Person, moved: str, asked: int
) -> None:
    remote.moved = moved
    session = Session(remote, await stored(), person)
    if asked:
        with pytest.raises(AuthorizationFailed, match="307"):
            await session.status()
    else:
        assert await session.status() == 200
    assert (len(remote.refreshed), person.asked) == (1 - asked, asked)


# What errors show.


@pytest.mark.parametrize(
    ("status", "said"),
    [(200, r"Invalid token response: access_token: Field required"), (206, r"Token exchange failed \(206\): $")],
)
async def test_tokens_in_an_answer_that_is_not_understood_are_not_repeated(
    remote: Remote, person: Person, status: int, said: str
) -> None:
    unknown = {"token": "at-secret-9876543210", "refresh_token": "rt-very-secret-0123456789"}

    async def token(sent: dict[str, str]) -> httpx2.Response:
        return httpx2.Response(status, json=unknown)

    remote.token = token
    with pytest.raises(AuthorizationFailed, match=said) as caught:
        await Session(remote, await stored(), person).status()
    assert not [part for part in ("at-secret", "9876", "very-secret", "0123456789") if part in str(caught.value)]


async def test_a_code_and_its_verifier_that_are_sent_back_are_hidden(remote: Remote, person: Person) -> None:
    seen: dict[str, str] = {}

    async def token(sent: dict[str, str]) -> httpx2.Response:
        seen.update(sent)
        return httpx2.Response(400, json={"error": "invalid_request", "sent": sent})

    remote.token = token
    with pytest.raises(AuthorizationFailed, match="invalid_request") as caught:
        await Session(remote, await stored(), person).status()
    assert seen["code"] == "code-of-the-person"
    assert not [name for name in ("code", "code_verifier", "refresh_token") if seen[name] in str(caught.value)]


async def test_an_answer_that_is_no_text_is_an_error_of_the_authorization(remote: Remote, person: Person) -> None:
    async def token(sent: dict[str, str]) -> httpx2.Response:
        return httpx2.Response(400, content=b"\xff\xfe")

    remote.token = token
    with pytest.raises(AuthorizationFailed, match="can't decode byte 0xff"):
        await Session(remote, await stored(), person).status()
