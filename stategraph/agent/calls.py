"""The calls of an answer, brought into a form in which each can be answered exactly once.

Models leave out ids, give two calls the same one, leave out names, and break off in the middle of arguments. Providers
refuse a history with any of these, and results are matched to calls by id alone. So the answer is mended where it is:
the mended one takes its place in the conversation.

What is made up here is made of the message's id, so a node that runs again makes up the same.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage
from langchain_core.utils.json import parse_partial_json

#: Stands for a name that the model left out: providers refuse an empty one.
NAMELESS = "nameless_tool"


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """The calls that have no result yet.

    Attributes:
        calls: The calls, in order.
        unreadable: By call id, what is wrong with the arguments of calls that cannot run.
        mended: The answer with all of its calls in order, to be put in its place; None if nothing was wrong.
    """

    calls: list[ToolCall]
    unreadable: dict[str, str]
    mended: AIMessage | None = None

    @classmethod
    def of(cls, messages: Sequence[AnyMessage]) -> OpenCalls:
        """Find them.

        Args:
            messages: The conversation, oldest first.
        """
        message, answered = _last_calling(messages)
        if message is None:
            return cls([], {})
        if not message.invalid_tool_calls and _in_order(message.tool_calls):
            return cls([call for call in message.tool_calls if call["id"] not in answered], {})
        calls, unreadable = _mend(message)
        mended = message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": []})
        return cls([call for call in calls if call["id"] not in answered], unreadable, mended)


def _last_calling(messages: Sequence[AnyMessage]) -> tuple[AIMessage | None, set[str]]:
    """The last answer of a model if it calls tools, and which of its calls have results already."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return (message, answered) if message.tool_calls or message.invalid_tool_calls else (None, answered)
    return None, answered


def _in_order(calls: Sequence[ToolCall]) -> bool:
    ids = {call["id"] for call in calls}
    return len(ids) == len(calls) and all(ids) and all(call["name"] for call in calls)


def _mend(message: AIMessage) -> tuple[list[ToolCall], dict[str, str]]:
    """All calls of an answer, and what is wrong with those that cannot run."""
    calls: list[ToolCall] = []
    unreadable: dict[str, str] = {}
    taken: set[str] = set()
    for position, call in enumerate([*message.tool_calls, *message.invalid_tool_calls]):
        call_id = call["id"]
        if not call_id or call_id in taken:
            call_id = f"call_{hashlib.sha256(f'{message.id} {position}'.encode()).hexdigest()[:24]}"
        taken.add(call_id)
        arguments: Any = call["args"]
        if not isinstance(arguments, dict):
            arguments = _parsed(arguments)
        if not isinstance(arguments, dict):
            unreadable[call_id] = f"The arguments are not a JSON object: {call['args']!r:.200}"
            arguments = {}
        calls.append(ToolCall(name=call["name"] or NAMELESS, args=arguments, id=call_id, type="tool_call"))
    return calls, unreadable


def _parsed(arguments: str | None) -> Any:
    """What can be read of arguments that may break off; None if that is nothing."""
    try:
        return parse_partial_json(arguments or "{}")
    except json.JSONDecodeError:
        return None
