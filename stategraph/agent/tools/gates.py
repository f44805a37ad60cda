"""Several gates as one, each around the next like middleware.

- `before` asks them in order: each sees the calls that the gates before it allow, with the arguments that they allow.
- `after` and `finish` ask them in reverse: a result passes the gates that saw its call, the innermost first. If one of
  them answered the call, it passes that one and those before it. A call that cannot be read passes all.
- The requests that a gate makes in `after` are given back to this gate in `finish`.
- Gates that stand around the execution too, `ExecutionGate`, are each within the one before it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage

from stategraph.agent.facts import Place
from stategraph.agent.ports import (
    Allow,
    Answer,
    Executed,
    ExecutionGate,
    Remarks,
    Reviewed,
    ToolGate,
    UnreadableGate,
    Verdict,
)
from stategraph.agent.tools.tool_result import Result, StoredResult, answered


@dataclass(frozen=True, slots=True)
class Finished:
    """The results of a batch after all gates have looked at them.

    Attributes:
        results: The results, changed or not, in the order of the calls.
        injected: Messages to add after them.
        halt: Why the turn ends here; None if it goes on.
    """

    results: Sequence[Result]
    injected: Sequence[HumanMessage] = ()
    halt: str | None = None


class Gates:
    """The gates of a run while they look at the calls of one answer.

    Args:
        gates: The gates, the outermost first.
        at: The place of the calls.
    """

    def __init__(self, gates: Sequence[ToolGate], at: Place) -> None:
        self._gates = tuple(gates)
        # Not by `isinstance`, which takes microseconds for a protocol.
        self._executing = tuple(cast("ExecutionGate", gate) for gate in gates if hasattr(gate, "around"))
        self._reading = tuple(cast("UnreadableGate", gate) for gate in gates if hasattr(gate, "unreadable"))
        self._at = at
        self._depths: dict[str | None, int] = {}

    def __bool__(self) -> bool:
        return bool(self._gates)

    async def before(self, calls: Sequence[ToolCall]) -> Sequence[Verdict]:
        """Decide about calls, in their order."""
        verdicts: dict[str | None, Verdict] = {call["id"]: Allow(call) for call in calls}
        for depth, gate in enumerate(self._gates, 1):
            allowed = [verdict.call for verdict in verdicts.values() if isinstance(verdict, Allow)]
            if not allowed:
                break
            for call, verdict in zip(allowed, await gate.before(self._at, allowed), strict=True):
                verdicts[call["id"]] = verdict
                if isinstance(verdict, Answer):
                    self._depths[call["id"]] = depth
        return list(verdicts.values())

    async def unreadable(self, call: ToolCall, why: str) -> None:
        """Tell the gates that want to hear of it that a call cannot be read."""
        for gate in self._reading:
            await gate.unreadable(self._at, call, why)

    async def around(self, call: ToolCall, execute: Callable[[ToolCall], Awaitable[Result]]) -> Result:
        """Execute a call within the gates that stand around the execution."""
        if not self._executing:
            return await execute(call)

        async def executed(call: ToolCall) -> Executed:
            result = await execute(call)
            return Executed(result.message, result.stored(), result.error)

        ended = await self.executed(call, executed)
        if isinstance(ended, Answer):
            return answered(call, ended.text, ended.status)
        return Result.restored(call, cast("StoredResult", ended.stored))

    @property
    def execute(self) -> bool:
        """True if a gate stands around the execution of calls."""
        return bool(self._executing)

    async def executed(self, call: ToolCall, execute: Callable[[ToolCall], Awaitable[Executed]]) -> Executed | Answer:
        """Execute a call within the gates that stand around the execution, whatever executes it."""
        work: Callable[[ToolCall], Awaitable[Executed | Answer]] = execute
        for gate in reversed(self._executing):
            work = partial(self._within, gate, work)
        return await work(call)

    async def _within(
        self, gate: ExecutionGate, work: Callable[[ToolCall], Awaitable[Executed | Answer]], call: ToolCall
    ) -> Executed | Answer:
        """Execute a call within one gate; what a gate within this one answers is its result."""

        async def execute(call: ToolCall) -> Executed:
            ended = await work(call)
            if isinstance(ended, Answer):
                result = answered(call, ended.text, ended.status)
                return Executed(result.message, result.stored())
            return ended

        return await gate.around(self._at, call, execute)

    async def after(self, call: ToolCall, message: ToolMessage) -> tuple[ToolMessage, tuple[Remarks | None, ...]]:
        """Review one result; return it, changed or not, and the requests of each gate."""
        remarks: list[Remarks | None] = [None] * len(self._gates)
        for number in reversed(range(self._depth(call))):
            message, remarks[number] = await self._gates[number].after(self._at, call, message)
        return message, tuple(remarks)

    async def finish(self, results: Sequence[Result]) -> Finished:
        """Look at all results of a batch."""
        reviews: list[Reviewed] = []
        for number in reversed(range(len(self._gates))):
            seen = [result for result in results if number < self._depth(result.call)]
            if seen:
                reviewed = await self._finished_by(number, seen)
                changed = {message.tool_call_id: message for message in reviewed.messages}
                results = [_reworded(result, changed.get(result.call["id"] or "")) for result in results]
                reviews.append(reviewed)
        injected = [message for reviewed in reviews for message in reviewed.injected]
        halt = next((reviewed.halt for reviewed in reviews if reviewed.halt is not None), None)
        return Finished(results, injected, halt)

    async def _finished_by(self, number: int, results: Sequence[Result]) -> Reviewed:
        own = [result.remarks[number] for result in results if number < len(result.remarks)]
        return await self._gates[number].finish(
            self._at,
            [result.call for result in results],
            [result.message for result in results if result.message is not None],
            [remarks for remarks in own if remarks is not None],
        )

    def _depth(self, call: ToolCall) -> int:
        """Return how many gates the result of a call passes."""
        return self._depths.get(call["id"], len(self._gates))


def _reworded(result: Result, message: ToolMessage | None) -> Result:
    return result if message is None else result.reworded(message)
