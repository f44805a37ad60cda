"""The end of a server: nothing begins any more, and what goes on has some time to come to its end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import anyio
from starlette.applications import Starlette

from stategraph.dev.conversations import Conversations
from stategraph.run.pauses import Pause
from stategraph.run.run import Run
from stategraph.run.threads import keeping
from stategraph.run.threads.indexes import index_of
from stategraph.run.threads.rules import Row, Stored
from stategraph.server.hosting import Opened

#: Seconds that runs have to notice that they were stopped.
_NOTICE_S: Final = 5.0

#: Seconds between two looks at how many runs go on.
_LOOK_S: Final = 0.05

STOPPED: Final = "The server was stopped"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The runs that a server stopped.

    Attributes:
        runs: How many runs.
        unfinished: How many of their threads can be continued.
    """

    runs: int
    unfinished: int


async def at_the_end(app: Starlette, drain_s: float, hurry: asyncio.Event, say: Callable[[str], None]) -> None:
    """Let runs come to their end, then stop those that still go on, and end the event streams.

    Args:
        app: The server; nothing begins in it any more.
        drain_s: Seconds that runs have.
        hurry: Ends the waiting.
        say: Is told what a person should know.
    """
    if app.state.announcer is not None:
        await app.state.announcer.withdraw()
    conversations, found = app.state.conversations, app.state.opened
    number = (0 if conversations is None else len(conversations.going_on())) + (0 if found is None else found.busy())
    if number:
        runs = "a run has" if number == 1 else f"{number} runs have"
        say(f"Stopping: {runs} {drain_s:g} s to come to an end; a second signal stops at once.")
    waiting = [] if conversations is None else [ended(conversations, drain_s, hurry)]
    if found is not None:
        waiting.append(_drained(found, drain_s, hurry))
    for stopped in await asyncio.gather(*waiting):
        if stopped is not None:
            say(f"Runs that were stopped: {stopped.runs}. Threads that can be continued: {stopped.unfinished}.")
    app.state.changes.close()
    app.state.streams.end()


async def _drained(found: Opened, drain_s: float, hurry: asyncio.Event) -> Stopped | None:
    """Wait until this process executes no run of the registry, then give back those that are left."""
    found.drain()
    with anyio.move_on_after(drain_s):
        while found.busy():
            with anyio.move_on_after(_LOOK_S):
                await hurry.wait()
                break
    left = found.busy()
    if not left:
        return None
    found.stop()
    return Stopped(left, left)


async def ended(conversations: Conversations, drain_s: float, hurry: asyncio.Event) -> Stopped | None:
    """Wait until no run goes on, then stop those that still do; the next server continues their threads.

    Args:
        conversations: The conversations.
        drain_s: Seconds that runs have.
        hurry: Ends the waiting.

    Returns:
        What was stopped; None: nothing.
    """
    waits = [asyncio.create_task(_idle(conversations)), asyncio.create_task(hurry.wait())]
    try:
        await asyncio.wait(waits, timeout=drain_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    left = conversations.going_on()
    if not left:
        return None
    savers = [(run, await _stop(conversations, run)) for run in conversations.runtime.runs if run.running]
    await asyncio.wait(left, timeout=_NOTICE_S)  # a tool in a thread may go on
    unfinished = [await _is_unfinished(conversations, run, saver) for run, saver in savers]
    return Stopped(len(left), sum(unfinished))


async def _stop(conversations: Conversations, run: Run) -> Any:
    """Stop a run, and return its saver.

    A run that is stopped ends the turn on its thread, so that a new one can begin. One that can be continued gets a
    graph without a saver for that: its thread is left at the last step that is stored, as by a process that died.
    """
    graph = run.graph.compiled
    if run.thread_id is not None and (await conversations.waiting(run.thread_id)).unfinished:
        run.graph.compiled = graph.copy({"checkpointer": None})
    run.abort(STOPPED)
    return graph.checkpointer


async def _is_unfinished(conversations: Conversations, run: Run, saver: Any) -> bool:
    """Return whether the thread of a run that was stopped can be continued, and have the index say so."""
    if run.thread_id is None:
        return False
    pause = await conversations.waiting(run.thread_id)
    index = index_of(saver)
    if pause.unfinished and index.keeps:
        await keeping.change(index, run.thread_id, lambda row: _left(row, pause))
    return pause.unfinished


def _left(row: Row | None, pause: Pause) -> Row | None:
    """Return a thread that its run has left; None: it holds it still, and its time runs out with the process."""
    if row is None or row.holder is not None:
        return None
    status: Stored = "interrupted" if pause.interrupts else "running"  # a thread that runs, and is held by no run
    return replace(row, status=status)


async def _idle(conversations: Conversations) -> None:
    while tasks := conversations.going_on():
        await asyncio.wait(tasks)
