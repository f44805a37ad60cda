"""Handles of a streamed run."""

from stategraph.engine.projections.nested import AsyncSubgraphRunStream as AsyncSubgraphRunStream
from stategraph.engine.projections.nested import SubgraphRunStream as SubgraphRunStream
