"""The content parts of a run's messages, as `process_stream` returns them.

Other than the aggregator's, these have arguments as objects, an empty text before calls that stand alone, and neither
progress nor agents: they are made from messages, not from events.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage, ToolMessage

from stategraph.agent.messages import reasoning, truncation
from stategraph.agent.output import record


def content_parts(messages: Sequence[AnyMessage]) -> list[dict[str, Any]]:
    """Convert messages to content parts, in order.

    Args:
        messages: The messages of a run.

    Returns:
        For an answer its reasoning and text, for a tool's result its call with the output; an output of an agent's type
        behind the message that marks it.
    """
    outputs = {each.until: each for each in record.outputs(messages)}
    calls: dict[str, dict[str, Any]] = {}
    parts: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        if isinstance(message, AIMessage):
            calls |= {call["id"]: dict(call) for call in message.tool_calls if call["id"]}
            parts.extend(_answer_parts(message))
        elif isinstance(message, ToolMessage):
            call = calls.get(message.tool_call_id) or {"name": message.name, "id": message.tool_call_id}
            output = truncation.text_of(message.content)
            parts.append({"type": "tool_call", "tool_call": {**call, "output": output}})
        if (typed := outputs.get(place)) is not None:
            parts.append({"type": "output", "output": {"type": typed.name, "value": typed.given}})
    return parts


def _answer_parts(message: AIMessage) -> Iterator[dict[str, Any]]:
    if thought := reasoning.text_of(message.additional_kwargs):
        yield {"type": "think", "think": thought}
    blocks = [{"type": "text", "text": message.content}] if isinstance(message.content, str) else message.content
    shown = [_block_part(block) for block in blocks]
    kept = [part for part in shown if part is not None and part.get("text") != ""]
    call_ids = [call["id"] for call in message.tool_calls]
    if call_ids:
        texts = [part for part in kept if part["type"] == "text"]
        if not texts:
            texts = [{"type": "text", "text": ""}]
            kept += texts
        texts[-1]["tool_call_ids"] = call_ids
    yield from kept


def _block_part(block: Any) -> dict[str, Any] | None:
    """Convert a content block to a part; calls become separate parts."""
    if isinstance(block, str):
        return {"type": "text", "text": block}
    kind = block.get("type")
    if kind in ("tool_use", "tool_call", "input_json_delta"):
        return None
    if kind in ("thinking", "reasoning"):
        return {"type": "think", "think": str(block.get("thinking") or block.get("reasoning") or "")}
    return dict(block)
