"""The tools node: runs the calls of a model's answer.

- Every call gets exactly one result, in the order of the calls, in every case: providers refuse a history in which
  one is missing. A tool that fails, does not exist or was given arguments that cannot be read is a result with status
  "error" that tells the model.
- Calls run side by side. Calls that interrupt let their siblings end, then pause the run together.
- A sync run has neither listener nor gates nor host, all of which are awaited; an async run's are in `tool_batch`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import get_executor_for_config

from stategraph.agent.agent import Agent
from stategraph.agent.context import handoff
from stategraph.agent.facts import Injected
from stategraph.agent.invocation.injection import InjectionContext
from stategraph.agent.ports import AgentContext, agent_context
from stategraph.agent.state import AgentState
from stategraph.agent.tools import tool_batch, tool_runner
from stategraph.agent.tools.gates import Finished, Gates
from stategraph.agent.tools.tool_batch import Batch, Outcome, caught
from stategraph.agent.tools.tool_calls import OpenCalls
from stategraph.agent.tools.tool_result import Result, StoredResult
from stategraph.agent.tools.tool_runner import ToolRunner
from stategraph.engine.compile.functions import RunnableCallable
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config import environment
from stategraph.engine.config.runtime import Runtime
from stategraph.graph.reducers import merge_messages
from stategraph.types import Command


class ToolsUpdate(TypedDict, total=False):
    """The state's update by a tools node, see `AgentState`."""

    messages: list[AnyMessage]
    halt_reason: str
    memory: dict[str, Any]


#: What the node returns: an update, commands of tools after it, or the command with which the agent leaves its graph.
Update: TypeAlias = ToolsUpdate | Command[Any] | list[ToolsUpdate | Command[Any]]


class ToolsNode:
    """Runs the tools that a model called.

    Args:
        agent: Whose tools.
    """

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.runner = ToolRunner(agent)

    def as_runnable(self) -> RunnableCallable:
        """Return the node for a graph, sync and async."""
        return RunnableCallable(self.call, self.acall, name=self.agent.tools_node, trace=False)

    def call(self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Run the calls in threads and wait.

        Raises:
            TypeError: If the run has a listener, a host or a gate, which are awaited.
            GraphInterrupt: Tools wait for a person.
            LookupError: A tool is one that only a host can execute.
        """
        context = agent_context(runtime.context)
        if context.listener or context.host or context.gates:
            raise TypeError(
                f"Agent '{self.agent.id}' was run with invoke() or stream() and a listener, host or gate in its "
                "context, which are awaited: use ainvoke() or astream(), or Run.process_stream()"
            )
        open_calls, values = self._begin(state, config, runtime)
        results = tool_batch.unreadable(open_calls)
        readable = [call for call in open_calls.calls if call["id"] not in results]
        if hosted := [call for call in readable if self.runner.is_hosted(call)]:
            raise self.runner.unhosted(hosted)
        outcomes: list[Result | StoredResult] = tool_batch.ended(self._outcomes(readable, values))
        for call, outcome in zip(readable, outcomes, strict=True):
            results[call["id"]] = outcome if isinstance(outcome, Result) else Result.restored(call, outcome)
        return _update(state, open_calls, Finished([results[call["id"]] for call in open_calls.calls]))

    def _outcomes(self, calls: Sequence[ToolCall], values: InjectionContext) -> list[Outcome[Result | StoredResult]]:
        """Run calls, several of them in threads, and return what each returned or waits for."""
        works = [partial(tool_batch.run_sync, self.runner, call, values) for call in calls]
        if len(works) == 1:
            return [caught(works[0])]
        if tool_runner.stores(values.config):
            futures = [start_task(tool_batch.tool_call_sync, ((self.runner, call, values), {})) for call in calls]
            return [caught(future.result) for future in futures]
        with get_executor_for_config(values.config) as executor:
            return list(executor.map(caught, works))

    async def acall(self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]) -> Update:
        """Run the calls side by side, telling a listener what happens.

        Raises:
            GraphInterrupt: Tools, or a gate, wait for a person.
            LookupError: A tool is one that only a host can execute, and there is none.
        """
        context = agent_context(runtime.context)
        if context.listener is not None and (memory := state.get("memory")) is not None:
            context.listener.recall(memory)
        open_calls, values = self._begin(state, config, runtime)
        at = self.agent.place(self.agent.tools_node, config, state["messages"], context.within)
        batch = Batch(self.runner, context, at, values, Gates(context.gates, at))
        finished = await batch.finish(await batch.run(open_calls))
        by_host = [message for result in finished.results for message in result.injected]
        injected = list(map(_with_id, [*by_host, *finished.injected]))
        if injected:
            await batch.hear(Injected(at, injected))
        finished = Finished(finished.results, injected, finished.halt)
        return _update(state, open_calls, finished, None if context.listener is None else context.listener.memory())

    def _begin(
        self, state: AgentState, config: RunnableConfig, runtime: Runtime[Any]
    ) -> tuple[OpenCalls, InjectionContext]:
        """Return the calls to answer, and what their tools may be given."""
        context = runtime.context
        own = context.context if isinstance(context, AgentContext) else context
        values = InjectionContext(state, config, runtime, own, tuple(self.agent.tools.values()))
        return OpenCalls.of(state["messages"]), values


def _with_id(message: HumanMessage) -> HumanMessage:
    return message if message.id else message.model_copy(update={"id": environment.current().unique()})


def _update(
    state: AgentState, open_calls: OpenCalls, finished: Finished, memory: dict[str, Any] | None = None
) -> Update:
    """Return the node's update: results in order, commands of tools unchanged, and the reason if the turn ends.

    A command that leads out of the agent takes everything along; where the turn ends, none does.
    """
    results, halt = finished.results, finished.halt
    outputs = [output for result in results for output in result.outputs]
    mended: list[AnyMessage] = [] if open_calls.mended is None else [open_calls.mended]
    if handoff.leaves(outputs) and halt is None:
        return handoff.departure(_with_mended(state, mended), outputs, finished.injected, memory)
    messages = [result.message for result in results if result.message is not None]
    update = ToolsUpdate(messages=[*mended, *messages, *finished.injected])
    if halt is not None:
        update["halt_reason"] = halt
    if memory is not None:
        update["memory"] = memory
    commands = [command for result in results for command in result.commands if halt is None or command.graph is None]
    return [update, *commands] if commands else update


def _with_mended(state: AgentState, mended: list[AnyMessage]) -> AgentState:
    """Return the state with a mended answer in its place."""
    return {**state, "messages": merge_messages(state["messages"], mended)} if mended else state


def wants_tools(message: AIMessage) -> bool:
    """Return whether an answer calls tools."""
    return bool(message.tool_calls or message.invalid_tool_calls)
