"""Methods made of procedures: what sync and async savers do, written once.

Example::

    class _Saver:
        def _put(self, config): ...  # yields calls, returns a result

    class Saver(_Saver):
        put = performed(_Saver._put)

    class AsyncSaver(_Saver):
        aput = awaited(_Saver._put)
        put = from_thread("put", aput)
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial, wraps
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, cast

from stategraph.engine.config.procedures import Procedure, aperform, perform

P = ParamSpec("P")
T = TypeVar("T")


def performed(procedure: Callable[Concatenate[Any, P], Procedure[T]]) -> Callable[Concatenate[Any, P], T]:
    """Return a method that performs a procedure of its object."""

    @wraps(procedure)
    def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return perform(procedure(self, *args, **kwargs))

    return method


def awaited(
    procedure: Callable[Concatenate[Any, P], Procedure[T]],
) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return an async method that performs a procedure of its object."""

    @wraps(procedure)
    async def method(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await aperform(procedure(self, *args, **kwargs))

    return method


def in_thread(method: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]:
    """Return an async method that calls a sync one in another thread."""

    @wraps(method)
    async def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, self, *args, **kwargs)

    return call


def from_thread(
    name: str, method: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]
) -> Callable[Concatenate[Any, P], T]:
    """Return a method for other threads than that of the event loop in which its object lives (its `loop`).

    Args:
        name: Its name.
        method: The async one.
    """

    @wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> T:
        loop: asyncio.AbstractEventLoop = self.loop
        try:
            here: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            raise asyncio.InvalidStateError(
                f"'{name}' was called in the event loop of a saver, which it would wait for: await 'a{name}', or call "
                "it from another thread"
            )
        return asyncio.run_coroutine_threadsafe(method(self, *args, **kwargs), loop).result()

    return call


class Opening(Generic[T]):
    """A saver that is open for a `with` statement, or for `async with`, as what it stands on is.

    Args:
        context: Opens what the saver stands on.
        make: Makes the saver of that.
        look: Performed before: raises the reason if it cannot be opened.
    """

    def __init__(
        self, context: object, make: Callable[[Any], T], look: Callable[[], Procedure[None]] | None = None
    ) -> None:
        mark = "a" if hasattr(context, "__aenter__") else ""
        self._enter: Callable[..., Any] = getattr(context, f"__{mark}enter__")
        self._exit: Callable[..., Any] = getattr(context, f"__{mark}exit__")
        self._make = make
        self._look = look

    def _entered(self) -> Procedure[T]:
        if self._look is not None:
            yield from self._look()
        context = yield self._enter
        try:
            return self._make(context)
        except BaseException:
            yield partial(self._exit, *sys.exc_info())
            raise

    def _left(self, *error: object) -> Procedure[bool | None]:
        return cast("bool | None", (yield partial(self._exit, *error)))

    __enter__ = performed(_entered)
    __exit__ = performed(_left)
    __aenter__ = awaited(_entered)
    __aexit__ = awaited(_left)
