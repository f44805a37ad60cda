"""The calls of one message beside each other, in a sync and in an async node.

- In a sync node the caller's thread is one of the workers, so a single call needs no other thread. If an event loop
  runs in it, all calls run in threads of the pool: a tool may start a loop, which no thread can do twice.
- After a failure no further call begins. Those that are under way end first, or are cancelled where that is possible:
  nothing of the node goes on when it is over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Coroutine, Sequence
from contextvars import copy_context
from typing import Any, TypeVar

from stategraph.engine.tasks import threads

T = TypeVar("T")

_DEFAULT_LIMIT = min(32, (os.cpu_count() or 1) + 4)
"""Calls at a time, if the config has no `max_concurrency`: as many as a pool of the standard library has threads."""


def loop_is_running() -> bool:
    """Return whether an event loop runs in this thread."""
    return asyncio._get_running_loop() is not None


def run(jobs: Sequence[Callable[[], T]], limit: int | None) -> list[T]:
    """Run jobs beside each other and wait for all of them.

    Args:
        jobs: The jobs; each runs in a copy of the caller's context.
        limit: How many may run at a time; None for the number of threads of a standard pool.

    Returns:
        Their results, in order.

    Raises:
        BaseException: What the first job in order that failed has raised.
    """
    in_place = not loop_is_running()
    if in_place and len(jobs) == 1:
        return [jobs[0]()]
    work = _Work(jobs)
    workers = min(len(jobs), limit or _DEFAULT_LIMIT) - in_place
    helpers = [threads.submit(copy_context().run, work.take) for _ in range(workers)]
    try:
        if in_place:
            copy_context().run(work.take)
    except BaseException:
        work.stop()
        raise
    finally:
        for helper in helpers:
            helper.result()
    return work.results()


class _Work:
    """Jobs that several threads take one by one."""

    def __init__(self, jobs: Sequence[Callable[[], Any]]) -> None:
        self._jobs = jobs
        self._waiting = [*range(len(jobs))][::-1]
        self._results: list[Any] = [None] * len(jobs)
        self._errors: dict[int, BaseException] = {}

    def stop(self) -> None:
        """Let no further job begin."""
        self._waiting.clear()

    def take(self) -> None:
        """Run jobs until none waits."""
        while True:
            try:
                at = self._waiting.pop()  # one step: of two threads only one gets it
            except IndexError:
                return
            try:
                self._results[at] = self._jobs[at]()
            except BaseException as error:
                self.stop()
                self._errors[at] = error
                if not isinstance(error, Exception):
                    raise

    def results(self) -> list[Any]:
        if self._errors:
            try:
                raise self._errors[min(self._errors)]
            finally:
                self._errors.clear()  # an error refers to this frame
        return self._results


async def gather(jobs: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await coroutines beside each other, each in a task, and wait for all of them.

    A single one is awaited in place.

    Returns:
        Their results, in order.

    Raises:
        BaseException: What the first one that failed has raised. The others are cancelled, and have ended.
    """
    if len(jobs) == 1:
        return [await jobs[0]]
    tasks = [asyncio.ensure_future(job) for job in jobs]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise
