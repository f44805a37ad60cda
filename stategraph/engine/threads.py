"""The worker threads of the process: one pool for all runs.

A pool per run would start threads for every run, and a small shared pool would
deadlock when a node waits for a subgraph whose nodes need threads too. So the
one pool grows as needed and reuses idle threads; how many tasks of a run work
at once is the run's own business (``max_concurrency``).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_LIMIT = 1 << 15


def _new_pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_LIMIT, thread_name_prefix="stategraph")


_pool = _new_pool()


def _after_fork() -> None:
    global _pool
    # The parent's threads do not exist in the child.
    _pool = _new_pool()


os.register_at_fork(after_in_child=_after_fork)


def submit(func: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
    """Run a function in a worker thread."""
    return _pool.submit(func, *args, **kwargs)


def pool() -> ThreadPoolExecutor:
    """The pool, for ``loop.run_in_executor``."""
    return _pool


