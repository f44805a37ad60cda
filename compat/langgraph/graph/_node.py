"""Nodes as a StateGraph records them."""

from stategraph.graph.node import StateNode as StateNode
from stategraph.graph.node import StateNodeSpec as StateNodeSpec
