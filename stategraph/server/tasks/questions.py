"""Questions of graphs, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_WORDS: Final = ("message", "question", "text", "description", "prompt")


def question_text(payload: Any) -> str:
    """Return what a person is shown of a question; empty if it has no words."""
    if isinstance(payload, str):
        return payload
    if isinstance(payload, Mapping):
        for key in _WORDS:
            if isinstance(found := payload.get(key), str):
                return found
        for request in payload.get("action_requests") or ():
            if isinstance(request, Mapping) and (said := request.get("description") or request.get("name")):
                return str(said)
    return ""
