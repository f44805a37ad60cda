"""The API of the console. Every request has the token; changes are refused unless the server was started for them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from stategraph.dev.changes import Changes
from stategraph.dev.console import access
from stategraph.dev.console.console import Console
from stategraph.dev.console.runs import Run
from stategraph.dev.following import Write, frame, send_frames
from stategraph.dev.replies import RefusedError, body_of, number_of, reply, text_of
from stategraph.resources.model import ResourceKey


def console_of(request: Request) -> Console:
    """Return the console of the server, once the request has shown the token.

    Raises:
        RefusedError: There is none, or the request has no token.
    """
    console: Console | None = request.app.state.console
    if console is None:
        raise RefusedError(404, "This server was started without resources: start it with --resources")
    access.check(request, console.token)
    return console


async def overview(request: Request) -> Response:
    """Return all resources, in rows."""
    return reply(await console_of(request).overview())


async def described(request: Request) -> Response:
    """Return one resource, with what is around it."""
    return reply(await console_of(request).described(_key(request)))


async def changes(request: Request) -> Response:
    """Tell each change, until the reader leaves."""
    console = console_of(request)

    async def told(write: Write) -> None:
        async with aclosing(console.changes()) as found:
            async for each in found:
                await write(frame("change", each))

    return _Frames(request, told)


async def applied(request: Request) -> Response:
    """Apply the manifests in `text`."""
    console = console_of(request)
    body = await body_of(request, "text")
    return reply({"applied": await console.apply(text_of(body, "text"))})


async def deleted(request: Request) -> Response:
    """Delete a resource."""
    await console_of(request).delete(_key(request))
    return Response(status_code=204)


async def begun(request: Request) -> Response:
    """Begin a run with `input`."""
    console = console_of(request)
    body = await body_of(request, "input")
    return reply({"run": await console.begin(_key(request), body.get("input"))}, 201)


async def run_events(request: Request) -> Response:
    """Tell the events of a run behind the number `after`, until it ends or waits."""
    run = _run(request)
    after = number_of(request, "after", 0, 10**6) or 0

    async def told(write: Write) -> None:
        async with aclosing(run.after(after)) as found:
            async for each in found:
                await write(frame("run", each))

    return _Frames(request, told)


async def answered(request: Request) -> Response:
    """Answer a run that waits with `answer`."""
    console = console_of(request)
    console.check_writes()
    body = await body_of(request, "answer")
    console.runs.answer(_run(request), body.get("answer"))
    return reply({"run": request.path_params["run_id"]})


async def stopped(request: Request) -> Response:
    """Stop a run."""
    console = console_of(request)
    console.check_writes()
    console.runs.stop(_run(request))
    return Response(status_code=204)


def _run(request: Request) -> Run:
    return console_of(request).runs.get(request.path_params["run_id"])


def _key(request: Request) -> ResourceKey:
    asked = request.path_params
    namespace = asked["namespace"]
    return ResourceKey(asked["kind"], "" if namespace == "-" else namespace, asked["name"])


class _Frames(Response):
    """An event stream."""

    def __init__(self, request: Request, told: Callable[[Write], Awaitable[None]]) -> None:
        super().__init__()
        self._changes: Changes = request.app.state.changes
        self._told = told

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream."""
        await send_frames(receive, send, self._changes, self._told)


_ONE = "/api/resources/{kind}/{namespace}/{name}"

routes: list[Any] = [
    Route("/api/resources", overview),
    Route("/api/resources", applied, methods=["POST"]),
    Route("/api/resources/changes", changes),
    Route("/api/resources/runs/{run_id}/events", run_events),
    Route("/api/resources/runs/{run_id}/answer", answered, methods=["POST"]),
    Route("/api/resources/runs/{run_id}/stop", stopped, methods=["POST"]),
    Route(_ONE, described),
    Route(_ONE, deleted, methods=["DELETE"]),
    Route(f"{_ONE}/runs", begun, methods=["POST"]),
]
