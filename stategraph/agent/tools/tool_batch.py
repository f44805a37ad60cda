"""The calls of one answer while they run in an async run: gates, reports to the listener, the host's tools.

- Gates see the calls before and the results after; tools known by definition alone go to the host as one batch.
- Where states are stored, each of several calls is a task of the engine: its result is stored with a waiting run, and a
  node that runs again, here or in another process, does not run it again. Elsewhere nothing of this is paid.
- Each result is reported once: as soon as it is there, and marked as reported in a paused run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias, TypeVar

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.facts import (
    Fact,
    Logged,
    Place,
    ToolAnswered,
    ToolEnded,
    ToolFailed,
    ToolKept,
    ToolRecalled,
    ToolReported,
    ToolStarted,
)
from stategraph.agent.invocation.injection import InjectionContext
from stategraph.agent.messages import storable, truncation
from stategraph.agent.ports import AgentContext, Answer, HostResult, ToolBatch
from stategraph.agent.tools import tool_result, tool_runner
from stategraph.agent.tools.gates import Finished, Gates
from stategraph.agent.tools.tool_calls import OpenCalls
from stategraph.agent.tools.tool_result import Result, StoredResult, failed
from stategraph.agent.tools.tool_runner import ToolRunner, Watch
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config.context import get_config
from stategraph.errors import GraphBubbleUp, GraphInterrupt

T = TypeVar("T")

_UNSEEN = "The tool has run. The run was stopped before its result was reviewed, so the result is not known."
"""Stands for a result that hooks and gates have not seen."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The calls of one answer while they run.

    Attributes:
        runner: Runs the agent's tools.
        context: The listener and the tool host.
        at: Where.
        values: The values that tools may be given.
        gates: The gates.
        reporting: Held while a result is reported, so that the reports of two results do not interleave.
    """

    runner: ToolRunner
    context: AgentContext
    at: Place
    values: InjectionContext
    gates: Gates
    reporting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, open_calls: OpenCalls) -> list[Result]:
        """Run calls and return their results in order, reporting each to the listener."""
        preset = unreadable(open_calls)
        allowed: list[ToolCall] = []
        readable = [call for call in open_calls.calls if call["id"] not in preset]
        for verdict in await self.gates.before(readable) if readable else ():
            if isinstance(verdict, Answer):
                preset[verdict.call["id"]] = tool_result.answered(verdict.call, verdict.text, verdict.status)
            else:
                allowed.append(verdict.call)
        self._count(allowed)
        hosted = [call for call in allowed if self.runner.is_hosted(call)]
        if hosted and self.context.host is None:
            raise self.runner.unhosted(hosted)
        local = [call for call in allowed if call not in hosted]
        results = {each.call["id"]: each for each in await self._ended(list(preset.values()), local, hosted)}
        return [results[call["id"]] for call in open_calls.calls]

    def _count(self, allowed: Sequence[ToolCall]) -> None:
        """Count the calls that run, by the run's meter."""
        if allowed and self.context.meter is not None:
            self.context.meter.count_tools(self.at, [call["id"] or "" for call in allowed])

    async def _ended(self, preset: list[Result], local: list[ToolCall], hosted: list[ToolCall]) -> list[Result]:
        """Return the results of all calls.

        Args:
            preset: Those that no tool has to make.
            local: Calls of tools of this process.
            hosted: Calls of the host's tools.

        Raises:
            GraphInterrupt: Some wait; what has ended is stored.
        """
        works: list[Coroutine[object, object, list[Result]]]
        if len(preset) + len(local) + bool(hosted) > 1 and tool_runner.stores(self.values.config):
            works = [self._restored([each.call], start_task(known_result, ((self, each), {}))) for each in preset]
            works += [self._restored([call], start_task(tool_call, ((self, call), {}))) for call in local]
            if hosted:
                works.append(self._restored(hosted, start_task(host_tool_calls, ((self, hosted), {}))))
        else:
            works = [self.known(each) for each in preset] + [self.one(call) for call in local]
            if hosted:
                works.append(self.host(hosted))
        outcomes = await side_by_side([outcome_of(work) for work in works])
        return [result for outcome in ended(outcomes) for result in outcome]

    async def known(self, result: Result) -> list[Result]:
        """Report a result that no tool made; gates hear first if that is because its call cannot be read."""
        if result.unread is not None:
            await self.gates.unreadable(result.call, result.unread)
        return [await self.report(result)]

    async def one(self, call: ToolCall) -> list[Result]:
        """Run a tool of this process, and report its result, also where the listener fails that is told of its end.

        The tool has run: without its result the next turn would have it run again.
        """
        refused: list[BaseException] = []
        watch = self._watch(call, refused)
        result = await self.gates.around(call, lambda call: self.runner.arun(call, self.values, watch))
        reported = await self._told(result, next((each for each in refused if not isinstance(each, Exception)), None))
        if refused:
            raise refused[0]
        return [reported]

    async def _told(self, result: Result, stopped: BaseException | None = None) -> Result:
        """Report a result; if the run is stopped before it is told, keep it.

        Args:
            result: The result of a call that has ended.
            stopped: Raised when it is kept: the run was stopped before; None: it goes on.
        """
        try:
            if stopped is not None:
                raise stopped
            return await self.report(await self._storable(result))
        except asyncio.CancelledError:
            if (message := without_unstorable(result, self.values.config).message) is not None:
                if self.gates:  # whatever they would have changed, such as a secret
                    message = message.model_copy(update={"content": _UNSEEN, "artifact": None})
                await self.hear(ToolKept(self.at, result.call, message))
            raise

    async def _storable(self, result: Result) -> Result:
        """Leave out of a result what the thread's saver cannot store, and say so."""
        if (kept := without_unstorable(result, self.values.config)) is result:
            return result
        text = f"The artifact of '{result.call['name']}' cannot be stored with the thread, and is left out"
        await self.hear(Logged(self.at, "warn", "tools", text))
        return kept

    async def host(self, calls: list[ToolCall]) -> list[Result]:
        """Have the host run tools, reporting each result as soon as it is there."""
        host = self.context.host
        assert host is not None
        by_id = {call["id"]: call for call in calls}
        begun: set[str] = set()
        results: dict[str | None, Result] = {}

        async def take(given: HostResult) -> None:
            call = by_id.get(given.tool_call_id)
            if call is None or given.tool_call_id in begun:
                return
            begun.add(given.tool_call_id)
            results[given.tool_call_id] = await self._told(self._hosted(call, given))

        for given in await host.execute(ToolBatch(self.at, calls, self.values.config), take):
            await take(given)
        for call_id, call in by_id.items():
            if call_id not in results:
                results[call_id] = await self.report(failed(call, f"The host returned no result for '{call['name']}'"))
        return list(results.values())

    def _hosted(self, call: ToolCall, given: HostResult) -> Result:
        injected = tuple(given.injected)
        if given.status == "error":
            if isinstance(given.content, str) and given.content:  # the host has worded it for the model
                result = tool_result.answered(call, given.content, "error")
            else:
                result = failed(call, given.error_message or "unknown error")
            return replace(result, shown=None, outcome=given.outcome, injected=injected)
        message = ToolMessage(
            content=given.content, artifact=given.artifact, name=call["name"], tool_call_id=call["id"] or ""
        )
        return Result(call, self.runner.shortened(call, message), outcome=given.outcome, injected=injected)

    async def report(self, result: Result) -> Result:
        """Let the gates review a result, and report it to the listener."""
        message, shown = result.message, result.shown
        if message is None:
            return result
        if self.gates:
            message, remarks = await self.gates.after(result.call, message)
            shown = shown if message is result.message else None
            result = replace(result.reworded(message), remarks=remarks)
        if self.context.listener is not None:
            text = truncation.text_of(message.content) if shown is None else shown
            async with self.reporting:
                await self.hear(ToolAnswered(self.at, result.call, message, text, result.outcome))
        return result

    async def _restored(self, calls: list[ToolCall], stored: Awaitable[list[StoredResult]]) -> list[Result]:
        """Return the results of a task, which has reported them, perhaps in another process."""
        results = []
        for call, each in zip(calls, await stored, strict=True):
            result = Result.restored(call, each)
            if result.message is not None:
                await self.hear(ToolRecalled(self.at, call, result.message))
            results.append(result)
        return results

    async def finish(self, results: list[Result]) -> Finished:
        """Let the gates look at all results together; after this the node does not run again."""
        if self.context.meter is not None:
            self.context.meter.end_tools(self.at)
        return await self.gates.finish(results) if self.gates and results else Finished(results)

    def _watch(self, call: ToolCall, refused: list[BaseException]) -> Watch | None:
        """Return callbacks that tell the listener; what ends it after the end of the tool is kept in `refused`."""
        listener, at = self.context.listener, self.at
        if listener is None:
            return None

        async def kept(fact: Fact) -> None:
            try:
                await listener.hear(fact)
            except (Exception, asyncio.CancelledError) as error:
                refused.append(error)

        return Watch(
            lambda: listener.hear(ToolStarted(at, call)),
            lambda output: kept(ToolEnded(at, call, output)),
            lambda error: kept(ToolFailed(at, call, error)),
            lambda what: listener.hear(ToolReported(at, call, what)),
        )

    async def hear(self, fact: Fact) -> None:
        """Tell the listener, if there is one."""
        if self.context.listener is not None:
            await self.context.listener.hear(fact)


# Calls as tasks of the engine: their results are stored, so a node that runs again does not run them again.


def tool_call_sync(runner: ToolRunner, call: ToolCall, values: InjectionContext) -> StoredResult:
    """Execute one call."""
    return run_sync(runner, call, replace(values, config=get_config())).stored()


async def tool_call(batch: Batch, call: ToolCall) -> list[StoredResult]:
    """Execute one call."""
    here = replace(batch, values=replace(batch.values, config=get_config()))
    results = [result.stored() for result in await here.one(call)]
    listener = batch.context.listener
    if listener is not None and batch.runner.is_delegated(call) and (memory := listener.memory()) is not None:
        results[0]["memory"] = memory
    return results


async def host_tool_calls(batch: Batch, calls: list[ToolCall]) -> list[StoredResult]:
    """Execute the calls of the host's tools."""
    by_id = {result.call["id"]: result for result in await batch.host(calls)}
    return [by_id[call["id"]].stored() for call in calls]


async def known_result(batch: Batch, result: Result) -> list[StoredResult]:
    """Return the result of a call that does not run: as a task, so that it is reported once."""
    return [each.stored() for each in await batch.known(result)]


# Outcomes of calls.


Outcome: TypeAlias = T | GraphBubbleUp
"""The result of a call, or its wait for a person."""


def run_sync(runner: ToolRunner, call: ToolCall, values: InjectionContext) -> Result:
    """Run a call and wait; see `ToolRunner.run`."""
    return without_unstorable(runner.run(call, values), values.config)


def unreadable(open_calls: OpenCalls) -> dict[str | None, Result]:
    """Return the results of calls that cannot be read."""
    problems = open_calls.unreadable
    calls = {call["id"]: call for call in open_calls.calls if call["id"] in problems}
    return {id: replace(failed(call, problems[id or ""]), unread=problems[id or ""]) for id, call in calls.items()}


def without_unstorable(result: Result, config: RunnableConfig) -> Result:
    """Leave out of a result what the thread's saver cannot store."""
    if result.message is None or (kept := storable.storable(result.message, config)) is result.message:
        return result
    return replace(result, message=kept)


def caught(work: Callable[[], T]) -> Outcome[T]:
    """Return the result of a call; a wait is returned, not raised, until its siblings have ended."""
    try:
        return work()
    except GraphBubbleUp as wait:
        return wait


async def outcome_of(work: Awaitable[T]) -> Outcome[T]:
    """Return the result of a call, as `caught` does."""
    try:
        return await work
    except GraphBubbleUp as wait:
        return wait


def ended(outcomes: Sequence[Outcome[T]]) -> list[T]:
    """Return the results of calls that have all ended, in order.

    Raises:
        GraphInterrupt: What several calls wait for, as one interrupt.
        GraphBubbleUp: Anything else that a call waits for.
    """
    waiting = [outcome for outcome in outcomes if isinstance(outcome, GraphBubbleUp)]
    for wait in waiting:
        if len(waiting) == 1 or not isinstance(wait, GraphInterrupt):
            raise wait
    if waiting:
        raise GraphInterrupt(tuple(question for wait in waiting for question in wait.args[0]))
    return [outcome for outcome in outcomes if not isinstance(outcome, GraphBubbleUp)]


async def side_by_side(works: list[Coroutine[object, object, T]]) -> list[T]:
    """Run coroutines in parallel and return their results in order; if one raises, cancel and await the others."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        if tasks:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in tasks:
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        return [task.result() for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
