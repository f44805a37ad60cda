"""The budget of a turn: its meter made from the host's settings, and its time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TypeVar

from langchain_core.messages import AnyMessage

from stategraph.agent.agent import Agent
from stategraph.agent.context.tokens import create_token_counter
from stategraph.agent.facts import Fact
from stategraph.agent.limits.amounts import RunUsage
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.meter import Meter
from stategraph.agent.limits.prices import PriceBook
from stategraph.agent.ports import ToolGate
from stategraph.agent.settings.limits import LimitName, Prices, RunLimits
from stategraph.agent.tools.limit_gate import LimitGate
from stategraph.engine.config import environment

T = TypeVar("T")

REASONS = frozenset(name.reason for name in LimitName)
"""The halt reasons of turns that a limit ends."""


def meter_of(
    limits: RunLimits, prices: Prices | None, agents: Sequence[Agent], count: Callable[[AnyMessage], int] | None
) -> Meter:
    """Make the meter of a run.

    Args:
        limits: The run's limits.
        prices: The host's prices; None: the known ones, if the cost is limited.
        agents: The agents, whose models have to have prices if the cost is limited.
        count: Counts the tokens of a message whose provider reports none; None: a counter is made if it is needed.

    Raises:
        ConfigurationError: The cost is limited, and a model has no known price.
        MissingPackageError: Prices are needed, and their package is not installed.
    """
    count = (count or create_token_counter()) if limits.of_tokens else None
    if prices is None and limits.cost is None:
        return Meter(limits, None, count)
    book = PriceBook.of(prices or Prices())
    if limits.cost is not None:
        now = environment.current().datetime()
        for agent in agents:
            for route in (*agent.routes, *(() if agent.summarising is None else agent.summarising.routes)):
                book.check(route.provider, route.name, now)
    return Meter(limits, book, count)


def tool_limits(meter: Meter, hear: Callable[[Fact], Awaitable[None]]) -> tuple[ToolGate, ...]:
    """Return the gates that keep a run's limits for calls of tools; none if they have no limit."""
    return () if meter.allows_all_tools else (LimitGate(meter, hear),)


async def within(meter: Meter, work: Callable[[], Coroutine[object, None, T]]) -> T:
    """Await work for as long as the run may execute; then cancel it, and wait for its end.

    Where a person is asked about limits, the work goes on: they are asked before the next call.

    Raises:
        LimitReachedError: The time is over.
    """
    left = meter.remaining_s
    if left is None or meter.limits.on_limit == "ask":
        return await work()
    task = asyncio.ensure_future(work())
    timer = asyncio.ensure_future(environment.current().clock.asleep(left))
    try:
        await asyncio.wait((task, timer), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise LimitReachedError(LimitName.WALL_TIME, meter.limits.wall_time_s or 0, meter.elapsed_s)
        return task.result()
    finally:
        for future in (task, timer):
            future.cancel()
        await asyncio.gather(task, timer, return_exceptions=True)


def told(usage: RunUsage, halt_reason: str | None) -> dict[str, object]:
    """Return what the last event of an execution tells of its budget: readers are told neither costs nor models."""
    figures = usage.total.as_json()
    figures.pop("cost", None)
    more: dict[str, object] = {}
    if usage.total.model_calls or usage.total.tool_calls:
        more["usage"] = figures
    return {**more, "reason": halt_reason} if halt_reason in REASONS else more
