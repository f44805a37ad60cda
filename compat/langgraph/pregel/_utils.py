"""Private helpers that packages import."""

from stategraph.core.checkpoint import newer_versions as get_new_channel_versions
from stategraph.engine.compile.subgraphs import find_subgraph as find_subgraph_pregel
from stategraph.engine.compile.subgraphs import function_nonlocals as get_function_nonlocals
