"""Graphs of nodes over a shared state."""

from stategraph.constants import END, START
from stategraph.graph.message import MessageGraph, MessagesState
from stategraph.graph.reducers import add_messages
from stategraph.graph.state import StateGraph

__all__ = ("END", "START", "MessageGraph", "MessagesState", "StateGraph", "add_messages")
