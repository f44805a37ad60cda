"""Functions as tasks: how a task function becomes something the engine can run, and how calling it starts a task.

A call does not run the function. It looks up the running task's config and asks the engine, through the function kept
there, to start another task alongside it; the answer is a future.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Generator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Any, Final, Generic, ParamSpec, TypeVar, cast

from stategraph.constants import CONF, CONFIG_KEY_CALL, CONFIG_KEY_READ, RETURN
from stategraph.engine.compile.functions import RunnableCallable, RunnableSeq, _InThread, is_async_callable
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.compile.validate import sync_timeout_unsupported
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry
from stategraph.engine.config.context import get_config
from stategraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

P = ParamSpec("P")
T = TypeVar("T")

_MEMO: Final = "__stategraph_task__"


class SyncAsyncFuture(Generic[T], Future[T]):
    """The future of a task, to be awaited or asked for its `result()`."""

    def __await__(self) -> Generator[T, Any, T]:
        """Say that nothing has come yet. Under asyncio the engine hands out a future of the loop instead."""
        result: T = yield cast(T, ...)
        return result


def identifier(obj: object, name: str | None = None) -> str | None:
    """Name a piece of code so that the name outlives the process.

    Args:
        obj: A function, or a node or Runnable around one.
        name: Taken instead of the code's own name.

    Returns:
        Module and qualified name, or None if the code has none.
    """
    work = obj.bound if isinstance(obj, PregelNode) else obj
    first = work.steps[0] if isinstance(work, RunnableSeq) else work
    code = first.func if isinstance(first, RunnableCallable) else first
    name = name or getattr(code, "__qualname__", None) or getattr(code, "__name__", None)
    module = getattr(code, "__module__", None)
    return None if name is None or module is None else f"{module}.{name}"


def get_runnable_for_entrypoint(func: Callable[..., object]) -> AnyRunnable:
    """Make the work of an entrypoint's only node."""
    return _wrap(func, name=func.__name__, explode_args=False)


def get_runnable_for_task(func: Callable[..., object]) -> AnyRunnable:
    """Make a sequence of a task function's work and the write of its result.

    The sequence takes `(args, kwargs)`. It is kept on the function, so that the next call of the same task does not
    look at the signature again.
    """
    name = _display_name(func)
    memo = getattr(func, _MEMO, None)
    # A wrapper made by `functools.wraps` inherits the attributes of what it wraps, this one included.
    if memo is not None and memo[0] is func and memo[1] == name:
        return cast("AnyRunnable", memo[2])
    sequence: AnyRunnable = RunnableSeq(
        _wrap(func, name=name, explode_args=True),
        ChannelWrite([ChannelWriteEntry(RETURN)]),
        name=name,
        trace_inputs=partial(_named_arguments, inspect.signature(func)),
    )
    # Bound methods and builtins have no room for attributes: these are looked at on every call.
    with suppress(AttributeError):
        setattr(func, _MEMO, (func, name, sequence))
    return sequence


def call(
    func: Callable[P, Awaitable[T]] | Callable[P, T],
    *args: object,
    retry_policy: Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **kwargs: object,
) -> SyncAsyncFuture[T]:
    """Start a task from inside a running one.

    Args:
        func: The task function.
        *args: Its arguments.
        retry_policy: What to do when it fails.
        cache_policy: Whether to look for an earlier result.
        timeout: Limit of one attempt; a bare number is in seconds.
        **kwargs: Its keyword arguments.

    Returns:
        The future of its result.

    Raises:
        RuntimeError: No task is running here.
        ValueError: A synchronous function was given a timeout.
    """
    return start_task(
        func,
        (args, kwargs),
        retry_policy=retry_policy,
        cache_policy=cache_policy,
        timeout=TimeoutPolicy.coerce(timeout),
    )


def start_task(
    func: Callable[..., Any],
    arguments: tuple[tuple[object, ...], dict[str, object]],
    *,
    retry_policy: Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy[Any] | None = None,
    timeout: TimeoutPolicy | None = None,
) -> SyncAsyncFuture[Any]:
    """Like `call`, with the function's arguments as a pair, so that none can clash with the options.

    Raises:
        RuntimeError: No task is running here.
        ValueError: A synchronous function was given a timeout.
    """
    if timeout is not None and not is_async_callable(func):
        raise sync_timeout_unsupported(_display_name(func), "Task")
    try:
        config = get_config()
    except RuntimeError as error:
        raise RuntimeError(
            f"Task '{_display_name(func)}' was called where no graph runs: call it in an entrypoint, in a node or in "
            f"another task, or its function by itself. {error}"
        ) from None
    submit = config[CONF][CONFIG_KEY_CALL]
    return cast(
        "SyncAsyncFuture[Any]",
        submit(
            func,
            arguments,
            retry_policy=retry_policy,
            cache_policy=cache_policy,
            callbacks=config.get("callbacks"),
            timeout=timeout,
        ),
    )


def recorded_result(func: Callable[..., Any]) -> Any:
    """Return what the next task that is started from here returned in an earlier execution; it is not started.

    Args:
        func: The function that it has to be of.

    Returns:
        The result; None if there is none, or if another engine runs the graph.
    """
    look = getattr(get_config()[CONF].get(CONFIG_KEY_READ), "recorded", None)
    return None if look is None else look(func)


def _wrap(func: Callable[..., object], *, name: str, explode_args: bool) -> RunnableCallable:
    sync, native = (None, func) if is_async_callable(func) else (func, _InThread(func))
    return RunnableCallable(sync, native, name=name, trace=False, recurse=False, explode_args=explode_args)


def _display_name(func: object) -> str:
    named = getattr(func, "func", func) if not hasattr(func, "__name__") else func
    return str(getattr(named, "__name__", type(func).__name__))


def _named_arguments(
    signature: inspect.Signature, arguments: tuple[tuple[object, ...], dict[str, object]]
) -> dict[str, object]:
    """Return a task's input for traces: each argument under its parameter's name."""
    args, kwargs = arguments
    bound = signature.bind_partial(*args, **kwargs)
    bound.apply_defaults()
    shown: dict[str, object] = {}
    for name, value in bound.arguments.items():
        if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
            shown.update(value)
        elif name not in ("self", "cls"):
            shown[name] = value
    return shown
