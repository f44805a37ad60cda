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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias, cast

from langchain_core.messages import HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.runnables import RunnableConfig

from stategraph import fields
from stategraph.agent.agent import Agent
from stategraph.agent.invocation.direct import ToolDoor
from stategraph.agent.invocation.injection import Injection, Surroundings
from stategraph.agent.messages import encodable, problems, truncation
from stategraph.agent.ports import Remarks
from stategraph.agent.reporting import Reporter, ToolReport, reporter
from stategraph.agent.settings.tool_policy import ToolPolicy
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER
from stategraph.engine.compile.task_functions import start_task
from stategraph.engine.config import foreign_types
from stategraph.engine.config.context import get_config
from stategraph.errors import GraphBubbleUp, HandlerError, NodeCancelledError, NodeTimeoutError, is_invalid_resume
from stategraph.types import TimeoutPolicy

#: A tool's return value: messages, commands, or, of a tool that has its own `invoke`, anything.
Output: TypeAlias = Any

_NOTHING_SAID = "Done."


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a call.

    Attributes:
        call: The call, with the arguments that were used.
        message: The result that the model reads; None if a command carries it to another graph.
        commands: Commands of the tool, in addition to its result.
        shown: The result as a person should read it; None: as the model reads it.
        outcome: How the host described it.
        injected: Messages of the host to add after the results.
        remarks: The gate's requests beyond the result.
        carrier: The command that carries the message to another graph; None: it is written here.
    """

    call: ToolCall
    message: ToolMessage | None
    commands: tuple[Any, ...] = ()
    shown: str | None = None
    outcome: str | None = None
    injected: tuple[HumanMessage, ...] = ()
    remarks: Remarks | None = None
    carrier: int | None = None

    @property
    def outputs(self) -> list[Any]:
        """The message and the commands, the message within the command that brings it elsewhere."""
        outputs: list[Any] = list(self.commands)
        if self.carrier is not None:
            outputs[self.carrier] = _with_message(outputs[self.carrier], self.message)
        elif self.message is not None:
            outputs.insert(0, self.message)
        return outputs

    def reworded(self, message: ToolMessage) -> Result:
        """Return the result with its message replaced."""
        if self.carrier is not None and self.message is not None and message is not self.message:
            # Name and marks say where a handoff leads, which a reworded result lacks.
            marks = {**self.message.additional_kwargs, **message.additional_kwargs}
            message = message.model_copy(update={"name": self.message.name, "additional_kwargs": marks})
        return replace(self, message=message)

    def stored(self) -> dict[str, Any]:
        """Return the result as it can be stored."""
        kept = {"message": self.message, "shown": self.shown, "outcome": self.outcome, "carrier": self.carrier}
        remarks = None if self.remarks is None else self.remarks.stored()
        return {**kept, "commands": list(self.commands), "injected": list(self.injected), "remarks": remarks}

    @classmethod
    def restored(cls, call: ToolCall, stored: Mapping[str, Any]) -> Result:
        """Return a result from what `stored` returned."""
        lists: dict[str, Any] = {key: tuple(stored[key]) for key in ("commands", "injected")}
        kept = {key: stored[key] for key in ("shown", "outcome", "carrier")}
        remarks = Remarks.restored(stored.get("remarks"))
        return cls(call, stored["message"], **kept, **lists, remarks=remarks)


def stores(config: RunnableConfig) -> bool:
    """Return whether the state of a running node is stored, so that the node may be run again, here or elsewhere.

    Args:
        config: Of the node.
    """
    return bool((config.get(CONF) or {}).get(CONFIG_KEY_CHECKPOINTER))


def answered(call: ToolCall, text: str, status: Any) -> Result:
    """Return a result that no tool made."""
    content = encodable.encodable(text)
    return Result(call, ToolMessage(content=content, name=call["name"], tool_call_id=call["id"] or "", status=status))


def failed(call: ToolCall, error: BaseException | str) -> Result:
    """Return a failure, worded so that the model tries again."""
    said = error if isinstance(error, str) else problems.said(error)
    result = answered(call, f"Error: {said}\n Please fix your mistakes.", "error")
    return replace(result, shown=f"Error processing tool: {said}")


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


class ToolRunner:
    """Runs the tools of an agent that are in this process.

    Args:
        agent: The agent.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._injections: dict[str, Injection | None] = {}
        self._doors: dict[str, ToolDoor] = {}

    def has(self, call: ToolCall) -> bool:
        """Return whether the tool of a call is here."""
        return call["name"] in self._agent.tools or call["name"] in self._agent.handoffs

    def run(self, call: ToolCall, around: Surroundings) -> Result:
        """Run a call and wait.

        Args:
            call: The call.
            around: The values that the tool may be given in addition to the arguments.

        Returns:
            Its result, also if the tool failed.

        Raises:
            GraphBubbleUp: The tool waits for a person.
            TypeError: The tool has a time limit, and a thread cannot be stopped.
        """
        if not self.has(call):
            return failed(call, self._no_such_tool(call))
        policy = self._agent.tool_policies.get(call["name"])
        if policy is not None and policy.timeout_s is not None:
            raise TypeError(
                f"The tool '{call['name']}' has a time limit of {policy.timeout_s:g} s, which cannot be kept in a sync "
                "run: use ainvoke() or astream(), or leave out its timeout_s"
            )
        try:
            if policy is None or not policy.needs_task:
                output = self.attempt(call, around)
            else:
                arguments: Any = ((self, call, around), {})
                output = start_task(tool_attempt_sync, arguments, retry_policy=policy.retries).result()
            return self.read(call, output)
        except GraphBubbleUp:
            raise
        except Exception as error:
            return failed(call, _told(call, error))

    async def arun(self, call: ToolCall, around: Surroundings, watch: Watch | None) -> Result:
        """Like `run`, reporting to `watch`."""
        if not self.has(call):
            return failed(call, self._no_such_tool(call))
        refused: list[HandlerError] = []
        if watch is not None:
            watch = replace(watch, report=_noting(watch.report, refused))
            await watch.started()
        try:
            policy = self._agent.tool_policies.get(call["name"])
            if policy is None or not policy.needs_task:
                output = await self.aattempt(call, around, watch)
            else:
                arguments: Any = ((self, call, around, watch), {})
                output = await start_task(tool_attempt, arguments, retry_policy=policy.retries, timeout=_limit(policy))
            result = self.read(call, output)
        except GraphBubbleUp:
            raise
        except HandlerError as error:
            if error in refused:
                raise  # the tool is well, and the listener to its reports is not
            return await self._fail(call, error, watch)
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            if current is None or current.cancelling():
                raise
            # It was not requested: the tool's own code raised it.
            return await self._fail(call, NodeCancelledError(call["name"], problems.text(error) or "cancelled"), watch)
        except Exception as error:
            return await self._fail(call, _told(call, error), watch)
        if watch is not None:
            await watch.ended(output if _is_command(output) else result.message or output)
        return result

    async def _fail(self, call: ToolCall, error: Exception, watch: Watch | None) -> Result:
        if watch is not None:
            await watch.failed(error)
        return failed(call, error)

    def attempt(self, call: ToolCall, around: Surroundings) -> Output:
        """Call the tool once."""
        if (transfer := self._agent.handoffs.get(call["name"])) is not None:
            return transfer.take(call, around.state)
        return self._door(call["name"]).invoke(self._filled(call, around), around.config)

    async def aattempt(self, call: ToolCall, around: Surroundings, watch: Watch | None) -> Output:
        """Call the tool once."""
        if (transfer := self._agent.handoffs.get(call["name"])) is not None:
            # As with tools that take time, all calls of an answer begin before one of them ends.
            await asyncio.sleep(0)
            return await transfer.atake(call, around.state)
        given, door = self._filled(call, around), self._door(call["name"])
        if watch is None:
            return await door.ainvoke(given, around.config)
        mark = reporter.set(watch.report)
        try:
            return await door.ainvoke(given, around.config)
        finally:
            reporter.reset(mark)

    def _door(self, name: str) -> ToolDoor:
        if name not in self._doors:
            self._doors[name] = ToolDoor(self._agent.tools[name])
        return self._doors[name]

    def _filled(self, call: ToolCall, around: Surroundings) -> ToolCall:
        name = call["name"]
        if name not in self._injections:
            self._injections[name] = Injection.of(self._agent.tools[name])
        injection = self._injections[name]
        return call if injection is None else ToolCall(name=name, args=injection.into(call, around), id=call["id"])

    def read(self, call: ToolCall, output: Output) -> Result:
        """Read a tool's output: the result of its call, and commands."""
        if foreign_types.exist():
            # A library's tool may use the classes of an installed LangGraph.
            output = foreign_types.ours(output)
        message: ToolMessage | None = None
        commands: list[Any] = []
        carrier: int | None = None
        for item in output if _is_several(output) else [output]:
            if _is_command(item):
                own, rest = _own_message(item, call["id"])
                if own is not None:
                    message, carrier = own, None if item.graph is None else len(commands)
                commands.append(rest)
            elif not isinstance(item, ToolMessage):
                content = item if isinstance(item, str) else truncation.compact_json(item)
                message = ToolMessage(content=content, name=call["name"], tool_call_id=call["id"] or "")
            elif message is None and item.tool_call_id == call["id"]:
                message = item
            # Providers refuse a second result, and results of unknown calls.
        if message is None and not any(command.graph for command in commands):
            message = ToolMessage(content=_NOTHING_SAID, name=call["name"], tool_call_id=call["id"] or "")
        if message is not None:
            message = self.shortened(call, message)
        return Result(call, message, tuple(commands), carrier=carrier)

    def shortened(self, call: ToolCall, message: ToolMessage) -> ToolMessage:
        """Return a result as it can be sent, with its text cut to the limit."""
        agent = self._agent
        policy = agent.tool_policies.get(call["name"])
        limit = (policy.max_result_chars if policy is not None else None) or agent.max_tool_result_chars
        limit = limit or truncation.max_tool_result_chars(agent.max_context_tokens)
        content = truncation.shorten_content(_sendable(message.content), limit)
        return message if content is message.content else message.model_copy(update={"content": content})

    def _no_such_tool(self, call: ToolCall) -> str:
        return f'Tool "{call["name"]}" not found.'


def _noting(report: Reporter, refused: list[HandlerError]) -> Reporter:
    """Wrap a reporter so that it notes the errors of handlers, to tell them from a tool's own."""

    async def noting(what: ToolReport) -> None:
        try:
            await report(what)
        except HandlerError as error:
            refused.append(error)
            raise

    return noting


def tool_attempt_sync(runner: ToolRunner, call: ToolCall, around: Surroundings) -> Output:
    """Run an attempt of a call, as a task of the engine."""
    return runner.attempt(call, replace(around, config=get_config()))


async def tool_attempt(runner: ToolRunner, call: ToolCall, around: Surroundings, watch: Watch | None) -> Output:
    """Run an attempt of a call, as a task of the engine."""
    return await runner.aattempt(call, replace(around, config=get_config()), watch)


def _sendable(content: str | list[Any]) -> str | list[Any]:
    """Return content that a provider accepts: blocks that are not JSON are turned into text."""
    if isinstance(content, list):
        try:
            json.dumps(content, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            content = truncation.compact_json(content)
    return cast("str | list[Any]", encodable.encodable_value(content))


def _limit(policy: ToolPolicy) -> TimeoutPolicy | None:
    return None if policy.timeout_s is None else TimeoutPolicy(run_timeout=policy.timeout_s)


def _told(call: ToolCall, error: Exception) -> Exception:
    """Return the error for the model; raise it if the model must not see it."""
    if is_invalid_resume(error):
        raise error
    if isinstance(error, NodeTimeoutError) and error.node == tool_attempt.__name__:
        return TimeoutError(f"The tool '{call['name']}' did not return within {error.timeout:g} s")
    return error


def _is_command(output: Output) -> bool:
    return isinstance(output, ToolOutputMixin) and not isinstance(output, ToolMessage)


def _is_several(output: Output) -> bool:
    return isinstance(output, list) and bool(output) and all(isinstance(item, ToolOutputMixin) for item in output)


def _own_message(command: Any, call_id: str | None) -> tuple[ToolMessage | None, Any]:
    """Return the result of a call that a command carries, and the command without it."""
    for key, value in fields.update_items(command.update):
        for each in value if key == "messages" and isinstance(value, list) else ():
            if isinstance(each, ToolMessage) and each.tool_call_id == call_id:
                return each, _with_messages(command, [other for other in value if other is not each])
    return None, command


def _with_message(command: Any, message: ToolMessage | None) -> Any:
    """Put the result of a call back into its command, before its other messages."""
    others = next(value for key, value in fields.update_items(command.update) if key == "messages")
    return _with_messages(command, [message, *others])


def _with_messages(command: Any, messages: list[Any]) -> Any:
    items = fields.update_items(command.update)
    return replace(command, update=[(key, messages if key == "messages" else value) for key, value in items])
