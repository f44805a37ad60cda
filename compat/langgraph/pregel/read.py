"""Older name of `langgraph.pregel._read`."""

from stategraph.engine.node import ChannelRead as ChannelRead
from stategraph.engine.node import PregelNode as PregelNode
