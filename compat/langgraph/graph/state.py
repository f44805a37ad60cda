"""Graphs of nodes over a shared state."""

from stategraph.constants import END as END
from stategraph.constants import START as START
from stategraph.dropin_names import names_of as _names_of
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.graph.node import node_name as _get_node_name
from stategraph.graph.schema import channel_of as _get_channel
from stategraph.graph.schema import declared_channel as _is_field_channel
from stategraph.graph.schema import warn_if_no_schema as _warn_invalid_state_schema
from stategraph.graph.state import StateGraph

__all__ = ("CompiledStateGraph", "StateGraph")

__getattr__ = _names_of(__name__)
