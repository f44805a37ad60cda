"""Giving LangGraph's synchronous driver a fixed order where one task runs at a time.

A node that fails wakes the driver, which cancels the nodes that have not begun; meanwhile the thread of the failed node
takes the next one from its queue. Which of the two is faster decides what else runs. Here the thread lets the driver
go first. That is one of the ways in which it may go, and the only one in which both engines do the same each time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any
from weakref import WeakKeyDictionary

from langchain_core.runnables import config

PATIENCE_S = 0.05  # what a thread waits for at most: the driver may have nothing to cancel


def driver_first() -> None:
    """Let the driver decide what a failed node means before another node begins, in all runs of this process."""
    plain = config.ContextThreadPoolExecutor.submit
    nodes: WeakKeyDictionary[Any, list[Future[Any]]] = WeakKeyDictionary()

    def submit(pool: Any, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future[Any]:
        if pool._max_workers != 1 or not args or getattr(args[0], "__name__", "") != "run_with_retry":
            return plain(pool, function, *args, **kwargs)
        begin = threading.Event()

        def run(*given: Any, **named: Any) -> Any:
            begin.wait()
            return function(*given, **named)

        future: Future[Any] = plain(pool, run, *args, **kwargs)
        others = nodes.setdefault(pool, [])
        others.append(future)
        tell = future._invoke_callbacks  # type: ignore[attr-defined]

        def tell_and_wait() -> None:
            tell()
            if _failed(future):
                _wait(others)

        future._invoke_callbacks = tell_and_wait  # type: ignore[attr-defined]
        begin.set()
        return future

    config.ContextThreadPoolExecutor.submit = submit  # type: ignore[method-assign]


def _failed(future: Future[Any]) -> bool:
    from langgraph.errors import GraphBubbleUp

    return not future.cancelled() and not isinstance(future.exception(), GraphBubbleUp | None)


def _wait(others: list[Future[Any]]) -> None:
    """Wait until the driver has cancelled what has not begun, or for a moment if it does not."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        found = list(others)
        if all(future.done() for future in found) and any(future.cancelled() for future in found):
            return
        time.sleep(0.001)
