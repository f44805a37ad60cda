"""Authorization for HTTP servers, with an authorization server on loopback that behaves as it is told."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from mcp.server import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from examples.loopback_authority import Authority, serving
from stategraph.agent.mcp import (
    AuthorizationCode,
    ClientCredentials,
    HttpServer,
    McpSessions,
    McpUnauthorized,
    MemoryTokens,
)
from stategraph.agent.mcp.oauth import addresses
from stategraph.errors import ConfigurationError
from tests.agent.mcp.conftest import failing

pytestmark = pytest.mark.anyio

BACK = "http://127.0.0.1:8765/back"
server = MCPServer("guarded", log_level="CRITICAL")


@server.tool(structured_output=False)
def look() -> str:
    """Look."""
    return "seen"


@server.tool(structured_output=False)
def write() -> str:
    """Write."""
    return "written"


@server.tool(structured_output=False)
def leak(token: str) -> str:
    """Fail with what it was given."""
    raise ToolError(f"I was called with {token}")


def visit(page: str) -> str:
    """Open a page as a browser does, whose logs are not the program's, and return where it sends."""
    parts = urlsplit(page)
    browser = http.client.HTTPConnection(parts.netloc, timeout=10)
    try:
        browser.request("GET", f"{parts.path}?{parts.query}")
        return browser.getresponse().headers["location"]
    finally:
        browser.close()


class Person:
    """Somebody who agrees to what a page asks, and remembers the scopes."""

    def __init__(self, after_s: float = 0.0) -> None:
        self.after_s = after_s
        self.asked: list[str] = []
        self.codes: list[str] = []

    async def __call__(self, page: str) -> str:
        self.asked.append(parse_qs(urlsplit(page).query).get("scope", [""])[0])
        await asyncio.sleep(self.after_s)
        back = await asyncio.to_thread(visit, page)
        self.codes += parse_qs(urlsplit(back).query).get("code", [])
        return back


@pytest.fixture
def authority() -> Iterator[Authority]:
    with serving(Authority(), server) as started:
        yield started


@asynccontextmanager
async def opened(authority: Authority, person: Any = None, **more: Any) -> AsyncIterator[McpSessions]:
    """Sessions with the server, named `one`."""
    of_server = {name: more.pop(name) for name in ("connect_timeout_s", "call_timeout_s") if name in more}
    code = AuthorizationCode.model_validate({"authorize": person or Person(), "redirect_uri": BACK, **more})
    async with McpSessions({"one": HttpServer(url=authority.url, oauth=code, **of_server)}) as sessions:
        yield sessions


async def seen(sessions: McpSessions, tool: str = "look") -> Any:
    return (await sessions.call_tool("one", tool, {}))[0]


# A person agrees.


async def test_a_person_is_asked_once_and_the_token_goes_with_every_request(authority: Authority) -> None:
    person = Person()
    async with opened(authority, person) as sessions:
        assert await asyncio.gather(*(seen(sessions) for _ in range(8))) == ["seen"] * 8
    assert (len(person.asked), authority.asked["registration"], authority.asked["page"]) == (1, 1, 1)
    (token,) = authority.granted
    assert set(authority.seen[1:]) <= {"", f"Bearer {token}"}
    assert authority.seen[-1] == f"Bearer {token}"


async def test_a_token_that_is_refused_is_refreshed_and_nobody_is_asked(authority: Authority) -> None:
    person = Person()
    async with opened(authority, person) as sessions:
        assert await seen(sessions) == "seen"
        authority.revoke()
        assert await seen(sessions) == "seen"
        assert (len(person.asked), authority.asked["refresh_token"]) == (1, 1)
        authority.revoke()
        authority.refresh.clear()
        assert await seen(sessions) == "seen"
        assert len(person.asked) == 2


async def test_a_restart_knows_the_token_its_end_and_where_it_is_refreshed(authority: Authority) -> None:
    kept = MemoryTokens()
    async with opened(authority, storage=kept) as sessions:
        await seen(sessions)
    document = json.loads(await kept.load(authority.url) or "")
    assert document["tokens"]["access_token"] in authority.granted
    document["ends_at"] = 1.0
    await kept.save(authority.url, json.dumps(document))
    person, before = Person(), len(authority.seen)
    async with opened(authority, person, storage=kept) as sessions:
        assert await seen(sessions) == "seen"
    assert (person.asked, authority.asked["refresh_token"]) == ([], 1)
    assert f"Bearer {document['tokens']['access_token']}" not in authority.seen[before:]


async def test_a_token_that_another_process_got_is_taken_before_one_is_refreshed(authority: Authority) -> None:
    kept, person = MemoryTokens(), Person()
    async with opened(authority, person, storage=kept) as first, opened(authority, person, storage=kept) as second:
        assert [await seen(first), await seen(second)] == ["seen"] * 2
        for _ in range(2):
            authority.revoke()
            assert [await seen(first), await seen(second)] == ["seen"] * 2
    assert (len(person.asked), authority.asked["refresh_token"]) == (1, 2)


async def test_what_was_granted_by_an_issuer_that_is_not_allowed_any_more_is_not_refreshed(
    authority: Authority,
) -> None:
    kept = MemoryTokens()
    async with opened(authority, storage=kept) as sessions:
        await seen(sessions)
    authority.revoke()
    async with opened(authority, storage=kept, issuers=["https://login.example.com"]) as sessions:
        with failing(McpUnauthorized, "none of the `issuers`"):
            await seen(sessions)
    assert authority.asked["refresh_token"] == 0


@pytest.mark.parametrize("document", ["not JSON", "[]", '{"tokens": 1, "client": {}}'])
async def test_a_document_that_cannot_be_read_is_as_none(authority: Authority, document: str) -> None:
    kept, person = MemoryTokens(), Person()
    await kept.save(authority.url, document)
    async with opened(authority, person, storage=kept) as sessions:
        assert await seen(sessions) == "seen"
    assert len(person.asked) == 1


async def test_a_tool_that_needs_more_is_granted_more_and_keeps_the_rest(authority: Authority) -> None:
    authority.scopes["write"] = "notes:write"
    person = Person()
    async with opened(authority, person, scope="notes:read") as sessions:
        authority.resource["scopes_supported"] = ["notes:read"]
        assert await seen(sessions) == "seen"
        assert await seen(sessions, "write") == "written"
    assert [set(asked.split()) for asked in person.asked] == [{"notes:read"}, {"notes:read", "notes:write"}]


async def test_the_time_of_a_person_is_not_that_of_the_server(authority: Authority) -> None:
    async with opened(authority, Person(1.0), connect_timeout_s=0.8, call_timeout_s=0.8) as sessions:
        assert await seen(sessions) == "seen"
        authority.revoke()
        authority.refresh.clear()
        assert await seen(sessions) == "seen"


async def test_a_registered_client_is_not_registered_again(authority: Authority) -> None:
    authority.clients["me"] = "the-secret-of-me"
    known = {"client_id": "me", "client_secret": "the-secret-of-me"}
    async with opened(authority, issuers=[authority.origin], **known) as sessions:
        assert await seen(sessions) == "seen"
    assert authority.asked["registration"] == 0


# Nobody agrees, or something is wrong.


async def test_a_refusal_is_told_once_and_nobody_is_asked_again_for_the_same_request(authority: Authority) -> None:
    authority.refuses = True
    person = Person()
    async with opened(authority, person) as sessions:
        with failing(McpUnauthorized, r"wants an authorization for a session.*refused: access_denied"):
            await seen(sessions)
        assert len(person.asked) == 1
        authority.refuses = False
        assert await seen(sessions) == "seen"
        authority.refuses = True
        authority.revoke()
        authority.refresh.clear()
        with failing(McpUnauthorized, r"wants an authorization for tool 'look'.*access_denied"):
            await seen(sessions)


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (LookupError("no browser"), "`authorize` failed: LookupError: no browser"),
        (f"{BACK}?state=1", "no address with a `code`"),
        (None, "no address with a `code`"),
        (f"{BACK}?code=abcdefgh&state=forged", "State parameter mismatch"),
        (3.0, "nobody agreed within 0.2 s; `wait_s` allows more time"),
    ],
)
async def test_a_host_that_comes_back_with_something_else_is_told(
    authority: Authority, returned: Any, said: str
) -> None:
    async def authorize(page: str) -> Any:
        if isinstance(returned, Exception):
            raise returned
        await asyncio.sleep(returned if isinstance(returned, float) else 0)
        return returned

    async with opened(authority, authorize, wait_s=0.2) as sessions:
        with failing(McpUnauthorized, said):
            await seen(sessions)


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({"code_challenge_methods_supported": None}, "does not say that it supports PKCE"),
        ({"code_challenge_methods_supported": ["plain"]}, "does not say that it supports PKCE"),
        ({"issuer": "https://login.example.com"}, "issuer mismatch"),
        (
            {"token_endpoint": "https://10.0.0.8/token"},
            "10.0.0.8/token is not asked: it is inside of a private network",
        ),
        ({"token_endpoint": "http://login.example.com/token"}, "is not asked: it is http"),
        ({"authorization_endpoint": "http://login.example.com/go"}, "page of the authorization server is not shown"),
        ({"registration_endpoint": "https://me:pass@login.example.com/r"}, "it has a name or password in it"),
        ({"padding": "x" * 1_100_000}, "answered with more than 1048576 bytes"),
    ],
)
async def test_an_authorization_server_that_is_not_right_is_not_used(
    authority: Authority, metadata: dict[str, Any], said: str
) -> None:
    authority.metadata = metadata
    async with opened(authority) as sessions:
        with failing(McpUnauthorized, said):
            await seen(sessions)
    assert not authority.granted


async def test_only_the_issuers_of_the_host_are_used(authority: Authority) -> None:
    async with opened(authority, issuers=["https://login.example.com"]) as sessions:
        with failing(McpUnauthorized, "none of the `issuers` that the host allows"):
            await seen(sessions)
    assert authority.asked["metadata"] == 0


async def test_an_authorization_server_that_is_away_is_said_to_be(authority: Authority) -> None:
    authority.resource = {"authorization_servers": ["http://127.0.0.1:9"]}
    async with opened(authority) as sessions:
        with failing(McpUnauthorized, r"127.0.0.1:9/\S+ did not answer"):
            await seen(sessions)


# A program authorizes itself.


@pytest.mark.parametrize("secret_in", ["header", "body"])
async def test_a_program_has_a_secret(authority: Authority, secret_in: Any) -> None:
    authority.clients["job"] = "the-secret of job"
    grant = ClientCredentials.model_validate(
        {"client_id": "job", "client_secret": "the-secret of job", "issuer": authority.origin, "secret_in": secret_in}
    )
    async with McpSessions({"one": HttpServer(url=authority.url, oauth=grant)}) as sessions:
        assert await seen(sessions) == "seen"
        authority.revoke()
        assert await seen(sessions) == "seen"
    assert authority.asked["client_credentials"] == 2


async def test_a_program_signs_for_the_issuer_alone(authority: Authority) -> None:
    audiences = []

    async def sign(audience: str) -> str:
        audiences.append(audience)
        return "signed-by-the-job"

    authority.clients[""] = ""
    for issuer in (authority.origin, "https://login.example.com"):
        grant = ClientCredentials(client_id="job", assertion=sign, issuer=issuer)
        async with McpSessions({"one": HttpServer(url=authority.url, oauth=grant)}) as sessions:
            if issuer == authority.origin:
                assert await seen(sessions) == "seen"
            else:
                with failing(McpUnauthorized, "none of the `issuers`"):
                    await seen(sessions)
    assert audiences == [authority.origin]


# Secrets.


async def test_no_token_code_or_secret_is_in_a_log_an_error_or_a_repr(
    authority: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    authority.clients["me"] = "the-secret-of-me"
    known = {"client_id": "me", "client_secret": "the-secret-of-me", "issuers": [authority.origin]}
    person, kept, errors = Person(), MemoryTokens(), []
    with caplog.at_level(logging.DEBUG):
        async with opened(authority, person, storage=kept, **known) as sessions:
            await seen(sessions)
            document = json.loads(await kept.load(authority.url) or "")
            token, refresh = document["tokens"]["access_token"], document["tokens"]["refresh_token"]
            with pytest.raises(Exception, match=r"called with \[redacted\]") as caught:
                await sessions.call_tool("one", "leak", {"token": token})
            errors.append(caught.value)
            authority.revoke()
            authority.refresh.clear()
            authority.refuses = True
            with failing(McpUnauthorized) as refused:
                await seen(sessions)
            errors.append(refused.value)
            said = [repr(sessions), repr(kept), repr(known["issuers"]), *map(repr, errors), *map(str, errors)]
    # The server runs in this process too, and its logs are its own.
    logged = [each for each in caplog.records if not each.name.startswith(("mcp.server", "uvicorn", "sse_starlette"))]
    said += [
        f"{each.getMessage()} {logging.Formatter().formatException(each.exc_info) if each.exc_info else ''}"
        for each in logged
    ]
    assert len(logged) > 20
    for secret in ("the-secret-of-me", token, refresh, *person.codes):
        assert not [each for each in said if secret in each]


def test_a_description_with_a_secret_needs_its_issuer_and_shows_nothing() -> None:
    code = {"type": "authorization_code", "authorize": Person(), "redirectUri": BACK}
    for oauth, said in (
        (code | {"clientId": "me", "clientSecret": "the-secret-of-me"}, "needs .*`issuers`"),
        (code | {"clientMetadataUrl": "http://x.example/"}, "https address with a path"),
        (code | {"issuers": ["login.example.com"]}, "the address of an authorization server"),
        (
            {"type": "client_credentials", "clientId": "me", "issuer": "https://x.example"},
            "a client_secret or an assert",
        ),
        ({"type": "magic"}, "oauth"),
    ):
        with pytest.raises(ConfigurationError, match=said) as caught:
            McpSessions({"one": {"url": "https://mcp.example.com/mcp", "oauth": oauth}})
        assert "the-secret-of-me" not in str(caught.value)
    grant = {"type": "client_credentials", "client_id": "me", "client_secret": "the-secret-of-me"}
    shown = repr(
        HttpServer.model_validate({"url": "https://x.example", "oauth": grant | {"issuer": "https://y.example"}})
    )
    assert "the-secret-of-me" not in shown


# Addresses.


@pytest.mark.parametrize(
    ("address", "server", "said"),
    [
        ("https://login.example.com/x", "https://mcp.example.com/mcp", None),
        ("http://localhost:8080/x", "http://127.0.0.1:9000/mcp", None),
        ("https://10.1.2.3/x", "https://10.1.2.3/mcp", None),
        ("http://login.example.com/x", "https://mcp.example.com/mcp", "it is http"),
        ("http://127.0.0.1/x", "https://mcp.example.com/mcp", "it is http"),
        ("https://localhost/x", "https://mcp.example.com/mcp", "private network"),
        ("https://169.254.169.254/latest", "https://mcp.example.com/mcp", "private network"),
        ("https://[::1]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[::ffff:10.0.0.1]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://2130706433/x", "https://mcp.example.com/mcp", "private network"),
        ("https://0x7f.1/x", "https://mcp.example.com/mcp", "private network"),
        ("https://127.0x0.0.1/x", "https://mcp.example.com/mcp", "private network"),
        ("https://169.0xFE.169.254/x", "https://mcp.example.com/mcp", "private network"),
        ("https://127.0.0.0x1./x", "https://mcp.example.com/mcp", "private network"),
        ("https://8.8.8.010/x", "https://mcp.example.com/mcp", "private network"),
        ("https://127。0。0。1/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[::127.0.0.1]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[64:ff9b::7f00:1]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[64:ff9b:1::808:808]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[2002:7f00:1::]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[2002:808:808::808:808]/x", "https://mcp.example.com/mcp", "private network"),
        ("https://[64:ff9b::808:808]/x", "https://mcp.example.com/mcp", None),
        ("https://[2606:4700::1111]/x", "https://mcp.example.com/mcp", None),
        ("https://8.8.8.8/x", "https://mcp.example.com/mcp", None),
        ("https://0x.example.com/x", "https://mcp.example.com/mcp", None),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/mcp", None),
        ("https://192.168.1.1/x", "http://localhost/mcp", "private network"),
        ("file:///etc/passwd", "https://mcp.example.com/mcp", "scheme 'file'"),
        ("javascript:alert(1)", "https://mcp.example.com/mcp", "scheme 'javascript'"),
        ("https://me@login.example.com", "https://mcp.example.com/mcp", "name or password"),
        ("https://login.example.com:port", "https://mcp.example.com/mcp", "cannot be read"),
        ("https://login.example.com/" + "x" * 9000, "https://mcp.example.com/mcp", "9026 characters"),
    ],
)
def test_an_address_of_a_server_is_used_if_it_is_public_or_its_own(address: str, server: str, said: str | None) -> None:
    found = addresses.objection(address, server)
    assert (found is None) if said is None else (said in (found or ""))
