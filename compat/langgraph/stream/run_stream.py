"""Handles of a streamed run."""

from stategraph.engine.events.nested import AsyncSubgraphRunStream as AsyncSubgraphRunStream
from stategraph.engine.events.nested import SubgraphRunStream as SubgraphRunStream
