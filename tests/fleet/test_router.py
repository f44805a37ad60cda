"""Requests over real sockets to agents: what is answered, sent again, refused; `test_failover` has the faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from stategraph.fleet import (
    A2aTransport,
    AgentEndpoint,
    AgentRefusedError,
    BreakerSettings,
    Directory,
    EndpointError,
    NoEndpointError,
    RequestLostError,
    RetryBudget,
    Router,
    StaticSource,
    message,
)
from tests.fleet.scripted import Behaviour, ScriptedAgent, serving

pytestmark = pytest.mark.anyio


def fleet(agents: list[ScriptedAgent], **named: Any) -> Directory:
    return Directory(StaticSource(AgentEndpoint(agent="helper", url=each.url) for each in agents), **named)


async def ask(router: Router[Any, Any], text: str = "hi", **named: Any) -> str:
    """Return the text of the answer."""
    said = [
        part.text
        async for event in router.stream(message(text), agent="helper", **named)
        for part in event.artifact_update.artifact.parts
    ]
    return "".join(said)


async def test_an_agent_answers_event_by_event() -> None:
    async with serving("one") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport)
        events = [event async for event in router.stream(message("hi", context_id="c"), agent="helper")]
        assert [event.WhichOneof("payload") for event in events] == ["task", "artifact_update", "status_update"]
        (standing,) = directory.endpoints()
        assert (standing.requests, standing.outstanding, standing.failed) == (1, 0, 0)
        assert standing.latency_s > 0


@pytest.mark.parametrize("behaviour", ["500", "stall", "reset"])
async def test_what_may_have_begun_is_not_sent_again(behaviour: Behaviour) -> None:
    async with serving("bad", "good") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin", first_byte_s=0.3)
        agents[0].behaviour = agents[1].behaviour = behaviour
        with pytest.raises(RequestLostError, match="may have begun with the request") as caught:
            await ask(router)
        assert not caught.value.streamed
        assert agents[0].requests + agents[1].requests == 1


async def test_what_certainly_did_not_begin_is_sent_again() -> None:
    async with serving("bad", "good") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="round_robin")
        agents[0].behaviour = "503"
        assert [await ask(router) for _ in range(4)] == ["good: hi"] * 4
        await agents[0].kill()
        assert [await ask(router) for _ in range(4)] == ["good: hi"] * 4


async def test_an_error_that_an_agent_answers_with_is_an_answer() -> None:
    async with serving("one", "other") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport)
        for each in agents:
            each.behaviour = "refuse"
        for _ in range(8):
            with pytest.raises(AgentRefusedError, match="not so"):
                await ask(router, repeatable=True)
        assert agents[0].requests + agents[1].requests == 8
        assert [each.failed for each in directory.endpoints()] == [0, 0]


async def test_when_all_fail_the_last_failure_is_raised_and_then_nobody_is_asked() -> None:
    async with (
        serving("one", "other") as agents,
        A2aTransport() as transport,
        fleet(agents, breaker=BreakerSettings(failures=1, open_s=60)) as directory,
    ):
        router = Router(directory, transport)
        for each in agents:
            await each.kill()
        with pytest.raises(EndpointError, match=r"could not be read|cannot be reached"):
            await ask(router)
        with pytest.raises(NoEndpointError, match=r"failed too often, and is tried again in") as caught:
            await ask(router)
        assert all(each.url in str(caught.value) for each in agents)


async def test_no_more_is_sent_again_than_the_budget_and_the_fallback_allow() -> None:
    async with serving(*"abcde") as agents, fleet(agents) as directory, A2aTransport() as transport:
        for each in agents:
            each.behaviour = "503"
        with pytest.raises(EndpointError, match="status 503"):
            await ask(Router(directory, transport, fallback=2, budget=RetryBudget(at_least=100)))
        assert sum(each.requests for each in agents) == 3
        spent = RetryBudget(ratio=0, at_least=1)
        for _ in range(2):
            with pytest.raises(EndpointError, match="status 503"):
                await ask(Router(directory, transport, fallback=4, budget=spent))
        assert sum(each.requests for each in agents) == 3 + 2 + 1


async def test_an_agent_is_found_by_what_it_can_do() -> None:
    async with serving("one", "other") as agents, A2aTransport() as transport:
        source = StaticSource(
            AgentEndpoint(agent=each.name, url=each.url, capabilities=frozenset({"talk", skill}))
            for each, skill in zip(agents, ("search", "draw"), strict=True)
        )
        async with Directory(source) as directory:
            router = Router(directory, transport)
            for capabilities, name in ((["search"], "one"), (["talk", "draw"], "other")):
                said = [event async for event in router.stream(message("hi"), capabilities=capabilities)]
                assert said[1].artifact_update.artifact.parts[0].text == f"{name}: hi"
            with pytest.raises(
                NoEndpointError, match=r"no endpoint of any agent that can fly. Agents that are registered: one, other"
            ):
                [event async for event in router.stream(message("hi"), capabilities=["fly"])]
            with pytest.raises(NoEndpointError, match="no endpoint of agent 'nobody'"):
                [event async for event in router.stream(message("hi"), agent="nobody")]


@pytest.mark.parametrize("when", ["before the first byte", "after it"])
async def test_a_caller_that_goes_away_leaves_nothing(when: str) -> None:
    async with serving("one") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport)
        (standing,) = directory.endpoints()
        if when == "before the first byte":
            agents[0].behaviour = "stall"
            asking = asyncio.create_task(ask(router))
            deadline = time.monotonic() + 60
            while not agents[0].requests:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.01)
            assert standing.outstanding == 1
            asking.cancel()
            with pytest.raises(asyncio.CancelledError):
                await asking
        else:
            events = router.stream(message("hi"), agent="helper")
            await anext(events)
            await events.aclose()
        assert (standing.outstanding, standing.failed) == (0, 0)


async def test_requests_under_way_are_spread() -> None:
    async with serving("one", "other") as agents, fleet(agents) as directory, A2aTransport() as transport:
        router = Router(directory, transport, strategy="least_outstanding")
        for each in agents:
            each.delay_s = 0.3
        await asyncio.gather(*(ask(router) for _ in range(10)))
        assert [each.requests for each in agents] == [5, 5]


class Counting:
    """Notes what a router tells."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, ...]] = []

    def answered(self, endpoint: AgentEndpoint, took_s: float) -> None:
        self.noted.append(("answered",))

    def failed(self, endpoint: AgentEndpoint, reason: str, *, opened: bool) -> None:
        self.noted.append(("failed", str(opened)))

    def sent_again(self, endpoint: AgentEndpoint) -> None:
        self.noted.append(("sent again",))


async def test_a_listener_is_told() -> None:
    async with (
        serving("bad", "good") as agents,
        A2aTransport() as transport,
        fleet(agents, breaker=BreakerSettings(failures=1)) as directory,
    ):
        counting = Counting()
        router = Router(directory, transport, strategy="round_robin", listener=counting)
        for each in agents:
            each.behaviour = "503"
        with pytest.raises(EndpointError):
            await ask(router)
        assert counting.noted == [("failed", "True"), ("sent again",), ("failed", "True")]


class Broken:
    """A transport with a mistake in it."""

    async def stream(self, endpoint: AgentEndpoint, request: object) -> AsyncGenerator[object]:
        raise KeyError("a mistake")
        yield


async def test_a_mistake_in_a_transport_is_not_hidden() -> None:
    async with Directory(StaticSource([AgentEndpoint(agent="helper", url="http://h.example")])) as directory:
        router: Router[object, object] = Router(directory, Broken())
        with pytest.raises(KeyError, match="a mistake"):
            [event async for event in router.stream("hi", agent="helper")]
        assert directory.endpoints()[0].outstanding == 0
