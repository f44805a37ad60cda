"""Long tool results and tool inputs, cut to a number of characters with a notice in place of the omitted part.

- A result keeps its beginning and its end, 70 to 30, snapped to line ends nearby: errors stand at the end of an output.
- Where too little would be left for two readable pieces, only the beginning is kept.
- An input must stay an object for the providers, so its text goes into one field of a new object.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

#: No single tool result is longer than this, however large the model's context is.
LONGEST_RESULT_CHARS = 400_000
#: A tool result may take this part of the context.
RESULT_SHARE = 0.3
CHARS_PER_TOKEN = 4

_HEAD_SHARE = 0.7
_SNAP_CHARS = 200
_SHORTEST_SPLIT_RESULT_CHARS = 200
_SHORTEST_SPLIT_INPUT_CHARS = 100

_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=str)


def max_tool_result_chars(max_context_tokens: int | None) -> int:
    """Return the longest tool result, in characters, for a context of this size.

    Args:
        max_context_tokens: Size of the context in tokens; None or 0 means that it is not known.

    Returns:
        The limit in characters.
    """
    if not max_context_tokens or max_context_tokens < 0:
        return LONGEST_RESULT_CHARS
    return min(math.floor(max_context_tokens * RESULT_SHARE) * CHARS_PER_TOKEN, LONGEST_RESULT_CHARS)


def truncate_tool_result(content: str, max_chars: int) -> str:
    """Cut a tool result to a number of characters, keeping its beginning and its end.

    Args:
        content: The result's text.
        max_chars: The longest text to return.

    Returns:
        The text itself if it is short enough.
    """
    if len(content) <= max_chars:
        return content
    notice = f"\n\n{_notice(content, max_chars)}\n\n"
    room = max_chars - len(notice)
    if room <= 0:
        return content[: max(0, max_chars)]
    if room < _SHORTEST_SPLIT_RESULT_CHARS:
        return content[:room] + notice.rstrip()
    head, tail = _head_and_tail(content, room)
    line_end = head.rfind("\n", len(head) - min(len(head), _SNAP_CHARS))
    if line_end > 0:
        head = head[:line_end]
    line_start = tail.find("\n", 0, _SNAP_CHARS)
    if line_start >= 0:
        tail = tail[line_start + 1 :]
    return head + notice + tail


def truncate_tool_input(arguments: object, max_chars: int) -> dict[str, object]:
    """Put the arguments of a tool call, shortened, into an object that says so.

    Args:
        arguments: The arguments: a text, or what JSON can hold.
        max_chars: How much of their text to keep, the notice included unless the limit is too small for one.

    Returns:
        An object with the shortened text and the length of the whole.
    """
    text = arguments if isinstance(arguments, str) else compact_json(arguments)
    return {"_truncated": _shorten_input(text, max_chars), "_originalChars": len(text)}


def compact_json(value: object) -> str:
    """JSON text as tool calls carry it: no spaces, no escapes for other alphabets."""
    return _ENCODER.encode(value)


def text_of(content: str | list[Any]) -> str:
    """Return the text of a message's content, without blocks of other kinds."""
    if isinstance(content, str):
        return content
    return "".join(_block_text(block) for block in content)


def _block_text(block: object) -> str:
    match block:
        case str():
            return block
        case {"type": "text", "text": str(text)}:
            return text
        case _:
            return ""


def shorten_content(content: str | list[Any], max_chars: int) -> str | list[Any]:
    """Cut the text in a tool message's content; blocks of other kinds stay, and so does content that fits."""
    if isinstance(content, str):
        return truncate_tool_result(content, max_chars)
    if len(text_of(content)) <= max_chars:
        return content
    texts = sum(bool(_block_text(block)) for block in content)
    return [_shorten_block(block, max_chars // texts) for block in content]


def _shorten_block(block: object, max_chars: int) -> object:
    match block:
        case str():
            return truncate_tool_result(block, max_chars)
        case Mapping() if _block_text(block):
            return {**block, "text": truncate_tool_result(_block_text(block), max_chars)}
        case _:
            return block


def _notice(text: str, max_chars: int) -> str:
    return f"… [truncated: {len(text)} chars exceeded {max_chars} limit] …"


def _head_and_tail(text: str, room: int) -> tuple[str, str]:
    head = math.ceil(room * _HEAD_SHARE)
    return text[:head], text[len(text) - (room - head) :]


def _shorten_input(text: str, max_chars: int) -> str:
    if len(text) <= max_chars:
        return text
    notice = f"\n{_notice(text, max_chars)}\n"
    room = max_chars - len(notice)
    if room < _SHORTEST_SPLIT_INPUT_CHARS:
        return text[:max_chars] + notice.rstrip()
    head, tail = _head_and_tail(text, room)
    return head + notice + tail
