"""Executors: other places than this process in which the function of a node may run.

An executor is a function that makes a Runnable of a node's function: called like it, with the same state, config and
results, and run elsewhere. To the engine it is a node like any other, so retries, error handlers, caches, streams and
interrupts are what they always are. Executors live in packages above this one and are loaded when a graph first asks
for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Final, Literal, TypeAlias

from langchain_core.runnables import Runnable

from stategraph.engine.compile import functions
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.errors import ConfigurationError
from stategraph.types import TimeoutPolicy

ExecutorName: TypeAlias = Literal["process"]

Make: TypeAlias = Callable[..., AnyRunnable]
"""Takes the function, the node's name and the seconds that an attempt may take, or None."""

#: Where executors are, as modules with a function `executed`.
_MODULES: Final[dict[str, str]] = {"process": "stategraph.workers.nodes.executor"}


def executed(function: object, executor: str, name: str, timeout: TimeoutPolicy | None) -> AnyRunnable:
    """Return a Runnable that runs a node's function elsewhere.

    Args:
        function: What the author gave as the node.
        executor: Where.
        name: The node.
        timeout: Its limits, in the form that `TimeoutPolicy.coerce` brings them to; None: none.

    Raises:
        ConfigurationError: There is no such executor, or the node or its limits are not for it.
    """
    if executor not in _MODULES:
        known = ", ".join(map(repr, _MODULES))
        raise ConfigurationError(f"Node '{name}' has the executor {executor!r}; expected one of {known}, or None")
    plan = None if isinstance(function, Runnable) else functions.plan_call(function)
    if plan is None or plan.func is None:
        kind = "a coroutine function" if plan is not None else f"a value of type {type(function).__name__}"
        raise ConfigurationError(
            f"Node '{name}' is {kind}, and executor={executor!r} is for sync functions, which nothing else can stop; "
            "leave the executor out"
        )
    wanted = [want.name for want in plan.wants if want.name in ("store", "error")]
    if wanted:
        raise ConfigurationError(
            f"Node '{name}' asks for '{wanted[0]}', which stays in the process of the run; read what the node needs in "
            "a node before it, or leave the executor out"
        )
    if timeout is not None and (timeout.run_timeout is None or timeout.idle_timeout is not None):
        raise ConfigurationError(
            f"Node '{name}' has a limit for silence, which executor={executor!r} does not watch; give a limit for the "
            "whole attempt: timeout=seconds"
        )
    make: Make = importlib.import_module(_MODULES[executor]).executed
    return make(function, name=name, timeout_s=None if timeout is None else timeout.run_timeout)
