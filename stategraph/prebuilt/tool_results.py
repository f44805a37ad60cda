"""Outputs of tools: what a call may return, and what a node makes of the outputs of its calls.

- Every call is answered by exactly one `ToolMessage`: by itself, in a `Command`, or in a list of these. A command for
  another graph need not have it.
- What a tool returned may be one object at each call, and reducers give messages ids in place: a command's update is
  copied, but for the messages that are in the state already.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from copy import deepcopy
from typing import Any, Literal, TypeAlias, cast

from langchain_core.messages import BaseMessage, RemoveMessage, ToolCall, ToolMessage, convert_to_messages
from langchain_core.tools.base import TOOL_MESSAGE_BLOCK_TYPES

from stategraph.constants import REMOVE_ALL_MESSAGES
from stategraph.engine.config import foreign_types
from stategraph.types import Command, Send

InputKind: TypeAlias = Literal["list", "dict", "tool_calls"]
"""What a node was given: a list of messages, a state, or calls alone."""

AnyCommand: TypeAlias = Command[Any]
Output: TypeAlias = ToolMessage | AnyCommand
Outputs: TypeAlias = Output | list[Output]


def message_content(output: object) -> str | list[Any]:
    """Return an output of a tool as the content of a message: text and content blocks as they are, the rest as JSON.

    Args:
        output: The output. What JSON cannot express becomes text by `str`.
    """
    if isinstance(output, str) or (isinstance(output, list) and all(map(_is_block, output))):
        return output
    try:
        return json.dumps(output, ensure_ascii=False)
    except Exception:
        return str(output)


def _is_block(item: object) -> bool:
    return isinstance(item, dict) and item.get("type") in TOOL_MESSAGE_BLOCK_TYPES


class ResultReader:
    """Reads what the tools of a node return.

    Args:
        messages_key: The key of the state for messages.
    """

    def __init__(self, messages_key: str) -> None:
        self._key = messages_key

    def read(self, output: Any, call: ToolCall, kind: InputKind, state: object = None) -> Outputs:
        """Check an output, and bring it into its form.

        Args:
            output: What the tool returned, as LangChain hands it on.
            call: The call.
            kind: What the node was given.
            state: The state; its messages are not copied.

        Raises:
            TypeError: It is neither a message nor a command, nor a list of these.
            ValueError: It does not answer the call, or the update does not fit what the node was given.
        """
        if isinstance(output, ToolMessage):
            return _with_readable_content(output)
        if foreign_types.exist():
            # A library's tool may use the classes of an installed LangGraph.
            output = foreign_types.ours(output)
        if isinstance(output, Command):
            return self._command(output, call, kind, state)
        if not isinstance(output, list):
            raise TypeError(f"Tool {call['name']} returned unexpected type: {type(output)}")
        if not all(isinstance(item, Command | ToolMessage) for item in output):
            raise TypeError(
                f"Tool {call['name']} returned a list with invalid element types: expected all Command or ToolMessage"
            )
        answers = sum(message.tool_call_id == call["id"] for message in self._tool_messages(output))
        if answers != 1:
            raise ValueError(
                f"Tool {call['name']} returned a list with {answers} messages bound to tool_call_id {call['id']!r}; "
                "expected exactly one terminating ToolMessage."
            )
        return [
            _with_readable_content(item)
            if isinstance(item, ToolMessage)
            else self._command(item, call, kind, state, must_answer=False)
            for item in output
        ]

    def _tool_messages(self, outputs: Iterable[Output]) -> Iterable[ToolMessage]:
        for output in outputs:
            if isinstance(output, ToolMessage):
                yield output
            elif isinstance(output.update, dict):
                yield from (each for each in output.update.get(self._key, []) if isinstance(each, ToolMessage))

    def _command(
        self, command: AnyCommand, call: ToolCall, kind: InputKind, state: object, *, must_answer: bool = True
    ) -> AnyCommand:
        """Copy a command, with the name of the tool in the message that answers the call."""
        update: Any = command.update
        if not isinstance(update, dict | list):
            return command
        if isinstance(update, list) != (kind == "list"):
            form = "a list of messages" if isinstance(update, list) else "a dict"
            wanted = "list of messages" if isinstance(update, list) else f"dict with '{self._key}' key"
            raise ValueError(
                f"Tools can provide {form} in Command.update only when using {wanted} as ToolNode input, "
                f"got: {update} for tool '{call['name']}'"
            )
        command = deepcopy(command, {id(message): message for message in self._messages_in(state)})
        update = command.update
        messages = convert_to_messages(update if isinstance(update, list) else update.get(self._key, []))
        if messages == [RemoveMessage(id=REMOVE_ALL_MESSAGES)]:
            return command
        answers = [each for each in messages if isinstance(each, ToolMessage) and each.tool_call_id == call["id"]]
        for message in answers:
            message.name = call["name"]
        if must_answer and not answers and command.graph is None:
            raise ValueError(_unanswered(call, messages, kind))
        return command

    def _messages_in(self, state: object) -> list[Any]:
        found = state.get(self._key) if isinstance(state, dict) else getattr(state, self._key, state)
        return [each for each in found if isinstance(each, BaseMessage)] if isinstance(found, list) else []

    def combine(self, outputs: Sequence[Outputs], kind: InputKind) -> object:
        """Put the outputs of all calls together, as the return value of the node.

        Args:
            outputs: The outputs, in the order of the calls.
            kind: What the node was given.

        Returns:
            The messages, in the form in which the node was given messages. If there are commands, a list of commands
            and of such updates; packets for the graph around, each sent by a command, leave in a single one.
        """
        flat = [each for output in outputs for each in (output if isinstance(output, list) else (output,))]
        if not any(isinstance(output, Command) for output in flat):
            return flat if kind == "list" else {self._key: flat}
        combined: list[object] = []
        packets: list[Send] = []
        for output in flat:
            if not isinstance(output, Command):
                combined.append([output] if kind == "list" else {self._key: [output]})
            elif _only_sends_out(output):
                packets += cast("list[Send]", output.goto)
            else:
                combined.append(output)
        if packets:
            combined.append(Command(graph=Command.PARENT, goto=packets))
        return combined


def _with_readable_content(message: ToolMessage) -> ToolMessage:
    if not isinstance(message.content, str):
        message.content = message_content(message.content)
    return message


def _only_sends_out(command: AnyCommand) -> bool:
    goto = command.goto
    if command.graph != Command.PARENT or not isinstance(goto, list) or not goto:
        return False
    return all(isinstance(each, Send) for each in goto)


def _unanswered(call: ToolCall, messages: Sequence[BaseMessage], kind: InputKind) -> str:
    answer = '[ToolMessage("Success", tool_call_id=tool_call_id), ...]'
    example = (
        f'`Command(update={{"messages": {answer}}}, ...)`' if kind == "dict" else f"`Command(update={answer}, ...)`"
    )
    return (
        f"Expected to have a matching ToolMessage in Command.update for tool '{call['name']}', got: {messages}. "
        "Every tool call (LLM requesting to call a tool) in the message history MUST have a corresponding ToolMessage. "
        f"You can fix it by modifying the tool to return {example}."
    )
