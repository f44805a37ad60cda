"""The routes of runs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph.dev.replies import as_number
from stategraph.server.langgraph import bodies, checks, frames, schemas, wire
from stategraph.server.langgraph.frames import Frames
from stategraph.server.langgraph.stream import FrameStream
from stategraph.server.service.port import (
    Caller,
    ConflictError,
    InvalidError,
    NotFoundError,
    RunRecord,
    Service,
)

#: Keeps the connection of a client that waits for JSON, which may begin with blanks.
_BLANK: Final = b"\n"

_NOTHING_TO_CANCEL: Final = (
    "No matching runs to cancel. Please verify the thread ID and run IDs are correct, and the runs haven't been "
    "deleted or completed."
)


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of runs."""
    own = RunRoutes(service)
    of_thread, of_run = "/threads/{thread_id}/runs", "/threads/{thread_id}/runs/{run_id}"
    found: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("POST", "/runs", own.create),
        ("POST", "/runs/stream", own.stream),
        ("POST", "/runs/wait", own.wait),
        ("POST", "/runs/batch", own.create_many),
        ("POST", "/runs/cancel", own.cancel_many),
        ("GET", "/runs/{run_id}", own.get),
        ("GET", "/runs/{run_id}/stream", own.join_stream),
        ("GET", "/runs/{run_id}/join", own.join),
        ("GET", "/threads/{thread_id}/stream", own.follow),
        ("POST", of_thread, own.create),
        ("GET", of_thread, own.list),
        ("POST", f"{of_thread}/stream", own.stream),
        ("POST", f"{of_thread}/wait", own.wait),
        ("GET", of_run, own.get),
        ("DELETE", of_run, own.delete),
        ("GET", f"{of_run}/join", own.join),
        ("GET", f"{of_run}/stream", own.join_stream),
        ("POST", f"{of_run}/cancel", own.cancel),
    ]
    return [Route(path, endpoint, methods=[method]) for method, path, endpoint in found]


class RunRoutes:
    """The endpoints of runs.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._runs = service.runs

    async def create(self, request: Request) -> Response:
        """Begin a run and return at once."""
        run, _ = await self._begun(request)
        return wire.answer(wire.record(run), headers={"Content-Location": _place(run, _thread(request))})

    async def create_many(self, request: Request) -> Response:
        """Begin several runs."""
        body = await wire.body_of(request)
        if not isinstance(body, list) or not body:
            raise InvalidError("The body is no list of runs")
        asked = [bodies.request_of(each, each.get("thread_id") if isinstance(each, dict) else None) for each in body]
        return wire.answer([wire.record(run) for run in await self._runs.create_many(wire.caller_of(request), asked)])

    async def stream(self, request: Request) -> Response:
        """Begin a run, and stream it."""
        run, left = await self._begun(request)
        caller = wire.caller_of(request)
        place = _place(run, _thread(request))
        made = Frames(run, run.kwargs["stream_mode"], ids=bool(run.kwargs["resumable"]))
        return FrameStream(
            self._told(caller, run, made, 0), left, headers={"Location": f"{place}/stream", "Content-Location": place}
        )

    async def wait(self, request: Request) -> Response:
        """Begin a run, and return its values at the end."""
        run, left = await self._begun(request)
        return self._output(wire.caller_of(request), run, left)

    async def list(self, request: Request) -> Response:
        """List the runs of a thread."""
        asked = request.query_params
        found = await self._runs.list(
            wire.caller_of(request),
            bodies.uuid_of(request.path_params["thread_id"]),
            status=asked.get("status"),
            limit=_number(asked.get("limit"), "limit", 10),
            offset=_number(asked.get("offset"), "offset", 0),
        )
        records = [wire.record(run) for run in found]
        if chosen := asked.getlist("select"):
            records = [{name: each[name] for name in chosen if name in each} for each in records]
        return wire.answer(records)

    async def get(self, request: Request) -> Response:
        """Return a run."""
        try:
            return wire.answer(wire.record(await self._found(request)))
        except NotFoundError:
            raise NotFoundError("Not Found") from None

    async def delete(self, request: Request) -> Response:
        """Delete a run."""
        run = await self._found(request)
        await self._runs.delete(wire.caller_of(request), run.run_id)
        return Response(status_code=204)

    async def join(self, request: Request) -> Response:
        """Return the values of a run at its end."""
        run = await self._found(request)
        caller = wire.caller_of(request)
        leaves = _flag(request.query_params.get("cancel_on_disconnect"))
        return self._output(caller, run, partial(self._stop, caller, run) if leaves else None)

    async def join_stream(self, request: Request) -> Response:
        """Stream a run from an event on; without one, what happens from now on."""
        run = await self._found(request)
        caller = wire.caller_of(request)
        asked = request.query_params
        chosen = [mode for mode in asked.getlist("stream_mode") if mode]
        modes = bodies.modes_of(chosen or list(run.kwargs["stream_mode"]))
        last = next((each for each in _last_id(request) if each is not None), None)
        after = frames.last_seq(last)
        made = Frames(run, modes, ids=bool(run.kwargs["resumable"]), begins=not chosen)
        place = _place(run, _thread(request))
        leaves = _flag(asked.get("cancel_on_disconnect"))
        return FrameStream(
            self._told(caller, run, made, after),
            partial(self._stop, caller, run) if leaves else None,
            headers={"Location": f"{place}/stream", "Content-Location": place},
        )

    async def follow(self, request: Request) -> Response:
        """Stream all runs of a thread, those that come too."""
        thread_id = bodies.uuid_of(request.path_params["thread_id"])
        last = next((each for each in _last_id(request) if each is not None), None)
        caller = wire.caller_of(request)
        await self._runs.list(caller, thread_id, limit=1)  # an error is told before the stream begins
        lifecycle = {mode for mode in request.query_params.getlist("stream_mode") if mode} == {"lifecycle"}
        return FrameStream(self._followed(caller, thread_id, frames.last_place(last), lifecycle))

    async def cancel(self, request: Request) -> Response:
        """Stop a run."""
        wait = _flag(request.query_params.get("wait"))
        try:
            run = await self._found(request)
        except NotFoundError:
            raise NotFoundError("No runs found to cancel.") from None
        try:
            await self._runs.cancel(wire.caller_of(request), run.run_id, action=_action(request), wait=wait)
        except ConflictError:
            raise NotFoundError(_NOTHING_TO_CANCEL) from None
        return wire.answer({}, 200 if wait else 202)

    async def cancel_many(self, request: Request) -> Response:
        """Stop several runs."""
        body = await checks.body_of(request, schemas.RUNS_CANCEL, optional=True)
        await self._runs.cancel_many(
            wire.caller_of(request),
            thread_id=body.get("thread_id"),
            run_ids=body.get("run_ids"),
            status=body.get("status"),
            action=_action(request),
        )
        return Response(status_code=204)

    # Helpers.

    async def _begun(self, request: Request) -> tuple[RunRecord, Callable[[], Awaitable[object]] | None]:
        """Begin the run that a body asks for; return what is to be done if its reader leaves, too."""
        asked = bodies.request_of(await wire.body_of(request), _thread(request))
        caller = wire.caller_of(request)
        run = await self._runs.create(caller, asked)
        return run, partial(self._stop, caller, run) if asked.on_disconnect == "cancel" else None

    async def _found(self, request: Request) -> RunRecord:
        thread_id = _thread(request)
        return await self._runs.get(
            wire.caller_of(request),
            bodies.uuid_of(request.path_params["run_id"]),
            None if thread_id is None else bodies.uuid_of(thread_id),
        )

    async def _stop(self, caller: Caller, run: RunRecord) -> None:
        """Stop a run whose reader has left."""
        try:
            await self._runs.cancel(caller, run.run_id)
        except (ConflictError, NotFoundError):
            return

    async def _told(
        self, caller: Caller, run: RunRecord, made: Frames, after: int | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield the frames of a run after an event; None: those that come from now on."""
        start = after if after is not None else await self._runs.last_seq(caller, run.run_id)
        async with aclosing(self._runs.events(caller, run.run_id, start)) as events:
            async for event in events:
                if told := made.of(event):
                    yield told
                elif frames.is_failed(event):
                    yield made.failed(await self._runs.get(caller, run.run_id))

    async def _followed(
        self, caller: Caller, thread_id: str, after: tuple[int, int] | None, lifecycle: bool
    ) -> AsyncGenerator[bytes, None]:
        made: Frames | None = None
        async with aclosing(self._runs.follow(caller, thread_id, after)) as events:
            async for run, event in events:
                if made is None or made.run_id != run.run_id:
                    made = Frames(run, () if lifecycle else run.kwargs["stream_mode"], ids=True, ends=True)
                if told := made.of(event):
                    yield told

    def _output(self, caller: Caller, run: RunRecord, left: Callable[[], Awaitable[object]] | None) -> Response:
        place = _place(run, run.thread_id)
        return FrameStream(
            self._waited(caller, run),
            left,
            media_type="application/json",
            alive=_BLANK,
            headers={"Location": f"{place}/join", "Content-Location": place},
        )

    async def _waited(self, caller: Caller, run: RunRecord) -> AsyncGenerator[bytes, None]:
        ended, values = await self._runs.outcome(caller, run.run_id)
        if ended.status in ("error", "timeout"):
            yield wire.encode({"__error__": frames.error_of(ended)})
        else:
            yield wire.encode(_values(values))


def _values(output: Any) -> Any:
    """Return the output of a run; if it asks several questions, these alone, as LangGraph's server does."""
    asked = output.get("__interrupt__", ()) if isinstance(output, dict) else ()
    return {"__interrupt__": asked} if len(asked) > 1 else output


def _place(run: RunRecord, thread_id: str | None) -> str:
    return f"/runs/{run.run_id}" if thread_id is None else f"/threads/{run.thread_id}/runs/{run.run_id}"


def _thread(request: Request) -> str | None:
    thread_id: str | None = request.path_params.get("thread_id")
    return thread_id


def _last_id(request: Request) -> tuple[str | None, ...]:
    """Return where a client may say which event it has last."""
    asked = request.query_params
    return request.headers.get("last-event-id"), asked.get("last_event_id"), asked.get("since")


def _action(request: Request) -> Any:
    action = request.query_params.get("action") or "interrupt"
    if action not in ("interrupt", "rollback"):
        raise InvalidError(f"action is {action!r}; expected interrupt or rollback")
    return action


def _flag(text: str | None) -> bool:
    return (text or "").lower() in ("1", "true", "yes")


def _number(text: str | None, name: str, default: int) -> int:
    if text is None:
        return default
    number = as_number(text)
    if number is None:
        raise InvalidError(f"{name} is {text!r:.40}; expected a number of 0 or more")
    return number
