"""Choice of the messages that a model is sent when not all of them fit its context.

- The budget is the context minus a reserve; instructions and tool schemas come out of it, and so does the start of the
  answer. Counts are estimates: a ratio learned from reported usage scales them.
- The newest messages stay, without gaps. Only a leading system message is certain to stay, not even the newest one is.
- A call without its result or a result without its call is an error to every provider: neither is ever sent.
- Tool results are shortened before messages are left out, and ever more in the course of a run, never less: what was
  sent once stays the same text, so that providers' prompt caches keep hitting.
- No message is changed in place: `shrunk` says which ones a caller may want to keep in their short form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from langchain_core.messages import AIMessage, AnyMessage, SystemMessage, ToolMessage
from langchain_core.messages.ai import UsageMetadata

from stategraph.agent.context import calibration, selection
from stategraph.agent.context.calibration import Calibration
from stategraph.agent.messages import compaction, truncation
from stategraph.agent.messages.compaction import ContextPruning
from stategraph.agent.messages.fading_tier import FadingTier

TokenCounter = Callable[[AnyMessage], int]

#: Tokens with which every answer starts.
PRIMER_TOKENS = 3
#: From this part of the budget on, tool results that were answered already are shortened.
MASKING_PRESSURE = 0.8

_SHORTEST_EMERGENCY_CHARS = 200


@dataclass(frozen=True, slots=True)
class TrimSettings:
    """Settings that stay the same during a run.

    Attributes:
        max_context_tokens: Size of the model's context.
        reserve_ratio: Part of it that is left free.
        summarise: Messages that do not fit will be summarised, so less is shortened before.
        thinking: The provider demands reasoning blocks in a run of tool calls.
        start_type: Type of message that the kept ones must begin with; None: any but a tool's.
        max_tool_result_chars: Limit for tool results in addition to that of the context; None: none.
        context_pruning: Clear old tool results even where there is room; None: do not.
    """

    max_context_tokens: int
    reserve_ratio: float = 0.05
    summarise: bool = False
    thinking: bool = False
    start_type: Literal["human", "ai", "system", "tool"] | None = None
    max_tool_result_chars: int | None = None
    context_pruning: ContextPruning | None = None

    @property
    def budget(self) -> int:
        """Tokens for instructions, messages and the start of the answer."""
        return self.max_context_tokens - nearest(self.max_context_tokens * self.reserve_ratio)


@dataclass(frozen=True, slots=True)
class TrimState:
    """State that one call leaves for the next one of the same run.

    Attributes:
        counts: Tokens of the messages by position, before the ratio.
        calibration: The calibration of the counts by reported usage.
        tier: How far tool results are shortened.
        seen: How many messages there were at the last call.
        cut_at: Position of the oldest message kept at the last call.
        recounted: How many messages had their tool results counted again: once for each.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    calibration: Calibration = field(default_factory=Calibration)
    tier: FadingTier = field(default_factory=FadingTier)
    seen: int = 0
    cut_at: int = 0
    recounted: int = 0


@dataclass(frozen=True, slots=True)
class LogRow:
    """Something worth telling about a decision: a level, a message and figures."""

    level: Literal["debug", "info", "warn", "error"]
    message: str
    data: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True)
class Trimmed:
    """The messages that fit, and the tokens that they take.

    Attributes:
        context: The messages to send, oldest first.
        to_refine: Those that do not fit, oldest first.
        shrunk: Messages in their shortened form by position.
        state: For the next call of the run.
        context_tokens: Tokens of all messages before any was left out.
        remaining_tokens: Tokens left of the budget.
        pressure: The messages' part of the budget before anything was shortened; None without messages.
        budget: Tokens for everything.
        instruction_tokens: Tokens in addition to the messages.
        log: The decisions, in order.
    """

    context: tuple[AnyMessage, ...]
    to_refine: tuple[AnyMessage, ...]
    shrunk: Mapping[int, AnyMessage]
    state: TrimState
    context_tokens: int
    remaining_tokens: int
    pressure: float | None
    budget: int
    instruction_tokens: int
    log: tuple[LogRow, ...]


def nearest(value: float) -> int:
    """Round to the nearest whole number, halves upwards: budgets must not depend on whether a neighbour is even."""
    return math.floor(value + 0.5)


def trim(
    messages: Sequence[AnyMessage],
    settings: TrimSettings,
    state: TrimState,
    count_tokens: TokenCounter,
    *,
    instruction_tokens: int = 0,
    usage: UsageMetadata | None = None,
    usage_is_fresh: bool = True,
) -> Trimmed:
    """Choose the messages for one call of a model.

    Args:
        messages: The whole history, oldest first. Within a run, a longer version of that of the last call.
        settings: The settings of the run.
        state: The state of the last call; at first, the counts that the host knows and the ratio of the last run.
        count_tokens: Tokens of one message, as an estimate.
        instruction_tokens: Tokens of system message, instructions and tool schemas.
        usage: The provider's report for the last call; None if there was none.
        usage_is_fresh: Whether that report is of the last call indeed, and so may correct the ratio.

    Returns:
        The messages to send, and what that decision was based on. Nothing to send is a result, not an error: the caller
        knows what to tell the user.
    """
    budget = settings.budget
    if not messages:
        left = _within(budget - instruction_tokens - nearest(PRIMER_TOKENS * state.calibration.ratio), budget)
        return Trimmed((), (), {}, state, 0, left, None, budget, instruction_tokens, ())
    state = _count(messages, state, count_tokens, usage)
    if usage is not None and usage_is_fresh:
        sent = sum(state.counts[index] for index in range(state.cut_at, min(state.seen, len(messages))))
        learned = calibration.learn(state.calibration, sent, usage["input_tokens"], instruction_tokens)
        state = replace(state, calibration=learned)
    ratio = state.calibration.ratio
    before = nearest(sum(state.counts.values()) * ratio)
    pressure = before / budget if budget > 0 else math.inf
    if settings.summarise and instruction_tokens >= budget:
        row = LogRow(
            "warn",
            "Instructions consume entire budget — yielding all messages for summarization",
            {"instructionTokens": instruction_tokens, "pruningBudget": budget, "messageCount": len(messages)},
        )
        after = replace(state, seen=len(messages))
        return Trimmed((), tuple(messages), {}, after, before, 0, pressure, budget, instruction_tokens, (row,))
    log = [_budget_row(settings, instruction_tokens, len(messages), before, ratio)]
    shrunk, state = _shrink(messages, settings, state, count_tokens, instruction_tokens, pressure, log)
    return _choose(
        [shrunk.get(index, message) for index, message in enumerate(messages)],
        shrunk,
        settings,
        state,
        count_tokens,
        instruction_tokens=instruction_tokens,
        pressure=pressure,
        log=log,
    )


def _within(tokens: int, budget: int) -> int:
    return max(0, min(tokens, budget))


def _budget_row(settings: TrimSettings, instruction_tokens: int, count: int, tokens: int, ratio: float) -> LogRow:
    return LogRow(
        "debug",
        "Budget",
        {
            "maxTokens": settings.max_context_tokens,
            "pruningBudget": settings.budget,
            "effectiveMax": max(0, settings.budget - instruction_tokens),
            "instructionTokens": instruction_tokens,
            "messageCount": count,
            "calibratedTotalTokens": tokens,
            "calibrationRatio": ratio,
        },
    )


def _count(
    messages: Sequence[AnyMessage], state: TrimState, count_tokens: TokenCounter, usage: UsageMetadata | None
) -> TrimState:
    """Count messages not counted yet: the answer as reported, tool results again, since hosts count them before use."""
    counts = {index: tokens for index, tokens in state.counts.items() if index < len(messages)}
    answer_tokens = usage["output_tokens"] if usage is not None else 0
    for index, message in enumerate(messages):
        known = counts.get(index)
        if known is None and answer_tokens > 0 and isinstance(message, AIMessage):
            counts[index], answer_tokens = answer_tokens, 0
        elif known is None:
            counts[index] = count_tokens(message)
        elif isinstance(message, ToolMessage) and index >= state.recounted:
            counts[index] = max(known, count_tokens(message))
    return replace(state, counts=counts, recounted=len(messages))


def _shrink(
    messages: Sequence[AnyMessage],
    settings: TrimSettings,
    state: TrimState,
    count_tokens: TokenCounter,
    instruction_tokens: int,
    pressure: float,
    log: list[LogRow],
) -> tuple[dict[int, AnyMessage], TrimState]:
    """Shorten tool results and inputs, and recount those that were shortened."""
    ratio = state.calibration.ratio
    room = nearest(settings.budget / ratio) - nearest(instruction_tokens / ratio)
    tier = compaction.deepen(
        state.tier,
        window=settings.max_context_tokens,
        room=room,
        widest_batch=compaction.widest_batch(messages),
        pressure=0.0 if settings.summarise else pressure,
        mask=pressure >= MASKING_PRESSURE,
    )
    caps = compaction.caps(tier, settings.max_context_tokens, settings.max_tool_result_chars)
    cleared = compaction.clear_old(messages, settings.context_pruning) if settings.context_pruning else {}
    faded = compaction.fade([cleared.get(index, message) for index, message in enumerate(messages)], caps)
    shrunk = {**cleared, **faded.messages}
    counts = {**state.counts, **{index: count_tokens(message) for index, message in shrunk.items()}}
    after = replace(state, counts=counts, tier=tier)
    if counts == state.counts:
        return shrunk, after
    # The provider saw the messages unshortened until now, so the sums would compare unlike things.
    after = replace(after, calibration=calibration.forget_sums(state.calibration))
    tokens_before = nearest(sum(state.counts.values()) * ratio)
    tokens_after = nearest(sum(counts.values()) * ratio)
    figures = {
        "contextPressure": nearest(pressure * 100),
        "observationsMasked": faded.masked,
        "toolOutputsTruncated": faded.results,
        "toolInputsTruncated": faded.inputs,
        "tokensBefore": tokens_before,
        "tokensAfter": tokens_after,
        "tokensSaved": tokens_before - tokens_after,
    }
    log.append(LogRow("debug", "Context adjusted", figures))
    return shrunk, after


def _choose(
    messages: Sequence[AnyMessage],
    shrunk: Mapping[int, AnyMessage],
    settings: TrimSettings,
    state: TrimState,
    count_tokens: TokenCounter,
    *,
    instruction_tokens: int,
    pressure: float,
    log: list[LogRow],
) -> Trimmed:
    """Keep everything if it fits, else select."""
    budget, ratio = settings.budget, state.calibration.ratio
    total = nearest(sum(state.counts.values()) * ratio)
    left = budget - total - nearest(PRIMER_TOKENS * ratio) - instruction_tokens
    if left >= 0 and state.cut_at == 0:
        after = replace(state, seen=len(messages))
        return Trimmed(
            tuple(messages), (), shrunk, after, total, left, pressure, budget, instruction_tokens, tuple(log)
        )
    room = selection.Room(nearest(budget / ratio), nearest(instruction_tokens / ratio), PRIMER_TOKENS)
    chosen = selection.select(messages, state.counts, room, count_tokens, settings.start_type, settings.thinking)
    log.append(LogRow("debug", "Pruning complete", _outcome(chosen)))
    if _says_nothing(chosen.context) and budget > instruction_tokens and not settings.summarise:
        chosen = _emergency(messages, settings, state, count_tokens, room, instruction_tokens, log)
    left = _within(nearest(chosen.left * ratio), budget)
    after = replace(state, seen=len(messages), cut_at=chosen.cut_at)
    return Trimmed(
        chosen.context, chosen.to_refine, shrunk, after, total, left, pressure, budget, instruction_tokens, tuple(log)
    )


def _emergency(
    messages: Sequence[AnyMessage],
    settings: TrimSettings,
    state: TrimState,
    count_tokens: TokenCounter,
    room: selection.Room,
    instruction_tokens: int,
    log: list[LogRow],
) -> selection.Selection:
    """Cut tool data, which alone may be cut, to even shares for this call, and select once more."""
    effective = settings.budget - instruction_tokens
    max_chars = max(_SHORTEST_EMERGENCY_CHARS, effective // len(messages) * truncation.CHARS_PER_TOKEN)
    figures = {
        "messageCount": len(messages),
        "effectiveMax": effective,
        "emergencyMaxChars": max_chars,
        "budgetTokens": settings.max_context_tokens,
    }
    log.append(LogRow("warn", "Empty context, entering emergency truncation", figures))
    cut = compaction.fade(messages, compaction.Caps(result=max_chars, masked=None, tool_input=max_chars))
    counts = {**state.counts, **{index: count_tokens(message) for index, message in cut.messages.items()}}
    shorter = [cut.messages.get(index, message) for index, message in enumerate(messages)]
    chosen = selection.select(shorter, counts, room, count_tokens, settings.start_type, settings.thinking)
    log.append(LogRow("info", "Emergency truncation complete"))
    details = {"truncatedCount": len(cut.messages), "budgetTokens": settings.max_context_tokens}
    log.append(LogRow("debug", "Emergency truncation details", details))
    outcome = _outcome(chosen)
    kept = {key: outcome[key] for key in ("contextLength", "messagesToRefineCount", "remainingTokens")}
    log.append(LogRow("debug", "Emergency truncation retry result", kept))
    return chosen


def _outcome(chosen: selection.Selection) -> dict[str, object]:
    kinds = ", ".join(f"tool({each.name})" if isinstance(each, ToolMessage) else each.type for each in chosen.context)
    return {
        "contextLength": len(chosen.context),
        "contextTypes": kinds,
        "messagesToRefineCount": len(chosen.to_refine),
        "droppedOrphans": chosen.orphans,
        "remainingTokens": chosen.left,
    }


def _says_nothing(context: Sequence[AnyMessage]) -> bool:
    return all(isinstance(message, SystemMessage) for message in context)
