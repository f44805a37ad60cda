"""What a node of a graph is."""

from stategraph.graph.node import StateNode as StateNode
from stategraph.graph.node import StateNodeSpec as StateNodeSpec
