"""Usage reported by providers: totals of tokens, and when they mean that history should be summarised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from langchain_core.messages.ai import UsageMetadata


@dataclass(frozen=True, slots=True)
class SummaryTrigger:
    """The condition for summarising messages that no longer fit.

    Attributes:
        type: The figure that `value` limits: the used part of the context, the tokens left, or the number of messages
            that do not fit. An unknown type never triggers.
        value: The limit, inclusive.
    """

    type: Literal["token_ratio", "remaining_tokens", "messages_to_refine"] | str
    value: float


def total_usage(usage: UsageMetadata) -> UsageMetadata:
    """Return usage with its total; cached input is added where a provider left it out of the input.

    Providers disagree on whether cached tokens are part of `input_tokens`: where they exceed it they cannot be.

    Args:
        usage: As the provider reported it.

    Returns:
        Input, output and total tokens, without details.
    """
    details = usage.get("input_token_details") or {}
    cached = details.get("cache_read", 0) + details.get("cache_creation", 0)
    read = usage["input_tokens"] + (cached if cached > usage["input_tokens"] else 0)
    written = usage["output_tokens"]
    return UsageMetadata(input_tokens=read, output_tokens=written, total_tokens=read + written)


def should_summarise(
    messages_to_refine: int,
    *,
    trigger: SummaryTrigger | None = None,
    max_context_tokens: int | None = None,
    context_tokens: int | None = None,
    instruction_tokens: int = 0,
) -> bool:
    """Return whether messages that do not fit are to be summarised now.

    Args:
        messages_to_refine: How many messages do not fit.
        trigger: None: whenever there are any.
        max_context_tokens: Size of the context; None: not known, so triggers that measure it do not fire.
        context_tokens: Tokens of all messages before any was left out; None: not known.
        instruction_tokens: Tokens of instructions and tool schemas, in addition to the messages.

    Returns:
        False whenever all messages fit.
    """
    if messages_to_refine <= 0 or trigger is None:
        return messages_to_refine > 0
    if trigger.type == "messages_to_refine":
        return messages_to_refine >= trigger.value
    if not max_context_tokens or context_tokens is None:
        return False
    left = max_context_tokens - (context_tokens + instruction_tokens)
    if trigger.type == "token_ratio":
        return 1 - left / max_context_tokens >= trigger.value
    return trigger.type == "remaining_tokens" and left <= trigger.value
