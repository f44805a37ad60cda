"""The runs of a thread as one stream: those that go on, and those that come."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final
from uuid import UUID

from stategraph.workers.eventlog import LoggedEvent, attach
from stategraph.workers.leases import ENDED, RunStatus
from stategraph.workers.registry.labelled import LabelledRun
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import UnknownRunError
from stategraph.workers.wakeups.signals import SignalKind

#: How often new runs are looked for if no signal comes, in seconds.
_LOOK_S: Final = 1.0

#: How many of the newest runs are looked at.
_NEWEST: Final = 50


def place_of(run_id: str, created_at: float) -> int:
    """Return when a run was asked for, in milliseconds since 1970: what the ids of its events begin with.

    Args:
        run_id: The run; ids that the server makes say it themselves (UUIDs of version 7, RFC 9562).
        created_at: When it was stored, in seconds since 1970, for other ids.
    """
    try:
        named = UUID(run_id)
    except ValueError:
        return int(created_at * 1000)
    return named.int >> 80 if named.version == 7 else int(created_at * 1000)


async def followed(
    registry: RunRegistry, thread_id: str, queue: str = "default", after: tuple[int, int] | None = None
) -> AsyncGenerator[tuple[LabelledRun, LoggedEvent], None]:
    """Read the events of a thread's runs, one run after the other, without an end.

    Args:
        registry: Where the runs are.
        thread_id: The thread.
        queue: The queue of its runs.
        after: The last event that the reader has: when its run was asked for, in milliseconds, and its number. None:
            what happens from now on.

    Yields:
        Each event with its run.
    """
    known: set[str] = set()
    if after is None:
        known.update(run.info.run_id for run in await _newest(registry, thread_id) if run.info.status in ENDED)
    with registry.bus.watch([(SignalKind.WORK, queue)]) as wakes:
        first = True
        while True:
            found = await _begun(registry, thread_id, known)
            # Before any of them is read: the last one may have begun when the first one ends.
            starts = [(run, await _start(registry, run, after, first)) for run in reversed(found)]
            for run, start in starts:
                known.add(run.info.run_id)
                if start is None:
                    continue
                async with aclosing(_events(registry, run, start)) as events:
                    async for event in events:
                        yield run, event
            first = False
            if not found:
                await wakes.wait(_LOOK_S)


async def _begun(registry: RunRegistry, thread_id: str, known: set[str]) -> list[LabelledRun]:
    """Return runs that are not known yet, the newest first; not those that are scheduled, which others overtake."""
    found = [run for run in await _newest(registry, thread_id) if run.info.run_id not in known]
    if any(run.info.status is RunStatus.PENDING for run in found):
        later = await registry.labelled.scheduled(thread_id)
        found = [run for run in found if run.info.run_id not in later]
    return found


async def _newest(registry: RunRegistry, thread_id: str) -> list[LabelledRun]:
    return await registry.labelled.of_thread(thread_id, limit=_NEWEST)


async def _start(registry: RunRegistry, run: LabelledRun, after: tuple[int, int] | None, first: bool) -> int | None:
    """Return the number after which a run is read; None: not at all."""
    if after is None:
        return await registry.labelled.last_seq(run.info.run_id) if first else 0
    last, seq = after
    place = place_of(run.info.run_id, run.info.created_at)
    return None if place < last else seq if place == last else 0


async def _events(registry: RunRegistry, run: LabelledRun, start: int) -> AsyncGenerator[LoggedEvent, None]:
    try:
        async for event in attach(registry, run.info.run_id, start):
            yield event
    except UnknownRunError:  # it was deleted meanwhile
        return
