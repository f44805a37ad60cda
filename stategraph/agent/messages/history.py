"""Histories that every provider accepts.

Providers refuse a call without a result right behind it, a result without a call, and a call that is not JSON or has no
id. Aborts, crashes and models that were cut off leave such histories.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolCall, ToolMessage
from langchain_core.messages.tool import tool_call

from stategraph.agent.messages import arguments, encodable

_USUAL = frozenset({AIMessage, HumanMessage, SystemMessage, ToolMessage})

#: Marks a result that was made because there was none.
SYNTHETIC = "synthetic"

_UNFINISHED = "The call did not finish: the run was stopped before it had a result."


def repair(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Give every call its result, and drop results without a call.

    Args:
        messages: A history, oldest first. It is not changed.

    Returns:
        The same object if nothing is wrong with it. Else a new list. Results that come too late are where they belong,
        and missing ones are errors that say so. Results of no call and second results are gone, and so are calls
        without an id, or with that of an earlier call of the same answer; arguments that cannot be read are handed on
        as text under `input`.
    """
    if _is_sound(messages):
        return messages
    repaired: list[AnyMessage] = []
    pending: dict[str, str] = {}
    missing: dict[str, int] = {}
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id in pending:
                del pending[message.tool_call_id]
                repaired.append(message)
            elif message.tool_call_id in missing:
                repaired[missing.pop(message.tool_call_id)] = message
            continue
        _close(repaired, pending, missing)
        if isinstance(message, AIMessage):
            sound = _with_sound_calls(message)
            if sound is None:
                continue
            pending = {call["id"] or "": call["name"] for call in sound.tool_calls}
            message = sound
        repaired.append(message)
    _close(repaired, pending, missing)
    return repaired


def _is_sound(messages: Sequence[AnyMessage]) -> bool:
    """Return whether the history needs no repair; the usual case, before every call of a model."""
    # Without functions and sets, and by exact classes: for each message of the history, before every call of a model.
    usual = _USUAL.issuperset(map(type, messages))
    pending: list[str] = []
    for message in messages:
        if type(message) is AIMessage or (not usual and isinstance(message, AIMessage)):
            if pending or message.invalid_tool_calls:
                return False
            for call in message.tool_calls:
                if not (call_id := call["id"]) or call_id in pending:
                    return False
                pending.append(call_id)
        elif type(message) is ToolMessage or (not usual and isinstance(message, ToolMessage)):
            try:
                pending.remove(message.tool_call_id)
            except ValueError:
                return False
        elif pending:
            return False
    return not pending


def _close(repaired: list[AnyMessage], pending: dict[str, str], missing: dict[str, int]) -> None:
    """End the results of an answer: those that are not there are made, until they turn up."""
    # An id that is used again belongs to the newest call.
    for call_id, name in pending.items():
        missing[call_id] = len(repaired)
        repaired.append(
            ToolMessage(
                content=_UNFINISHED,
                name=name,
                tool_call_id=call_id,
                status="error",
                additional_kwargs={SYNTHETIC: True},
            )
        )
    pending.clear()


def _with_sound_calls(message: AIMessage) -> AIMessage | None:
    """Return the message with calls that providers accept; None if nothing is left of it."""
    ids = {call["id"] for call in message.tool_calls}
    if not message.invalid_tool_calls and all(ids) and len(ids) == len(message.tool_calls):
        return message
    broken = [
        tool_call(name=call["name"] or "", args=_arguments(call["args"] or ""), id=call["id"])
        for call in message.invalid_tool_calls
    ]
    by_id: dict[str, ToolCall] = {}
    for call in (*message.tool_calls, *broken):
        if call["id"]:
            by_id.setdefault(call["id"], call)
    calls = list(by_id.values())
    if not calls and not message.content:
        return None
    # Providers' own copies of the calls would be sent in their place.
    others: dict[str, Any] = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
    update = {"tool_calls": calls, "invalid_tool_calls": [], "additional_kwargs": others}
    return message.model_copy(update=update)


def _arguments(text: str) -> dict[str, Any]:
    try:
        return arguments.read(text)
    except arguments.UnreadableArgumentsError:
        return {"input": encodable.encodable(text)}


def in_plain_text(messages: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return a history for models that take content as a string only.

    Args:
        messages: A history. It is not changed.

    Returns:
        The messages, those with nothing but blocks of text with these as lines of a string.
    """
    plain = [_plain(message.content) for message in messages]
    return [
        message if text is None else message.model_copy(update={"content": text})
        for message, text in zip(messages, plain, strict=True)
    ]


def _plain(content: str | list[str | dict[Any, Any]]) -> str | None:
    """Return content as a string; None if it is one, or has something else than text in it."""
    if isinstance(content, str):
        return None
    texts = [block.get("text") for block in content if isinstance(block, dict) and block.get("type") == "text"]
    lines = [text for text in texts if isinstance(text, str)]
    return "\n".join(lines) if len(lines) == len(content) else None


def with_calls(message: AIMessage, kept: Set[str]) -> AIMessage:
    """Return an answer with only some of its calls.

    Args:
        message: The answer.
        kept: Ids of the calls that stay.

    Returns:
        A copy, perhaps with nothing in it.
    """
    content = message.content
    if isinstance(content, list):
        content = [each for each in content if not _is_other_call(each, kept)]
    # Providers' own copies of the calls would be sent in their place.
    others = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
    return message.model_copy(
        update={
            "tool_calls": [call for call in message.tool_calls if call["id"] in kept],
            "invalid_tool_calls": [call for call in message.invalid_tool_calls if call["id"] in kept],
            "content": content,
            "additional_kwargs": others,
        }
    )


def _is_other_call(block: str | dict[Any, Any], kept: Set[str]) -> bool:
    return isinstance(block, dict) and block.get("type") == "tool_use" and block.get("id") not in kept
