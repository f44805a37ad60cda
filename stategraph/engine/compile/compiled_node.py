"""Compiled nodes: everything about a node's execution that can be known before a run.

Rules
-----
* A signature is inspected once, when the program is built.
* A node whose work is a plain function and whose writers are ours is called
  directly when nothing is traced; everything else goes through its Runnable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, cast

from langchain_core.runnables import RunnableConfig

from stategraph.core import program as programs
from stategraph.core.channels.base import BaseChannel
from stategraph.core.program import Node, Program
from stategraph.core.task import Draft, Write
from stategraph.core.views import Keys
from stategraph.engine.compile.cache_keys import CacheNamespace
from stategraph.engine.compile.functions import CallPlan, RunnableSeq, plan_call
from stategraph.engine.compile.node import DEFAULT_BOUND, PregelNode
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.compile.write import BranchWriter, ChannelWrite, FastWriter
from stategraph.engine.config.node_limits import NodeLimits
from stategraph.types import CachePolicy, RetryPolicy, TimeoutPolicy


class InnerGraph(Protocol):
    """A graph that is a node of another one."""

    def invoke_inside(self, input: object, config: RunnableConfig) -> Any:
        """Run to the end, under the config of the node's task."""

    async def ainvoke_inside(self, input: object, config: RunnableConfig) -> Any:
        """Like `invoke_inside`."""


class _Inside:
    """Runs a graph of ours under the config of the node's task.

    Args:
        graph: The graph.
    """

    __slots__ = ("ainvoke", "invoke")

    def __init__(self, graph: InnerGraph) -> None:
        self.invoke = graph.invoke_inside
        self.ainvoke = graph.ainvoke_inside


@dataclass(frozen=True, slots=True)
class CompiledNode:
    """The executable part of a node, or of a function called as a task.

    Attributes:
        source: What was compiled: the node, or the function's Runnable.
        work: The work alone; None for a node that only writes.
        plan: How to call the work directly; None if it has to be invoked.
        writers: The writers for direct use; None if one is a foreign Runnable.
        command_writers: What turns a ``Command`` for this graph into writes.
        call: A function that is the whole work when called with the input; None if it takes more, or an `await`.
        acall: The same, a coroutine function.
        inner: Runs the work if there is no plan; None if there is no work.
        copies: Whether the node does nothing but write parts of a dict that it is given: no code of an author runs.
        awaits: Whether a writer has to be awaited.
        retry_policy: When to try again; empty for the graph's own policy.
        cache_policy: How to reuse results; None for the graph's own policy.
        timeout: Limits of an attempt, or None.
        limits: How many attempts run at a time and begin in a period, or None.
        tags: Tags for the task's runs.
        metadata: Metadata for the task's runs, or None.
        cache_ns: Where results are cached.
    """

    source: PregelNode | AnyRunnable
    work: AnyRunnable | None
    plan: CallPlan | None
    writers: tuple[FastWriter, ...] | None
    command_writers: Sequence[AnyRunnable]
    call: Callable[[Any], Any] | None = None
    acall: Callable[[Any], Awaitable[object]] | None = None
    inner: AnyRunnable | _Inside | None = None
    copies: bool = False
    awaits: bool = False
    retry_policy: Sequence[RetryPolicy] = ()
    cache_policy: CachePolicy[Any] | None = None
    timeout: TimeoutPolicy | None = None
    limits: NodeLimits | None = None
    tags: tuple[str, ...] = ()
    metadata: Mapping[str, Any] | None = None
    cache_ns: Callable[[], tuple[str, ...]] = tuple

    @property
    def runnable(self) -> AnyRunnable:
        """Work and writers as one Runnable, for traced runs; made when one asks."""
        source = self.source
        return cast(AnyRunnable, source.node) if isinstance(source, PregelNode) else source


def _copies(writer: object) -> bool:
    return bool(getattr(writer, "copies_dicts", False))


def _copier(body: CompiledNode | None) -> Callable[[dict[str, Any]], list[Write]] | None:
    """Return what makes the writes of a node that only copies what it is given; None for any other."""
    return None if body is None or not body.copies else partial(_copied, body.writers or ())


def _copied(writers: Sequence[FastWriter], value: dict[str, Any]) -> list[Write]:
    """Return what the writers of a node without work write for a dict."""
    draft: Any = Draft(_NO_TASK)
    for writer in writers:
        writer.write_into(value, draft)
    return draft.writes  # type: ignore[no-any-return]


_NO_TASK: Any = None


def of_node(name: str, node: PregelNode) -> CompiledNode | None:
    """Compile a node; None if there is nothing to execute."""
    work = None if node.bound is DEFAULT_BOUND else node.bound
    if work is None and not node.writers:
        return None
    writers = node.fast_writers
    plan = plan_call(work) if work is not None else None
    call, acall = (plan.func, plan.afunc) if plan is not None and plan.is_plain else (None, None)
    return CompiledNode(
        source=node,
        work=work,
        plan=plan,
        writers=writers,
        command_writers=node.flat_writers,
        call=call,
        acall=acall,
        inner=_Inside(cast(InnerGraph, work)) if hasattr(work, "invoke_inside") else work,
        copies=work is None and writers is not None and all(map(_copies, writers)),
        awaits=any(w.needs_await for w in writers or ()),
        retry_policy=tuple(node.retry_policy or ()),
        cache_policy=node.cache_policy,
        timeout=node.timeout,
        limits=node.limits,
        tags=tuple(node.tags or ()),
        metadata=node.metadata,
        cache_ns=CacheNamespace(node, name),
    )


def of_call(func: Callable[..., object], runnable: AnyRunnable) -> CompiledNode:
    """Compile a function that is called as a task.

    Args:
        func: The function, which names the cache.
        runnable: It and the write of its result, as one Runnable.
    """
    work: AnyRunnable = runnable
    writers: tuple[Any, ...] | None = None
    if isinstance(runnable, RunnableSeq):
        work, *rest = runnable.steps
        if all(isinstance(step, (ChannelWrite, BranchWriter)) for step in rest):
            writers = tuple(rest)
    return CompiledNode(
        source=runnable,
        work=work,
        plan=plan_call(work),
        inner=work,
        writers=writers,
        command_writers=(),
        awaits=any(w.needs_await for w in writers or ()),
        cache_ns=CacheNamespace(func),
    )


def compile_program(
    nodes: Mapping[str, PregelNode],
    channels: Mapping[str, object],
    input_channels: str | Sequence[str],
) -> Program:
    """Compile a graph's nodes and channels.

    Args:
        nodes: The nodes by name.
        channels: Channels and managed values by name.
        input_channels: Where the input of a run goes.
    """
    compiled = {}
    shared: dict[Keys, Keys] = {}
    for name, node in nodes.items():
        body = of_node(name, node)
        reads: Keys | str = node.channels if isinstance(node.channels, str) else Keys(node.channels)
        for writer in (body.writers or ()) if body is not None else ():
            if type(writer) is BranchWriter:
                writer.share(shared)
        compiled[name] = Node(
            name=name,
            triggers=tuple(sorted(node.triggers) if len(node.triggers) > 1 else node.triggers),
            reads=reads if isinstance(reads, str) else shared.setdefault(reads, reads),
            mapper=node.mapper,
            tags=tuple(node.tags or ()),
            runs=body is not None,
            error_handler=node.error_handler_node,
            has_subgraphs=bool(node.subgraphs),
            body=body,
            copies=_copier(body),
        )
    specs = {k: c for k, c in channels.items() if isinstance(c, BaseChannel)}
    managed = {k: c for k, c in channels.items() if k not in specs}
    return programs.build(compiled, specs, managed, input_channels)
