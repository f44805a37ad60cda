"""Tells callback handlers of a chain's run what langchain-core would tell them, without a task for each event.

Rules
-----
* Handlers, order, arguments, threads and the log are langchain-core's: first the handlers that run inline, then the
  others beside each other. A handler hears an event as long as its `ignore_chain` is false.
* A sync handler of an async run runs in a worker thread, unless it runs inline.
* What an async handler sets in its context stays there. Nor does what a handler sets at the end of a run leave it.
* An async handler is told in place until it first waits. Those after it then go on without it, in tasks of their own.
* The end of a run that is being told survives the run's cancellation. A handler that is known to wait there is told in
  a task from the beginning, so that it does not change from one task to another: scopes of anyio and time limits that
  it opens belong to a task.
* Whether a manager is told this way is for its class to say: see `is_ordinary`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Coroutine, Generator, Sequence
from contextvars import Context, copy_context
from functools import lru_cache, partial
from types import FunctionType, coroutine
from typing import Any, Final, Literal, NamedTuple, cast
from weakref import WeakSet

from langchain_core.callbacks import (
    AsyncCallbackHandler,
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.callbacks import base as handlers_of_langchain
from langchain_core.callbacks import manager as managers_of_langchain
from langchain_core.callbacks.manager import ahandle_event, handle_event

from stategraph.engine.config.context import await_in_context
from stategraph.engine.tracing.stream_handler import StreamFeed

START: Final = "on_chain_start"
END: Final = "on_chain_end"
ERROR: Final = "on_chain_error"

_IGNORES: Final = "ignore_chain"

_log = managers_of_langchain.logger

_MODULE: Final = vars(managers_of_langchain)


def _is_own(method: object) -> bool:
    return type(method) is FunctionType and method.__globals__ is _MODULE


def _own_methods(manager: type, run: type) -> tuple[tuple[Any, str, Any], ...]:
    """List the methods by which langchain-core's managers tell of chains; None in place of one that is wrapped."""
    named = ((manager, START), (run, END), (run, ERROR))
    found = ((kind.__dict__, event, kind.__dict__[event]) for kind, event in named)
    return tuple((own, event, method if _is_own(method) else None) for own, event, method in found)


_METHODS: Final[dict[type, tuple[tuple[Any, str, Any], ...]]] = {
    CallbackManager: _own_methods(CallbackManager, CallbackManagerForChainRun),
    AsyncCallbackManager: _own_methods(AsyncCallbackManager, AsyncCallbackManagerForChainRun),
}


def is_ordinary(kind: type) -> bool:
    """Return whether a manager's class is langchain-core's own, and no instrumentation has wrapped how it tells."""
    methods = _METHODS.get(kind)
    if methods is None:
        return False
    (one, start, starts), (two, end, ends), (three, error, fails) = methods
    return one[start] is starts and two[end] is ends and three[error] is fails


def _inherited() -> frozenset[object]:
    """Return the methods that handlers inherit, which do nothing."""
    bases = (*BaseCallbackHandler.__mro__, AsyncCallbackHandler)
    found = {kind.__dict__.get(event) for kind in bases for event in (START, END, ERROR)}
    own = vars(handlers_of_langchain)
    return frozenset(method for method in found if type(method) is FunctionType and method.__globals__ is own)


_SILENT: Final = _inherited()

_wait_at_ends: WeakSet[Any] = WeakSet()
"""Methods of async handlers that have waited for something while they were told the end of a run."""

_telling_later: set[asyncio.Task[None]] = set()
"""Tells handlers the ends of runs that were cancelled meanwhile; a loop holds its tasks weakly."""


@lru_cache(1024)
def is_own_feed(kind: type) -> bool:
    """Return whether handlers of a class feed stream modes of ours; to ask `isinstance` of a protocol takes 1 us."""
    return issubclass(kind, StreamFeed)


# -- sync runs ---------------------------------------------------------------


def tell(handlers: Sequence[BaseCallbackHandler], event: str, *args: object, **told: Any) -> None:
    """Tell handlers of a sync run an event.

    Raises:
        Exception: What a handler with `raise_error` raised; those after it are not told.
    """
    begun: list[Coroutine[Any, Any, Any]] = []
    try:
        for handler in handlers:
            try:
                if handler.ignore_chain:
                    continue
                answer = getattr(handler, event)(*args, **told)
            except Exception as error:
                if _is_to_raise(handler, event, error):
                    raise
                continue
            if answer is not None and asyncio.iscoroutine(answer):
                begun.append(answer)
    finally:
        if begun:
            handle_event([_Returned(each) for each in begun], event, None)


class _Returned(BaseCallbackHandler):
    """Hands a coroutine that a handler has returned over to langchain-core, which knows where to run it."""

    def __init__(self, returned: Coroutine[Any, Any, Any]) -> None:
        for event in (START, END, ERROR):
            setattr(self, event, lambda: returned)


def _is_to_raise(handler: BaseCallbackHandler, event: str, error: BaseException) -> bool:
    """Log what a handler failed with; returns whether the run fails with it."""
    name = type(handler).__name__
    if isinstance(error, NotImplementedError):
        _log.warning("NotImplementedError in %s.%s callback: %s", name, event, repr(error))
        return False
    if not isinstance(error, Exception):
        return True
    _log.warning("Error in %s.%s callback: %s", name, event, repr(error))
    return handler.raise_error


# -- async runs --------------------------------------------------------------


def begin(handlers: Sequence[BaseCallbackHandler], event: str, *args: object, **told: Any) -> Awaitable[object] | None:
    """Tell handlers of an async run an event, as far as that goes without waiting.

    Returns:
        What to await for those who have not been told yet; None if all have. It ends when all have been told; if the
        event is an end, a cancellation ends it at once, and they are told all the same.

    Raises:
        BaseException: What a handler with `raise_error` raised, if nobody is left to be told.
    """
    if len(handlers) == 1 and is_own_feed(cast(Any, type(handlers[0]))):
        return _tell_feed(handlers[0], event, args, told)
    in_threads: list[_InThread] = []
    order = _inline_first(handlers)
    for place, handler in enumerate(order):
        try:
            waits = _begin_one(handler, event, args, told)
        except BaseException as error:
            return _failed(error, () if handler.run_inline else order[place + 1 :], _Event(event, args, told))
        if waits is None:
            continue
        if type(waits) is _InThread:
            in_threads.append(waits)
        else:
            first = waits if type(waits) is _Suspended else None
            others = order[place + (first is not None) :]
            return _go_on(first, others, in_threads, _Event(event, args, told))
    if not in_threads:
        return None
    noted = _all_noted(in_threads, event)
    return noted if event is START else asyncio.shield(asyncio.get_running_loop().create_task(noted))


def _tell_feed(
    feed: BaseCallbackHandler, event: str, args: tuple[object, ...], told: dict[str, Any]
) -> Awaitable[object] | None:
    """Tell the only handler, which feeds a stream mode of ours: it runs inline, and sets nothing in its context."""
    try:
        # What a subclass makes async is awaited; ours are not.
        return None if feed.ignore_chain else getattr(feed, event)(*args, **told)
    except Exception as error:
        if _is_to_raise(feed, event, error):
            raise
        return None


def in_a_task(handlers: Sequence[BaseCallbackHandler], event: str, *args: object, **told: Any) -> Awaitable[object]:
    """Tell handlers an end in a separate task, so that others take their turn; returns what to await for that."""
    return asyncio.shield(asyncio.get_running_loop().create_task(_told_to(handlers, event, args, told)))


async def _told_to(
    handlers: Sequence[BaseCallbackHandler], event: str, args: tuple[object, ...], told: dict[str, Any]
) -> None:
    rest = begin(handlers, event, *args, **told)
    if rest is not None:
        await rest


def _inline_first(handlers: Sequence[BaseCallbackHandler]) -> Sequence[BaseCallbackHandler]:
    if len(handlers) < 2:
        return handlers
    inline = [handler for handler in handlers if handler.run_inline]
    return [*inline, *(handler for handler in handlers if not handler.run_inline)] if inline else handlers


class _Event(NamedTuple):
    """An event, and what is told of it."""

    name: str
    args: tuple[object, ...]
    told: dict[str, Any]

    def told_to(self, handlers: Sequence[BaseCallbackHandler]) -> Coroutine[Any, Any, None]:
        """Have langchain-core tell handlers."""
        return ahandle_event([*handlers], self.name, _IGNORES, *self.args, **self.told)

    def told_beside(self, handlers: Sequence[BaseCallbackHandler]) -> list[Coroutine[Any, Any, None]]:
        """Have langchain-core tell handlers beside each other and others."""
        return [self.told_to((handler,)) for handler in handlers]


class _Suspended(NamedTuple):
    """A handler that waits while it is told: its coroutine, begun in a context, and what that waits for.

    What it waits for is None if it only lets others take their turn.
    """

    handler: BaseCallbackHandler
    event: str
    context: Context
    telling: Coroutine[Any, Any, object]
    awaited: Any

    def rest(self) -> Coroutine[Any, Any, None]:
        """Go on where it waits; a cancellation is the handler's."""
        return _noted(self.handler, self.event, await_in_context(self.context, self.telling, self.awaited))


class _InThread(NamedTuple):
    """A handler that is told in a worker thread, and what ends with that."""

    handler: BaseCallbackHandler
    done: Awaitable[object]


def _begin_one(
    handler: BaseCallbackHandler, event: str, args: tuple[object, ...], told: dict[str, Any]
) -> _Suspended | _InThread | Literal["by langchain-core"] | None:
    """Tell a handler as far as that goes; returns None if it has heard all, else what it waits for, or who tells it."""
    try:
        if handler.ignore_chain:
            return None
        method = getattr(handler, event)
        function = getattr(method, "__func__", None)
        if function in _SILENT:
            return None
        is_async = _is_async(method, function)
        if handler.run_inline:
            if is_async:
                return "by langchain-core"
            # Of an end, langchain-core tells it in a task, so nothing that it sets there stays. Our feeds set nothing.
            kind: Any = type(handler)
            if event is START or is_own_feed(kind):
                method(*args, **told)
            else:
                copy_context().run(method, *args, **told)
            return None
        if not is_async:
            call = partial(copy_context().run, method, *args, **told)
            return _InThread(handler, asyncio.get_running_loop().run_in_executor(None, call))
        if event is not START and function in _wait_at_ends:
            return "by langchain-core"
        telling = method(*args, **told)
    except Exception as error:
        if _is_to_raise(handler, event, error):
            raise
        return None
    context = copy_context()
    try:
        return _Suspended(handler, event, context, telling, context.run(telling.send, None))
    except StopIteration:
        return None
    except BaseException as error:
        if _is_to_raise(handler, event, error):
            raise
        return None


def _is_async(method: Any, function: Any) -> bool:
    """Return what `inspect.iscoroutinefunction` does, mostly by a look at the function of a method."""
    if type(function) is FunctionType:
        if function.__code__.co_flags & inspect.CO_COROUTINE:
            return True
        if not function.__dict__:  # where a mark would be
            return False
    return inspect.iscoroutinefunction(method)


def _failed(error: BaseException, others: Sequence[BaseCallbackHandler], event: _Event) -> Awaitable[object]:
    """Raise what a handler raised; if there are others to be told, once they have begun to be."""
    if not others:
        raise error

    async def fail() -> None:
        raise error

    return asyncio.gather(fail(), *event.told_beside(others))


async def _go_on(
    first: _Suspended | None,
    others: Sequence[BaseCallbackHandler],
    in_threads: Sequence[_InThread],
    event: _Event,
) -> None:
    """Wait until all have been told.

    Args:
        first: The first one that waits, if it has been begun.
        others: Those who have not been begun.
        in_threads: Those who are told in threads.
        event: What they are told.
    """
    told = [event.told_to(others)] if first is None else event.told_beside(others)
    beside = asyncio.gather(*told, _all_noted(in_threads, event.name))
    beside.add_done_callback(_retrieved)
    if event.name is not START:
        if first is not None:
            _wait_at_ends.add(cast(Any, getattr(first.handler, event.name)).__func__)
            await _noted(first.handler, event.name, _outlast(first))
        await asyncio.shield(beside)
        return
    try:
        if first is not None:
            await first.rest()
        await beside
    except asyncio.CancelledError:
        beside.cancel()
        raise


def _retrieved(ended: asyncio.Future[Any]) -> None:
    """Take note of an error that another handler's has come before, so that the loop does not report it."""
    if not ended.cancelled():
        ended.exception()


async def _noted(handler: BaseCallbackHandler, event: str, telling: Awaitable[object]) -> None:
    """Await what a handler is told, and log what it fails with; raised if the handler says so."""
    try:
        await telling
    except BaseException as error:
        if _is_to_raise(handler, event, error):
            raise


async def _all_noted(in_threads: Sequence[_InThread], event: str) -> None:
    """Await what handlers are told in threads; the first failure that is to be raised is, once all have been told."""
    failed: BaseException | None = None
    for handler, done in in_threads:
        try:
            await _noted(handler, event, done)
        except Exception as error:
            failed = failed or error
    if failed is not None:
        raise failed


@coroutine
def _outlast(suspended: _Suspended) -> Generator[Any, None, None]:
    """Go on with a handler that waits, in place. A cancellation ends this, and the handler goes on in a task."""
    _, _, context, telling, awaited = suspended
    while True:
        try:
            if awaited is None:
                yield
            else:
                # Cancelling the run would cancel what the handler waits for.
                yield from asyncio.shield(awaited).__await__()
        except asyncio.CancelledError:
            if awaited is None or not awaited.cancelled():
                _tell_later(suspended._replace(awaited=awaited).rest())
                raise
        except GeneratorExit:
            context.run(telling.close)
            raise
        except Exception:  # noqa: S110  raised again where the handler asks what it waited for
            pass
        try:
            awaited = context.run(telling.send, None)
        except StopIteration:
            return


def _tell_later(telling: Coroutine[Any, Any, None]) -> None:
    later = asyncio.get_running_loop().create_task(telling)
    _telling_later.add(later)
    later.add_done_callback(_telling_later.discard)
