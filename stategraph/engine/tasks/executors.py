"""Executors: other places than the thread of the run in which the function of a node may run.

An executor is an object with the methods of `stategraph.engine.ports.NodeExecutor`, or the name of one that comes with
this package. What it makes of a node is a Runnable like any other, so retries, error handlers, caches, streams and
interrupts are what they always are. Executors with a name live in packages above this one, and are loaded when a graph
first asks for them.
"""

from __future__ import annotations

import importlib
from typing import Any, Final, Literal, TypeAlias, cast

from langchain_core.runnables import RunnableConfig

from stategraph.engine.compile.functions import RunnableCallable, coerce_to_runnable
from stategraph.engine.compile.protocol import AnyRunnable, GraphProtocol
from stategraph.engine.ports import NodeExecutor, NodeWork
from stategraph.errors import ConfigurationError
from stategraph.types import TimeoutPolicy

ExecutorName: TypeAlias = Literal["process"]

#: Executors that are given by their names, as `module:attribute`.
_NAMED: Final[dict[str, str]] = {"process": "stategraph.workers.nodes.executor:PROCESS"}


def executed(
    function: object, executor: ExecutorName | NodeExecutor, name: str, timeout: TimeoutPolicy | None
) -> AnyRunnable:
    """Return a Runnable that runs a node by an executor.

    Args:
        function: What the author gave as the node.
        executor: Runs it.
        name: The node.
        timeout: Its limits, in the form that `TimeoutPolicy.coerce` brings them to; None: none.

    Raises:
        ConfigurationError: There is no such executor, or the node or its limits are not for it.
    """
    found = _executor(executor, name)
    runnable = coerce_to_runnable(function, name=name, trace=False)
    if isinstance(runnable, GraphProtocol):
        raise ConfigurationError(
            f"Node '{name}' is a graph (a value of type {type(runnable).__name__}), whose state belongs to the run: "
            "give the executor to the nodes inside of it"
        )
    call = found.prepare(NodeWork(name, function, timeout, runnable))

    def invoke(state: Any, config: RunnableConfig) -> Any:
        return call.invoke(state, config)

    async def ainvoke(state: Any, config: RunnableConfig) -> Any:
        return await call.ainvoke(state, config)

    node = RunnableCallable(invoke, ainvoke, name=name, trace=False)
    node.stands_for = runnable
    return node


def _executor(given: object, name: str) -> NodeExecutor:
    """Return the executor that was given by itself or by its name."""
    if callable(getattr(given, "prepare", None)):
        return cast("NodeExecutor", given)
    if not isinstance(given, str) or given not in _NAMED:
        known = ", ".join(map(repr, _NAMED))
        raise ConfigurationError(
            f"Node '{name}' has the executor {given!r:.200}; expected {known}, an object with the method `prepare` of "
            "stategraph.engine.ports.NodeExecutor, or None"
        )
    module, _, attribute = _NAMED[given].partition(":")
    return cast("NodeExecutor", getattr(importlib.import_module(module), attribute))
