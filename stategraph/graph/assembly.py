"""Names of the engine that a builder needs: to take nodes and routers, and to make a graph that runs.

It is apart from the builder because importing the engine imports langchain's runnables and, with them, its tracing
client: 450 of the 650 ms that `import langgraph.graph` would take. The builder imports this module when it is given its
first node.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from langchain_core.runnables import Runnable

from stategraph.constants import START
from stategraph.dropin_hooks import shown_by_langgraph
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.compile.functions import coerce_to_runnable
from stategraph.engine.tasks.executors import ExecutedNode, executed
from stategraph.graph.branch import BranchSpec
from stategraph.graph.compiled import AnyStateGraph, CompiledStateGraph, ValidatedStateGraph
from stategraph.graph.delta_messages import kept_channels
from stategraph.graph.hints import node_hints
from stategraph.graph.node import StateNode, StateNodeSpec, node_name
from stategraph.graph.versions.migration import Migration, chain

__all__ = (
    "BranchSpec",
    "CompiledStateGraph",
    "ExecutedNode",
    "StateNodeSpec",
    "allowlist",
    "coerce_to_runnable",
    "executed",
    "handler_spec",
    "kept_channels",
    "kind_of",
    "name_of",
    "node_hints",
    "node_name",
    "set_checks",
    "set_versions",
    "wire",
)


def name_of(node: object) -> str | None:
    """Return the default name of a node: that of its Runnable, function or class."""
    return node.get_name() if isinstance(node, Runnable) else node_name(node)


def handler_spec(node: StateNode[Any, Any], name: str, input_schema: type[object]) -> StateNodeSpec[Any, Any]:
    """Return the node of a default error handler."""
    return StateNodeSpec(
        coerce_to_runnable(cast(Any, node), name=name, trace=False),
        metadata=None,
        input_schema=input_schema,
        retry_policy=None,
        cache_policy=None,
        is_error_handler=True,
    )


Pinned = Mapping[str, AnyStateGraph]
"""Graphs of earlier versions, by version."""


def kind_of(pinned: Pinned | None, validate: object) -> Any:
    """Return the class of a compiled graph, with or without graphs of earlier versions, and checks of its output."""
    if not pinned:
        return ValidatedStateGraph if validate in ("output", "all") else CompiledStateGraph
    from stategraph.graph.versions.pinned import PinnedStateGraph  # few graphs have earlier versions

    return PinnedStateGraph


def set_checks(compiled: AnyStateGraph, validate: object) -> None:
    """Let a compiled graph check what is asked for, before it is given its nodes.

    Raises:
        ConfigurationError: What is asked for is unknown, or a type cannot be checked.
    """
    if validate is None:
        return
    from stategraph.graph.typed import validation  # 3 ms, of graphs that check

    builder = compiled.builder
    if validation.wanted(validate, "updates"):
        compiled._checks = validation.UpdateChecks.of(builder, builder.input_schema)
        compiled._command_check = validation.CommandCheck(compiled._checks.of_nodes)
    if validation.wanted(validate, "output"):
        keys = [key for key in builder.schemas[builder.output_schema] if key in builder.channels]
        compiled._output_check = validation.OutputCheck(builder.output_schema, keys)


def wire(
    compiled: AnyStateGraph,
    nodes: Mapping[str, StateNodeSpec[Any, Any]],
    edges: Iterable[tuple[str, str]],
    waiting: Iterable[tuple[tuple[str, ...], str]],
) -> None:
    """Give a compiled graph its nodes and what leads from one to the other.

    Args:
        compiled: The graph; its builder has the routers.
        nodes: The nodes by name, with defaults.
        edges: Plain edges.
        waiting: Edges from several nodes, all of which have to run first.
    """
    compiled.attach_node(START, None)
    for key, spec in nodes.items():
        compiled.attach_node(key, spec)
    # Sorted, so that a graph's writes have the same order in every process.
    for start, end in sorted(edges):
        compiled.attach_edge(start, end)
    for starts, end in sorted(waiting):
        compiled.attach_edge(starts, end)
    for start, branches in compiled.builder.branches.items():
        for label, branch in branches.items():
            compiled.attach_branch(start, label, branch)


def set_versions(
    compiled: AnyStateGraph,
    version: str | None,
    migrations: Sequence[Migration],
    pinned: Pinned | None,
    *,
    fingerprinted: bool,
) -> None:
    """Give a compiled graph its versions, and the fingerprint of its schema if it is asked for.

    Raises:
        ConfigurationError: The migrations are not one chain that ends at the version, or a pinned graph is not of the
            version that it is given for.
    """
    chained = chain(version, migrations)
    if chained is not None:
        from stategraph.graph.versions.bringing import GraphVersions

        compiled._versions = GraphVersions(chained)
    if fingerprinted:
        from stategraph.graph.typed.fingerprint import SchemaFingerprint
        from stategraph.graph.versions.fingerprinted import FingerprintedVersions

        versions = cast("Any", compiled._versions)
        compiled._versions = FingerprintedVersions(SchemaFingerprint.of(compiled.builder), versions)
    if pinned:
        from stategraph.graph.versions.pinned import pin

        pin(compiled, pinned)


shown_by_langgraph(__name__)
