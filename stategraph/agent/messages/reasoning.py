"""The reasoning that a provider sends next to the content of an answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

KEYS: Final = ("reasoning_content", "reasoning")
"""Where it is, in what servers send and in a message's `additional_kwargs`.

An agent's `reasoning_key` says under which of them it is kept.
"""


def text_of(fields: Mapping[str, Any]) -> str | None:
    """Return the reasoning in the fields next to the content; None if there is none.

    Structured reasoning of other APIs is ignored.

    Args:
        fields: What a server sent as a message or a piece of one, or the `additional_kwargs` of one.
    """
    for key in KEYS:
        found = fields.get(key)
        if isinstance(found, str) and found:
            return found
    return None
