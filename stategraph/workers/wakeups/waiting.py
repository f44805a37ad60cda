"""Wait for whichever of several things comes first."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


async def until_first(*waits: Coroutine[Any, Any, object], timeout_s: float | None = None) -> None:
    """Wait until one of several coroutines ends, and cancel the others.

    Args:
        *waits: The coroutines.
        timeout_s: The longest time to wait, in seconds; None: no limit.

    Raises:
        Exception: One of them failed; of several errors that of the first in their order.
    """
    tasks = [asyncio.ensure_future(each) for each in waits]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    for result in ended:
        if isinstance(result, Exception):
            raise result
