"""Endpoints that say nothing: when they are asked whether they are there, and after which time they are left."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator

import pytest

from stategraph.fleet import AgentEndpoint, Directory, EndpointError, RequestLostError, Router, StaticSource

pytestmark = pytest.mark.anyio

SILENT_S = 0.05


class Draining:
    """A server that ends what it began and refuses new connections, or fails otherwise when it is asked.

    It answers once it was asked `after` times; what is raised then is `error`.
    """

    def __init__(self, error: Exception, after: float = math.inf) -> None:
        self.error = error
        self.after = after
        self.asked: list[float] = []
        self.sent = 0
        self.may_answer = asyncio.Event()

    async def stream(self, endpoint: AgentEndpoint, request: str) -> AsyncGenerator[str]:
        del endpoint
        self.sent += 1
        await self.may_answer.wait()
        yield f"answer to {request}"

    async def reach(self, endpoint: AgentEndpoint) -> None:
        del endpoint
        self.asked.append(asyncio.get_running_loop().time())
        if len(self.asked) >= self.after:
            self.may_answer.set()
        raise self.error


async def answer(transport: Draining) -> list[str]:
    source = StaticSource([AgentEndpoint(agent="a", url="https://one")])
    async with Directory(source) as directory:
        router: Router[str, str] = Router(directory, transport, first_byte_s=30, silent_s=SILENT_S)
        return [each async for each in router.stream("hi", agent="a", repeatable=True)]


@pytest.mark.parametrize("error", [EndpointError("refused", reached=False), ConnectionRefusedError("refused")])
async def test_a_refused_connection_is_left_no_sooner_than_one_that_does_not_answer(error: Exception) -> None:
    transport, began = Draining(error), asyncio.get_running_loop().time()
    with pytest.raises(EndpointError, match="and is not there: refused"):
        await answer(transport)
    ended = asyncio.get_running_loop().time()
    first, second = transport.asked
    assert first - began > 0.9 * SILENT_S
    assert second - first > 0.9 * SILENT_S
    assert ended - began > 2.9 * SILENT_S


async def test_a_server_that_drains_and_answers_in_time_is_not_left() -> None:
    transport = Draining(EndpointError("refused", reached=False), after=2)
    assert await answer(transport) == ["answer to hi"]
    assert transport.sent == 1


async def test_a_question_that_fails_otherwise_is_logged_once_and_asked_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    transport = Draining(ValueError("no such scheme"), after=4)
    with caplog.at_level(logging.ERROR, logger="stategraph.fleet"):
        assert await answer(transport) == ["answer to hi"]
    assert len(transport.asked) >= 4
    (record,) = caplog.records
    assert "could not be asked whether it is there" in record.message
    assert record.exc_info is not None and "no such scheme" in str(record.exc_info[1])


async def test_what_fails_otherwise_does_not_end_the_watch() -> None:
    """The first question fails for a reason of the transport, later ones as the endpoint is gone."""
    transport = Draining(ValueError("no such scheme"))

    async def reach(endpoint: AgentEndpoint) -> None:
        if transport.asked:
            transport.error = EndpointError("refused", reached=False)
        await Draining.reach(transport, endpoint)

    transport.reach = reach  # type: ignore[method-assign]
    with pytest.raises((EndpointError, RequestLostError), match="and is not there: refused"):
        await answer(transport)
    assert len(transport.asked) == 3
