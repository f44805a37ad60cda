"""Options of calls that are the same in each overload, for type checkers; not loaded by programs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic

from typing_extensions import TypedDict

from stategraph.engine.checkpoints.saver_interfaces import BaseCache, BaseStore
from stategraph.engine.config.node_limits import NodeLimits
from stategraph.engine.config.runtime import RunControl
from stategraph.engine.ports import NodeExecutor
from stategraph.engine.tasks.executors import ExecutorName
from stategraph.graph.node import StateNode
from stategraph.scheduling import Join, Scheduling
from stategraph.stream_parts import StreamMode
from stategraph.types import All, CachePolicy, Durability, RetryPolicy, TimeoutPolicy, TracePolicy
from stategraph.typing import ContextT


class NodeOptions(TypedDict, Generic[ContextT], total=False):
    """Options of `StateGraph.add_node`, which describes them."""

    defer: bool
    metadata: dict[str, Any] | None
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None
    cache_policy: CachePolicy | None
    error_handler: StateNode[Any, ContextT] | None
    destinations: dict[str, str] | tuple[str, ...] | None
    timeout: float | timedelta | TimeoutPolicy | None
    trace_policy: TracePolicy | None
    executor: ExecutorName | NodeExecutor | None
    join: Join | None
    limits: NodeLimits | None


class CompileOptions(TypedDict, total=False):
    """Options of `StateGraph.compile`, which describes them."""

    cache: BaseCache[Any] | None
    store: BaseStore | None
    interrupt_before: All | list[str] | None
    interrupt_after: All | list[str] | None
    debug: bool
    name: str | None
    transformers: Sequence[Callable[[tuple[str, ...]], Any]] | None
    strict: bool | None
    delta_messages: bool
    version: str | None
    migrations: Sequence[Any]
    pinned: Mapping[str, Any] | None
    scheduling: Scheduling
    schema_fingerprint: bool


class RunOptions(TypedDict, Generic[ContextT], total=False):
    """Options of `StateGraphEngine.invoke` and `stream`, which describe them."""

    context: ContextT | None
    print_mode: StreamMode | Sequence[StreamMode]
    interrupt_before: All | Sequence[str] | None
    interrupt_after: All | Sequence[str] | None
    durability: Durability | None
    control: RunControl | None
