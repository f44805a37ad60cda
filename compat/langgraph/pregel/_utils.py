"""Private helpers around compiled graphs."""

from stategraph.engine.subgraphs import find_subgraph as find_subgraph_pregel
from stategraph.engine.subgraphs import function_nonlocals as get_function_nonlocals
from stategraph.engine.validate import validate_timeout_supported as validate_timeout_supported
