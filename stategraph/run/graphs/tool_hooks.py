"""Hooks and gates around the tools of a graph that the host made.

Rules
-----
* A tool node that executes its calls by `run_tool` does what an agent's does: gates see a call before it runs and its
  result, may change both, answer in its place, or wait for a person. Calls of one task are decided in their order.
* Any other LangChain tool is seen through its callbacks. A call that a gate does not let run as it is does not run:
  that is an error of the tool, which ends the run unless the graph handles it. Nothing that a gate wants is skipped in
  silence.
* Gates are asked again when a node runs again: nothing that they said is kept with a waiting run.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.messages import ToolCall, ToolMessage

from stategraph.agent.facts import Place
from stategraph.agent.messages.truncation import compact_json
from stategraph.agent.ports import Answer, Executed, ToolGate
from stategraph.agent.tools import tool_result
from stategraph.agent.tools.gates import Gates
from stategraph.agent.tools.tool_result import Result
from stategraph.run import loop_affinity
from stategraph.run.graphs import recorder
from stategraph.run.hooks.approval import HookGate

_log = logging.getLogger(__name__)

Find: TypeAlias = Callable[[Mapping[str, Any], str], Place]
"""Returns the place of a call, given the metadata of the task that runs the tool, and the id of the call."""

_WAY_OUT = "execute it with stategraph.run.graphs.tool_hooks.run_tool, see docs/runs-of-graphs.md"


class ToolDeniedError(Exception):
    """A hook or gate of a run did not let a tool of the host's graph run, and nothing there can tell the model.

    The tool has not run. The message says why, and how to have the model told.
    """


@dataclass(slots=True)
class RunTools:
    """The gates of an execution, for the tools of its graph.

    Attributes:
        gates: The gates, the outermost first.
        find: Returns the place of a call.
        command: Makes a command for the graph's engine.
        locks: Let calls of one task be decided one after the other, by its namespace.
        wrapped: Ids of calls that `run_tool` executes.
    """

    gates: Sequence[ToolGate]
    find: Find
    command: Callable[..., Any]
    locks: dict[str, asyncio.Lock] = field(default_factory=dict)
    wrapped: set[tuple[str, str]] = field(default_factory=set)


current: ContextVar[RunTools | None] = ContextVar("stategraph_run_tools", default=None)
"""The gates of the run whose graph is running; None outside of a run, and of one without gates."""


async def run_tool(request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
    """Execute a tool call within the hooks and gates of the run: for `ToolNode(..., awrap_tool_call=run_tool)`.

    It is also what `awrap_tool_call` of a middleware of LangChain's agents may return. Outside of a run, and in one
    without hooks and gates, it just executes the call.

    Args:
        request: The `ToolCallRequest` of langgraph-prebuilt.
        handler: Executes a request.

    Returns:
        The result: a `ToolMessage`, or a `Command`, as of the tool or with messages that hooks inject.

    Raises:
        GraphInterrupt: A hook asks a person, who has not answered. Do not catch it.
    """
    tools = current.get()
    if tools is None:
        return await handler(request)
    call: ToolCall = request.tool_call
    metadata = (getattr(request.runtime, "config", None) or {}).get("metadata") or {}
    task, call_id = recorder.task_of(metadata), call["id"] or ""
    gates = Gates(tools.gates, tools.find(metadata, call_id))
    async with tools.locks.setdefault(task, asyncio.Lock()):
        (verdict,) = await gates.before([call])
    if isinstance(verdict, Answer):
        given: Any = _message(call, verdict.text, verdict.status)
    else:
        tools.wrapped.add((task, call_id))
        try:
            given = await _executed(gates, verdict.call, request, handler)
        except Exception as error:
            if recorder.has_failed(error):
                # It is the graph's to handle; whoever hears of failures is told.
                await _reviewed(gates, verdict.call, _message(call, str(error), "error"))
            raise
        finally:
            tools.wrapped.discard((task, call_id))
    return await _shown(tools, gates, verdict.call, given)


async def _executed(gates: Gates, call: ToolCall, request: Any, handler: Callable[[Any], Awaitable[Any]]) -> Any:
    """Execute a call within the gates that stand around the execution, and return what the tool returned."""

    async def execute(call: ToolCall) -> Executed:
        given = await handler(request.override(tool_call={**call, "type": "tool_call"}))
        outputs = list(given) if isinstance(given, list | tuple) else [given]
        return Executed(_own_result(outputs, call["id"] or "")[1], {"message": None, "given": given})

    if not gates.execute:
        return await handler(request.override(tool_call={**call, "type": "tool_call"}))
    ended = await gates.executed(call, execute)
    if isinstance(ended, Answer):
        return _message(call, ended.text, ended.status)
    given = ended.stored["given"]
    return ended.message if isinstance(given, ToolMessage) and ended.message is not None else given


async def _shown(tools: RunTools, gates: Gates, call: ToolCall, given: Any) -> Any:
    """Show gates what a tool returned, and return what they make of it."""
    outputs = list(given) if isinstance(given, list | tuple) else [given]
    place, own, rest = _own_result(outputs, call["id"] or "")
    shown = _message(call, "", "success") if own is None else own
    message, injected = await _reviewed(gates, call, shown)
    if own is None:
        if message.content != shown.content or injected:
            _tell_undone(call, "the tool returned no message as its result")
        return given
    if rest is not None:
        outputs[place] = tool_result.with_message(rest, message, injected)
    else:
        outputs[place] = tools.command(update={"messages": [message, *injected]}) if injected else message
    return outputs if isinstance(given, list | tuple) else outputs[0]


def _own_result(outputs: Sequence[Any], call_id: str) -> tuple[int, ToolMessage | None, Any]:
    """Return the place of the result of a call among what a tool returned, the result, and the command without it."""
    for place, output in enumerate(outputs):
        if isinstance(output, ToolMessage):
            return place, output, None
        if tool_result.is_command(output):
            own, rest = tool_result.own_message(output, call_id)
            if own is not None:
                return place, own, rest
    return 0, None, None


async def _reviewed(gates: Gates, call: ToolCall, given: ToolMessage) -> tuple[ToolMessage, Sequence[Any]]:
    """Show a result to gates; return the one that counts, and messages to add."""
    message, remarks = await gates.after(call, given)
    finished = await gates.finish([Result(call, message, remarks=remarks)])
    return finished.results[0].message or message, finished.injected


def _tell_undone(call: ToolCall, why: str) -> None:
    _log.warning(
        "What a hook or gate wants after the call %s of the tool '%s' cannot be done here; %s",
        *(call["id"], call["name"], why),
    )


class ToolHooks(BaseCallbackHandler):
    """Shows the calls of LangChain tools that `run_tool` does not execute to gates, and keeps denied ones from running.

    It is sync, as langchain-core drops the errors of async handlers of a tool that runs in a thread. A thread waits for
    the gates, which decide in the run's event loop; where that waits for the tool itself, in a loop of their own.

    Args:
        tools: The gates of the execution, in whose event loop this is called.
    """

    raise_error = True
    ignore_llm = True
    ignore_chain = True
    ignore_retriever = True
    ignore_retry = True
    ignore_custom_event = True

    def __init__(self, tools: RunTools) -> None:
        gates = [gate.without_asking() if isinstance(gate, HookGate) else gate for gate in tools.gates]
        self._tools = replace(tools, gates=gates)
        self._loop, self._thread = asyncio.get_running_loop(), threading.get_ident()
        self._running: dict[UUID, tuple[Gates, ToolCall]] = {}

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Ask the gates about a call.

        Raises:
            ToolDeniedError: It may not run, or not as it is.
        """
        call_id, about = str(kwargs.get("tool_call_id") or run_id), metadata or {}
        if (recorder.task_of(about), call_id) in self._tools.wrapped:
            return
        name = str((serialized or {}).get("name") or kwargs.get("name") or "")
        args = dict(inputs) if isinstance(inputs, Mapping) else {"input": input_str}
        call = ToolCall(name=name, args=args, id=call_id, type="tool_call")
        gates = Gates(self._tools.gates, self._tools.find(about, call_id))
        self._wait_for(lambda: self._ask(gates, call))
        self._running[run_id] = gates, call

    def on_tool_end(self, output: Any, *, run_id: UUID, **kwargs: Any) -> None:
        """Show a result to the gates."""
        if (known := self._running.pop(run_id, None)) is not None:
            text = output.content if isinstance(output, ToolMessage) else output
            status = output.status if isinstance(output, ToolMessage) else "success"
            self._wait_for(lambda: self._review(*known, text, status))

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        """Show a failure to the gates; a tool that asks something has not failed."""
        known = self._running.pop(run_id, None)
        if known is not None and recorder.has_failed(error):
            self._wait_for(lambda: self._review(*known, str(error), "error"))

    def _wait_for(self, work: Callable[[], Coroutine[object, object, None]]) -> None:
        if threading.get_ident() != self._thread:
            loop_affinity.wait_in(self._loop, work)
            return
        with ThreadPoolExecutor(1) as another:
            another.submit(asyncio.run, work()).result()

    async def _ask(self, gates: Gates, call: ToolCall) -> None:
        if gates.execute:
            raise ToolDeniedError(
                f"The call {call['id']} of the tool '{call['name']}' was not let through: a gate of the run has to "
                f"execute it, which it cannot here; {_WAY_OUT}"
            )
        (verdict,) = await gates.before([call])
        which = f"The call {call['id']} of the tool '{call['name']}'"
        if isinstance(verdict, Answer):
            # Those who hear of denials are told before the call fails.
            await gates.after(call, _message(call, verdict.text, verdict.status))
            raise ToolDeniedError(
                f"{which} was not let through ({verdict.text}), and here neither can a person be asked nor the model "
                f"be told; {_WAY_OUT}"
            )
        if verdict.call["args"] != call["args"]:
            raise ToolDeniedError(
                f"{which} was to run with other arguments, and they cannot be changed here; {_WAY_OUT}"
            )

    async def _review(self, gates: Gates, call: ToolCall, output: Any, status: str) -> None:
        given = _message(call, output if isinstance(output, str) else compact_json(output), status)
        message, remarks = await gates.after(call, given)
        finished = await gates.finish([Result(call, message, remarks=remarks)])
        if message.content != given.content or finished.injected or finished.halt:
            _tell_undone(call, _WAY_OUT)


def _message(call: ToolCall, text: Any, status: str) -> ToolMessage:
    return ToolMessage(
        text, name=call["name"], tool_call_id=call["id"] or "", status="error" if status == "error" else "success"
    )
