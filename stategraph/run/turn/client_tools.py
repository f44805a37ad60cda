"""Tools that the host executes: one request for the calls of an answer, answered whenever the host is ready.

The host's handler of `on_tool_execute` is given a `ToolExecuteRequest`. It may answer at once, or keep the request and
answer later, from any thread; what it returns is an answer as well. With no handler the run fails at once: no one could
ever answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

from stategraph.agent.messages import problems
from stategraph.agent.ports import HostResult, ToolBatch
from stategraph.run.abort import AbortSignal
from stategraph.run.events.event_types import GraphEvents
from stategraph.run.events.listener import RunListener
from stategraph.run.events.steps import StepTracker
from stategraph.run.hooks.injected import injected_message

#: A result as a host may give it: as a value, or as JSON in the spelling of the wire.
AnyHostResult: TypeAlias = HostResult | Mapping[str, Any]


class ToolExecuteRequest(dict[str, Any]):
    """The payload of `on_tool_execute`: JSON, and three ways to answer.

    Keys: `toolCalls` (each with `id`, `name`, `args`, `stepId`, `turn`), `userId`, `agentId`, `configurable`,
    `metadata`, `callerCapabilityProjection`, and `signal`, the run's AbortSignal.

    Args:
        payload: The JSON.
        early: Called with a result that comes before the others.
    """

    def __init__(self, payload: Mapping[str, Any], early: Callable[[HostResult], Awaitable[None]]) -> None:
        super().__init__(payload)
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[list[HostResult]] = self._loop.create_future()
        self._early = early
        self._early_tasks: set[asyncio.Future[None]] = set()

    def resolve(self, results: Sequence[AnyHostResult]) -> None:
        """Give all results. Answering a second time changes nothing.

        Args:
            results: One for each call, in any order.

        Raises:
            ValueError: They are no list, or one of them is no result; the run goes on waiting.
        """
        several = cast("Any", results)
        if not isinstance(several, Sequence) or isinstance(several, str):
            raise ValueError(
                f"resolve() was given a value of type {type(results).__name__}; expected a list of results, one "
                "for each of toolCalls"
            )
        read = [_read(result) for result in results]
        self._soon(lambda: None if self._answer.done() else self._answer.set_result(read))

    def reject(self, error: BaseException | str) -> None:
        """Fail the run.

        Args:
            error: The error of `process_stream`.
        """
        failure = error if isinstance(error, BaseException) else RuntimeError(error)
        if isinstance(error, asyncio.CancelledError | StopIteration):
            # Raised in the run, the first would look like a cancellation of it, and the second cannot be raised.
            failure = RuntimeError(problems.named(error))
            failure.__cause__ = error
        self._soon(lambda: None if self._answer.done() else self._answer.set_exception(failure))

    def on_result(self, result: AnyHostResult) -> None:
        """Give one result before the others are there; `resolve` still has to be told all of them.

        Args:
            result: The result. It changes nothing once all of them were given.

        Raises:
            ValueError: It is no result.
        """
        read = _read(result)

        def start() -> None:
            if self._answer.done():
                return
            task = asyncio.ensure_future(self._early(read))
            self._early_tasks.add(task)
            task.add_done_callback(self._early_told)

        self._soon(start)

    def _early_told(self, task: asyncio.Future[None]) -> None:
        self._early_tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._answer.done():
            self._answer.set_exception(error)

    async def answered(self) -> list[HostResult]:
        """Return the results, as soon as the host has given them."""
        try:
            results = await self._answer
            if self._early_tasks:
                await asyncio.gather(*self._early_tasks)
            return results
        finally:
            left = list(self._early_tasks)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _soon(self, what: Callable[[], None]) -> None:
        """Call a function in the run's loop: a host may answer from another thread."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            running = None
        if running is self._loop:
            what()
        elif not self._loop.is_closed():  # else the run is over, and no listener is left
            self._loop.call_soon_threadsafe(what)


class RunToolHost:
    """Asks the host's handler of `on_tool_execute`.

    Args:
        listener: Through which handlers are reached.
        tracker: Knows steps and turns of calls.
        direct_tools: Names of the tools that a model may call, by agent.

    Attributes:
        signal: Of the execution that goes on: tells the host's tools to stop.
    """

    def __init__(self, listener: RunListener, tracker: StepTracker, direct_tools: Mapping[str, Sequence[str]]) -> None:
        self._listener = listener
        self._tracker = tracker
        self._direct_tools = direct_tools
        self.signal = AbortSignal()

    async def execute(
        self, batch: ToolBatch, early: Callable[[HostResult], Awaitable[None]], /
    ) -> Sequence[HostResult]:
        """Have the host execute calls.

        Raises:
            LookupError: There is no handler of `on_tool_execute`.
        """
        metadata = self._listener.metadata(batch.at)
        given = {"run_id": metadata["run_id"], **(batch.config.get("configurable") or {})}
        configurable = {key: value for key, value in given.items() if not key.startswith("__")}
        names = list(self._direct_tools.get(batch.at.agent_id, ()))
        tracker = self._tracker.of(batch.at)
        payload = {
            "toolCalls": [
                {
                    "id": call["id"],
                    "name": call["name"],
                    "args": call["args"],
                    "stepId": tracker.step_id(batch.at, call["id"]),
                    "turn": tracker.turn(batch.at, call),
                }
                for call in batch.calls
            ],
            "agentId": batch.at.agent_id,
            "callerCapabilityProjection": {
                "version": 1,
                "directToolNames": names,
                "codeExecutionToolNames": [],
                "directOnlyToolNames": names,
                "codeExecutionOnlyToolNames": [],
            },
            "configurable": configurable,
            "metadata": metadata,
            "signal": self.signal,
        }
        if "user_id" in configurable:
            payload["userId"] = configurable["user_id"]
        request = ToolExecuteRequest(payload, early)
        if not await self._listener.emit(GraphEvents.ON_TOOL_EXECUTE, request, batch.at):
            called = ", ".join(sorted({call["name"] for call in batch.calls}))
            raise LookupError(
                f"Agent '{batch.at.agent_id}' called {called}, which only the host can execute, and no handler is "
                "registered for 'on_tool_execute': register one, or give the agent tools in place of tool definitions"
            )
        return await request.answered()


def _read(result: AnyHostResult) -> HostResult:
    if isinstance(result, HostResult):
        return result
    if not isinstance(result, Mapping):
        raise ValueError(f"A tool result is a mapping with the keys toolCallId and content; found {result!r:.200}")
    call_id = result.get("toolCallId", result.get("tool_call_id"))
    status = result.get("status", "success")
    if not isinstance(call_id, str) or status not in ("success", "error"):
        raise ValueError(
            f"A tool result has toolCallId {call_id!r} and status {status!r}; expected the id of a call, and "
            "'success' or 'error'"
        )
    content = result.get("content", "")
    injected = result.get("injectedMessages", result.get("injected_messages")) or ()
    return HostResult(
        call_id,
        content if isinstance(content, str | list) else str(content),
        status,
        result.get("errorMessage", result.get("error_message")),
        result.get("artifact"),
        result.get("outcome"),
        [injected_message(message) for message in injected],
    )
