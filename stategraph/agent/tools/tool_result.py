"""The result of a tool call: read from a tool's output, kept with a waiting run, and written to the state.

A call has exactly one message as its result. A command that leads to another graph carries the message there, so it is
taken out of the command, treated as every other result, and put back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, NotRequired, TypeAlias, TypedDict, TypeGuard

from langchain_core.messages import AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import ToolOutputMixin

from stategraph import fields
from stategraph.agent.messages import encodable, problems, truncation
from stategraph.agent.ports import Remarks, StoredRemarks
from stategraph.types import Command

#: A tool's return value: messages, commands, or, of a tool that has its own `invoke`, anything.
Output: TypeAlias = object

_EMPTY = "Done."


class StoredResult(TypedDict):
    """A result as it is kept with a waiting run: the fields of `Result`, and the listener's memory.

    The memory is kept with the result of a subagent: what it heard and counted of it is in no state that goes on.
    """

    message: ToolMessage | None
    shown: str | None
    outcome: str | None
    carrier: int | None
    commands: list[Command[Any]]
    injected: list[HumanMessage]
    remarks: NotRequired[StoredRemarks | Sequence[StoredRemarks | None] | None]
    memory: NotRequired[Mapping[str, Any]]


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
        remarks: Requests of the gates beyond the result, in the order of the gates.
        carrier: The command that carries the message to another graph; None: it is written here.
        error: What the tool raised; None: it returned, or what it raised was in another process.
        unread: Why the call could not be read, and was not made; None: it could.
    """

    call: ToolCall
    message: ToolMessage | None
    commands: tuple[Command[Any], ...] = ()
    shown: str | None = None
    outcome: str | None = None
    injected: tuple[HumanMessage, ...] = ()
    remarks: tuple[Remarks | None, ...] = ()
    carrier: int | None = None
    error: BaseException | None = None
    unread: str | None = None

    @property
    def outputs(self) -> list[ToolMessage | Command[Any]]:
        """The message and the commands, the message within the command that brings it elsewhere."""
        outputs: list[ToolMessage | Command[Any]] = list(self.commands)
        if self.carrier is not None:
            outputs[self.carrier] = with_message(self.commands[self.carrier], self.message)
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

    def stored(self) -> StoredResult:
        """Return the result as it can be stored."""
        return StoredResult(
            message=self.message,
            shown=self.shown,
            outcome=self.outcome,
            carrier=self.carrier,
            commands=list(self.commands),
            injected=list(self.injected),
            remarks=[None if each is None else each.stored() for each in self.remarks],
        )

    @classmethod
    def restored(cls, call: ToolCall, stored: StoredResult) -> Result:
        """Return a result from what `stored` returned."""
        remarks = stored.get("remarks") or ()
        if isinstance(remarks, Mapping):  # stored by a version with one gate
            remarks = (remarks,)
        return cls(
            call,
            stored["message"],
            tuple(stored["commands"]),
            stored["shown"],
            stored["outcome"],
            tuple(stored["injected"]),
            tuple(map(Remarks.restored, remarks)),
            stored["carrier"],
        )


def answered(call: ToolCall, text: str, status: Literal["success", "error"]) -> Result:
    """Return a result that no tool made."""
    return Result(call, _message(call, encodable.encodable(text), status))


def failed(call: ToolCall, error: BaseException | str) -> Result:
    """Return a failure, worded so that the model tries again."""
    said = error if isinstance(error, str) else problems.said(error)
    result = answered(call, f"Error: {said}\n Please fix your mistakes.", "error")
    raised = None if isinstance(error, str) else error
    return replace(result, shown=f"Error processing tool: {said}", error=raised)


def read(call: ToolCall, output: Output, as_sent: Callable[[ToolCall, ToolMessage], ToolMessage]) -> Result:
    """Read a tool's output: the result of its call, and commands.

    Args:
        call: The call.
        output: What the tool returned. A second result is left out, and so are results of other calls: providers
            refuse them.
        as_sent: Makes a message fit to be sent to a model.
    """
    message: ToolMessage | None = None
    commands: list[Command[Any]] = []
    carrier: int | None = None
    for item in output if _is_several(output) else [output]:
        if is_command(item):
            own, rest = own_message(item, call["id"])
            if own is not None:
                message, carrier = own, None if item.graph is None else len(commands)
            commands.append(rest)
        elif not isinstance(item, ToolMessage):
            message = _message(call, item if isinstance(item, str) else truncation.compact_json(item))
        elif message is None and item.tool_call_id == call["id"]:
            message = item
    if message is None and not any(command.graph for command in commands):
        message = _message(call, _EMPTY)
    return Result(call, None if message is None else as_sent(call, message), tuple(commands), carrier=carrier)


def is_command(output: Output) -> TypeGuard[Command[Any]]:
    """Return whether a tool's output is a command."""
    return isinstance(output, ToolOutputMixin) and not isinstance(output, ToolMessage)


def _is_several(output: Output) -> TypeGuard[list[Output]]:
    return isinstance(output, list) and bool(output) and all(isinstance(item, ToolOutputMixin) for item in output)


def _message(call: ToolCall, text: str, status: Literal["success", "error"] = "success") -> ToolMessage:
    return ToolMessage(content=text, name=call["name"], tool_call_id=call["id"] or "", status=status)


def own_message(command: Command[Any], call_id: str | None) -> tuple[ToolMessage | None, Command[Any]]:
    """Return the result of a call that a command carries, and the command without it."""
    for key, value in fields.update_items(command.update):
        for each in value if key == "messages" and isinstance(value, list) else ():
            if isinstance(each, ToolMessage) and each.tool_call_id == call_id:
                return each, _with_messages(command, [other for other in value if other is not each])
    return None, command


def with_message(command: Command[Any], message: ToolMessage | None, more: Sequence[AnyMessage] = ()) -> Command[Any]:
    """Return a command with the result of a call before its other messages, and some more behind them.

    Args:
        command: The command that `own_message` has taken the result from.
        message: The result.
        more: Messages to add.
    """
    others = next(value for key, value in fields.update_items(command.update) if key == "messages")
    return _with_messages(command, [message, *others, *more])


def _with_messages(command: Command[Any], messages: list[AnyMessage | None]) -> Command[Any]:
    items = fields.update_items(command.update)
    return replace(command, update=[(key, messages if key == "messages" else value) for key, value in items])
