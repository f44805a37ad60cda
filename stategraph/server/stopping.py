"""The end of a server: nothing begins any more, and what goes on has some time to come to its end."""

from __future__ import annotations

import asyncio
from typing import Final

from stategraph.dev.conversations import Conversations

#: Seconds that runs have to notice that they were stopped.
_NOTICE_S: Final = 5.0

STOPPED: Final = "The server was stopped"


async def ended(conversations: Conversations, drain_s: float, hurry: asyncio.Event) -> int:
    """Wait until no run goes on, then stop those that still do; their threads can be continued by the next server.

    Args:
        conversations: The conversations.
        drain_s: Seconds that runs have.
        hurry: Ends the waiting.

    Returns:
        How many runs were stopped.
    """
    waits = [asyncio.create_task(_idle(conversations)), asyncio.create_task(hurry.wait())]
    try:
        await asyncio.wait(waits, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    left = conversations.going_on()
    for run in list(conversations.runtime.runs) if left else ():
        run.abort(STOPPED)
    if left:
        await asyncio.wait(left, timeout=_NOTICE_S)  # a tool in a thread may go on
    return len(left)


async def _idle(conversations: Conversations) -> None:
    while tasks := conversations.going_on():
        await asyncio.wait(tasks)
