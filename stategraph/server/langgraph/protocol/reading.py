"""Events of a thread for one reader: of the runs that it has had, and of those to come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, Final

from stategraph.server.langgraph.protocol.events import ASKED, RunEvents
from stategraph.server.langgraph.protocol.numbering import number_of, run_of
from stategraph.server.langgraph.protocol.wanted import Wanted
from stategraph.server.service.port import Service
from stategraph.server.service.values import Caller, NotFoundError, RunRecord
from stategraph.workers.registry.operations import END_EVENT

#: Seconds by which ends and questions are told later. Clients have several readers of a thread, and stop all of them
#: when one has heard of the end: the others have this time to read what was before it.
_TURN_S: Final = 0.05

#: How long a reader waits for a run before it asks again whether it may.
_WAIT_S: Final = 60.0


async def thread_events(
    service: Service, caller: Caller, thread_id: str, wanted: Wanted
) -> AsyncGenerator[dict[str, Any], None]:
    """Read the events of a thread, for as long as the reader wants.

    Args:
        service: Has the runs.
        caller: Who reads.
        thread_id: The thread, which need not be there yet.
        wanted: Which events.

    Yields:
        Events in the form of the protocol.
    """
    before = run_of(wanted.since) - 1 if wanted.since else 0
    while True:
        for number, run_id in await service.threads.runs_after(caller, thread_id, before, _WAIT_S):
            before = number
            try:
                run = await service.runs.get(caller, run_id, thread_id)
                if is_told(run):
                    async with aclosing(_of_run(service, caller, run, number, wanted)) as events:
                        async for event in events:
                            yield event
            except NotFoundError:  # it was deleted
                continue


def is_told(run: RunRecord) -> bool:
    """Return whether a run has logged what this protocol tells of it."""
    return bool(run.kwargs.get("resumable") and run.kwargs.get("subgraphs"))


def graph_of(run: RunRecord) -> str:
    """Return the name of the graph of a run."""
    configurable = (run.kwargs.get("config") or {}).get("configurable") or {}
    return str(configurable.get("graph_id") or run.metadata.get("graph_id") or "")


async def _of_run(
    service: Service, caller: Caller, run: RunRecord, number: int, wanted: Wanted
) -> AsyncGenerator[dict[str, Any], None]:
    made = RunEvents(graph_of(run))
    async with aclosing(service.runs.events(caller, run.run_id)) as logged:
        async for each in logged:
            error = None
            if each.type == END_EVENT:
                error = (await service.runs.get(caller, run.run_id)).error
            if each.type == END_EVENT or (each.type.startswith("updates") and ASKED in each.data):
                await asyncio.sleep(_TURN_S)
            for place, event in enumerate(made.of(each, error)):
                seq = number_of(number, each.seq, place)
                if seq > wanted.since and wanted.has(event):
                    params = {
                        "namespace": list(event.namespace),
                        "timestamp": int(time.time() * 1000),
                        "data": event.data,
                    }
                    told = {"type": "event", "event_id": f"{run.run_id}-{each.seq}.{place}", "seq": seq}
                    yield {**told, "method": event.method, "params": params}
