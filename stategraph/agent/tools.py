"""The tools node: runs the calls of a model's answer.

- Every call gets exactly one result, in the order of the calls, whatever happens: providers refuse a history in which
  one is missing. A tool that fails, does not exist or was given arguments that cannot be read is a result with status
  "error" that tells the model.
- Calls run side by side. A call that interrupts lets its siblings end, then pauses the run.
- A gate sees the calls before and the results after; tools known by definition alone go to the host as one batch.
- A failed call is told at once, the others in the order of the calls when all have ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import get_executor_for_config
from langchain_core.utils.json import parse_partial_json

from stategraph import fields
from stategraph.agent import handoff, truncation
from stategraph.agent.agent import Agent
from stategraph.agent.ports import (
    NOBODY,
    AgentContext,
    Allow,
    Answer,
    Fact,
    HostResult,
    Place,
    ToolAnswered,
    ToolBatch,
    ToolEnded,
    ToolFailed,
    ToolReported,
    ToolStarted,
)
from stategraph.agent.reporting import ToolReport, reporter
from stategraph.agent.state import AgentState, open_calls
from stategraph.engine.callable import RunnableCallable
from stategraph.engine.runtime import Runtime
from stategraph.errors import GraphBubbleUp, HandlerError
from stategraph.types import Command

Output: TypeAlias = ToolMessage | Command[Any]


@dataclass(frozen=True, slots=True)
class _Result:
    """What a call came to.

    Attributes:
        call: The call, with the arguments that were used.
        output: A result, or a tool's own command.
        shown: The result as a person should read it; None: as the model reads it.
        outcome: How the host described it.
        told: Whether the listener knows already.
        injected: Messages of the host to add after the results.
    """

    call: ToolCall
    output: Output
    shown: str | None = None
    outcome: str | None = None
    told: bool = False
    injected: Sequence[HumanMessage] = ()


class ToolsNode:
    """Runs the tools that a model called.

    Args:
        agent: Whose tools.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def as_runnable(self) -> Runnable[Any, Any]:
        """The node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self._agent.tools_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> Any:
        """Run the calls in threads and wait.

        Raises:
            TypeError: If the run has a listener, a host or a gate, which are awaited.
        """
        context = runtime.context or NOBODY
        if context.listener or context.host or context.gate:
            raise TypeError(
                f"Agent '{self._agent.id}' was run with invoke() or stream() and a listener, host or gate in its "
                "context, which are awaited: use ainvoke() or astream(), or Run.process_stream()"
            )
        calls, unreadable = _calls_of(state)
        if len(calls) == 1:
            results = [self._call_tool(calls[0], state, config)]
        else:
            with get_executor_for_config(config) as executor:
                results = list(executor.map(lambda call: self._call_tool(call, state, config), calls))
        return _update(state, [*results, *unreadable])

    def _call_tool(self, call: ToolCall, state: AgentState, config: RunnableConfig) -> _Result:
        if not self._runs_here(call):
            return _failed(call, LookupError(self._no_such_tool(call)))
        try:
            if (transfer := self._agent.handoffs.get(call["name"])) is not None:
                return _Result(call, transfer.take(call, state))
            tool = self._agent.tools[call["name"]]
            return _Result(call, self._shorten(tool.invoke({**call, "type": "tool_call"}, config)))
        except GraphBubbleUp:
            raise
        except Exception as error:
            return _failed(call, error)

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[AgentContext]) -> Any:
        """Run the calls side by side, telling a listener what happens."""
        context = runtime.context or NOBODY
        if context.listener is not None and (memory := state.get("memory")) is not None:
            context.listener.recall(memory)
        calls, unreadable = _calls_of(state)
        at = self._agent.place(self._agent.tools_node, config, state["messages"])
        batch = _Batch(self, context, at, state, config)
        results = [*await batch.run(calls), *[await batch.tell(each) for each in unreadable]]
        injected = [message for result in results for message in result.injected]
        halt = None
        if context.gate is not None:
            results, more, halt = await batch.finish(results)
            injected.extend(more)
        memory = None if context.listener is None else context.listener.memory()
        return _update(state, results, injected, halt, memory)

    def _shorten(self, output: Any) -> Output:
        """A tool's output with its text cut to the limit."""
        if not isinstance(output, ToolMessage):
            return output  # type: ignore[no-any-return]
        agent = self._agent
        limit = agent.max_tool_result_chars or truncation.max_tool_result_chars(agent.max_context_tokens)
        content = truncation.shorten_content(output.content, limit)
        return output if content is output.content else output.model_copy(update={"content": content})

    def _runs_here(self, call: ToolCall) -> bool:
        return call["name"] in self._agent.tools or call["name"] in self._agent.handoffs

    def _no_such_tool(self, call: ToolCall) -> str:
        return f'Tool "{call["name"]}" not found.'


@dataclass(frozen=True, slots=True)
class _Batch:
    """The calls of one answer while they run."""

    node: ToolsNode
    context: AgentContext
    at: Place
    state: AgentState
    config: RunnableConfig

    async def run(self, calls: Sequence[ToolCall]) -> list[_Result]:
        """The results of calls, in their order, each told to the listener."""
        gate = self.context.gate
        results: dict[str | None, _Result] = {}
        allowed: list[ToolCall] = []
        for verdict in await gate.before(self.at, calls) if gate is not None and calls else map(Allow, calls):
            if isinstance(verdict, Answer):
                results[verdict.call["id"]] = _Result(
                    verdict.call, _message(verdict.call, verdict.text, verdict.status)
                )
            else:
                allowed.append(verdict.call)
        agent = self.node._agent
        theirs = [call for call in allowed if call["name"] in agent.host_tools and not self.node._runs_here(call)]
        ours = [call for call in allowed if call not in theirs]
        works: list[Coroutine[Any, Any, list[_Result] | GraphBubbleUp]] = [self._one(call) for call in ours]
        if theirs:
            works.append(self._host(theirs))
        waiting: GraphBubbleUp | None = None
        for outcome in await _side_by_side(works):
            if isinstance(outcome, GraphBubbleUp):
                waiting = waiting or outcome
            else:
                results.update((result.call["id"], result) for result in outcome)
        if waiting is not None:
            raise waiting
        return [await self.tell(results[call["id"]]) for call in calls]

    async def _one(self, call: ToolCall) -> list[_Result] | GraphBubbleUp:
        """Run a tool of this process."""
        if not self.node._runs_here(call):
            return [await self.tell(_failed(call, LookupError(self.node._no_such_tool(call))))]
        await self._hear(ToolStarted(self.at, call))
        mark = reporter.set(self._reporter(call))
        try:
            output = await self._output(call)
        except GraphBubbleUp as wait:
            return wait
        except HandlerError:
            raise  # the tool is well; who listens to its reports is not
        except Exception as error:
            await self._hear(ToolFailed(self.at, call, error))
            return [await self.tell(_failed(call, error))]
        finally:
            reporter.reset(mark)
        await self._hear(ToolEnded(self.at, call, output))
        return [_Result(call, output)]

    async def _output(self, call: ToolCall) -> Output:
        agent = self.node._agent
        if (transfer := agent.handoffs.get(call["name"])) is None:
            tool = agent.tools[call["name"]]
            return self.node._shorten(await tool.ainvoke({**call, "type": "tool_call"}, self.config))
        # As with tools that take time, all calls of an answer begin before one of them ends.
        await asyncio.sleep(0)
        return await transfer.atake(call, self.state)

    async def _host(self, calls: list[ToolCall]) -> list[_Result]:
        """Have the host run tools."""
        host = self.context.host
        if host is None:
            names = ", ".join(sorted({call["name"] for call in calls}))
            raise LookupError(
                f"Agent '{self.at.agent_id}' called {names}, which only the host can execute, and nobody does: "
                "register a handler for 'on_tool_execute', or give the agent tools in place of tool definitions"
            )
        by_id = {call["id"]: call for call in calls}
        told: dict[str, _Result] = {}

        async def early(result: HostResult) -> None:
            if (call := by_id.get(result.tool_call_id)) is not None and result.tool_call_id not in told:
                told[result.tool_call_id] = await self.tell(self._hosted(call, result))

        for result in await host.execute(ToolBatch(self.at, calls, self.config), early):
            await early(result)
        for call_id, call in by_id.items():
            if call_id is not None and call_id not in told:
                error = LookupError(f"The host returned no result for '{call['name']}'")
                told[call_id] = await self.tell(_failed(call, error))
        return list(told.values())

    def _hosted(self, call: ToolCall, result: HostResult) -> _Result:
        if result.status == "error":
            failed = _failed(call, RuntimeError(result.error_message or "unknown error"))
            return replace(failed, shown=None, outcome=result.outcome, injected=result.injected)
        message = ToolMessage(
            content=result.content, artifact=result.artifact, name=call["name"], tool_call_id=call["id"] or ""
        )
        output = self.node._shorten(message)
        return _Result(call, output, outcome=result.outcome, injected=result.injected)

    async def tell(self, result: _Result) -> _Result:
        """Let the gate look at a result and tell it to the listener, once."""
        message = _message_in(result)
        if result.told or message is None:
            return result
        if self.context.gate is not None:
            message = await self.context.gate.after(self.at, result.call, message)
        shown = truncation.text_of(message.content) if result.shown is None else result.shown
        await self._hear(ToolAnswered(self.at, result.call, message, shown, result.outcome))
        return replace(_with_message(result, message), told=True)

    async def finish(self, results: list[_Result]) -> tuple[list[_Result], Sequence[HumanMessage], str | None]:
        """Let the gate look at all results together."""
        gate = self.context.gate
        answered = [(result, message) for result in results if (message := _message_in(result)) is not None]
        if gate is None or not answered:
            return results, (), None
        calls, messages = [result.call for result, _ in answered], [message for _, message in answered]
        reviewed = await gate.finish(self.at, calls, messages)
        changed = {call["id"]: message for call, message in zip(calls, reviewed.messages, strict=True)}
        after = [
            _with_message(result, changed[result.call["id"]]) if result.call["id"] in changed else result
            for result in results
        ]
        return after, reviewed.injected, reviewed.halt

    def _reporter(self, call: ToolCall) -> Any:
        if self.context.listener is None:
            return None

        async def report(what: ToolReport) -> None:
            await self._hear(ToolReported(self.at, call, what))

        return report

    async def _hear(self, fact: Fact) -> None:
        if self.context.listener is not None:
            await self.context.listener.hear(fact)


async def _side_by_side(works: list[Coroutine[Any, Any, Any]]) -> list[Any]:
    """The results of coroutines in order; when one raises, the others are cancelled and waited for."""
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


def _calls_of(state: AgentState) -> tuple[list[ToolCall], list[_Result]]:
    """The calls without a result, and results for those whose arguments cannot be read."""
    message, answered = open_calls(state["messages"])
    if message is None:
        return [], []
    calls = [call for call in message.tool_calls if call["id"] not in answered]
    unreadable: list[_Result] = []
    for broken in message.invalid_tool_calls:
        call = ToolCall(name=broken["name"] or "", args={}, id=broken["id"], type="tool_call")
        try:
            arguments = parse_partial_json(broken["args"] or "{}")
        except json.JSONDecodeError:
            arguments = None
        if isinstance(arguments, dict):
            calls.append(ToolCall(name=call["name"], args=arguments, id=call["id"], type="tool_call"))
        elif call["id"] not in answered:
            text = f"The arguments are not a JSON object: {broken['args']!r:.200}"
            unreadable.append(_failed(call, ValueError(text)))
    return calls, unreadable


def _message(call: ToolCall, text: str, status: Any) -> ToolMessage:
    return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"] or "", status=status)


def _failed(call: ToolCall, error: Exception) -> _Result:
    """A failure, told to the model such that it tries again."""
    message = _message(call, f"Error: {error}\n Please fix your mistakes.", "error")
    return _Result(call, message, shown=f"Error processing tool: {error}")


def _message_in(result: _Result) -> ToolMessage | None:
    """A call's result as the model will read it; a tool's own command may have it among what it writes."""
    if isinstance(result.output, ToolMessage):
        return result.output
    for key, value in fields.update_items(result.output.update):
        for each in value if key == "messages" and isinstance(value, list) else ():
            if isinstance(each, ToolMessage) and each.tool_call_id == result.call["id"]:
                return each
    return None


def _with_message(result: _Result, message: ToolMessage) -> _Result:
    """The same with another message in its place."""
    before = _message_in(result)
    if before is message:
        return result
    if isinstance(result.output, ToolMessage):
        return replace(result, output=message)
    if before is not None:
        # Name and marks say where a handoff leads, which whoever rewords its result does not know.
        marks = {**before.additional_kwargs, **message.additional_kwargs}
        message = message.model_copy(update={"name": before.name, "additional_kwargs": marks})
    update = [
        (key, [message if each is before else each for each in value] if key == "messages" else value)
        for key, value in fields.update_items(result.output.update)
    ]
    return replace(result, output=replace(result.output, update=update))


def _update(
    state: AgentState,
    results: Sequence[_Result],
    injected: Sequence[HumanMessage] = (),
    halt: str | None = None,
    memory: dict[str, Any] | None = None,
) -> Any:
    """What the node writes: results in order, commands of tools as they are, and why the turn ends if it does.

    A command that leads out of the agent takes everything along; where the turn ends, none does.
    """
    outputs = [result.output for result in results]
    if handoff.leaves(outputs) and halt is None:
        return handoff.departure(state, outputs, injected, memory)
    messages = [output for output in outputs if isinstance(output, ToolMessage)]
    commands = [output for output in outputs if not isinstance(output, ToolMessage)]
    if halt is not None:
        messages += [each for result in results if isinstance(result.output, Command) and (each := _message_in(result))]
        commands = []
    update: dict[str, Any] = {"messages": [*messages, *injected]}
    if halt is not None:
        update["halt_reason"] = halt
    if memory is not None:
        update["memory"] = memory
    return [update, *commands] if commands else update


def wants_tools(message: AIMessage) -> bool:
    """Whether an answer calls tools."""
    return bool(message.tool_calls or message.invalid_tool_calls)
