"""Runs: looked at, read, stopped."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from stategraph.dev.replies import as_number, number_of, reply
from stategraph.dev.routes.threads import conversations_of
from stategraph.run.events.run_log import sse


async def read(request: Request) -> Response:
    """Return a run of this process: how it goes or how it ended, what it waits for, what it has used."""
    return reply(await conversations_of(request).read(request.path_params["run_id"]))


async def events(request: Request) -> Response:
    """Stream the events of one run until its execution ends, as `AgentRuntime.attach` yields them."""
    runtime, run_id = conversations_of(request).runtime, request.path_params["run_id"]
    seq = number_of(request, "after_seq", 0, 2**53)
    if (last := as_number(request.headers.get("last-event-id", ""))) is not None:
        seq = last
    runtime.runs.known(run_id)
    frames = sse(runtime.runs.events(run_id, seq))
    return StreamingResponse(frames, media_type="text/event-stream", headers={"Cache-Control": "no-store"})


async def stopped(request: Request) -> Response:
    """Stop a run; one that has ended already is left as it is."""
    return reply({"stopped": await conversations_of(request).stop(request.path_params["run_id"])}, 202)


routes = [
    Route("/api/runs/{run_id}", read),
    Route("/api/runs/{run_id}/events", events),
    Route("/api/runs/{run_id}/stop", stopped, methods=["POST"]),
]
