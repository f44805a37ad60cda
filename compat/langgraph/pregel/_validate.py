"""Compile-time checks."""

from stategraph.engine.compile.validate import validate_graph as validate_graph
from stategraph.engine.compile.validate import validate_keys as validate_keys
