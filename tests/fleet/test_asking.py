"""Agents as others ask them: endpoints that are trusted too little are passed over, and no thread waits for itself."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest

from stategraph.errors import ConfigurationError
from stategraph.fleet import (
    AgentEndpoint,
    BreakerSettings,
    Directory,
    EndpointError,
    FleetAgents,
    NoEndpointError,
    StaticSource,
    UntrustedAgentError,
)
from stategraph.fleet.picking import Strategy

pytestmark = pytest.mark.anyio


class AnsweredError(Exception):
    """The agent's answer, as it reaches who asked."""


class Cards:
    async def get(self, url: str) -> str:
        return url


class Transport:
    """Answers at once, with the address of the endpoint; `away` has those that cannot be reached."""

    cards = Cards()

    def __init__(self, away: Sequence[str] = ()) -> None:
        self.away = away

    async def stream(self, endpoint: AgentEndpoint, request: object) -> AsyncGenerator[Any]:
        del request
        if endpoint.url in self.away:
            raise EndpointError(f"{endpoint.url} cannot be reached", reached=False)
        if endpoint.url:
            raise AnsweredError(endpoint.url)
        yield None

    async def reach(self, endpoint: AgentEndpoint) -> None:
        del endpoint


class Trusting:
    """Trusts endpoints as far as their addresses say."""

    def check(self, endpoint: AgentEndpoint, card: object) -> str:
        del card
        return "internal" if "internal" in endpoint.url else "public"


@contextlib.asynccontextmanager
async def asking(
    *urls: str, away: Sequence[str] = (), strategy: Strategy = "round_robin", **named: Any
) -> AsyncGenerator[tuple[FleetAgents, Directory]]:
    transport: Any = Transport(away)
    trust: Any = Trusting()
    source = StaticSource([AgentEndpoint(agent="a", url=each) for each in urls])
    async with (
        Directory(source, **named) as directory,
        FleetAgents(directory, transport, trust, strategy=strategy) as agents,
    ):
        yield agents, directory


async def test_a_refusal_for_one_caller_leaves_the_endpoint_well_for_others() -> None:
    async with asking("https://public") as (agents, directory):
        for _ in range(12):
            with pytest.raises(UntrustedAgentError, match="is public, and was internal when it was decided"):
                await agents.ask("a", "hi", least="internal")
        (standing,) = directory.endpoints()
        assert (standing.failed, standing.requests, standing.outstanding) == (0, 0, 0)
        assert standing.breaker(directory.clock()) == "closed"
        with pytest.raises(AnsweredError, match="https://public"):
            await agents.ask("a", "hi", least="public")


@pytest.mark.parametrize("strategy", ["round_robin", "weighted", "least_outstanding", "latency", "sticky"])
async def test_however_many_are_trusted_too_little_the_one_that_is_trusted_is_asked(strategy: Strategy) -> None:
    urls = [*(f"https://public{number}" for number in range(9)), "https://internal"]
    async with asking(*urls, strategy=strategy) as (agents, directory):
        for _ in range(30):
            with pytest.raises(AnsweredError, match="https://internal"):
                await agents.ask("a", "hi", least="internal")
        assert {each.endpoint.url: each.requests for each in directory.endpoints() if each.requests} == {
            "https://internal": 30
        }
        assert not any(each.failed for each in directory.endpoints())


async def test_the_failure_of_the_one_that_is_trusted_is_what_is_told() -> None:
    settings = BreakerSettings(failures=1)
    urls = ("https://internal", "https://public")
    async with asking(*urls, away=["https://internal"], breaker=settings) as (agents, _):
        with pytest.raises(EndpointError, match="https://internal cannot be reached"):
            await agents.ask("a", "hi", least="internal")
        with pytest.raises(
            NoEndpointError, match=r"https://internal failed too often.*https://public is passed over: .*public"
        ):
            await agents.ask("a", "hi", least="internal")


async def test_an_endpoint_that_is_tried_again_is_tried_by_who_may_ask_it() -> None:
    """A refusal neither closes the breaker nor takes the one request that is let through."""
    now = [0.0]
    settings = BreakerSettings(failures=1, open_s=10.0)
    async with asking("https://public", breaker=settings, clock=lambda: now[0]) as (agents, directory):
        (standing,) = directory.endpoints()
        standing.fail(now[0])
        now[0] = 11.0
        with pytest.raises(UntrustedAgentError):
            await agents.ask("a", "hi", least="internal")
        assert standing.breaker(now[0]) == "half_open"
        with pytest.raises(AnsweredError):
            await agents.ask("a", "hi")
        assert standing.breaker(now[0]) == "closed"


async def test_asking_from_the_thread_of_the_loop_is_an_error_and_no_deadlock() -> None:
    async with asking("https://public") as (agents, _):
        with pytest.raises(ConfigurationError, match=r"write 'await agents.ask\(...\)' there"):
            agents.ask_sync("a", "hi")


async def test_a_thread_that_is_interrupted_ends_its_request(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(*_: object, **__: object) -> str:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return ""

    def interrupted(coroutine: Any, loop: asyncio.AbstractEventLoop) -> Any:
        future = threadsafe(coroutine, loop)

        def result() -> str:
            threadsafe(begun.wait(), loop).result(30)
            raise KeyboardInterrupt

        monkeypatch.setattr(future, "result", result)
        return future

    threadsafe = asyncio.run_coroutine_threadsafe
    async with asking("https://public") as (agents, _):
        monkeypatch.setattr(agents, "ask", endless)
        monkeypatch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)

        def asked() -> str:
            try:
                return agents.ask_sync("a", "hi")
            except KeyboardInterrupt:
                return "interrupted"

        assert await asyncio.to_thread(asked) == "interrupted"
        async with asyncio.timeout(30):
            await ended.wait()
