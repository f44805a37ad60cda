"""Forms in which authors give a node, and the record that the builder keeps of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeAlias, Union

from langchain_core.runnables import Runnable

from stategraph.engine.compile.protocol import AnyGraph
from stategraph.engine.config.node_limits import NodeLimits
from stategraph.engine.config.runtime import Runtime
from stategraph.types import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy
from stategraph.typing import ContextT, NodeInputT, NodeInputT_contra


class NodeWithMore(Protocol[NodeInputT_contra]):
    """A function of the state, and of parameters that are injected by their names."""

    def __call__(self, state: NodeInputT_contra, /, *args: Any, **kwargs: Any) -> Any:
        """Answer an update of the state."""


class NodeWithRuntime(Protocol[NodeInputT_contra, ContextT]):
    """A function of the state and the runtime, whose context type a checker can compare with the graph's."""

    def __call__(self, state: NodeInputT_contra, *, runtime: Runtime[ContextT]) -> Any:
        """Answer an update of the state."""


StateNode: TypeAlias = Union[  # noqa: UP007  one side is a union of generic aliases, which `|` refuses
    Callable[[NodeInputT], Any],  # the one that mypy looks at for lambdas
    NodeWithMore[NodeInputT],
    NodeWithRuntime[NodeInputT, ContextT],
    Runnable[NodeInputT, Any],
    AnyGraph,
]
"""A node: a function of the state (and of anything that is injected by name), a coroutine function, a Runnable, or a
graph, which shares the keys that both have."""


@dataclass(slots=True)
class StateNodeSpec(Generic[NodeInputT, ContextT]):
    """A node as it was added.

    Attributes:
        runnable: The work.
        metadata: Given to the node's runs.
        input_schema: The part of the state the node gets.
        retry_policy: One policy or several, of which the first that matches decides; None for the default.
        cache_policy: None for the default.
        is_error_handler: Whether the node handles the failures of others.
        error_handler_node: The node that handles this one's failure, or None for the default.
        ends: Where the node says it may go, for drawing: names, or names with the labels of their edges.
        defer: Whether the node waits until the run is about to end.
        timeout: Limits of one attempt; None for the default.
        limits: How many attempts run at a time and begin in a period; None for any number.
        trace_policy: What tracers get to see of the payloads.
    """

    runnable: Runnable[Any, Any]
    metadata: dict[str, Any] | None
    input_schema: type[NodeInputT]
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None
    cache_policy: CachePolicy | None
    is_error_handler: bool = False
    error_handler_node: str | None = None
    ends: tuple[str, ...] | dict[str, str] | None = ()
    defer: bool = False
    timeout: TimeoutPolicy | None = None
    limits: NodeLimits | None = None
    trace_policy: TracePolicy | None = None


def node_name(node: object) -> str:
    """Return the default name of a node: that of its function, or of its class."""
    return str(getattr(node, "__name__", type(node).__name__))
