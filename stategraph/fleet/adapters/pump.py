"""Facts of frameworks that report by calling back, as a generator."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from stategraph.fleet.adapters.port import Fact

Telling = Callable[[Fact], None]


async def told(work: Callable[[Telling], Awaitable[None]]) -> AsyncGenerator[Fact]:
    """Do something, and yield what it tells meanwhile. Closing the generator cancels it.

    Args:
        work: Is given what it tells facts with, from any thread; its error is raised after what it told before.
    """
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[Fact | None] = asyncio.Queue()

    def tell(fact: Fact) -> None:
        loop.call_soon_threadsafe(queue.put_nowait, fact)

    async def do() -> None:
        try:
            await work(tell)
        finally:
            loop.call_soon(queue.put_nowait, None)  # behind what was told last

    working = asyncio.create_task(do(), name="stategraph turn of a framework")
    try:
        while (fact := await queue.get()) is not None:
            yield fact
        await working
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
