"""Giving LangGraph's synchronous driver a fixed order where one task runs at a time.

A node that fails wakes the driver, which cancels the nodes that have not begun, or has a handler run; meanwhile the
thread of the failed node takes the next one from its queue. Which of the two is faster decides what else runs. Here the
thread lets the driver go first, and what is saved is saved at once, without waiting for its turn behind the nodes.
That is one of the ways in which it may go, and the only one in which both engines do the same each time.
"""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.runnables import config

SAVES = frozenset(("put_writes", "_checkpointer_put_after_previous", "set"))
PATIENCE_S = 5.0  # no driver takes as long, unless it is not one that waits for its nodes


@dataclass
class _Pool:
    """The nodes that were handed to a pool of one thread, and those that its driver has waited for, and waits for."""

    nodes: list[Future[Any]] = field(default_factory=list)
    awaited: set[Future[Any]] = field(default_factory=set)
    awaits: set[Future[Any]] = field(default_factory=set)


class _Turns:
    """Which failures the drivers have not heard of."""

    def __init__(self) -> None:
        self._pools: WeakKeyDictionary[Any, _Pool] = WeakKeyDictionary()
        self._changed = threading.Condition()

    def add(self, pool: Any, node: Future[Any]) -> None:
        """Take in a node that was handed to a pool."""
        with self._changed:
            self._pools.setdefault(pool, _Pool()).nodes.append(node)

    def waits(self, futures: Iterable[Future[Any]]) -> None:
        """A driver waits again: it has heard of everything that it does not wait for any more."""
        waited = set(futures)
        with self._changed:
            for pool in self._pools.values():
                if not waited.isdisjoint(pool.nodes):
                    pool.awaits = waited
                    pool.awaited |= waited
            self._changed.notify_all()

    def let_driver_go_first(self, pool: Any, failed: Future[Any]) -> None:
        """Wait until the driver has heard of a failure, or has cancelled all that is left."""
        mine = self._pools[pool]

        def over() -> bool:
            heard = failed in mine.awaited and failed not in mine.awaits
            return heard or all(node.done() for node in mine.nodes)

        with self._changed:
            self._changed.wait_for(over, PATIENCE_S)

    def cancelled(self) -> None:
        """A node was cancelled."""
        with self._changed:
            self._changed.notify_all()


def driver_first() -> None:
    """Let the driver decide what a failed node means before another node begins, in all runs of this process."""
    plain = config.ContextThreadPoolExecutor.submit
    wait = concurrent.futures.wait
    turns = _Turns()

    def submit(pool: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        name = getattr(args[0], "__name__", "") if pool._max_workers == 1 and args else ""
        if name in SAVES:
            return _done(function, *args, **kwargs)
        if name != "run_with_retry":
            return plain(pool, function, *args, **kwargs)
        begin = threading.Event()

        def run(*given: Any, **named: Any) -> Any:
            begin.wait()
            return function(*given, **named)

        future: Future[Any] = plain(pool, run, *args, **kwargs)
        turns.add(pool, future)
        tell = future._invoke_callbacks  # type: ignore[attr-defined]

        def tell_and_wait() -> None:
            tell()
            if future.cancelled():
                turns.cancelled()
            elif _failed(future):
                turns.let_driver_go_first(pool, future)

        future._invoke_callbacks = tell_and_wait  # type: ignore[attr-defined]
        begin.set()
        return future

    def wait_aloud(fs: Iterable[Future[Any]], *args: Any, **kwargs: Any) -> Any:
        turns.waits(fs)
        return wait(fs, *args, **kwargs)

    config.ContextThreadPoolExecutor.submit = submit  # type: ignore[method-assign]
    concurrent.futures.wait = wait_aloud


def _done(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
    future: Future[Any] = Future()
    try:
        future.set_result(function(*args, **kwargs))
    except Exception as error:
        future.set_exception(error)
    return future


def _failed(future: Future[Any]) -> bool:
    from langgraph.errors import GraphBubbleUp

    return not isinstance(future.exception(), GraphBubbleUp | None)
