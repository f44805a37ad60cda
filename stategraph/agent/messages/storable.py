"""Messages that a thread's saver can store: what providers and tools say of themselves may be anything."""

from __future__ import annotations

from typing import Any, TypeVar

from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from stategraph.agent.messages import arguments, truncation
from stategraph.constants import CONF, CONFIG_KEY_CHECKPOINTER

M = TypeVar("M", bound=BaseMessage)

_BESIDE = ("artifact", "additional_kwargs", "response_metadata", "usage_metadata")
"""Attributes of messages other than their content and calls."""

_OPEN = ("additional_kwargs", "response_metadata")
"""Those whose parts may be missing."""


def storable(message: M, config: RunnableConfig) -> M:
    """Leave out of a message what the saver of its thread cannot store.

    Args:
        message: The message. It is not changed.
        config: Of the node that writes it.

    Returns:
        The same object if all of it can be stored, or nothing is stored.
    """
    serde = getattr((config.get(CONF) or {}).get(CONFIG_KEY_CHECKPOINTER), "serde", None)
    # JSON needs no try: the usual case, after every call of a model.
    if serde is None or all(arguments.is_plain(getattr(message, name, None)) for name in (*_BESIDE, "content")):
        return message
    if _stores(serde, message):
        return message
    update: dict[str, Any] = {}
    for name in _BESIDE:
        value: Any = getattr(message, name, None)
        if not _stores(serde, value):
            kept = {key: each for key, each in value.items() if _stores(serde, {key: each})} if name in _OPEN else None
            update[name] = kept
    if not _stores(serde, message.content):
        update["content"] = truncation.text_of(message.content)
    return message.model_copy(update=update)


def _stores(serde: Any, value: Any) -> bool:
    try:
        serde.dumps_typed(value)
    except Exception:
        return False
    return True
