"""The sync twin of `Threads`: the same methods, for callers that cannot await."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, overload

from stategraph.run import background_loop
from stategraph.run.threads.threads import Threads

P = ParamSpec("P")
T = TypeVar("T")


class _Twin(Generic[P, T]):
    """A method of `Threads` that waits for its end, in the background loop of the process."""

    def __init__(self, method: Callable[Concatenate[Threads, P], Coroutine[Any, Any, T]]) -> None:
        self._method = method
        self.__doc__ = method.__doc__

    @overload
    def __get__(self, instance: None, owner: object) -> _Twin[P, T]: ...

    @overload
    def __get__(self, instance: SyncThreads, owner: object) -> Callable[P, T]: ...

    def __get__(self, instance: SyncThreads | None, owner: object) -> _Twin[P, T] | Callable[P, T]:
        if instance is None:
            return self
        method, threads = self._method, instance.threads

        def call(*args: P.args, **named: P.kwargs) -> T:
            return background_loop.current().run(partial(method, threads, *args, **named))

        return call


class SyncThreads:
    """`Threads` for callers that cannot await, of a runtime that was opened by `with`.

    Args:
        threads: The async side.
    """

    def __init__(self, threads: Threads) -> None:
        self.threads = threads

    create = _Twin(Threads.create)
    delete = _Twin(Threads.delete)
    erase = _Twin(Threads.erase)
    export = _Twin(Threads.export)
    fork = _Twin(Threads.fork)
    get = _Twin(Threads.get)
    import_thread = _Twin(Threads.import_thread)
    info = _Twin(Threads.info)
    list = _Twin(Threads.list)
    rename = _Twin(Threads.rename)
    repair = _Twin(Threads.repair)
    search = _Twin(Threads.search)
    update = _Twin(Threads.update)
