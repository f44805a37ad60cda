"""State that is a list of messages."""

from langchain_core.messages import AnyMessage as AnyMessage
from langchain_core.messages import BaseMessage as BaseMessage
from langchain_core.messages import MessageLikeRepresentation as MessageLikeRepresentation
from langchain_core.messages import RemoveMessage as RemoveMessage

from stategraph.graph.reducers import REMOVE_ALL_MESSAGES, add_messages
from stategraph.graph.reducers import Messages as Messages

__all__ = ("REMOVE_ALL_MESSAGES", "add_messages")
