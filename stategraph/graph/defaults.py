"""Defaults for the nodes of a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stategraph.policies import CachePolicy, RetryPolicy, TimeoutPolicy

if TYPE_CHECKING:  # it names langchain's runnables
    from stategraph.graph.node import StateNode


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
