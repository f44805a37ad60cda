"""Calls of tool nodes: how their handlers execute them for the pipeline, and the end of an action as they take it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias

from langchain_core.messages import ToolCall, ToolMessage

from stategraph import fields
from stategraph.agent.messages.truncation import compact_json
from stategraph.agent.tools import tool_result
from stategraph.governance.canonical import same_json
from stategraph.governance.pipeline.action import Carried, Execution, Ran
from stategraph.governance.pipeline.cleared import Cleared

Output: TypeAlias = Any
"""What a tool node takes as the result of a call: a message, a command, or several of these."""

Handler: TypeAlias = Callable[[Any], Any]
"""Executes a request; async in an async run."""


class NodeRequest(Protocol):
    """A request of a tool node, as `langgraph.prebuilt` and LangChain make it."""

    @property
    def tool_call(self) -> ToolCall:
        """The call."""

    @property
    def state(self) -> Any:
        """The state of the graph."""

    @property
    def runtime(self) -> Any:
        """The values of the run."""

    def override(self, *, tool_call: ToolCall) -> NodeRequest:
        """Return the request with another call."""


def by_call(cleared: Sequence[Cleared]) -> dict[str, Cleared]:
    """Return how calls stand, by their ids."""
    return {each.call_id: each for each in cleared}


class ToolAnsweredError(Exception):
    """A tool's error that its node has made a result of."""


class Handled:
    """The execution of one call by the handler that a tool node gives its wrapper.

    Args:
        request: The node's request.
        handler: Executes one; async in an async run.
    """

    def __init__(self, request: NodeRequest, handler: Handler) -> None:
        self._request = request
        self._handler = handler
        self._call: ToolCall = request.tool_call
        self._raised: Exception | None = None

    @property
    def execution(self) -> Execution:
        """The way to execute the call."""
        return Execution(self._now, self._later)

    def _now(self, arguments: Mapping[str, Any]) -> Ran:
        with self._noting():
            return _ran(self._call, self._handler(self._with(arguments)))

    async def _later(self, arguments: Mapping[str, Any]) -> Ran:
        with self._noting():
            return _ran(self._call, await self._handler(self._with(arguments)))

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._raised = error
            raise

    def _with(self, arguments: Mapping[str, Any]) -> NodeRequest:
        if same_json(self._call["args"], arguments):
            return self._request
        return self._request.override(tool_call=ToolCall(**{**self._call, "args": dict(arguments)}))

    def end(self, carried: Carried) -> Output:
        """Return the end of the action as the node takes it.

        Raises:
            Exception: What the tool raised and the node did not handle.
        """
        if self._raised is not None and carried.outcome.status == "failed":
            raise self._raised
        return _output(self._call, carried)


def _ran(call: ToolCall, output: Output) -> Ran:
    """Return what a handler returned: a message, a command, or several of these."""
    message = _own_message(call, output)
    if message is None:
        return Ran("", None, {"output": output})
    error = ToolAnsweredError(str(message.content)) if message.status == "error" else None
    return Ran(message.content, message.artifact, {"output": output}, error)


def _output(call: ToolCall, carried: Carried) -> Output:
    """Return the end of an action as a tool node takes it."""
    outcome, ran = carried
    if ran is not None and ran.kept is not None and outcome.status in ("completed", "failed"):
        output = ran.kept["output"]
        message = _own_message(call, output)
        if message is None:
            return output
        if message.content == outcome.content:
            return output
        changed = message.model_copy(update={"content": outcome.content, "artifact": None})  # by the policy
        return changed if output is message else _replaced(output, message, changed)
    went_well = outcome.status in ("completed", "answered")
    content = outcome.content if isinstance(outcome.content, str | list) else compact_json(outcome.content)
    return _message(call, content, went_well)


def answer_of(call: ToolCall, cleared: Cleared) -> ToolMessage:
    """Return the result of a call that is not executed."""
    return _message(call, cleared.text, cleared.status == "answered")


def _message(call: ToolCall, content: Any, went_well: bool) -> ToolMessage:
    status = "success" if went_well else "error"
    return ToolMessage(content, name=call["name"], tool_call_id=call["id"] or "", status=status)


def _own_message(call: ToolCall, output: Output) -> ToolMessage | None:
    """Return the result of the call in what a tool returned; None: there is none."""
    for each in output if isinstance(output, list | tuple) else [output]:
        if isinstance(each, ToolMessage):
            return each
        if tool_result.is_command(each):
            own, _ = tool_result.own_message(each, call["id"] or "")
            if own is not None:
                return own
    return None


def _replaced(output: Output, old: ToolMessage, new: ToolMessage) -> Output:
    """Return what a tool returned with its result replaced."""
    if isinstance(output, Sequence):
        return [new if each is old else _replaced(each, old, new) for each in output]
    if not tool_result.is_command(output):
        return output
    items = [(key, _with(value, old, new)) for key, value in fields.update_items(output.update)]
    return type(output)(graph=output.graph, update=items, resume=output.resume, goto=output.goto)


def _with(value: Any, old: ToolMessage, new: ToolMessage) -> Any:
    if isinstance(value, list | tuple):
        return [new if each is old else each for each in value]
    return new if value is old else value
