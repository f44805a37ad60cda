"""Compile-time checks."""

from stategraph.engine.validate import validate_graph as validate_graph
from stategraph.engine.validate import validate_keys as validate_keys
