"""Older name of `langgraph.pregel._read`."""

from stategraph.engine.compile.node import ChannelRead as ChannelRead
from stategraph.engine.compile.node import PregelNode as PregelNode
