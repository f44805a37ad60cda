"""Wait in a test for what happens in another process, on a server, or in a database."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import anyio

LIMIT_S = 90


async def until(fact: Callable[[], bool]) -> None:
    """Wait for a fact.

    Raises:
        TimeoutError: It did not become true.
    """
    with anyio.fail_after(LIMIT_S):
        for _ in itertools.count():
            if fact():
                return
            await anyio.sleep(0.01)
