"""Handles of a streamed run."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.streams.events.run import AsyncGraphRunStream as AsyncGraphRunStream
from stategraph.engine.streams.events.run import AsyncSubgraphRunStream as AsyncSubgraphRunStream
from stategraph.engine.streams.events.run import GraphRunStream as GraphRunStream
from stategraph.engine.streams.events.run import NestedRun as _SubgraphRunStreamMixin
from stategraph.engine.streams.events.run import SubgraphRunStream as SubgraphRunStream

__getattr__ = _names_of(__name__)
