"""Messages that hosts and hooks add to a conversation: no person wrote them, and they say so."""

from __future__ import annotations

from collections.abc import Mapping

from langchain_core.messages import HumanMessage

from stategraph.agent.messages.encodable import encodable_value
from stategraph.agent.state import INJECTED


def injected_message(message: Mapping[str, object]) -> HumanMessage:
    """Convert a host's message to one for the model.

    Args:
        message: `content`, and what it says of itself: `role`, `isMeta`, `source`, `skillName`.

    Returns:
        A human message, the form that every provider takes anywhere in a history, with the rest as marks: `injected`
        says that it does not begin a turn.

    Raises:
        ValueError: It is no message.
    """
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, str | list):
        raise ValueError(
            f"An injected message is a mapping whose 'content' is a text or a list of blocks; found {message!r:.200}"
        )
    marks = {key: message[key] for key in ("role", "isMeta", "source", "skillName") if message.get(key) is not None}
    # A person's words that a host hands in while the agent works are still a person's.
    part = {"attribution": "user" if message.get("source") == "steer" else "synthetic"}
    marks |= {INJECTED: True, "provenance": {"version": 1, "parts": [part]}}
    return HumanMessage(content=encodable_value(content), additional_kwargs=marks)


def hook_context(texts: list[str]) -> HumanMessage:
    """Join hooks' context for the model into one message.

    Args:
        texts: The text of each.
    """
    return injected_message({"content": "\n\n".join(texts), "role": "system", "isMeta": True, "source": "hook"})
