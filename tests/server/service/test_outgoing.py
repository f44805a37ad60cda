"""Requests to addresses of clients go to public addresses alone, and are sent until they are taken."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from stategraph.server.service import outgoing
from stategraph.server.service.outgoing import SIGNATURE, Outgoing, is_public
from stategraph.server.service.port import InvalidError
from tests.server.protocols.live import listening

pytestmark = pytest.mark.anyio

PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.5.4",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "240.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fc00::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "no address",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public_are_told_from_those_that_are(address: str) -> None:
    assert not is_public(address)


def test_public_addresses_are_public() -> None:
    assert all(is_public(each) for each in ("8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://example.com/hook", "https://"),
        ("ftp://example.com/hook", "https://"),
        ("https://ada:secret@example.com/hook", "login"),
        ("https://127.0.0.1/hook", "public"),
        ("https://[::1]/hook", "public"),
        ("https://2130706433/hook", "public"),
        ("https://localhost/hook", "public"),
        ("https:///hook", "is none"),
        ("https://example.com:99999/", "is none"),
        ("https://exa mple.com/", "is none"),
    ],
)
async def test_addresses_that_may_not_be_sent_to_are_refused_without_their_secrets(url: str, said: str) -> None:
    with pytest.raises(InvalidError, match=said) as refused:
        await Outgoing().check(url)
    assert "hook" not in str(refused.value)
    assert "secret" not in str(refused.value)


class Hook:
    """Takes requests, with the statuses that it is told to answer with."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.taken: list[tuple[dict[str, str], bytes]] = []

    async def answer(self, request: Request) -> Response:
        self.taken.append((dict(request.headers), await request.body()))
        return Response(status_code=self.statuses.pop(0) if self.statuses else 200)


@asynccontextmanager
async def hooked(hook: Hook) -> AsyncIterator[str]:
    async def elsewhere(request: Request) -> Response:
        return RedirectResponse("/hook")

    routes = [Route("/hook", hook.answer, methods=["POST"]), Route("/moved", elsewhere, methods=["POST"])]
    async with listening(Starlette(routes=routes)) as url:
        yield url


async def test_a_request_is_signed_and_sent_again_while_its_receiver_fails() -> None:
    hook = Hook(503, 500)
    sender = Outgoing(["127.0.0.1"], first_pause_s=0.01)
    async with hooked(hook) as url:
        assert await sender.post(f"{url}/hook", b"{}", {"X-Own": "1"}, secret="key")
        await sender.aclose()
    headers, body = hook.taken[-1]
    assert (len(hook.taken), headers["x-own"], body) == (3, "1", b"{}")
    assert headers[SIGNATURE.lower()] == hmac.new(b"key", b"{}", hashlib.sha256).hexdigest()


async def test_refusals_and_redirects_are_no_success_and_the_log_has_no_path(caplog: Any) -> None:
    hook = Hook(*[410] * 5)
    sender = Outgoing(["127.0.0.1"], first_pause_s=0.01)
    with caplog.at_level(logging.WARNING):
        async with hooked(hook) as url:
            assert not await sender.post(f"{url}/hook?token=abc", b"{}", {})
            assert not await sender.post(f"{url}/moved", b"{}", {})
            await sender.aclose()
    assert len(hook.taken) == 1
    assert "127.0.0.1" in caplog.text
    assert "abc" not in caplog.text


async def test_a_name_that_becomes_private_between_look_and_connection_is_not_connected_to(monkeypatch: Any) -> None:
    loop = asyncio.get_running_loop()
    hook = Hook()
    async with hooked(hook) as url:
        port = int(url.rpartition(":")[2])
        answers = ["93.184.216.34", "127.0.0.1"]

        async def resolve(host: str, asked: int, **options: Any) -> Any:
            return [(2, 1, 6, "", (answers.pop(0), port))]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        sender = Outgoing(first_pause_s=0.01)
        address = f"https://rebinding.example:{port}/hook"
        await sender.check(address)
        assert not await sender.post(address, b"{}", {})
        await sender.aclose()
    assert hook.taken == []
    assert answers == []


async def test_a_connection_goes_to_the_address_that_was_looked_at(monkeypatch: Any) -> None:
    connected: list[str] = []

    async def connect(self: Any, host: str, *rest: Any) -> Any:
        connected.append(host)
        raise OSError("not in a test")

    async def resolve(host: str, asked: int, **options: Any) -> Any:
        return [(2, 1, 6, "", ("93.184.216.34", asked))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    monkeypatch.setattr(outgoing.httpcore.AnyIOBackend, "connect_tcp", connect)
    sender = Outgoing(tries=1)
    assert not await sender.post("https://hooks.example/x", b"{}", {})
    await sender.aclose()
    assert connected == ["93.184.216.34"]


async def test_an_error_that_is_none_of_a_network_says_nothing_of_the_address(monkeypatch: pytest.MonkeyPatch) -> None:
    sender = Outgoing(["hooks.example"])

    async def fail(url: str, *_: Any) -> int:
        raise TypeError(f"no idea of {url}")

    monkeypatch.setattr(sender, "_post", fail)
    with pytest.raises(RuntimeError, match=r"at 'hooks\.example' failed with TypeError") as raised:
        await sender.post("http://hooks.example/secret", b"{}", {})
    shown = "".join(traceback.format_exception(raised.value))
    assert "no idea of http" not in shown
    assert 'raise TypeError(f"no idea' in shown  # where it failed
