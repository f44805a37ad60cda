"""Executors: other places than the thread of the run in which the function of a node may run.

An executor is an object with the methods of `stategraph.engine.ports.NodeExecutor`, or the name of one that comes with
this package. What it makes of a node is a Runnable like any other, so retries, error handlers, caches, streams and
interrupts are what they always are. Executors with a name live in packages above this one, and are loaded when a graph
first asks for them.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from typing import Any, Final, Literal, TypeAlias, cast

from langchain_core.runnables import RunnableConfig

from stategraph.engine.compile.functions import RunnableCallable, coerce_to_runnable
from stategraph.engine.compile.protocol import GraphProtocol
from stategraph.engine.ports import NodeExecutor, NodeWork
from stategraph.errors import ConfigurationError
from stategraph.types import TimeoutPolicy

ExecutorName: TypeAlias = Literal["process"]

#: Executors that are given by their names, as `module:attribute`.
_NAMED: Final[dict[str, str]] = {"process": "stategraph.workers.nodes.executor:PROCESS"}


class ExecutedNode(RunnableCallable):
    """A node that an executor runs.

    Args:
        executor: The executor.
        work: The node, for the executor.

    Raises:
        ConfigurationError: The executor cannot run the node, or keep its limits.
    """

    def __init__(self, executor: NodeExecutor, work: NodeWork) -> None:
        call = executor.prepare(work)

        def invoke(state: Any, config: RunnableConfig) -> Any:
            return call.invoke(state, config)

        async def ainvoke(state: Any, config: RunnableConfig) -> Any:
            return await call.ainvoke(state, config)

        super().__init__(invoke, ainvoke, name=work.name, trace=False)
        self.stands_for = work.runnable
        self._executor, self._work = executor, work

    def limited(self, timeout: TimeoutPolicy | None) -> ExecutedNode:
        """Return the node with the limits that nodes without their own have; itself if it has its own."""
        if timeout is None or self._work.timeout is not None:
            return self
        return ExecutedNode(self._executor, replace(self._work, timeout=timeout))


def executed(
    function: object, executor: ExecutorName | NodeExecutor, name: str, timeout: TimeoutPolicy | None
) -> ExecutedNode:
    """Return a Runnable that runs a node by an executor.

    Args:
        function: What the author gave as the node.
        executor: Runs it.
        name: The node.
        timeout: Its limits, in the form that `TimeoutPolicy.coerce` brings them to; None: those that all nodes have.

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
    return ExecutedNode(found, NodeWork(name, function, timeout, runnable))


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
