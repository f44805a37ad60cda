"""Graphs as clients draw them, and the schemas of graphs."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.runnables.graph import Edge, Graph
from pydantic import create_model


def nodes_and_edges(graph: Graph) -> dict[str, Any]:
    """Return a graph as JSON: nodes by their ids, edges between them."""
    return {"nodes": [_node(node) for node in graph.nodes.values()], "edges": [_edge(edge) for edge in graph.edges]}


def _node(node: Any) -> dict[str, Any]:
    if node.data is None:
        return {"id": node.id}
    return {"id": node.id, "type": "runnable", "data": {"name": node.id}}


def _edge(edge: Edge) -> dict[str, Any]:
    found: dict[str, Any] = {"source": edge.source, "target": edge.target}
    if edge.data is not None:
        found["data"] = edge.data
    if edge.conditional:
        found["conditional"] = True
    return found


def schemas_of(graph: Any) -> dict[str, Any]:
    """Return the schemas of a graph's input, output, state, config and context; None for what has none."""
    return {
        "input_schema": _made(graph.get_input_jsonschema),
        "output_schema": _made(graph.get_output_jsonschema),
        "state_schema": _made(lambda: _state(graph)),
        "config_schema": _made(lambda: _config(graph)),
        "context_schema": _made(graph.get_context_jsonschema),
    }


def _made(make: Callable[[], Any]) -> Any:
    """Return a schema; None if it cannot be made, as of types that have no form in JSON."""
    try:
        return make()
    except Exception:  # whatever Pydantic says of the graph's types
        return None


def _state(graph: Any) -> Mapping[str, Any]:
    """Return the schema of all values of a graph's state."""
    names = graph.stream_channels_list
    types: dict[str, Any] = {name: (graph.channels[name].UpdateType, None) for name in names if name in graph.channels}
    found: Mapping[str, Any] = create_model(graph.get_name("State"), **types).model_json_schema()
    return found


def _config(graph: Any) -> Mapping[str, Any]:
    """Return the schema of the fields in `configurable`, which are those of the context."""
    if (context := graph.get_context_jsonschema()) is not None:
        return dict(context)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole: Mapping[str, Any] = graph.config_schema().model_json_schema()
    return dict(whole.get("$defs", {}).get("Configurable") or {})
