"""LangChain's own classes of messages."""

from __future__ import annotations

from typing import Final

from langchain_core import messages

_KINDS: Final = ("Human", "AI", "System", "Tool", "Chat", "Function")

#: The classes whose stored form depends on their fields alone. That of a subclass may depend on anything.
MESSAGES: Final[frozenset[type]] = frozenset(
    cls
    for kind in _KINDS
    for suffix in ("", "Chunk")
    if (cls := getattr(messages, f"{kind}Message{suffix}", None)) is not None
)
