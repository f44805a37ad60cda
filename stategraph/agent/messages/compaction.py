"""Compaction of tool results and tool inputs, before messages are left out.

A tier says how far: at every rung the limits are those of a context half as large. The rung is the smallest at which
the widest batch of parallel calls fits, and deeper under pressure. "Masked" results, which the model has answered
already, get shorter still. A tier never goes back during a run.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from stategraph.agent.messages import truncation
from stategraph.agent.messages.fading_tier import FadingTier

#: No rung makes the context look smaller than this.
_SMALLEST_WINDOW_TOKENS = 170
_INPUT_SHARE = 0.15
_MASKED_SHARE = 0.1
_SHORTEST_MASKED_CHARS = 300
#: Rungs that are added at a part of the budget that is used, highest first.
_PRESSURE_RUNGS = ((0.99, 4), (0.90, 2), (0.85, 1))


@dataclass(frozen=True, slots=True)
class ContextPruning:
    """Settings for clearing old tool results even where there is room.

    A result's age is its distance from the end as a part of the whole history.

    Attributes:
        keep_last_assistants: Results after the so many last messages of the model stay.
        min_chars: Shorter results stay.
        soft_age: From this age on, only beginning and end are kept.
        hard_age: From this age on, nothing is kept.
        soft_max_chars: Results that are not longer are not trimmed.
        head_chars: How much of the beginning is kept.
        tail_chars: How much of the end is kept.
        placeholder: Text in place of a cleared result.
    """

    keep_last_assistants: int = 3
    min_chars: int = 50_000
    soft_age: float = 0.3
    hard_age: float = 0.5
    soft_max_chars: int = 3_000
    head_chars: int = 1_500
    tail_chars: int = 1_500
    placeholder: str = "[Old tool result content cleared]"


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits in characters: of results, of results answered already (None: as others), and of inputs."""

    result: int
    masked: int | None
    tool_input: int


@dataclass(frozen=True, slots=True)
class Faded:
    """The messages that were shortened by position, and what was shortened how often."""

    messages: Mapping[int, AnyMessage]
    masked: int
    results: int
    inputs: int


def widest_batch(messages: Sequence[AnyMessage]) -> int:
    """Return the largest number of calls that one message makes, at least one."""
    return max((len(message.tool_calls) for message in messages if isinstance(message, AIMessage)), default=1) or 1


def deepen(tier: FadingTier, *, window: int, room: int, widest_batch: int, pressure: float, mask: bool) -> FadingTier:
    """Return the tier for this call, never above that of the last one.

    Args:
        tier: The last call's.
        window: Size of the context in tokens.
        room: Tokens for messages.
        widest_batch: The largest number of calls that one message makes.
        pressure: Part of the budget that is used; 0 if only the batch counts.
        mask: Whether results answered already are to be masked from now on.

    Returns:
        The tier.
    """
    rung = 0
    while _window_at(rung, window) > _floor(window) and _batch_tokens(rung, window) * widest_batch > room:
        rung += 1
    rung += next((rungs for limit, rungs in _PRESSURE_RUNGS if pressure >= limit), 0)
    return FadingTier(max(tier.rung, rung), tier.masking or mask)


def caps(tier: FadingTier, window: int, max_tool_result_chars: int | None) -> Caps:
    """Return the limits of a tier in a context of this size; a host's own limit for results holds too."""
    result = truncation.max_tool_result_chars(math.floor(_window_at(tier.rung, window)))
    if max_tool_result_chars is not None:
        result = min(result, max_tool_result_chars)
    masked = min(result, max(_SHORTEST_MASKED_CHARS, math.floor(result * _MASKED_SHARE)))
    return Caps(result, masked if tier.masking else None, _input_cap(tier.rung, window))


def _floor(window: int) -> int:
    return min(_SMALLEST_WINDOW_TOKENS, window)


def _window_at(rung: int, window: int) -> float:
    return max(float(_floor(window)), math.ldexp(window, -rung))


def _input_cap(rung: int, window: int) -> int:
    return math.floor(_window_at(rung, window) * _INPUT_SHARE) * truncation.CHARS_PER_TOKEN


def _batch_tokens(rung: int, window: int) -> float:
    """Return the tokens that the longest call and result of a rung take."""
    result = truncation.max_tool_result_chars(math.floor(_window_at(rung, window)))
    return (result + _input_cap(rung, window)) / truncation.CHARS_PER_TOKEN


def clear_old(messages: Sequence[AnyMessage], pruning: ContextPruning) -> dict[int, AnyMessage]:
    """Clear or trim old, long tool results.

    Args:
        messages: The whole history.
        pruning: Settings of what is old and long.

    Returns:
        The changed messages by position.
    """
    answers = [index for index, message in enumerate(messages) if isinstance(message, AIMessage)]
    if len(answers) < pruning.keep_last_assistants:
        return {}
    recent = answers[-pruning.keep_last_assistants] if pruning.keep_last_assistants else len(messages)
    changed: dict[int, AnyMessage] = {}
    for index, message in enumerate(messages[:recent]):
        if not isinstance(message, ToolMessage):
            continue
        text = truncation.text_of(message.content)
        if len(text) < pruning.min_chars:
            continue
        age = (len(messages) - index) / len(messages)
        if age >= pruning.hard_age:
            changed[index] = message.model_copy(update={"content": pruning.placeholder})
        elif age >= pruning.soft_age and len(text) > max(
            pruning.soft_max_chars, pruning.head_chars + pruning.tail_chars
        ):
            ends = f"{text[: pruning.head_chars]}\n…\n{text[len(text) - pruning.tail_chars :]}"
            changed[index] = message.model_copy(update={"content": ends})
    return changed


def fade(messages: Sequence[AnyMessage], caps: Caps) -> Faded:
    """Shorten results and inputs that are longer than a tier allows.

    Args:
        messages: The whole history.
        caps: The tier's limits.

    Returns:
        The shortened messages; the given ones stay as they are.
    """
    changed: dict[int, AnyMessage] = {}
    masked = results = inputs = 0
    answered = max(
        (
            index
            for index, message in enumerate(messages)
            if isinstance(message, AIMessage) and truncation.text_of(message.content).strip()
        ),
        default=-1,
    )
    for index, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            mask = caps.masked is not None and index < answered
            limit = caps.masked if caps.masked is not None and mask else caps.result
            shorter = truncation.shorten_content(message.content, limit)
            if shorter != message.content:
                changed[index] = message.model_copy(update={"content": shorter})
                masked, results = masked + mask, results + (not mask)
        elif isinstance(message, AIMessage) and message.tool_calls:
            cut = _shorten_inputs(message, caps.tool_input)
            if cut is not None:
                changed[index] = cut
                inputs += 1
    return Faded(changed, masked, results, inputs)


def _shorten_inputs(message: AIMessage, max_chars: int) -> AIMessage | None:
    """Return the message with long arguments cut, also where its content repeats them; None if all are short enough."""
    short = {
        call["id"]: truncation.truncate_tool_input(call["args"], max_chars)
        for call in message.tool_calls
        if "_truncated" not in call["args"] and len(truncation.compact_json(call["args"])) > max_chars
    }
    if not short:
        return None
    calls = [{**call, "args": short.get(call["id"], call["args"])} for call in message.tool_calls]
    content = message.content
    if isinstance(content, list):
        content = [
            {**block, "input": short[block["id"]]}
            if isinstance(block, dict) and block.get("type") == "tool_use" and block.get("id") in short
            else block
            for block in content
        ]
    return message.model_copy(update={"tool_calls": calls, "content": content})
