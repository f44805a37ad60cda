"""The most that a call of a model may take, from what is known of it before.

- A token is a byte at least, so a text has at most as many as it has bytes. What frames messages and describes tools is
  added; other content, such as images, may take anything up to the size of the model's context.
- A model writes at most what its settings say, or its profile. Without either it may write anything: no other call
  begins beside it where tokens are limited.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import Runnable, RunnableBinding

#: Tokens that surround a message, and those of a provider's own instructions for the use of tools.
_PER_MESSAGE, _FOR_TOOLS = 64, 2048

#: The names that the classes of providers have for it.
_MOST_WRITTEN = ("max_completion_tokens", "max_output_tokens", "max_tokens", "max_tokens_to_sample", "num_predict")

_TEXTS = frozenset({"text", "reasoning", "thinking"})


def most_read(model: Runnable[Any, Any], messages: Sequence[AnyMessage]) -> float:
    """Return the most tokens that a call may read; infinite if that is not known."""
    inner, bound = _unbound(model)
    size: float = _FOR_TOOLS + _size_of(bound) if bound else 0
    for message in messages:
        size += _PER_MESSAGE + _size_of_message(message)
    return min(size, _profile(inner, "max_input_tokens"))


def most_written(model: Runnable[Any, Any]) -> float:
    """Return the most tokens that a call may write; infinite if that is not known."""
    inner, bound = _unbound(model)
    own = getattr(inner, "model_kwargs", None)
    for settings in (bound, own if isinstance(own, Mapping) else {}):
        for name in _MOST_WRITTEN:
            if (limit := _count(settings.get(name))) is not None:
                return limit
    for name in _MOST_WRITTEN:
        if (limit := _count(getattr(inner, name, None))) is not None:
            return limit
    return _profile(inner, "max_output_tokens")


def _count(limit: object) -> float | None:
    """Return a limit that is a number of tokens; None for anything else, such as -1 for none."""
    return float(limit) if isinstance(limit, int) and not isinstance(limit, bool) and limit > 0 else None


def _profile(model: object, name: str) -> float:
    profile = getattr(model, "profile", None)
    limit = _count(profile.get(name)) if isinstance(profile, Mapping) else None
    return math.inf if limit is None else limit


def _unbound(model: Runnable[Any, Any]) -> tuple[object, dict[str, Any]]:
    """Return a model without what is bound to it, and that."""
    bound: dict[str, Any] = {}
    while isinstance(model, RunnableBinding):
        bound = {**model.kwargs, **bound}
        model = model.bound
    return model, bound


def _size_of_message(message: AnyMessage) -> float:
    content = message.content
    size: float = len(content.encode(errors="replace")) if isinstance(content, str) else 0
    if not isinstance(content, str):
        for block in content:
            if isinstance(block, str):
                size += len(block.encode(errors="replace"))
            elif block.get("type") in _TEXTS or block.get("type") == "tool_use":
                size += _size_of(block)
            else:
                return math.inf
    if isinstance(message, AIMessage) and message.tool_calls:
        size += _size_of(message.tool_calls)
    return size


def _size_of(value: object) -> int:
    """Return the bytes of a value as JSON."""
    return len(json.dumps(value, ensure_ascii=False, default=repr).encode(errors="replace"))
