"""State that is a list of messages."""

from langchain_core.messages import AnyMessage as AnyMessage
from langchain_core.messages import BaseMessage as BaseMessage
from langchain_core.messages import MessageLikeRepresentation as MessageLikeRepresentation
from langchain_core.messages import RemoveMessage as RemoveMessage

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.checkpoints.message_delta import messages_delta_reducer as _messages_delta_reducer
from stategraph.graph.message import MessageGraph, MessagesState
from stategraph.graph.message import push_message as push_message
from stategraph.graph.reducers import REMOVE_ALL_MESSAGES, add_messages
from stategraph.graph.reducers import Messages as Messages

__all__ = ("REMOVE_ALL_MESSAGES", "MessageGraph", "MessagesState", "add_messages")

__getattr__ = _names_of(__name__)
