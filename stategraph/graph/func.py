"""Graphs as functions: `@entrypoint` makes a graph of one function, `@task` makes functions it can start.

An entrypoint is a graph with one node. Its input comes over the channel `__start__`, its result leaves over `__end__`,
and what the thread's next run sees as `previous` is kept in `__previous__`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial, update_wrapper
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    cast,
    get_args,
    get_origin,
    overload,
)

from typing_extensions import Unpack

from stategraph.constants import END, PREVIOUS, START
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue
from stategraph.engine.checkpoints import allowlist
from stategraph.engine.compile.cache_keys import CacheNamespace
from stategraph.engine.compile.functions import is_async_callable
from stategraph.engine.compile.node import PregelNode
from stategraph.engine.compile.task_functions import SyncAsyncFuture, get_runnable_for_entrypoint, start_task
from stategraph.engine.compile.validate import sync_timeout_unsupported
from stategraph.engine.compile.write import ChannelWrite, ChannelWriteEntry
from stategraph.engine.engine import StateGraphEngine
from stategraph.graph.node import node_name
from stategraph.graph.renamed import renamed_argument
from stategraph.policies import checked_retry_policies
from stategraph.types import CachePolicy, DeprecatedKwargs, RetryPolicy, TimeoutPolicy
from stategraph.typing import ContextT

if TYPE_CHECKING:  # only named in signatures
    from stategraph.engine.checkpoints.saver_interfaces import BaseCache, BaseCheckpointSaver, BaseStore
    from stategraph.graph.typed.calls import FunctionGraph

__all__ = ("entrypoint", "task")

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741
R = TypeVar("R")
S = TypeVar("S")


class TaskFunction(Generic[P, T]):
    """A function that starts a task when it is called from inside an entrypoint or a node.

    Attributes:
        func: The function that the task runs.
        retry_policy: Of several, the first that matches a failure decides.
        cache_policy: Whether an earlier result may be taken.
        timeout: Limits of one attempt.
    """

    def __init__(
        self,
        func: Callable[P, Awaitable[T]] | Callable[P, T],
        *,
        retry_policy: Sequence[RetryPolicy],
        cache_policy: CachePolicy | None = None,
        timeout: TimeoutPolicy | None = None,
        name: str | None = None,
    ) -> None:
        self.func = func if name is None else _renamed(func, name)
        self.retry_policy = retry_policy
        self.cache_policy = cache_policy
        self.timeout = timeout
        update_wrapper(self, self.func)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> SyncAsyncFuture[T]:
        """Start a task; the future is awaited, or asked for its `result()`."""
        return start_task(
            self.func,
            (args, kwargs),
            retry_policy=self.retry_policy,
            cache_policy=self.cache_policy,
            timeout=self.timeout,
        )

    def clear_cache(self, cache: BaseCache[Any]) -> None:
        """Forget all results of this task that are in a cache."""
        if self.cache_policy is not None:
            cache.clear((self._cache_namespace(),))

    async def aclear_cache(self, cache: BaseCache[Any]) -> None:
        """Like `clear_cache`, async."""
        if self.cache_policy is not None:
            await cache.aclear((self._cache_namespace(),))

    def _cache_namespace(self) -> tuple[str, ...]:
        return CacheNamespace(self.func)()


def _renamed(func: Any, name: str) -> Any:
    if inspect.ismethod(func):
        # The function behind a method may serve other tasks under other names; a partial is this task's own.
        func = partial(func.__func__, func.__self__)
    func.__name__ = name
    return func


class TaskMaker(Protocol):
    """Makes a function a task."""

    @overload
    def __call__(self, func: Callable[P, Awaitable[T]], /) -> TaskFunction[P, T]: ...

    @overload
    def __call__(self, func: Callable[P, T], /) -> TaskFunction[P, T]: ...


@overload
def task(
    __func_or_none__: None = None,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **kwargs: Unpack[DeprecatedKwargs],
) -> TaskMaker: ...


@overload
def task(__func_or_none__: Callable[P, Awaitable[T]]) -> TaskFunction[P, T]: ...


@overload
def task(__func_or_none__: Callable[P, T]) -> TaskFunction[P, T]: ...


def task(
    __func_or_none__: Callable[P, Awaitable[T]] | Callable[P, T] | None = None,
    *,
    name: str | None = None,
    retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
    cache_policy: CachePolicy | None = None,
    timeout: float | timedelta | TimeoutPolicy | None = None,
    **kwargs: Unpack[DeprecatedKwargs],
) -> TaskMaker | TaskFunction[P, T]:
    """Make a function a task: calling it starts it and answers a future.

    A task can be called from an entrypoint or from a node. With a checkpointer its result is kept, so that a resumed
    run does not run it again; arguments and results must then be serialisable. Used as `@task` or `@task(...)`.

    Args:
        name: The task's name; None for the function's name.
        retry_policy: Whether a failed attempt is repeated. Of several, the first that matches decides.
        cache_policy: Whether an earlier result for the same arguments may be taken.
        timeout: Limits of one attempt of an async task. A bare number is in seconds and covers the whole attempt.

    Returns:
        The task, or if the function is yet to come, what makes it one.

    Raises:
        ValueError: A synchronous function was given a timeout.

    Example:
        ```python
        @task
        def double(x: int) -> int:
            return 2 * x

        @entrypoint()
        def double_all(xs: list[int]) -> list[int]:
            futures = [double(x) for x in xs]
            return [future.result() for future in futures]
        ```
    """
    retry_policy = renamed_argument(kwargs, "retry", "retry_policy", retry_policy)
    retry_policy = checked_retry_policies(retry_policy, f"task '{name}'" if name else "a task")
    policies = (retry_policy,) if isinstance(retry_policy, RetryPolicy) else (retry_policy or ())
    limits = TimeoutPolicy.coerce(timeout)

    def make(func: Any, /) -> Any:
        if limits is not None and not is_async_callable(func):
            raise sync_timeout_unsupported(name or node_name(func), "Task")
        return TaskFunction(func, retry_policy=policies, cache_policy=cache_policy, timeout=limits, name=name)

    return make if __func_or_none__ is None else make(__func_or_none__)


class entrypoint(Generic[ContextT]):  # noqa: N801  a decorator
    """Make a function a graph.

    The function takes one argument, the run's input; use a dict for several values. Further parameters are filled in by
    name: `config`, `runtime`, `store`, `writer`, and `previous`, which is what the thread's last run returned (or kept,
    see `final`) and needs a checkpointer.

    Args:
        checkpointer: The saver of threads, or None.
        store: Handed to the function if it asks for it.
        cache: The cache for results under a cache policy.
        context_schema: The class of the run's context, or None.
        cache_policy: Whether an earlier result for the same input may be taken.
        retry_policy: Whether a failed attempt is repeated. Of several, the first that matches decides.
        timeout: Limits of one attempt of an async function. A bare number is in seconds and covers the whole attempt.

    Example:
        ```python
        @entrypoint(checkpointer=InMemorySaver())
        def total(number: int, *, previous: int | None = None) -> int:
            return number + (previous or 0)

        config = {"configurable": {"thread_id": "1"}}
        total.invoke(40, config)  # 40
        total.invoke(2, config)  # 42
        ```
    """

    def __init__(
        self,
        checkpointer: BaseCheckpointSaver[Any] | None = None,
        store: BaseStore | None = None,
        cache: BaseCache[Any] | None = None,
        context_schema: type[ContextT] | None = None,
        cache_policy: CachePolicy | None = None,
        retry_policy: RetryPolicy | Sequence[RetryPolicy] | None = None,
        timeout: float | timedelta | TimeoutPolicy | None = None,
        strict: bool | None = None,
        **kwargs: Unpack[DeprecatedKwargs],
    ) -> None:
        self.context_schema: type[ContextT] | None = renamed_argument(
            kwargs, "config_schema", "context_schema", context_schema
        )
        self.retry_policy = renamed_argument(kwargs, "retry", "retry_policy", retry_policy)
        self.retry_policy = checked_retry_policies(self.retry_policy, "an entrypoint")
        self.checkpointer = checkpointer
        self.store = store
        self.cache = cache
        self.cache_policy = cache_policy
        self.timeout = TimeoutPolicy.coerce(timeout)
        self.strict = strict

    @dataclass(frozen=True, slots=True, kw_only=True)
    class final(Generic[R, S]):  # noqa: N801  written as entrypoint.final
        """An entrypoint's return value and, apart from it, the value to save.

        Attributes:
            value: The run's answer, also if it is None.
            save: The `previous` of the next run on the thread, also if it is None.
        """

        value: R
        save: S

    @overload
    def __call__(
        self, func: Callable[Concatenate[I, ...], Awaitable[entrypoint.final[R, S]]]
    ) -> FunctionGraph[I, R, ContextT]: ...

    @overload
    def __call__(self, func: Callable[Concatenate[I, ...], Awaitable[R]]) -> FunctionGraph[I, R, ContextT]: ...

    @overload
    def __call__(
        self, func: Callable[Concatenate[I, ...], entrypoint.final[R, S]]
    ) -> FunctionGraph[I, R, ContextT]: ...

    @overload
    def __call__(self, func: Callable[Concatenate[I, ...], R]) -> FunctionGraph[I, R, ContextT]: ...

    def __call__(self, func: Callable[..., Any]) -> StateGraphEngine[Any, ContextT, Any, Any]:
        """Make the graph.

        Args:
            func: The function, synchronous or async.

        Returns:
            A graph named after nothing but with one node named after the function.

        Raises:
            NotImplementedError: It is a generator function.
            ValueError: It takes no input.
            TypeError: Its return annotation is an `entrypoint.final` that does not say both types.
        """
        if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
            raise NotImplementedError(
                f"Entrypoint '{func.__name__}' is a generator: return the result, and write what is to be streamed "
                "to the stream writer"
            )
        signature = inspect.signature(func)
        first = next(iter(signature.parameters.values()), None)
        if first is None:
            raise ValueError(f"Entrypoint '{func.__name__}' takes no arguments: its first parameter is the run's input")
        input_type = Any if first.annotation is inspect.Parameter.empty else first.annotation
        output_type, save_type = _returned_types(signature.return_annotation)
        node = PregelNode(
            bound=get_runnable_for_entrypoint(func),
            channels=START,
            triggers=[START],
            timeout=self.timeout,
            writers=[
                ChannelWrite([ChannelWriteEntry(END, mapper=_answered), ChannelWriteEntry(PREVIOUS, mapper=_kept)])
            ],
        )
        returned: dict[str, Any] = {END: LastValue(output_type, END), PREVIOUS: LastValue(save_type, PREVIOUS)}
        graph: StateGraphEngine[Any, ContextT, Any, Any] = StateGraphEngine(
            nodes={func.__name__: node},
            channels={START: EphemeralValue(input_type), **returned},
            input_channels=START,
            output_channels=END,
            stream_channels=END,
            stream_mode="updates",
            stream_eager=True,
            context_schema=self.context_schema,
            checkpointer=self.checkpointer,
            cache=self.cache,
            cache_policy=self.cache_policy,
            retry_policy=self.retry_policy or (),
            store=self.store,
            strict=self.strict,
        )
        types = [input_type, output_type, save_type, self.context_schema]
        graph._allowlist = allowlist.Allowlist(types, graph.channels)
        return graph


def _answered(returned: object) -> object:
    return cast("entrypoint.final[object, object]", returned).value if _is_final(type(returned)) else returned


def _kept(returned: object) -> object:
    return cast("entrypoint.final[object, object]", returned).save if _is_final(type(returned)) else returned


def _is_final(cls: object) -> bool:
    """Return whether a class is `entrypoint.final`, ours or that of an installed LangGraph."""
    if cls is entrypoint.final:
        return True
    if not inspect.isclass(cls):
        return False
    return cls.__qualname__ == entrypoint.final.__qualname__ and cls.__module__ == "langgraph.func"


def _returned_types(annotation: object) -> tuple[Any, Any]:
    """Return the types of an entrypoint's answer and of its saved value."""
    if annotation is inspect.Signature.empty or _is_final(annotation):
        return Any, Any
    if not _is_final(get_origin(annotation)):
        return annotation, annotation
    types = get_args(annotation)
    if len(types) != 2:
        raise TypeError(
            "entrypoint.final names two types, that of the answer and that of what is kept, as in "
            f"`entrypoint.final[int, str]`; {annotation} names {len(types)}"
        )
    return types
