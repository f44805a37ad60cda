"""Names of the engine that a builder needs: to take nodes and routers, and to make a graph that runs.

It is apart from the builder because importing the engine imports langchain's runnables and, with them, its tracing
client: 450 of the 650 ms that `import langgraph.graph` would take. The builder imports this module when it is given its
first node.
"""

from __future__ import annotations

from langchain_core.runnables import Runnable

from stategraph.dropin_hooks import shown_by_langgraph
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.compile.functions import coerce_to_runnable
from stategraph.engine.tasks.executors import ExecutedNode, executed
from stategraph.graph.branch import BranchSpec
from stategraph.graph.compiled import CompiledStateGraph
from stategraph.graph.delta_messages import kept_channels
from stategraph.graph.hints import node_hints
from stategraph.graph.node import StateNodeSpec, node_name

__all__ = (
    "BranchSpec",
    "CompiledStateGraph",
    "ExecutedNode",
    "StateNodeSpec",
    "allowlist",
    "coerce_to_runnable",
    "executed",
    "kept_channels",
    "name_of",
    "node_hints",
    "node_name",
)


def name_of(node: object) -> str | None:
    """Return the default name of a node: that of its Runnable, function or class."""
    return node.get_name() if isinstance(node, Runnable) else node_name(node)


shown_by_langgraph(__name__)
