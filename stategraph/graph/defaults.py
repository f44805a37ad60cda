"""Defaults for the nodes of a graph, and the nodes with them filled in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from stategraph.policies import CachePolicy, RetryPolicy, TimeoutPolicy

if TYPE_CHECKING:  # it names langchain's runnables
    from stategraph.graph.node import StateNode, StateNodeSpec

DEFAULT_ERROR_HANDLER: Final = "__default_error_handler__"


@dataclass(slots=True)
class NodeDefaults:
    """Policies for nodes that do not bring their own.

    Attributes:
        retry_policy: For all nodes.
        cache_policy: For all but error handlers: the same input may have failed for another reason.
        error_handler: For all but error handlers, which never handle their own failures.
        timeout: For all nodes.
    """

    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None
    cache_policy: CachePolicy | None = None
    error_handler: StateNode[Any, Any] | None = None
    timeout: TimeoutPolicy | None = None


def with_defaults(
    nodes: Mapping[str, StateNodeSpec[Any, Any]], defaults: NodeDefaults, state_schema: type[object]
) -> Mapping[str, StateNodeSpec[Any, Any]]:
    """Return the nodes with the defaults filled in; a node's own policy always wins.

    Args:
        nodes: The nodes by name.
        defaults: The defaults.
        state_schema: What the default error handler gets.

    Raises:
        ValueError: A node has the name that the default error handler needs.
    """
    from stategraph.graph import assembly

    if defaults == NodeDefaults():
        return nodes
    specs = dict(nodes)
    handler_name: str | None = None
    if defaults.error_handler is not None:
        handler_name = DEFAULT_ERROR_HANDLER
        if handler_name in specs:
            raise ValueError(
                f"A default error handler is set and needs the name `{handler_name}`, which a node has already"
            )
        specs[handler_name] = assembly.handler_spec(defaults.error_handler, handler_name, state_schema)
    for name, spec in specs.items():
        own = replace(
            spec,
            retry_policy=defaults.retry_policy if spec.retry_policy is None else spec.retry_policy,
            timeout=defaults.timeout if spec.timeout is None else spec.timeout,
        )
        if isinstance(spec.runnable, assembly.ExecutedNode):  # its executor keeps the limits
            own.runnable, own.timeout = spec.runnable.limited(defaults.timeout), None
        if not spec.is_error_handler:
            own.cache_policy = defaults.cache_policy if spec.cache_policy is None else spec.cache_policy
            own.error_handler_node = spec.error_handler_node or handler_name
        specs[name] = own
    return specs
