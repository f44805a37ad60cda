"""The done node: the end of a turn, whatever ended it."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.messages.ai import UsageMetadata

from stategraph.agent import usage
from stategraph.agent.state import AgentState, turn_of

NODE = "done"


def done(state: AgentState) -> dict[str, Any]:
    """Write what the turn came to: its tokens, and why it ended if not by itself.

    Args:
        state: The state after the last agent.

    Returns:
        The update: `usage`, over all calls of the turn, and `halt_reason`.
    """
    total = UsageMetadata(input_tokens=0, output_tokens=0, total_tokens=0)
    for message in turn_of(state["messages"]):
        if isinstance(message, AIMessage) and message.usage_metadata:
            one = usage.total_usage(message.usage_metadata)
            total["input_tokens"] += one["input_tokens"]
            total["output_tokens"] += one["output_tokens"]
            total["total_tokens"] += one["total_tokens"]
    return {"usage": total, "halt_reason": state.get("halt_reason")}
