"""Endpoints that fail, by a table: each strategy with each fault, over real sockets, and what is left of a request."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, get_args

import pytest

from stategraph.fleet import (
    A2aTransport,
    AgentEndpoint,
    BreakerSettings,
    Directory,
    EndpointError,
    RequestLostError,
    Router,
    StaticSource,
    message,
)
from stategraph.fleet.directory import Wanted
from stategraph.fleet.picking import Strategy
from tests.fleet.scripted import Behaviour, ScriptedAgent, serving

pytestmark = pytest.mark.anyio

STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)

REQUESTS = 18


@dataclass(frozen=True)
class Fault:
    """A fault of an endpoint.

    Attributes:
        behaviour: What it does.
        is_killed: Whether it is not there at all.
        failures: Failures that open its breaker; those that take time are few, and so are those of the strategy that
            goes by it.
        sent: Requests that reach it, of each that fails.
        limit_s: The limit for a first byte; those who are well are far below it.
    """

    behaviour: Behaviour
    is_killed: bool = False
    failures: int = 1
    sent: int = 1
    limit_s: float = 3600


FAULTS = {
    "kill": Fault("answer", is_killed=True, failures=2, sent=0),
    "reset": Fault("reset", failures=2),
    "stall": Fault("stall", limit_s=3),
    "500": Fault("500", failures=2),
    "slow start": Fault("warm up", limit_s=3),
}


class Clock:
    """A clock that a test moves; each look at it takes a millisecond."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def fleet(agents: list[ScriptedAgent], **named: Any) -> Directory:
    return Directory(StaticSource(AgentEndpoint(agent="helper", url=each.url) for each in agents), **named)


def keys_of(directory: Directory, count: int) -> list[str]:
    """Return keys of which each of three endpoints has a third, in turn."""
    owned: dict[str, list[str]] = {each.endpoint.url: [] for each in directory.endpoints()}
    for key in map(str, itertools.count()):
        owned[directory.pick(Wanted("helper"), "sticky", key=key).endpoint.url].append(key)
        if all(len(each) >= count // 3 for each in owned.values()):
            break
    return [key for turn in zip(*owned.values(), strict=False) for key in turn][:count]


async def ask(router: Router[Any, Any], key: str = "", *, repeatable: bool = True) -> str:
    """Return the text of the answer."""
    request = message("hi")
    said = [
        part.text
        async for event in router.stream(request, agent="helper", key=key, repeatable=repeatable)
        for part in event.artifact_update.artifact.parts
    ]
    return "".join(said)


@pytest.mark.parametrize("fault", FAULTS)
async def test_each_request_is_answered_once_while_an_endpoint_fails(fault: str) -> None:
    """With every strategy, all at a time: those of them that wait for a limit wait for it together."""
    async with asyncio.TaskGroup() as group:
        for strategy in STRATEGIES:
            group.create_task(survives(strategy, FAULTS[fault]), name=f"{strategy} {fault}")


async def survives(strategy: Strategy, row: Fault) -> None:
    """One that fails is tried as often as its breaker says; once it is well it gets one request, and then its share."""
    clock = Clock()
    failures = 1 if strategy == "latency" and row.sent else row.failures
    async with serving("bad", "good", "well") as agents, A2aTransport() as transport:
        bad = agents[0]
        settings, draw = BreakerSettings(failures=failures), random.Random(7).random
        async with fleet(agents, breaker=settings, clock=clock, draw=draw) as directory:
            keys = keys_of(directory, REQUESTS)
            router = Router(directory, transport, strategy=strategy, first_byte_s=row.limit_s, silent_s=3600)
            for each in agents:
                await transport.cards.get(each.url + "/.well-known/agent-card.json")
            (standing,) = [each for each in directory.endpoints() if each.endpoint.url == bad.url]
            bad.behaviour = row.behaviour
            if row.is_killed:
                await bad.kill()

            answers = [await ask(router, key) for key in keys]
            assert sorted(set(answers)) == ["good: hi", "well: hi"]
            assert agents[1].requests + agents[2].requests == REQUESTS  # each once, wherever it was tried before
            assert bad.requests == failures * row.sent
            assert (standing.requests, standing.failed) == (failures, failures)
            assert standing.breaker(clock()) == "open"

            bad.behaviour = "answer"
            bad.is_warm.set()  # what was waiting there is answered now, to nobody
            if row.is_killed:
                await bad.start()
            clock.now += 10.0
            standing.latency_s = 0.0  # of what was seen before a third still counts
            assert standing.breaker(clock()) == "half_open"
            again = [await ask(router, key) for key in keys]
            assert "bad: hi" in again
            assert standing.breaker(clock()) == "closed"
            assert (standing.failed, standing.outstanding) == (failures, 0)


@pytest.mark.parametrize("behaviour", ["break", "end early"])
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_nothing_is_sent_again_after_the_first_byte(strategy: Strategy, behaviour: Behaviour) -> None:
    async with serving("bad", "worse", "worst") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy=strategy)
        for each in agents:
            each.behaviour = behaviour
        events = []
        with pytest.raises(RequestLostError, match="had answered part of the request") as caught:
            async for event in router.stream(message("hi"), agent="helper", repeatable=True):
                events.append(event)
        assert caught.value.streamed
        assert len(events) == 1
        assert sum(each.requests for each in agents) == 1
        assert sum(each.failed for each in directory.endpoints()) == 1


async def test_one_that_is_cut_off_is_left_as_soon_as_it_does_not_say_that_it_is_there() -> None:
    async with serving("bad", "good") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin", first_byte_s=3600, silent_s=0.6)
        for each in agents:
            await transport.cards.get(each.url + "/.well-known/agent-card.json")
        agents[0].behaviour = "cut"
        while not agents[0].requests:
            assert await ask(router) == "good: hi"
        assert agents[0].requests == 1
        assert agents[0].cards == 3  # its card before, and two questions whether it is there
        (failed,) = [each for each in directory.endpoints() if each.failed]
        assert failed.endpoint.url == agents[0].url


async def test_one_that_is_killed_while_it_is_waited_for_is_left_at_once() -> None:
    async with serving("bad", "good") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin", first_byte_s=3600, silent_s=3600)
        for each in agents:
            each.behaviour = "warm up"
        asking = asyncio.create_task(ask(router))
        await until(lambda: agents[0].requests + agents[1].requests == 1)
        waiting, other = agents if agents[0].requests else reversed(agents)
        other.is_warm.set()
        await waiting.kill()
        assert await asking == f"{other.name}: hi"


async def test_one_that_is_there_may_take_its_time() -> None:
    async with serving("slow", "other") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin", first_byte_s=3600, silent_s=0.6)
        for each in agents:
            each.behaviour = "warm up"
        asking = asyncio.create_task(ask(router))
        await until(lambda: agents[0].requests + agents[1].requests == 1)
        waiting, other = agents if agents[0].requests else reversed(agents)
        before = waiting.cards
        await until(lambda: waiting.cards >= before + 2)  # it was asked, and said that it is there
        waiting.is_warm.set()
        assert await asking == f"{waiting.name}: hi"
        assert other.requests == 0


async def test_a_request_that_may_not_go_elsewhere_waits_without_a_question() -> None:
    async with serving("one", "other") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin", first_byte_s=0.5, silent_s=0.05)
        for each in agents:
            await transport.cards.get(each.url + "/.well-known/agent-card.json")
            each.behaviour = "stall"
        with pytest.raises(RequestLostError, match="may have begun with the request"):
            await ask(router, repeatable=False)
        assert [each.cards for each in agents] == [1, 1]
        assert agents[0].requests + agents[1].requests == 1


class Slow:
    """A transport for which endpoints take as long as they are said to, by the test's clock."""

    def __init__(self, clock: Clock, takes_s: dict[str, float]) -> None:
        self._clock = clock
        self._takes_s = takes_s
        self.asked: list[str] = []

    async def stream(self, endpoint: AgentEndpoint, request: object) -> AsyncGenerator[str]:
        self.asked.append(endpoint.url)
        self._clock.now += self._takes_s[endpoint.url]
        if self._takes_s[endpoint.url] > 10:
            raise EndpointError("it did not answer", reached=True)
        yield "answered"


async def test_one_that_let_a_request_wait_in_vain_counts_as_slow() -> None:
    clock, urls = Clock(), [f"http://h{at}.example" for at in range(3)]
    transport = Slow(clock, dict(zip(urls, (30.0, 0.2, 0.3), strict=True)))
    source = StaticSource(AgentEndpoint(agent="helper", url=url) for url in urls)
    async with Directory(source, clock=clock) as directory:
        router: Router[str, str] = Router(directory, transport, strategy="latency")
        for _ in range(9):
            assert [each async for each in router.stream("hi", agent="helper", repeatable=True)] == ["answered"]
    assert transport.asked.count(urls[0]) == 1  # without the time that it took it would be the quickest
    assert transport.asked[-6:] == [urls[1]] * 6


@pytest.mark.parametrize("fallback", [0, 1, 3])
async def test_a_request_is_tried_at_so_many_more_endpoints(fallback: int) -> None:
    clock, urls = Clock(), [f"http://h{at}.example" for at in range(5)]
    transport = Slow(clock, dict.fromkeys(urls, 30.0))
    async with Directory(
        StaticSource(AgentEndpoint(agent="helper", url=url) for url in urls), clock=clock
    ) as directory:
        router: Router[str, str] = Router(directory, transport, strategy="round_robin", fallback=fallback)
        with pytest.raises(EndpointError, match="it did not answer"):
            [each async for each in router.stream("hi", agent="helper", repeatable=True)]
    assert len(transport.asked) == len(set(transport.asked)) == fallback + 1


async def until(is_so: Any) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + 60
    for _ in itertools.count():
        if is_so():
            return
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
