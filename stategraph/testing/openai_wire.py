"""The OpenAI chat-completions wire format, as far as a scripted server speaks it.

Pure functions from a script's values to JSON-able objects, and the check of a
request's conversation. The format is documented under "Chat Completions" in
OpenAI's API reference.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stategraph.testing import script as scripts

DEFAULT_USAGE = scripts.Usage(10, 5)
"""Usage of a reply without counts: the real service always reports some."""

CREATED = 1_700_000_000
"""A constant creation time (epoch seconds), so that recordings compare equal."""


def error_body(message: str, *, type: str = "invalid_request_error", code: str | None = None) -> dict[str, object]:
    """Return the body of a refused request."""
    return {"error": {"message": message, "type": type, "param": None, "code": code}}


def usage_body(usage: scripts.Usage | None) -> dict[str, object]:
    """Token counts in the names of the chat-completions API."""
    counted = usage or DEFAULT_USAGE
    return {
        "prompt_tokens": counted.input_tokens,
        "completion_tokens": counted.output_tokens,
        "total_tokens": counted.total_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": counted.reasoning_tokens},
    }


def completion(answer: scripts.Reply, *, id: str, model: str, reasoning_field: str) -> dict[str, object]:
    """Return a whole answer, for a request without ``stream``."""
    message: dict[str, object] = {"role": "assistant", "content": answer.text()}
    if reasoning := answer.reasoning():
        message[reasoning_field] = reasoning
    if calls := answer.calls():
        message["content"] = answer.text() or None
        message["tool_calls"] = [
            {"id": c.id, "type": "function", "function": {"name": c.name, "arguments": c.arguments()}} for c in calls
        ]
    return {
        "id": id,
        "object": "chat.completion",
        "created": CREATED,
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}],
        "usage": usage_body(answer.usage),
    }


def chunk(id: str, model: str, delta: dict[str, object], finish_reason: str | None = None) -> dict[str, object]:
    """Return one event of a streamed answer."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
    return {"id": id, "object": "chat.completion.chunk", "created": CREATED, "model": model, "choices": [choice]}


def usage_chunk(id: str, model: str, usage: scripts.Usage | None) -> dict[str, object]:
    """Return the extra event that ``stream_options.include_usage`` asks for."""
    return {**chunk(id, model, {}), "choices": [], "usage": usage_body(usage)}


def delta(part: scripts.Part, *, reasoning_field: str) -> dict[str, object] | None:
    """Return a part's delta in a streamed answer, or None for a part that adds nothing."""
    match part:
        case scripts.Text(text):
            return {"content": text}
        case scripts.Think(text):
            return {reasoning_field: text}
        case scripts.CallPart(index, arguments, name, call_id):
            function: dict[str, object] = {"arguments": arguments}
            head: dict[str, object] = {"index": index}
            if call_id is not None:
                head |= {"id": call_id, "type": "function"}
            if name is not None:
                function = {"name": name, **function}
            return {"tool_calls": [{**head, "function": function}]}
        case _:
            return None


def model_list(names: Sequence[str]) -> dict[str, object]:
    """Return the answer of ``/v1/models``."""
    entries = [{"id": name, "object": "model", "created": CREATED, "owned_by": "script"} for name in names]
    return {"object": "list", "data": entries}


def request_problem(body: Any) -> str | None:
    """Return why the real service would refuse this request, or None.

    Checks what goes wrong in agents: tool messages that answer no call, and
    calls that no tool message answers.
    """
    if not isinstance(body, dict):
        return "the request body is not a JSON object"
    if not isinstance(body.get("model"), str):
        return "you must provide a model parameter"
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list with at least one message"
    open_calls: dict[str, int] = {}
    for position, message in enumerate(messages):
        role = message.get("role") if isinstance(message, dict) else None
        if role == "tool":
            if open_calls.pop(str(message.get("tool_call_id")), None) is None:
                return (
                    f"messages[{position}] has role 'tool' and answers {message.get('tool_call_id')!r},"
                    " which no preceding assistant message called"
                )
            continue
        if open_calls:
            return _unanswered(open_calls)
        if role is None:
            return f"messages[{position}] has no role"
        open_calls = {str(c.get("id")): position for c in message.get("tool_calls") or ()}
    return _unanswered(open_calls) if open_calls else None


def _unanswered(open_calls: dict[str, int]) -> str:
    ids = ", ".join(sorted(open_calls))
    position = next(iter(open_calls.values()))
    return f"messages[{position}] has tool_calls that no tool message answers: {ids}"
