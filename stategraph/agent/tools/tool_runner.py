"""One call of a tool of this process: from arguments to a result, however the tool behaves.

- A tool is called through LangChain's own interface, so callbacks, validation and its own handling of errors are as
  LangChain has them.
- What a tool raises becomes a result that tells the model, except interrupts, which pause the run, an answer that does
  not fit an interrupt, and what is no `Exception` (`KeyboardInterrupt`, `SystemExit`), which ends it.
- Attempts and time limits are the engine's: a call that has a policy runs as a task of the engine, so the interrupts of
  a second attempt count from the first again, and work that ignores its time limit is left behind.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

from langchain_core.messages import ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.agent import Agent
from stategraph.agent.context.handoff import Handoff
from stategraph.agent.invocation.direct import ToolInvoker
from stategraph.agent.invocation.injection import Injection, InjectionContext
from stategraph.agent.messages import encodable, problems, truncation
from stategraph.agent.reporting import Reporter, ToolReport, reporter
from stategraph.agent.state import AgentState
from stategraph.agent.tools import subagent_calls, tool_result
from stategraph.agent.tools.subagent_calls import SubagentCall
from stategraph.agent.tools.tool_result import Output, Result, failed
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config import foreign_types
from stategraph.engine.config.context import get_config
from stategraph.engine.ports import ToolCalls
from stategraph.errors import GraphBubbleUp, HandlerError, NodeCancelledError, NodeTimeoutError, is_invalid_resume
from stategraph.types import TimeoutPolicy


def stores(config: RunnableConfig) -> bool:
    """Return whether the state of a running node is stored, so that the node may be run again, here or elsewhere.

    Args:
        config: Of the node.
    """
    return bool((config.get(CONF) or {}).get(CONFIG_KEY_CHECKPOINTER))


@dataclass(frozen=True, slots=True)
class Watch:
    """Callbacks that follow a call while it runs; each may be left out.

    Attributes:
        started: Before the tool runs.
        ended: After it returned, with what it returned.
        failed: After it raised.
        report: Given the tool's own reports.
    """

    started: Callable[[], Awaitable[None]]
    ended: Callable[[Output], Awaitable[None]]
    failed: Callable[[Exception], Awaitable[None]]
    report: Reporter


@dataclass(frozen=True, slots=True)
class _Transfer:
    """A call that hands over."""

    handoff: Handoff
    call: ToolCall
    state: AgentState

    def run(self) -> Output:
        return self.handoff.take(self.call, self.state)

    async def arun(self) -> Output:
        return await self.handoff.atake(self.call, self.state)


class ToolRunner:
    """Runs the tools of an agent that are in this process.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._injections: dict[str, Injection | None] = {}
        self._invokers: dict[str, ToolInvoker] = {}

    def has(self, call: ToolCall) -> bool:
        """Return whether the tool of a call is here."""
        name = call["name"]
        return name in self._agent.tools or name in self._agent.handoffs or name in self._agent.subagents

    def is_hosted(self, call: ToolCall) -> bool:
        """Return whether only the host can execute a call."""
        return call["name"] in self._agent.host_tools and not self.has(call)

    def is_delegated(self, call: ToolCall) -> bool:
        """Return whether another agent works on a call."""
        return call["name"] in self._agent.subagents

    def unhosted(self, calls: Sequence[ToolCall]) -> LookupError:
        """Build the error for calls that only a host can execute where there is none."""
        names = ", ".join(sorted({call["name"] for call in calls}))
        return LookupError(
            f"Agent '{self._agent.id}' called {names}, which only the host can execute, and there is no host: "
            "register a handler for 'on_tool_execute', or give the agent tools in place of tool definitions"
        )

    def run(self, call: ToolCall, values: InjectionContext) -> Result:
        """Run a call and wait.

        Args:
            call: The call.
            values: The values that the tool may be given in addition to the arguments.

        Returns:
            Its result, also if the tool failed.

        Raises:
            GraphBubbleUp: The tool waits for a person.
            TypeError: The tool has a time limit, and a thread cannot be stopped.
        """
        if not self.has(call):
            return self._no_such_tool(call)
        policy = self._agent.tool_policies.get(call["name"])
        if policy is not None and policy.timeout_s is not None:
            raise TypeError(
                f"The tool '{call['name']}' has a time limit of {policy.timeout_s:g} s, which cannot be kept in a sync "
                "run: use ainvoke() or astream(), or leave out its timeout_s"
            )
        try:
            if policy is None or not policy.needs_task:
                output = self.attempt(call, values)
            else:
                output = start_task(tool_attempt_sync, ((self, call, values), {}), retry_policy=policy.retries).result()
            return self.read(call, output)
        except Exception as error:
            return failed(call, _shown_to_model(call, error))

    async def arun(self, call: ToolCall, values: InjectionContext, watch: Watch | None) -> Result:
        """Like `run`, reporting to `watch`."""
        if not self.has(call):
            return self._no_such_tool(call)
        refused: list[HandlerError] = []
        if watch is not None:
            watch = Watch(watch.started, watch.ended, watch.failed, _noting(watch.report, refused))
            await watch.started()
        try:
            output = await self._output(call, values, watch)
            result = self.read(call, output)
        except (Exception, asyncio.CancelledError) as raised:
            if raised in refused or (
                isinstance(raised, subagent_calls.ENDING) and call["name"] in self._agent.subagents
            ):
                raise  # the tool is well, and the listener is not
            error = _shown_to_model(call, raised)
            if watch is not None:
                await watch.failed(error)
            return failed(call, error)
        if watch is not None:
            await watch.ended(output if tool_result.is_command(output) else result.message or output)
        return result

    async def _output(self, call: ToolCall, values: InjectionContext, watch: Watch | None) -> Output:
        """Call the tool as its policy says."""
        policy = self._agent.tool_policies.get(call["name"])
        if policy is None or not policy.needs_task:
            return await self.aattempt(call, values, watch)
        limit = None if policy.timeout_s is None else TimeoutPolicy(run_timeout=policy.timeout_s)
        arguments: Any = ((self, call, values, watch), {})
        return await start_task(tool_attempt, arguments, retry_policy=policy.retries, timeout=limit)

    def attempt(self, call: ToolCall, values: InjectionContext) -> Output:
        """Call the tool once."""
        if (built_in := self._built_in(call, values)) is not None:
            return built_in.run()
        return self._invoker(call["name"]).invoke(self._filled(call, values), values.config)

    async def aattempt(self, call: ToolCall, values: InjectionContext, watch: Watch | None) -> Output:
        """Call the tool once."""
        if (built_in := self._built_in(call, values)) is not None:
            # As with tools that take time, all calls of an answer begin before one of them ends.
            await asyncio.sleep(0)
            return await built_in.arun()
        filled, invoker = self._filled(call, values), self._invoker(call["name"])
        if watch is None:
            return await invoker.ainvoke(filled, values.config)
        mark = reporter.set(watch.report)
        try:
            return await invoker.ainvoke(filled, values.config)
        finally:
            reporter.reset(mark)

    def _built_in(self, call: ToolCall, values: InjectionContext) -> _Transfer | SubagentCall | None:
        """Return what a call does that is for another agent; None if it is for a tool."""
        if (transfer := self._agent.handoffs.get(call["name"])) is not None:
            return _Transfer(transfer, call, values.state)
        if (tool := self._agent.subagents.get(call["name"])) is not None:
            return SubagentCall.of(call, self._agent, tool, values)
        return None

    def _invoker(self, name: str) -> ToolCalls:
        if name not in self._invokers:
            self._invokers[name] = ToolInvoker(self._agent.tools[name])
        return self._invokers[name].taped

    def _filled(self, call: ToolCall, values: InjectionContext) -> ToolCall:
        name = call["name"]
        if name not in self._injections:
            self._injections[name] = Injection.of(self._agent.tools[name])
        injection = self._injections[name]
        return call if injection is None else ToolCall(name=name, args=injection.into(call, values), id=call["id"])

    def read(self, call: ToolCall, output: Output) -> Result:
        """Read a tool's output: the result of its call, as it can be sent, and commands."""
        if foreign_types.exist():
            # A library's tool may use the classes of an installed LangGraph.
            output = foreign_types.ours(output)
        return tool_result.read(call, output, self.shortened)

    def shortened(self, call: ToolCall, message: ToolMessage) -> ToolMessage:
        """Return a result as it can be sent, with its text cut to the limit."""
        agent = self._agent
        policy = agent.tool_policies.get(call["name"])
        limit = (policy.max_result_chars if policy is not None else None) or agent.max_tool_result_chars
        limit = limit or truncation.max_tool_result_chars(agent.max_context_tokens)
        content = truncation.shorten_content(_sendable(message.content), limit)
        return message if content is message.content else message.model_copy(update={"content": content})

    def _no_such_tool(self, call: ToolCall) -> Result:
        return failed(call, f'Tool "{call["name"]}" not found.')


def _noting(report: Reporter, refused: list[HandlerError]) -> Reporter:
    """Wrap a reporter so that it notes the errors of handlers, to tell them from a tool's own."""

    async def noting(what: ToolReport) -> None:
        try:
            await report(what)
        except HandlerError as error:
            refused.append(error)
            raise

    return noting


def tool_attempt_sync(runner: ToolRunner, call: ToolCall, values: InjectionContext) -> Output:
    """Run an attempt of a call, as a task of the engine."""
    return runner.attempt(call, replace(values, config=get_config()))


async def tool_attempt(runner: ToolRunner, call: ToolCall, values: InjectionContext, watch: Watch | None) -> Output:
    """Run an attempt of a call, as a task of the engine."""
    return await runner.aattempt(call, replace(values, config=get_config()), watch)


def _sendable(content: str | list[Any]) -> str | list[Any]:
    """Return content that a provider accepts: blocks that are not JSON are turned into text."""
    if isinstance(content, list):
        try:
            json.dumps(content, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            content = truncation.compact_json(content)
    return cast("str | list[Any]", encodable.encodable_value(content))


def _shown_to_model(call: ToolCall, error: BaseException) -> Exception:
    """Return the error for the model; raise it if it ends or pauses the run."""
    if isinstance(error, GraphBubbleUp) or is_invalid_resume(error):
        raise error
    if isinstance(error, asyncio.CancelledError):
        current = asyncio.current_task()
        if current is None or current.cancelling():
            raise error
        # It was not requested: the tool's own code raised it.
        return NodeCancelledError(call["name"], problems.text(error) or "cancelled")
    if isinstance(error, NodeCancelledError) and error.node == tool_attempt.__name__:
        return NodeCancelledError(call["name"], "cancelled")
    if isinstance(error, NodeTimeoutError) and error.node == tool_attempt.__name__:
        return TimeoutError(f"The tool '{call['name']}' did not return within {error.timeout:g} s")
    assert isinstance(error, Exception)
    return error
