"""Calling what authors wrote: plain functions become runnables, and get the arguments that they ask for by name.

`plan_call` looks at a function once and answers with a flat record, so that an engine calls the function itself.
`RunnableCallable` and `RunnableSeq` are the same thing as runnables, for everybody else: they report to callback
handlers when there are any, and otherwise cost little more than the call.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from dataclasses import dataclass, field
from functools import partial, update_wrapper
from itertools import repeat
from typing import Any, Concatenate, Final, TypeAlias, TypeGuard, TypeVar, Union, cast

from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnableParallel, RunnableSequence
from langchain_core.runnables.base import RunnableLike as LangChainRunnableLike
from langchain_core.runnables.config import run_in_executor
from langchain_core.runnables.utils import Input, Output

from stategraph.engine.compile.injection import Want, fetch_arguments, wanted_arguments
from stategraph.engine.compile.protocol import AnyRunnable
from stategraph.engine.config import context as run_context
from stategraph.engine.config import runnable_config as run_config
from stategraph.engine.config.quiet_manager import AsyncQuietCallbackManager, QuietCallbackManager
from stategraph.engine.tracing import chain_run
from stategraph.policies import TracePolicy

RunnableLike: TypeAlias = Union[  # noqa: UP007  one side is a union of generic aliases, which `|` refuses
    LangChainRunnableLike[Input, Output],
    Callable[Concatenate[Input, ...], Output],
]
"""An object that can be a node: a runnable, a dict of them, or a function of the input and any injected arguments."""


_StepT = TypeVar("_StepT")


# --- plans ---


@dataclass(frozen=True, slots=True)
class CallPlan:
    """A plan for calling an author's function without a runnable in between.

    Attributes:
        name: The function's name, or that of the runnable around it. None for a lambda.
        func: The synchronous function. None if there is only an async one.
        afunc: The coroutine function. None if there is only a synchronous one: run that in a thread.
        wants: The arguments to inject.
        kwargs: Further fixed arguments; those in `wants` that are among them are not injected.
        explode: Whether the input is a pair of positional and keyword arguments.
        recurse: Whether a runnable that the function returns is to be invoked in its place, with the same input.
        trace: Whether the call is a separate run to callback handlers.
        tags: Tags of that run.
    """

    name: str | None
    func: Callable[..., Any] | None
    afunc: Callable[..., Awaitable[object]] | None
    wants: tuple[Want, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    explode: bool = False
    recurse: bool = True
    trace: bool = False
    tags: tuple[str, ...] = ()

    @property
    def is_async(self) -> bool:
        """True if there is a coroutine function to await."""
        return self.afunc is not None

    @property
    def is_plain(self) -> bool:
        """True if `func(input)` is the whole call: nothing to inject, to unpack or to add."""
        return not (self.wants or self.kwargs or self.explode)

    @property
    def accepts_config(self) -> bool:
        """True if the function is given its task's config."""
        return any(want.source == "config" for want in self.wants)

    def arguments(self, config: RunnableConfig, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Collect the keyword arguments of one call.

        Args:
            config: The config of the task.
            given: The call's own; they go before fixed and injected ones.

        Raises:
            ValueError: If a wanted value does not exist and cannot be left out.
        """
        kwargs = {**self.kwargs, **given} if given else dict(self.kwargs)
        return fetch_arguments(self.wants, config, kwargs, self.name)


def plan_call(thing: object) -> CallPlan | None:
    """Plan how to call something that an author gave as a node.

    Args:
        thing: A function, another callable, or a runnable.

    Returns:
        The plan, or None if there is no plain function to call: a generator, a dict, a runnable of another kind or one
        whose class has its own `invoke`. Coerce that to a runnable, and invoke it.
    """
    if isinstance(thing, RunnableCallable):
        kind = type(thing)
        if kind.invoke is not RunnableCallable.invoke or kind.ainvoke is not RunnableCallable.ainvoke:
            return None
        return CallPlan(
            name=thing.name,
            func=thing.func,
            afunc=None if isinstance(thing.afunc, _InThread) else thing.afunc,
            wants=tuple(thing.func_accepts.values()),
            kwargs=thing.kwargs,
            explode=thing.explode_args,
            recurse=thing.recurse,
            trace=thing.trace,
            tags=tuple(thing.tags or ()),
        )
    if isinstance(thing, Runnable) or not callable(thing) or _makes_an_iterator(thing):
        return None
    is_async = is_async_callable(thing)
    return CallPlan(
        name=_name_of(thing),
        func=None if is_async else thing,
        afunc=thing if is_async else None,
        wants=wanted_arguments(thing),
    )


def _name_of(func: object) -> str | None:
    name = getattr(func, "__name__", None)
    return None if name == "<lambda>" else name


def no_sync_function(name: str | None) -> TypeError:
    """Make the error for a synchronous call of something that is only async."""
    return TypeError(
        f'"{name}" is async only: it cannot be called synchronously. Give it a synchronous function as well, or call '
        "it through the async API (ainvoke, astream, ...)."
    )


# --- kinds of callables ---


def is_async_callable(func: object) -> TypeGuard[Callable[..., Coroutine[Any, Any, Any]]]:
    """Tell whether calling `func` gives a coroutine: an `async def`, or an object with an async `__call__`."""
    return inspect.iscoroutinefunction(func) or inspect.iscoroutinefunction(_call_method(func))


def is_async_generator(func: object) -> TypeGuard[Callable[..., AsyncIterator[Any]]]:
    """Tell whether calling `func` gives an async generator, itself or through its `__call__`."""
    return inspect.isasyncgenfunction(func) or inspect.isasyncgenfunction(_call_method(func))


def _call_method(func: object) -> object:
    return getattr(func, "__call__", None)  # noqa: B004  the method itself is wanted


def _makes_an_iterator(func: object) -> bool:
    return inspect.isgeneratorfunction(func) or is_async_generator(func)


class _InThread:
    """The async form of a synchronous function: a worker thread, in a copy of the context."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func
        update_wrapper(self, func)

    async def __call__(self, *args: object, **kwargs: object) -> Any:
        return await run_in_executor(None, self._func, *args, **kwargs)


def coerce_to_runnable(thing: object, *, name: str | None, trace: bool) -> AnyRunnable:
    """Make a runnable of what an author gave.

    Args:
        thing: A runnable stays what it is. A generator function, another function, a callable object, or a dict of
            these becomes one.
        name: The name of the new runnable. None takes the function's own.
        trace: Whether calls of a function are separate runs to callback handlers.

    Raises:
        TypeError: If it is something else.
    """
    if isinstance(thing, Runnable):
        return thing
    if isinstance(thing, Mapping):
        return RunnableParallel(cast(Any, thing))
    if not callable(thing):
        kind = type(thing).__name__
        raise TypeError(f"Expected a runnable, a callable or a dict of them, got {thing!r} of type {kind}")
    if _makes_an_iterator(thing):
        return RunnableLambda(cast(Any, thing), name=name)
    if is_async_callable(thing):
        return RunnableCallable(None, thing, name=name, trace=trace)
    return RunnableCallable(thing, _InThread(thing), name=name, trace=trace)


# --- one function as a runnable ---


class RunnableCallable(Runnable[Any, Any]):
    """A function, or a sync and an async form of it, as a runnable.

    Args:
        func: The synchronous form. None if there is none.
        afunc: The async form. None runs the synchronous one in its place, on the event loop.
        name: What its runs are called. None takes the function's own name.
        tags: Tags of its runs.
        trace: Whether a call is a separate run to callback handlers. If not, it does not change the running config
            either.
        recurse: Whether a runnable that the function returns is invoked in its place, with the same input.
        explode_args: Whether the input is a pair of positional and keyword arguments.
        **kwargs: Further arguments of every call.

    Attributes:
        stands_for: The Runnable that this one has run elsewhere, in which graphs are looked for; None: there is none.

    Raises:
        ValueError: If there is neither form.
    """

    stands_for: AnyRunnable | None = None

    def __init__(
        self,
        func: Callable[..., Any] | None,
        afunc: Callable[..., Awaitable[Any]] | None = None,
        *,
        name: str | None = None,
        tags: Sequence[str] | None = None,
        trace: bool = True,
        recurse: bool = True,
        explode_args: bool = False,
        **kwargs: Any,
    ) -> None:
        main = func or afunc
        if main is None:
            raise ValueError("Neither `func` nor `afunc` is given; a RunnableCallable calls at least one of them")
        self.name = _name_of(main) if name is None else name
        self.func, self.afunc = func, afunc
        self.explode_args = explode_args
        self.kwargs = kwargs
        self.recurse = recurse
        self.tags, self.trace = tags, trace
        self.func_accepts: dict[str, Want] = {want.name: want for want in wanted_arguments(main)}

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.get_name()!r}, {self.func or self.afunc!r})"

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Call the function.

        Args:
            input: Its argument, or with `explode_args` all of them.
            config: None takes the running config.
            **kwargs: Further arguments, which go before injected ones.

        Raises:
            TypeError: If there is only an async form.
            ValueError: If an argument that it wants does not exist here.
        """
        func = self.func
        if func is None:
            raise no_sync_function(self.name)
        config = _complete(config)
        run = chain_run.start(config, input, name=self.get_name(), tags=self.tags) if self.trace else None
        config = _without_run_id(config)
        if run is None:
            args, kwargs = self._arguments(input, config, kwargs)
            if self.trace:
                result = run_context.run_in_context(
                    chain_run.quiet_config(config, QuietCallbackManager), func, *args, **kwargs
                )
            else:
                result = func(*args, **kwargs)
        else:
            with run:
                args, kwargs = self._arguments(input, config, kwargs)
                result = run.output = run.context(run.child_config(config)).run(func, *args, **kwargs)
        if self.recurse and isinstance(result, Runnable):
            return result.invoke(input, config)
        return result

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Await the async form, or call the synchronous one if there is no other; see `invoke`."""
        if self.afunc is None:
            return self.invoke(input, config, **kwargs)
        return await self._ainvoke(self.afunc, input, config, kwargs)

    async def ainvoke_at_once(self, input: object, config: RunnableConfig, *, takes_turns: bool = True) -> Any:
        """Like `ainvoke`, with the sync form called in place; `takes_turns` says whether others run beside it."""
        func = cast("Callable[..., object]", self.func)
        run = None
        if self.trace:
            run = await chain_run.astart(config, input, name=self.name, tags=self.tags, takes_turns=takes_turns)
        if run is None:
            return await self._ainvoke(partial(_at_once, func), input, config, {})
        config = _without_run_id(config)
        async with run:
            args, kwargs = self._arguments(input, config, {})
            result = run.output = run.context(run.child_config(config)).run(func, *args, **kwargs)
        return await result.ainvoke(input, config) if self.recurse and isinstance(result, Runnable) else result

    async def _ainvoke(
        self,
        afunc: Callable[..., Awaitable[object]],
        input: object,
        config: RunnableConfig | None,
        kwargs: dict[str, object],
    ) -> object:
        config = _complete(config)
        # Not `get_name()`: async runs of a lambda are recorded without a name, which is visible in traces.
        run = await chain_run.astart(config, input, name=self.name, tags=self.tags) if self.trace else None
        config = _without_run_id(config)
        if run is None:
            args, kwargs = self._arguments(input, config, kwargs)
            if self.trace:
                context = run_context.config_context(chain_run.quiet_config(config, AsyncQuietCallbackManager))
                result = await run_context.await_in_context(context, _start(context, afunc, args, kwargs))
            else:
                result = await afunc(*args, **kwargs)
        else:
            async with run:
                args, kwargs = self._arguments(input, config, kwargs)
                context = run.context(run.child_config(config))
                result = await run_context.await_in_context(context, _start(context, afunc, args, kwargs))
                run.output = result
        if self.recurse and isinstance(result, Runnable):
            return await result.ainvoke(input, config)
        return result

    def _arguments(
        self, input: Any, config: RunnableConfig, given: dict[str, Any]
    ) -> tuple[Sequence[object], dict[str, object]]:
        args: Sequence[object] = (input,)
        kwargs = {**self.kwargs, **given}
        if self.explode_args:
            args, own = input
            kwargs = {**self.kwargs, **own, **given}
        if self.func_accepts:
            fetch_arguments(tuple(self.func_accepts.values()), config, kwargs, self.name)
        return args, kwargs


def _without_run_id(config: RunnableConfig) -> RunnableConfig:
    """Return the config without its run id: the run that was just started has it, a second one must not."""
    if "run_id" not in config:
        return config
    rest = config.copy()
    del rest["run_id"]
    return rest


async def _at_once(func: Callable[..., object], *args: object, **kwargs: object) -> object:
    return func(*args, **kwargs)


async def _await(awaitable: Awaitable[object]) -> object:
    return await awaitable


def _start(
    context: Any, afunc: Callable[..., Awaitable[Any]], args: Sequence[Any], kwargs: Mapping[str, Any]
) -> Coroutine[Any, Any, Any]:
    """Call `afunc` in `context`, where the code before its first await must run as well."""
    awaitable = context.run(afunc, *args, **kwargs)
    return awaitable if asyncio.iscoroutine(awaitable) else _await(awaitable)


# --- a sequence as a runnable ---

_PipeMethods: TypeAlias = tuple[str, str, str]
"""Names of the methods that read a first step, a later step, and what a handler taps."""

_SYNC_PIPE: Final[_PipeMethods] = ("stream", "transform", "tap_output_iter")
_ASYNC_PIPE: Final[_PipeMethods] = ("astream", "atransform", "tap_output_aiter")


class RunnableSeq(Runnable[Any, Any]):
    """Runnables in a row: each one's output is the next one's input.

    To callback handlers it is one run with a child for each step. Only the first step runs in the context of that run:
    it is the author's; the others write its result down.

    Args:
        *steps: Runnables, or what can be made one. Sequences among them are taken apart.
        name: What its runs are called.
        trace_inputs: Makes the input that all callback handlers see.
        trace_policy: Makes the payloads that tracers see.

    Raises:
        ValueError: If there are fewer than two steps.
    """

    def __init__(
        self,
        *steps: RunnableLike[Any, Any],
        name: str | None = None,
        trace_inputs: Callable[[Any], Any] | None = None,
        trace_policy: TracePolicy | None = None,
    ) -> None:
        self.steps: list[AnyRunnable] = []
        for step in steps:
            if isinstance(step, RunnableSequence | RunnableSeq):
                self.steps.extend(step.steps)
            else:
                self.steps.append(coerce_to_runnable(step, name=None, trace=True))
        if len(self.steps) < 2:
            raise ValueError(f"A RunnableSeq has two steps or more, got {len(self.steps)}")
        self.name = name
        self.trace_inputs = trace_inputs
        self.trace_policy = trace_policy or chain_run.RECORD_AS_IS

    def __or__(self, other: Any) -> AnyRunnable:  # type: ignore[override]
        name = self.name
        if isinstance(other, RunnableSequence | RunnableSeq):
            name = name or other.name
        return RunnableSeq(*self.steps, other, name=name)

    def __ror__(self, other: object) -> AnyRunnable:  # type: ignore[override]
        return RunnableSequence(coerce_to_runnable(other, name=None, trace=True), *self.steps, name=self.name)

    def invoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Run the steps one after the other.

        Args:
            input: The first step's input.
            config: None takes the running config.
            **kwargs: Further arguments of the first step.

        Returns:
            The last step's output.
        """
        config = _complete(config)
        run = chain_run.start(config, self.reported(input), name=self._run_name(), policy=self.trace_policy)
        if run is None:
            config = chain_run.quiet_config(config, QuietCallbackManager)
            value = run_context.run_in_context(config, self.steps[0].invoke, input, config, **kwargs)
            return _invoke_all(zip(self.steps[1:], repeat(config)), value)
        with run:
            config = run.child_config(config, "seq:step:1")
            value = run.context(config).run(self.steps[0].invoke, input, config, **kwargs)
            run.output = _invoke_all(self._later_steps(run, config), value)
        return run.output

    async def ainvoke(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Any:
        """Await the steps one after the other; see `invoke`."""
        config = _complete(config)
        run = await chain_run.astart(config, self.reported(input), name=self._run_name(), policy=self.trace_policy)
        first, kwargs_of_first = self.steps[0].ainvoke, kwargs
        if run is None:
            config = chain_run.quiet_config(config, AsyncQuietCallbackManager)
            context = run_context.config_context(config)
            coro = _start(context, first, (input, config), kwargs_of_first)
            value = await run_context.await_in_context(context, coro)
            return await _ainvoke_all(zip(self.steps[1:], repeat(config)), value)
        async with run:
            config = run.child_config(config, "seq:step:1")
            context = run.context(config)
            value = await asyncio.create_task(_start(context, first, (input, config), kwargs_of_first), context=context)
            run.output = await _ainvoke_all(self._later_steps(run, config), value)
        return run.output

    def stream(self, input: object, config: RunnableConfig | None = None, **kwargs: object) -> Iterator[Any]:
        """Run the steps as a pipeline, so that handlers which tap streams see every chunk.

        Yields:
            None, once, when everything has been consumed: a node's result is what its last steps wrote.
        """
        config = _complete(config)
        run = chain_run.start(config, self.reported(input), name=self._run_name(), policy=self.trace_policy)
        if run is None:
            self.invoke(input, config, **kwargs)
        else:
            with run:
                context, (*_, chunks) = self._pipeline(run, config, _SYNC_PIPE, input, kwargs)
                run.output = context.run(_last, chunks)
        yield

    async def astream(
        self, input: object, config: RunnableConfig | None = None, **kwargs: object
    ) -> AsyncIterator[Any]:
        """Await the steps as a pipeline; see `stream`."""
        config = _complete(config)
        run = await chain_run.astart(config, self.reported(input), name=self._run_name(), policy=self.trace_policy)
        if run is None:
            await self.ainvoke(input, config, **kwargs)
        else:
            async with run, AsyncExitStack() as open_iterators:
                context, pipeline = self._pipeline(run, config, _ASYNC_PIPE, input, kwargs)
                for chunks in pipeline:
                    _close_with(open_iterators, chunks)
                run.output = await asyncio.create_task(alast(pipeline[-1]), context=context)
        yield

    def _pipeline(
        self,
        run: chain_run.ChainRun[Any],
        config: RunnableConfig,
        methods: _PipeMethods,
        input: object,
        kwargs: Mapping[str, object],
    ) -> tuple[Context, list[Any]]:
        """Return the context to read the last iterator in, and the iterators, each of which reads the one before.

        The context is made first: an instrumentation that wraps a step's `stream` opens its span when that is called,
        and what the steps do does not belong into the span.
        """
        stream, transform, tap = methods
        config = run.child_config(config, "seq:step:1")
        context = run.context(config)
        pipeline = [getattr(self.steps[0], stream)(input, config, **kwargs)]
        for step, step_config in self._later_steps(run, config):
            pipeline.append(getattr(step, transform)(pipeline[-1], step_config))
        for handler in filter(chain_run.taps_streams, run.manager.handlers):
            pipeline.append(getattr(handler, tap)(run.manager.run_id, pipeline[-1]))
        return context, pipeline

    def _later_steps(
        self, run: chain_run.ChainRun[Any], config: RunnableConfig
    ) -> Iterator[tuple[AnyRunnable, RunnableConfig]]:
        """Yield the steps behind the first, with their configs as children of a run."""
        for number, step in numbered(self.steps[1:], 2):
            yield step, run.child_config(config, f"seq:step:{number}")

    def reported(self, input: object) -> Any:
        """Return an input as callback handlers see it."""
        return chain_run.recorded_payload(input, self.trace_inputs)

    def _run_name(self) -> str:
        return self.get_name()


_SEQ_INVOKE, _SEQ_AINVOKE, _SEQ_ASTREAM = RunnableSeq.invoke, RunnableSeq.ainvoke, RunnableSeq.astream


def sequences_are_wrapped() -> bool:
    """Return whether an instrumentation has replaced a method that runs a sequence.

    Nodes are then run as sequences, so that it sees them.
    """
    kind = RunnableSeq
    return kind.invoke is not _SEQ_INVOKE or kind.ainvoke is not _SEQ_AINVOKE or kind.astream is not _SEQ_ASTREAM


def numbered(steps: Iterable[_StepT], first: int) -> Iterator[tuple[int, _StepT]]:
    """Yield the steps of a sequence with the numbers in their tags; a writer counts once for each plain edge."""
    for step in steps:
        yield first, step
        first += getattr(step, "step_count", 1)


def _complete(config: RunnableConfig | None) -> RunnableConfig:
    """Return a config, or the running one for None."""
    return run_config.ensure_config() if config is None else config


def _invoke_all(steps: Iterable[tuple[AnyRunnable, RunnableConfig]], value: object) -> Any:
    """Run steps, each with its config and what the one before returned."""
    for step, config in steps:
        value = step.invoke(value, config)
    return value


async def _ainvoke_all(steps: Iterable[tuple[AnyRunnable, RunnableConfig]], value: object) -> Any:
    for step, config in steps:
        value = await step.ainvoke(value, config)
    return value


def _last(chunks: Iterator[object]) -> Any:
    last = None
    for chunk in chunks:
        last = chunk
    return last


async def alast(chunks: AsyncIterator[object]) -> Any:
    """Return the last chunk of a streamed sequence, or None; Datadog's instrumentation wraps it to see that."""
    last = None
    async for chunk in chunks:
        last = chunk
    return last


def _close_with(stack: AsyncExitStack, chunks: object) -> None:
    if hasattr(chunks, "aclose"):
        stack.push_async_callback(chunks.aclose)
