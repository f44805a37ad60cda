"""The run context: how code deep inside a node finds the config, store and stream of the task it belongs to.

The config of the running task sits in a context variable that langchain-core owns, so that runnables called from a
node find it as well. A task runs in a copy of the caller's context: what it sets there is gone when it ends.

A sync function runs in such a copy with `run_in_context`, a coroutine with `await_in_context`. Neither needs a thread
or an asyncio task.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context, copy_context
from types import coroutine
from typing import Any, Final, ParamSpec, TypeVar, cast

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config
from langgraph.store.base import BaseStore

from stategraph.constants import CONF, CONFIG_KEY_RUNTIME
from stategraph.engine.config import langchain_registration as _adoption  # noqa: F401 (importing it is what it is for)
from stategraph.types import StreamWriter

P = ParamSpec("P")
T = TypeVar("T")


# --- what authors call ---


def get_config() -> RunnableConfig:
    """Return the config of the node, task or runnable that is running.

    Raises:
        RuntimeError: If none is running in this context, as in a thread that was started without copying it.
    """
    config = var_child_runnable_config.get()
    if not config:
        raise RuntimeError(
            "No node or task is running in this context, so there is no config to return. In a thread of your own, run "
            "the function through `contextvars.copy_context().run`, or hand the config over as an argument."
        )
    return config


def get_store() -> BaseStore:
    """Return the store of the running graph.

    Raises:
        RuntimeError: If no node or task is running in this context.
        KeyError: If the running code is not part of a graph.
    """
    return cast(BaseStore, get_config()[CONF][CONFIG_KEY_RUNTIME].store)


def get_stream_writer() -> StreamWriter:
    """Return the function that writes to the `custom` stream of the running graph.

    It takes one value of any kind, and does nothing if that stream was not requested.

    Raises:
        RuntimeError: If no node or task is running in this context.
        KeyError: If the running code is not part of a graph.
    """
    return cast(StreamWriter, get_config()[CONF][CONFIG_KEY_RUNTIME].stream_writer)


# --- what the engine calls ---


def config_context(config: RunnableConfig, run: object = None) -> Context:
    """Copy the current context and make `config` the running config in the copy.

    Args:
        config: What `get_config` returns in there, and what runnables called in there inherit from.
        run: The tracer's record of the run, which becomes the parent of what its own decorators trace. None leaves the
            parent as it is.
    """
    context = copy_context()
    context.run(var_child_runnable_config.set, config)
    if run is not None:
        context.run(_set_traced_parent, run)
    return context


def _set_traced_parent(run: object) -> None:
    # A traced run means that its tracer imported this module long ago.
    sys.modules["langsmith.run_helpers"]._set_tracing_context({"parent": run})


def run_in_context(config: RunnableConfig, func: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
    """Call a function in a copy of the current context where `config` is the running config."""
    context = copy_context()
    context.run(var_child_runnable_config.set, config)
    return context.run(func, *args, **kwargs)


_NOT_STARTED: Final = object()


@coroutine
def await_in_context(
    context: Context | None, coro: Coroutine[Any, Any, T], awaited: object = _NOT_STARTED
) -> Generator[Any, Any, T]:
    """Await a coroutine that runs in `context`, without a separate task.

    Cancellation and exceptions pass through. The current asyncio task stays the caller's, so timeouts and cancel
    scopes that the coroutine opens work as they do in a plain `await`.

    Args:
        context: Entered for every step of the coroutine, and only then. None stays in the current one.
        coro: The coroutine.
        awaited: What a coroutine that was started in `context`, by the same asyncio task, waits for; None if it only
            lets others take their turn.

    Returns:
        What the coroutine returns.
    """
    run: Callable[[Callable[[Any], object], Any], object] = _call if context is None else context.run
    step: Callable[[Any], object] = coro.send
    payload: Any = None
    try:
        if awaited is _NOT_STARTED:
            awaited = run(step, payload)
        while True:
            try:
                payload = yield awaited
                step = coro.send
            except GeneratorExit:
                run(_close, coro)
                raise
            except BaseException as error:
                if error.__traceback__ is not None:
                    # Of many nested calls it would say nothing but that each of them waited here.
                    error.__traceback__ = error.__traceback__.tb_next
                step, payload = coro.throw, error
            awaited = run(step, payload)
    except StopIteration as done:
        return cast(T, done.value)


def _call(step: Callable[[Any], object], payload: Any) -> object:
    return step(payload)


def _close(coro: Coroutine[Any, Any, Any]) -> None:
    coro.close()
