"""How a node reads the state."""

from stategraph.engine.node import DEFAULT_BOUND as DEFAULT_BOUND
from stategraph.engine.node import ChannelRead as ChannelRead
from stategraph.engine.node import PregelNode as PregelNode
