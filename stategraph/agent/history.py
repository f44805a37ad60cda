"""Histories that every provider accepts.

Providers refuse a history in which a call has no result, or a result no call. Aborts and crashes leave such histories.
"""

from __future__ import annotations

from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

#: Marks a result that was made because there was none.
SYNTHETIC = "synthetic"

_UNFINISHED = "The call did not finish: the run was stopped before it had a result."


def repair(messages: Sequence[AnyMessage]) -> Sequence[AnyMessage]:
    """Give every call its result, and drop results without a call.

    Args:
        messages: A history, oldest first.

    Returns:
        The same object if nothing is wrong with it. Else a new list: missing results are errors that say so, right
        behind the others of the same answer; results of no call, and second results, are gone.
    """
    repaired: list[AnyMessage] = []
    pending: dict[str, str] = {}
    changed = False
    for message in messages:
        if isinstance(message, ToolMessage):
            if message.tool_call_id not in pending:
                changed = True
                continue
            del pending[message.tool_call_id]
        elif pending:
            changed = True
            repaired.extend(_missing(pending))
            pending = {}
        if isinstance(message, AIMessage) and (message.tool_calls or message.invalid_tool_calls):
            calls = [*message.tool_calls, *message.invalid_tool_calls]
            pending = {call["id"]: call["name"] or "" for call in calls if call["id"]}
        repaired.append(message)
    if pending:
        changed = True
        repaired.extend(_missing(pending))
    return repaired if changed else messages


def _missing(pending: dict[str, str]) -> list[ToolMessage]:
    return [
        ToolMessage(
            content=_UNFINISHED,
            name=name,
            tool_call_id=call_id,
            status="error",
            additional_kwargs={SYNTHETIC: True},
        )
        for call_id, name in pending.items()
    ]
