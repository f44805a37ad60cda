"""Questions about messages and states, and the message that removes all others."""

from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, RemoveMessage, ToolMessage

from stategraph.graph.message import REMOVE_ALL_MESSAGES

from .constants import INTERRUPT

__all__ = ["createRemoveAllMessage", "isAIMessage", "isBaseMessage", "isInterrupted", "isToolMessage"]


def isAIMessage(message: Any) -> bool:
    """Return whether a value is a message of a model."""
    return isinstance(message, AIMessage)


def isBaseMessage(message: Any) -> bool:
    """Return whether a value is a message."""
    return isinstance(message, BaseMessage)


def isToolMessage(message: Any) -> bool:
    """Return whether a value is the result of a call."""
    return isinstance(message, ToolMessage)


def isInterrupted(values: Any) -> bool:
    """Return whether the values that a graph returned say that it waits."""
    return isinstance(values, dict) and INTERRUPT in values


def createRemoveAllMessage() -> RemoveMessage:
    """Make the message that removes all others from a state."""
    return RemoveMessage(id=REMOVE_ALL_MESSAGES)
