"""The gate of a run's limits: the calls of tools that are over a limit do not run.

It stands within all others, and so counts the calls that hooks, persons and the host's gates allow.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from langchain_core.messages import ToolCall, ToolMessage

from stategraph.agent.facts import Fact, Logged, Place
from stategraph.agent.limits import questions
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.ledger import Reached
from stategraph.agent.limits.meter import Meter, batch_of
from stategraph.agent.ports import Allow, Answer, Remarks, Reviewed, Verdict
from stategraph.agent.tools.tool_runner import stores
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config.context import get_config


class LimitGate:
    """Lets calls of tools run while the run's limits allow, the first ones of an answer first.

    Args:
        meter: The run's meter.
        hear: Told of a limit that is reached.
    """

    def __init__(self, meter: Meter, hear: Callable[[Fact], Awaitable[None]]) -> None:
        self._meter = meter
        self._hear = hear
        self._halts: dict[str, str] = {}

    async def before(self, at: Place, calls: Sequence[ToolCall], /) -> Sequence[Verdict]:
        """Decide about the calls of one answer.

        Raises:
            LimitReachedError: One would exceed a limit, and the run's limits say that this raises.
            GraphInterrupt: A person is asked.
        """
        ids = [call["id"] or "" for call in calls]
        if stores(get_config()):
            # As a task of the engine: a node that runs again decides as before, whatever other agents did meanwhile.
            allowed, reason = await start_task(decide, ((self, at, ids), {}))
        else:
            allowed, reason = await self.decided(at, ids)
        if reason is not None:
            self._halts[batch_of(at)] = reason
        text = f"Not executed: the run has reached its limit ({reason})"
        return [Allow(call) if place < allowed else Answer(call, text, "error") for place, call in enumerate(calls)]

    async def decided(self, at: Place, ids: Sequence[str]) -> tuple[int, str | None]:
        """Return how many calls run, which are then counted, and the reason why the turn ends; None if it goes on."""
        meter = self._meter
        while (reached := meter.begin_tools(at, ids)) is not None:
            await self._hear(_log_of(at, reached))
            error = LimitReachedError(reached.name, reached.allowed, reached.used)
            if meter.limits.on_limit == "raise":
                raise error
            answer = await questions.ask(error, at.agent_id) if meter.asks else None
            if answer is None:
                meter.closed = True
                room = meter.room_for_tools(at, ids)
                meter.count_tools(at, ids[:room])
                return room, reached.name.reason
            meter.raise_to(*answer)
        return len(ids), None

    async def after(self, at: Place, call: ToolCall, message: ToolMessage, /) -> tuple[ToolMessage, Remarks | None]:
        """Leave a result as it is."""
        return message, None

    async def finish(
        self, at: Place, calls: Sequence[ToolCall], messages: Sequence[ToolMessage], remarks: Sequence[Remarks], /
    ) -> Reviewed:
        """End the turn after a batch that has reached a limit."""
        return Reviewed(messages, halt=self._halts.pop(batch_of(at), None))


async def decide(gate: LimitGate, at: Place, ids: Sequence[str]) -> list[int | str | None]:
    """Decide about calls, and return the decision in a form that can be stored."""
    return list(await gate.decided(at, ids))


def _log_of(at: Place, reached: Reached) -> Logged:
    figures = {"limit": str(reached.name), "allowed": reached.allowed, "used": reached.used}
    text = f"No more calls of tools: the limit {reached.name}={reached.allowed:g} is reached"
    return Logged(at, "warn", "limits", text, figures)
