"""Checks of a compiled graph, made once before it runs.

Each error names what refers to something, what it refers to, and what there is instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial

from langchain_core.runnables import Runnable, RunnableLambda, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableBindingBase
from langchain_core.runnables.config import run_in_executor

from stategraph.constants import RESERVED
from stategraph.engine.compile.functions import RunnableCallable, RunnableSeq, plan_call
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.types import All

_SHOWN_CHARS = 100
"""Length to which an error quotes a list of names."""


def validate_graph(
    nodes: Mapping[str, PregelNode],
    channels: Mapping[str, object],
    managed: Mapping[str, object],
    input_channels: str | Sequence[str],
    output_channels: str | Sequence[str],
    stream_channels: str | Sequence[str] | None,
    interrupt_after_nodes: All | Sequence[str],
    interrupt_before_nodes: All | Sequence[str],
) -> None:
    """Check that all names in a graph refer to something and that its input starts something.

    Args:
        nodes: Nodes by name.
        channels: Channels by name.
        managed: Managed values by name.
        input_channels: Where the input goes.
        output_channels: What the output is made of.
        stream_channels: What streamed states are made of; None for all channels.
        interrupt_after_nodes: Nodes to pause after.
        interrupt_before_nodes: Nodes to pause before.

    Raises:
        ValueError: A name is reserved or unknown, or no node listens to the input.
        TypeError: A node is not a `PregelNode`.
    """
    for kind, names in (("Channel", channels), ("Managed value", managed), ("Node", nodes)):
        for name in names:
            if name in RESERVED:
                raise ValueError(f"{kind} name '{name}' is reserved: choose another")

    triggers: set[str] = set()
    readable = channels.keys() | managed.keys()
    for name, node in nodes.items():
        if not isinstance(node, PregelNode):
            raise TypeError(f"Node '{name}' must be a PregelNode or a NodeBuilder, not {type(node).__name__}")
        if isinstance(node.channels, str):
            _require((node.channels,), channels, f"Node '{name}' reads channel")
        else:
            _require(node.channels, readable, f"Node '{name}' reads channel")
        _require(node.triggers, channels, f"Node '{name}' is triggered by channel")
        triggers.update(node.triggers)

    inputs = _as_names(input_channels)
    _require(inputs, channels, "The input goes to channel")
    if triggers.isdisjoint(inputs):
        raise ValueError(f"No node starts on the input: none is triggered by any of {list(inputs)!r}")
    _require(_as_names(output_channels), channels, "The output is made of channel")
    _require(_as_names(stream_channels), channels, "Streamed states are made of channel")
    for side, interrupts in (("after", interrupt_after_nodes), ("before", interrupt_before_nodes)):
        if interrupts != "*":
            _require(interrupts, nodes, f"The graph interrupts {side} node")


def validate_keys(keys: str | Sequence[str] | None, channels: Collection[str]) -> None:
    """Check that all keys are channels.

    Raises:
        ValueError: One is not.
    """
    _require(_as_names(keys), channels, "The keys name channel")


def validate_timeout_supported(runnable: AnyRunnable, *, name: str) -> None:
    """Check that a node with a timeout can be cancelled.

    Args:
        runnable: The node's work.
        name: The node's name.

    Raises:
        ValueError: It runs synchronous code, which nothing can stop.
    """
    if not _awaits_natively(runnable):
        raise sync_timeout_unsupported(name)


def sync_timeout_unsupported(name: str, kind: str = "Node") -> ValueError:
    """Return the error for a timeout on synchronous code.

    Args:
        name: Name of the node or task.
        kind: "Node" or "Task".
    """
    return ValueError(
        f"{kind} '{name}' is synchronous and has a timeout. Timeouts are only supported for async nodes and tasks: "
        "a thread cannot be stopped from outside. Make it `async def`, or drop the timeout"
    )


def _awaits_natively(runnable: AnyRunnable) -> bool:
    while isinstance(runnable, RunnableBindingBase):
        runnable = runnable.bound
    if isinstance(runnable, (RunnableSequence, RunnableSeq)):
        return all(map(_awaits_natively, runnable.steps))
    if isinstance(runnable, RunnableParallel):
        return all(map(_awaits_natively, runnable.steps__.values()))
    if isinstance(runnable, RunnableCallable):
        plan = plan_call(runnable)
        function = runnable.afunc if plan is None else plan.afunc
        return function is not None and not (isinstance(function, partial) and function.func is run_in_executor)
    if isinstance(runnable, RunnableLambda):
        return getattr(runnable, "afunc", None) is not None
    # Any other Runnable that overrides ainvoke is taken at its word.
    return type(runnable).ainvoke is not Runnable.ainvoke


def _as_names(names: str | Sequence[str] | None) -> Sequence[str]:
    if names is None:
        return ()
    return (names,) if isinstance(names, str) else names


def _require(names: Iterable[str], known: Collection[str], what: str) -> None:
    for name in names:
        if name not in known:
            shown = repr(sorted(known))
            shown = shown if len(shown) <= _SHOWN_CHARS else f"{shown[:_SHOWN_CHARS]}..."
            raise ValueError(f"{what} '{name}', which is not one of {shown}")
