"""Drawing a graph from its parts."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.graph import Graph

from stategraph.engine.state import draw


def draw_graph(
    config: RunnableConfig,
    *,
    nodes: Mapping[str, Any],
    specs: Mapping[str, Any],
    input_channels: str | Sequence[str],
    interrupt_after_nodes: str | Sequence[str],
    interrupt_before_nodes: str | Sequence[str],
    trigger_to_nodes: Mapping[str, Sequence[str]],
    checkpointer: Any,
    subgraphs: Mapping[str, Graph],
    limit: int = 250,
) -> Graph:
    stops = {"interrupt_before": interrupt_before_nodes, "interrupt_after": interrupt_after_nodes}
    plan = draw.plan_of(nodes, specs, input_channels=input_channels, **stops)
    return draw.picture(plan, subgraphs=subgraphs)
