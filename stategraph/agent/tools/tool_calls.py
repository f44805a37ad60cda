"""The calls of an answer, in a form in which each can be answered exactly once.

Answers are mended when they come (`stategraph.agent.messages.mending`); those that were put into a state by hand, or
stored by an earlier version, are mended here: the mended one takes its place in the conversation.

A call does not run if its arguments cannot be read, or if its answer was cut off: an answer that stopped at its limit
may lack the half of an argument and the call that should have come next, and neither can be told from what is there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolCall, ToolMessage

from stategraph.agent.messages import mending

_WHERE = ("finish_reason", "stop_reason", "finishReason", "stopReason", "done_reason")
"""Fields in which providers say why an answer ended."""

FILTERED = "content_filter"
"""Reason of an answer that the provider's content filter stopped."""

_CUT_OFF = (
    "length",
    "max_tokens",
    "max_output_tokens",
    "context_window",
    "token_limit",
    "error_limit",
    "content_filter",
)
"""Reasons of answers that were cut off, or parts of them."""


@dataclass(frozen=True, slots=True)
class OpenCalls:
    """The calls that have no result yet.

    Attributes:
        calls: The calls, in order.
        unreadable: By call id, why calls cannot run.
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
        given, message = message, mending.mended(message)
        unreadable = {call["id"] or "": call["error"] or "" for call in message.invalid_tool_calls}
        if unreadable:
            # Providers refuse a history with a call that is no JSON.
            emptied = [ToolCall(name=each["name"] or "", args={}, id=each["id"]) for each in message.invalid_tool_calls]
            calls = [*message.tool_calls, *({**each, "type": "tool_call"} for each in emptied)]
            message = message.model_copy(update={"tool_calls": calls, "invalid_tool_calls": []})
        if (why := cut_off(message)) is not None:
            unreadable = {call["id"] or "": _not_run(why) for call in message.tool_calls}
        open_calls = [call for call in message.tool_calls if call["id"] not in answered]
        return cls(open_calls, unreadable, None if message is given else message)


def _not_run(why: str) -> str:
    return (
        f"The call was not run: the answer was cut off before its end ({why}), so the call may not be whole. "
        "Make it again with less to write, or in several steps."
    )


def _last_calling(messages: Sequence[AnyMessage]) -> tuple[AIMessage | None, set[str]]:
    """Return the last answer of a model if it calls tools, and which of its calls have results already."""
    answered: set[str] = set()
    for message in reversed(messages):
        if isinstance(message, ToolMessage):
            answered.add(message.tool_call_id)
        elif isinstance(message, AIMessage):
            return (message, answered) if message.tool_calls or message.invalid_tool_calls else (None, answered)
    return None, answered


def cut_off(message: AIMessage) -> str | None:
    """Return the provider's word for why an answer was cut off; None if it ended by itself.

    Args:
        message: The answer.
    """
    about: Mapping[str, Any] = message.response_metadata
    if not about:
        return None
    said = [about.get(key) for key in _WHERE]
    for key, inner in (("messageStop", "stopReason"), ("incomplete_details", "reason")):
        if isinstance(within := about.get(key), Mapping):
            said.append(within.get(inner))
    if about.get("status") == "incomplete":
        said.append("incomplete")
    for word in said:
        if word is not None and (word == "incomplete" or any(each in str(word).lower() for each in _CUT_OFF)):
            return str(word)
    return None
