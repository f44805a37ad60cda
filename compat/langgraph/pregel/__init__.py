"""The engine."""

# Instrumentations wait for these to be imported, to wrap what is in them.
from langgraph._internal import _runnable as _runnable
from langgraph.pregel import _executor as _executor
from langgraph.pregel import _loop as _loop

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.compile.node import NodeBuilder
from stategraph.engine.engine import StateGraphEngine as Pregel

__all__ = ("NodeBuilder", "Pregel")

__getattr__ = _names_of(__name__)
