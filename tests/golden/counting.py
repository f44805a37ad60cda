"""How the recordings count tokens and write JSON."""

from __future__ import annotations

import json
import math

from langchain_core.messages import AIMessage, BaseMessage


def compact(value: object) -> str:
    """JSON as JavaScript writes it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def count_tokens(message: BaseMessage) -> int:
    """A token for four characters of content and calls, three for each message."""
    content = message.content if isinstance(message.content, str) else compact(message.content)
    calls = message.tool_calls if isinstance(message, AIMessage) else []
    row = [{"name": call["name"], "args": call["args"], "id": call["id"], "type": "tool_call"} for call in calls]
    return 3 + math.ceil(len(content) / 4) + (math.ceil(len(compact(row)) / 4) if row else 0)
