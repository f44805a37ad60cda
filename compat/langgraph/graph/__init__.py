"""Graphs of nodes over a shared state."""

from stategraph.constants import END, START
from stategraph.graph.reducers import add_messages

__all__ = ("END", "START", "add_messages")
