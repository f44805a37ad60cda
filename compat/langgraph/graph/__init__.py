"""Graphs of nodes over a shared state."""

from stategraph.constants import END, START
from stategraph.dropin_hooks import catch_up as _catch_up
from stategraph.dropin_names import names_of as _names_of
from stategraph.graph.message import MessageGraph, MessagesState
from stategraph.graph.reducers import add_messages
from stategraph.graph.state import StateGraph

__all__ = ("END", "START", "MessageGraph", "MessagesState", "StateGraph", "add_messages")

__getattr__ = _names_of(__name__)

_catch_up()
