"""How tests count tokens: four characters of content and calls, and three for each message."""

from __future__ import annotations

import math

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage

from stategraph.agent.messages.truncation import compact_json


def count(message: BaseMessage) -> int:
    content = message.content if isinstance(message.content, str) else compact_json(message.content)
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    tokens = 3 + math.ceil(len(content) / 4)
    return tokens + math.ceil(len(compact_json([dict(call) for call in calls])) / 4) if calls else tokens


def history(turns: int = 8) -> list[AnyMessage]:
    """Turns of 36 tokens for a question and 36 for its answer, and a last question of 7."""
    messages: list[AnyMessage] = []
    for turn in range(turns):
        messages += [HumanMessage(f"question {turn} {'x' * 121}"), AIMessage(f"answer {turn} {'y' * 121}")]
    return [*messages, HumanMessage("latest question")]
