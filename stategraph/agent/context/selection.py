"""The newest messages that fit, repaired so that a provider accepts them.

All figures here are counted tokens, before any ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage

from stategraph.agent.messages import history

#: Blocks that carry reasoning which a provider wants back unchanged.
_REASONING = frozenset({"thinking", "reasoning_content"})


@dataclass(frozen=True, slots=True)
class Room:
    """The budget of tokens: the whole, what instructions take of it, and the start of the answer."""

    budget: int
    instructions: int
    primer: int


@dataclass(frozen=True, slots=True)
class Selection:
    """The messages that fit.

    Attributes:
        context: The messages to send, oldest first.
        to_refine: Those that do not fit, oldest first.
        left: Tokens left; negative if the instructions alone are too much.
        orphans: How many messages were left out only because the other half of a call was.
        cut_at: Position of the oldest message kept, a leading system message aside; 0 if none was left out.
    """

    context: tuple[AnyMessage, ...]
    to_refine: tuple[AnyMessage, ...]
    left: int
    orphans: int
    cut_at: int


@dataclass(frozen=True, slots=True)
class _Walk:
    """Positions kept and left out, and the tokens used."""

    kept: list[int]
    left_out: list[int]
    used: int
    available: int


def select(
    messages: Sequence[AnyMessage],
    counts: Mapping[int, int],
    room: Room,
    count_tokens: Callable[[AnyMessage], int],
    start_type: str | None,
    thinking: bool,
) -> Selection:
    """Keep the newest messages that fit.

    Args:
        messages: The whole history, oldest first.
        counts: Tokens of each by position.
        room: How much there is room for.
        count_tokens: Tokens of a message that is changed here.
        start_type: Type of message that the kept ones must begin with; None: any but a tool's.
        thinking: Keep a reasoning block in a run of tool calls that ends the history.

    Returns:
        The selection, possibly empty.
    """
    walk = _walk(messages, counts, room, start_type)
    block = _reasoning_to_save(messages, walk.kept) if thinking else None
    if block is not None:
        extra = count_tokens(AIMessage(content=[block]))
        if walk.used + extra > walk.available:
            again = Room(room.budget, room.instructions, room.primer + extra)
            walk = _walk(messages, counts, again, start_type)
        else:
            walk = _Walk(walk.kept, walk.left_out, walk.used + extra, walk.available)
    chosen = {index: messages[index] for index in walk.kept}
    repaired, orphans, reclaimed = _repair(chosen, counts, count_tokens)
    if block is not None:
        repaired = _with_reasoning(repaired, block)
    refined = sorted({*walk.left_out, *orphans})
    leading = [index for index in walk.kept if not isinstance(messages[index], SystemMessage)]
    return Selection(
        context=tuple(repaired[index] for index in sorted(repaired)),
        to_refine=tuple(messages[index] for index in refined),
        left=walk.available - walk.used + reclaimed,
        orphans=len(orphans),
        cut_at=leading[0] if leading and walk.left_out else 0 if not walk.left_out else len(messages),
    )


def _walk(messages: Sequence[AnyMessage], counts: Mapping[int, int], room: Room, start_type: str | None) -> _Walk:
    """Take messages from the newest back, as long as they fit."""
    system = bool(messages) and isinstance(messages[0], SystemMessage)
    available = room.budget if system else room.budget - room.instructions
    used = room.primer + (counts[0] if system else 0)
    first = 1 if system else 0
    cut = len(messages)
    while cut > first and used + counts[cut - 1] <= available:
        cut -= 1
        used += counts[cut]
    kept = list(range(cut, len(messages)))
    left_out = list(range(first, cut))
    while kept and isinstance(messages[kept[0]], ToolMessage):
        used -= counts[kept[0]]
        left_out.append(kept.pop(0))
    if any(messages[index].type == start_type for index in kept):
        # Messages that the host's start type skips are not refined: they were excluded by choice, not for lack of room.
        while messages[kept[0]].type != start_type:
            used -= counts[kept.pop(0)]
    return _Walk([0, *kept] if system else kept, left_out, used, available)


def _repair(
    chosen: Mapping[int, AnyMessage], counts: Mapping[int, int], count_tokens: Callable[[AnyMessage], int]
) -> tuple[dict[int, AnyMessage], list[int], int]:
    """Drop half pairs of calls and results; return the messages, the positions dropped, and the tokens that frees."""
    called = {call["id"] for each in chosen.values() if isinstance(each, AIMessage) for call in each.tool_calls}
    answered = {each.tool_call_id for each in chosen.values() if isinstance(each, ToolMessage)}
    repaired: dict[int, AnyMessage] = {}
    orphans: list[int] = []
    reclaimed = 0
    for index, message in chosen.items():
        kept = _paired(message, called, answered)
        if kept is None:
            orphans.append(index)
            reclaimed += counts[index]
            continue
        if kept is not message:
            reclaimed += max(0, counts[index] - count_tokens(kept))
        repaired[index] = kept
    return repaired, orphans, reclaimed


def _paired(message: AnyMessage, called: Set[str | None], answered: Set[str]) -> AnyMessage | None:
    """Return a message without calls that have no result; None for a result without its call, or if nothing is left.

    Args:
        message: The message.
        called: Ids of the calls that are kept.
        answered: Ids of the calls whose results are kept.
    """
    if isinstance(message, ToolMessage):
        return message if message.tool_call_id in called else None
    if not isinstance(message, AIMessage) or all(call["id"] in answered for call in message.tool_calls):
        return message
    answer = history.with_calls(message, answered)
    return answer if answer.tool_calls or answer.content else None


def _trailing_run(messages: Sequence[AnyMessage]) -> int:
    """Return the position after the last message of a human or the system: there the calls and results begin."""
    start = len(messages)
    while start and not isinstance(messages[start - 1], HumanMessage | SystemMessage):
        start -= 1
    return start


def _reasoning_to_save(messages: Sequence[AnyMessage], kept: Sequence[int]) -> dict[Any, Any] | None:
    """Return the newest reasoning block of the trailing run if the message that has it is not kept."""
    for index in reversed(range(_trailing_run(messages), len(messages))):
        message = messages[index]
        blocks = message.content if isinstance(message, AIMessage) and isinstance(message.content, list) else []
        for block in blocks:
            if isinstance(block, dict) and block.get("type") in _REASONING:
                return None if index in kept else block
    return None


def _with_reasoning(chosen: dict[int, AnyMessage], block: dict[Any, Any]) -> dict[int, AnyMessage]:
    """Put a block before the oldest message of the model: one of the trailing run, as the block's own was left out."""
    for index in sorted(chosen):
        message = chosen[index]
        if isinstance(message, AIMessage):
            content = message.content if isinstance(message.content, list) else _as_blocks(message.content)
            return {**chosen, index: message.model_copy(update={"content": [block, *content]})}
    return chosen


def _as_blocks(text: str) -> list[str | dict[Any, Any]]:
    return [{"type": "text", "text": text}] if text else []
