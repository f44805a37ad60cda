"""Names of the types of data that are handed on: what a manifest, a state, an input or a result is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from stategraph.graph.state import StateGraph

Data: TypeAlias = Any
"""Any value that a step may be given or return: JSON, messages, and what a checkpoint can store."""

Fields: TypeAlias = Mapping[str, Data]
"""Values by their names, not to be changed."""

Object: TypeAlias = dict[str, Data]
"""Values by their names."""

Builder: TypeAlias = StateGraph[Any, Any, Any, Any]
"""The builder of a graph."""

Graph: TypeAlias = Any
"""A compiled graph."""
