"""Nodes and how they read the state."""

from stategraph.engine.compile.node import DEFAULT_BOUND as DEFAULT_BOUND
from stategraph.engine.compile.node import ChannelRead as ChannelRead
from stategraph.engine.compile.node import PregelNode as PregelNode
