"""Tokens of users in a registry's database, and the lock of who refreshes them."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("mcp")

from examples.loopback_authority import serving
from stategraph.agent.mcp.oauth import UserTokenStorage
from stategraph.workers.registry import tokens
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.tokens import RegistryTokens
from tests.agent.mcp.authorities import SlowAuthority, race, server

pytestmark = pytest.mark.anyio

Keys = tuple[str, str]
A: Keys = ("ada", "https://a")


async def test_documents_are_kept_by_user_and_server_beside_the_runs(url: str) -> None:
    registry = RunRegistry.from_url(url)
    await registry.submit("t", {}, target="app:graph")
    kept, other = RegistryTokens.from_url(url), RegistryTokens.from_url(url)
    assert isinstance(kept, UserTokenStorage)
    assert await kept.load(*A) is None
    await kept.save(*A, "one")
    await other.save(*A, "zwei: grüße")
    await kept.of("bob").save("https://a", "three")
    assert [await kept.load(*A), await other.load("bob", "https://a")] == ["zwei: grüße", "three"]
    async with kept.lock("ada", "https://b"):
        assert await kept.load("ada", "https://b") is None
    assert await kept.forget("ada") == 2 and await other.load(*A) is None
    await kept.aclose()
    await other.aclose()
    await registry.aclose()


async def test_of_several_processes_one_refreshes_and_the_others_read_its_result(url: str) -> None:
    kept = RegistryTokens.from_url(url)
    with serving(SlowAuthority(), server) as authority:
        assert await race(authority, kept, url) == ["seen"] * 3
        assert (authority.asked["refresh_token"], authority.asked["page"]) == (1, 1)
    await kept.aclose()


async def test_a_lock_keeps_others_out_while_its_holder_lives(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOCK_S", 0.6)
    one, two = RegistryTokens.from_url(url), RegistryTokens.from_url(url)
    async with one.lock(*A):
        with monkeypatch.context() as soon, pytest.raises(TimeoutError, match="another process has refreshed"):
            soon.setattr(tokens, "LOCK_WAIT_S", 1.5)  # longer than a lock that nobody prolongs
            async with two.lock(*A):
                raise AssertionError("it is held")
        async with two.lock("bob", "https://a"), two.lock("ada", "https://b"):
            pass
    async with two.lock(*A):
        pass
    await one.aclose()
    await two.aclose()


async def test_a_lock_whose_holder_is_gone_falls_to_another_process(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOCK_S", 0.3)
    one, two = RegistryTokens.from_url(url), RegistryTokens.from_url(url)
    await one._take(*A, "a process that was killed")
    async with asyncio.timeout(60), two.lock(*A):
        assert await one._execute(one._sql.unlock_tokens, (*A, "a process that was killed")) == []
    await one.aclose()
    await two.aclose()


async def test_who_stops_waiting_for_a_lock_does_not_have_it(url: str) -> None:
    one, two = RegistryTokens.from_url(url), RegistryTokens.from_url(url)
    async with one.lock(*A):
        waiting = asyncio.create_task(two.lock(*A).__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    async with asyncio.timeout(10), two.lock(*A):
        pass
    await one.aclose()
    await two.aclose()
