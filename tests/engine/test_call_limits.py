"""How many called tasks work at once is the caller's `max_concurrency`."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from typing import Any

from stategraph import entrypoint, task
from stategraph.engine.runs import task_calls


class Count:
    """How many are inside now, and the most there ever were."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.inside = 0
        self.most = 0

    def __enter__(self) -> None:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self.inside -= 1


def test_sync_calls_keep_to_the_limit_and_a_call_within_a_call_needs_no_place_of_its_own() -> None:
    count, pair = Count(), threading.Barrier(2, timeout=10)

    @task
    def inner(x: int) -> int:
        return x * 10

    @task
    def outer(x: int) -> int:
        with count:
            pair.wait()
            return inner(x).result()

    @entrypoint()
    def main(xs: list[int]) -> list[int]:
        return [future.result() for future in [outer(x) for x in xs]]

    assert main.invoke([1, 2, 3, 4], {"max_concurrency": 2}) == [10, 20, 30, 40]
    assert count.most == 2


def test_async_calls_keep_to_the_limit_and_a_call_within_a_call_needs_no_place_of_its_own() -> None:
    count = Count()

    @task
    async def inner(x: int) -> int:
        return x * 10

    @task
    async def outer(x: int) -> int:
        with count:
            for _ in range(5):
                await asyncio.sleep(0)
            return await inner(x)

    @entrypoint()
    async def main(xs: list[int]) -> list[int]:
        return await asyncio.gather(*[outer(x) for x in xs])

    assert asyncio.run(main.ainvoke([1, 2, 3, 4], {"max_concurrency": 2})) == [10, 20, 30, 40]
    assert count.most == 2


def test_without_a_limit_all_calls_work_at_once() -> None:
    together = threading.Barrier(4, timeout=10)

    @task
    def outer(x: int) -> int:
        together.wait()
        return x

    @entrypoint()
    def main(xs: list[int]) -> list[int]:
        return [future.result() for future in [outer(x) for x in xs]]

    assert main.invoke([1, 2, 3, 4]) == [1, 2, 3, 4]


def test_what_a_call_comes_to_is_dropped_if_its_caller_has_given_it_up() -> None:
    async def main() -> None:
        futures: list[Any] = [asyncio.get_running_loop().create_future(), Future()]
        for future in futures:
            future.cancel()
            for value, error in ((1, None), (None, ValueError("late")), (None, asyncio.CancelledError())):
                task_calls._answer(future, value, error)
            assert future.cancelled()

    asyncio.run(main())
