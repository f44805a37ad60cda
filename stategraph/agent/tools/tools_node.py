"""The tools node: runs the calls of a model's answer.

- Every call gets exactly one result, in the order of the calls, in every case: providers refuse a history in which
  one is missing. A tool that fails, does not exist or was given arguments that cannot be read is a result with status
  "error" that tells the model.
- Calls run side by side. Calls that interrupt let their siblings end, then pause the run together.
- Where states are stored, each of several calls is a task of the engine: what has ended is stored with the waiting run
  and does not run again, here or in another process. Elsewhere nothing of this is paid.
- A gate sees the calls before and the results after; tools known by definition alone go to the host as one batch.
- Each result is reported once: as soon as it is there, and marked as reported in a paused run.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_executor_for_config

from stategraph.agent.agent import Agent
from stategraph.agent.context import handoff
from stategraph.agent.invocation.injection import Surroundings
from stategraph.agent.messages import storable, truncation
from stategraph.agent.ports import (
    AgentContext,
    Allow,
    Answer,
    Fact,
    HostResult,
    Injected,
    Logged,
    Place,
    ToolAnswered,
    ToolBatch,
    ToolEnded,
    ToolFailed,
    ToolRecalled,
    ToolReported,
    ToolStarted,
    agent_context,
)
from stategraph.agent.reporting import ToolReport
from stategraph.agent.state import AgentState
from stategraph.agent.tools import tool_runner
from stategraph.agent.tools.tool_calls import OpenCalls
from stategraph.agent.tools.tool_runner import Output, Result, ToolRunner, Watch, failed
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config.context import get_config
from stategraph.engine.config.runtime import Runtime
from stategraph.errors import GraphBubbleUp, GraphInterrupt
from stategraph.graph.message import add_messages


class ToolsNode:
    """Runs the tools that a model called.

    Args:
        agent: Whose tools.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.runner = ToolRunner(agent)

    def as_runnable(self) -> Runnable[Any, Any]:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self.agent.tools_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]) -> Any:
        """Run the calls in threads and wait.

        Raises:
            TypeError: If the run has a listener, a host or a gate, which are awaited.
            GraphInterrupt: Tools wait for a person.
            LookupError: A tool is one that only a host can execute.
        """
        context = agent_context(runtime.context)
        if context.listener or context.host or context.gate:
            raise TypeError(
                f"Agent '{self.agent.id}' was run with invoke() or stream() and a listener, host or gate in its "
                "context, which are awaited: use ainvoke() or astream(), or Run.process_stream()"
            )
        open_calls = OpenCalls.of(state["messages"])
        around = self._around(state, config, runtime, context)
        todo = [call for call in open_calls.calls if call["id"] not in open_calls.unreadable]
        if theirs := [call for call in todo if self.is_host_s(call)]:
            raise self.unhosted(theirs)
        if len(todo) == 1:
            outcomes: list[Any] = [_caught(partial(self.run, todo[0], around))]
        elif tool_runner.stores(config):
            futures = [start_task(tool_call_sync, ((self, call, around), {})) for call in todo]
            outcomes = [_caught(future.result) for future in futures]
        else:
            with get_executor_for_config(config) as executor:
                outcomes = list(executor.map(lambda call: _caught(partial(self.run, call, around)), todo))
        _raise_waiting(outcomes)
        results = {
            call["id"]: outcome if isinstance(outcome, Result) else Result.restored(call, outcome)
            for call, outcome in zip(todo, outcomes, strict=True)
        }
        results |= _unreadable(open_calls)
        return _update(state, open_calls, [results[call["id"]] for call in open_calls.calls])

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]) -> Any:
        """Run the calls side by side, telling a listener what happens.

        Raises:
            GraphInterrupt: Tools, or the gate, wait for a person.
            LookupError: A tool is one that only a host can execute, and there is none.
        """
        context = agent_context(runtime.context)
        if context.listener is not None and (memory := state.get("memory")) is not None:
            context.listener.recall(memory)
        open_calls = OpenCalls.of(state["messages"])
        around = self._around(state, config, runtime, context)
        batch = Batch(self, context, self.agent.place(self.agent.tools_node, config, state["messages"]), around)
        results = await batch.run(open_calls)
        injected = [message for result in results for message in result.injected]
        halt = None
        if context.gate is not None:
            results, more, halt = await batch.finish(results)
            injected.extend(more)
        if injected:
            injected = [each if each.id else each.model_copy(update={"id": str(uuid.uuid4())}) for each in injected]
            await batch.hear(Injected(batch.at, injected))
        memory = None if context.listener is None else context.listener.memory()
        return _update(state, open_calls, results, injected, halt, memory)

    def run(self, call: ToolCall, around: Surroundings) -> Result:
        """Run a call and wait; see `ToolRunner.run`."""
        return _storable(self.runner.run(call, around), around.config)

    def is_host_s(self, call: ToolCall) -> bool:
        """Return whether only the host can execute a call."""
        return call["name"] in self.agent.host_tools and not self.runner.has(call)

    def unhosted(self, calls: Sequence[ToolCall]) -> LookupError:
        """Build the error for calls that only a host can execute where there is none."""
        names = ", ".join(sorted({call["name"] for call in calls}))
        return LookupError(
            f"Agent '{self.agent.id}' called {names}, which only the host can execute, and there is no host: "
            "register a handler for 'on_tool_execute', or give the agent tools in place of tool definitions"
        )

    def _around(
        self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any], context: AgentContext
    ) -> Surroundings:
        given = context.context if isinstance(runtime.context, AgentContext) else runtime.context
        return Surroundings(state, config, runtime, given, tuple(self.agent.tools.values()))


@dataclass(frozen=True, slots=True)
class Batch:
    """The calls of one answer while they run.

    Attributes:
        node: The node.
        context: The listener, the tool host and the gate.
        at: Where.
        around: The values that tools may be given.
        telling: Held while a result is reported, so that the reports of two results do not interleave.
    """

    node: ToolsNode
    context: AgentContext
    at: Place
    around: Surroundings
    telling: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def run(self, open_calls: OpenCalls) -> list[Result]:
        """Run calls and return their results in order, reporting each to the listener."""
        known = _unreadable(open_calls)
        allowed: list[ToolCall] = []
        for verdict in await self._verdicts([call for call in open_calls.calls if call["id"] not in known]):
            if isinstance(verdict, Answer):
                known[verdict.call["id"]] = tool_runner.answered(verdict.call, verdict.text, verdict.status)
            else:
                allowed.append(verdict.call)
        theirs = [call for call in allowed if self.node.is_host_s(call)]
        if theirs and self.context.host is None:
            raise self.node.unhosted(theirs)
        ours = [call for call in allowed if call not in theirs]
        results = {each.call["id"]: each for each in await self._ended(list(known.values()), ours, theirs)}
        return [results[call["id"]] for call in open_calls.calls]

    async def _verdicts(self, calls: list[ToolCall]) -> Sequence[Allow | Answer]:
        if self.context.gate is None or not calls:
            return [Allow(call) for call in calls]
        return await self.context.gate.before(self.at, calls)

    async def _ended(self, known: list[Result], ours: list[ToolCall], theirs: list[ToolCall]) -> list[Result]:
        """Return the results of all calls.

        Args:
            known: Those that no tool has to make.
            ours: Calls of tools of this process.
            theirs: Calls of the host's tools.

        Raises:
            GraphInterrupt: Some wait; what has ended is stored.
        """
        works: list[Coroutine[Any, Any, list[Result]]]
        if len(known) + len(ours) + bool(theirs) > 1 and tool_runner.stores(self.around.config):
            works = [self._restored([each.call], start_task(known_result, ((self, each), {}))) for each in known]
            works += [self._restored([call], start_task(tool_call, ((self, call), {}))) for call in ours]
            if theirs:
                works.append(self._restored(theirs, start_task(host_tool_calls, ((self, theirs), {}))))
        else:
            works = [self.known(each) for each in known] + [self.one(call) for call in ours]
            if theirs:
                works.append(self.host(theirs))
        outcomes = await _side_by_side([_acaught(work) for work in works])
        _raise_waiting(outcomes)
        return [result for outcome in outcomes for result in outcome]

    async def known(self, result: Result) -> list[Result]:
        """Tell a result that no tool made."""
        return [await self.tell(result)]

    async def one(self, call: ToolCall) -> list[Result]:
        """Run a tool of this process, and tell its result."""
        result = await self.node.runner.arun(call, self.around, self._watch(call))
        return [await self.tell(await self._storable(result))]

    async def _storable(self, result: Result) -> Result:
        """Leave out of a result what the thread's saver cannot store, and say so."""
        if (kept := _storable(result, self.around.config)) is result:
            return result
        text = f"The artifact of '{result.call['name']}' cannot be stored with the thread, and is left out"
        await self.hear(Logged(self.at, "warn", "tools", text))
        return kept

    async def host(self, calls: list[ToolCall]) -> list[Result]:
        """Have the host run tools, telling each result as soon as it is there."""
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
            results[given.tool_call_id] = await self.tell(await self._storable(self._hosted(call, given)))

        for given in await host.execute(ToolBatch(self.at, calls, self.around.config), take):
            await take(given)
        for call_id, call in by_id.items():
            if call_id not in results:
                results[call_id] = await self.tell(failed(call, f"The host returned no result for '{call['name']}'"))
        return list(results.values())

    def _hosted(self, call: ToolCall, given: HostResult) -> Result:
        injected = tuple(given.injected)
        if given.status == "error":
            result = failed(call, given.error_message or "unknown error")
            return replace(result, shown=None, outcome=given.outcome, injected=injected)
        message = ToolMessage(
            content=given.content, artifact=given.artifact, name=call["name"], tool_call_id=call["id"] or ""
        )
        return Result(call, self.node.runner.shortened(call, message), outcome=given.outcome, injected=injected)

    async def tell(self, result: Result) -> Result:
        """Let the gate look at a result, and tell it to the listener."""
        message = result.message
        if message is None:
            return result
        shown, remarks = result.shown, None
        if self.context.gate is not None:
            message, remarks = await self.context.gate.after(self.at, result.call, message)
            shown = shown if message is result.message else None
        if self.context.listener is not None:
            text = truncation.text_of(message.content) if shown is None else shown
            async with self.telling:
                await self.hear(ToolAnswered(self.at, result.call, message, text, result.outcome))
        return replace(result.reworded(message), remarks=remarks)

    async def _restored(self, calls: list[ToolCall], stored: Awaitable[list[dict[str, Any]]]) -> list[Result]:
        """Return the results of a task, which has reported them, perhaps in another process."""
        results = []
        for call, each in zip(calls, await stored, strict=True):
            result = Result.restored(call, each)
            if result.message is not None:
                await self.hear(ToolRecalled(self.at, call, result.message))
            results.append(result)
        return results

    async def finish(self, results: list[Result]) -> tuple[list[Result], Sequence[HumanMessage], str | None]:
        """Let the gate look at all results together."""
        gate = self.context.gate
        if gate is None or not results:
            return results, (), None
        messages = [result.message for result in results if result.message is not None]
        remarks = [result.remarks for result in results if result.remarks is not None]
        reviewed = await gate.finish(self.at, [result.call for result in results], messages, remarks)
        changed: dict[str | None, ToolMessage] = {message.tool_call_id: message for message in reviewed.messages}
        after = [
            result.reworded(changed[result.call["id"]]) if result.call["id"] in changed else result
            for result in results
        ]
        return after, reviewed.injected, reviewed.halt

    def _watch(self, call: ToolCall) -> Watch | None:
        if self.context.listener is None:
            return None

        async def started() -> None:
            await self.hear(ToolStarted(self.at, call))

        async def ended(output: Output) -> None:
            await self.hear(ToolEnded(self.at, call, output))

        async def failed(error: Exception) -> None:
            await self.hear(ToolFailed(self.at, call, error))

        async def report(what: ToolReport) -> None:
            await self.hear(ToolReported(self.at, call, what))

        return Watch(started, ended, failed, report)

    async def hear(self, fact: Fact) -> None:
        """Tell the listener, if there is one."""
        if self.context.listener is not None:
            await self.context.listener.hear(fact)


# Calls as tasks of the engine: their results are stored, so a node that runs again does not run them again.


def tool_call_sync(node: ToolsNode, call: ToolCall, around: Surroundings) -> dict[str, Any]:
    """Execute one call."""
    return node.run(call, replace(around, config=get_config())).stored()


async def tool_call(batch: Batch, call: ToolCall) -> list[dict[str, Any]]:
    """Execute one call."""
    here = replace(batch, around=replace(batch.around, config=get_config()))
    return [result.stored() for result in await here.one(call)]


async def host_tool_calls(batch: Batch, calls: list[ToolCall]) -> list[dict[str, Any]]:
    """Execute the calls of the host's tools."""
    by_id = {result.call["id"]: result for result in await batch.host(calls)}
    return [by_id[call["id"]].stored() for call in calls]


async def known_result(batch: Batch, result: Result) -> list[dict[str, Any]]:
    """Return the result of a call that does not run: as a task, so that it is reported once."""
    return [each.stored() for each in await batch.known(result)]


# Outcomes of calls.


def _storable(result: Result, config: RunnableConfig) -> Result:
    """Leave out of a result what the thread's saver cannot store."""
    if result.message is None or (kept := storable.storable(result.message, config)) is result.message:
        return result
    return replace(result, message=kept)


def _caught(work: Any) -> Any:
    """Return the result of a call; a wait is returned, not raised, until its siblings have ended."""
    try:
        return work()
    except GraphBubbleUp as wait:
        return wait


async def _acaught(work: Awaitable[Any]) -> Any:
    try:
        return await work
    except GraphBubbleUp as wait:
        return wait


def _raise_waiting(outcomes: Sequence[Any]) -> None:
    """Raise what several calls wait for, as one interrupt."""
    waiting = [outcome for outcome in outcomes if isinstance(outcome, GraphBubbleUp)]
    for wait in waiting:
        if len(waiting) == 1 or not isinstance(wait, GraphInterrupt):
            raise wait
    if waiting:
        raise GraphInterrupt(tuple(question for wait in waiting for question in wait.args[0]))


async def _side_by_side(works: list[Coroutine[Any, Any, Any]]) -> list[Any]:
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


def _unreadable(open_calls: OpenCalls) -> dict[str | None, Result]:
    """Return the results of calls that cannot be read."""
    problems = open_calls.unreadable
    return {call["id"]: failed(call, problems[call["id"]]) for call in open_calls.calls if call["id"] in problems}


def _update(
    state: AgentState,
    open_calls: OpenCalls,
    results: Sequence[Result],
    injected: Sequence[HumanMessage] = (),
    halt: str | None = None,
    memory: dict[str, Any] | None = None,
) -> Any:
    """Return the node's update: results in order, commands of tools unchanged, and the reason if the turn ends.

    A command that leads out of the agent takes everything along; where the turn ends, none does.
    """
    mended = [] if open_calls.mended is None else [open_calls.mended]
    outputs = [output for result in results for output in result.outputs]
    if handoff.leaves(outputs) and halt is None:
        if mended:
            state = cast(
                "AgentState", {**state, "messages": add_messages(cast("Any", state["messages"]), cast("Any", mended))}
            )
        return handoff.departure(state, outputs, injected, memory)
    messages = [result.message for result in results if result.message is not None]
    update: dict[str, Any] = {"messages": [*mended, *messages, *injected]}
    if halt is not None:
        update["halt_reason"] = halt
    if memory is not None:
        update["memory"] = memory
    commands = [command for result in results for command in result.commands if halt is None or command.graph is None]
    return [update, *commands] if commands else update


def wants_tools(message: AIMessage) -> bool:
    """Return whether an answer calls tools."""
    return bool(message.tool_calls or message.invalid_tool_calls)
