"""The endpoints of AG-UI.

POST /agui/{assistant_id}                                    begin a run, or come back to it with `Last-Event-ID`
GET  /agui/{assistant_id}/threads/{thread_id}/runs/{run_id}  read a run, whoever began it
GET  /agui/{assistant_id}                                    what the agent can do
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from ag_ui import core
from ag_ui.core import BaseEvent, RunAgentInput
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stategraph.server.access import caller_of
from stategraph.server.agui import request as requests
from stategraph.server.agui.encoder import Encoder
from stategraph.server.projection.reading import Position, position, wire_events
from stategraph.server.service.port import Caller, ConflictError, InvalidError, NotFoundError, RunRecord, Service
from stategraph.server.turns import graphs
from stategraph.server.turns.sse import EventStream, frame


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the protocol."""
    endpoints = _Endpoints(service)
    return [
        Route("/agui/{assistant_id}", endpoints.run, methods=["POST"]),
        Route("/agui/{assistant_id}", endpoints.capabilities, methods=["GET"]),
        Route("/agui/{assistant_id}/threads/{thread_id}/runs/{run_id}", endpoints.attach, methods=["GET"]),
    ]


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def run(self, request: Request) -> Response:
        caller = caller_of(request)
        try:
            given = RunAgentInput.model_validate_json(await request.body())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "the body"
            raise InvalidError(f"No RunAgentInput: {where}: {first['msg']}") from None
        assistant_id = request.path_params["assistant_id"]
        assistant = await self._service.assistants.get(caller, assistant_id)
        after = _position(request)
        run_id = requests.run_id_of(given)
        wanted: Any = None
        record = await self._found(caller, run_id, given.thread_id)
        if record is not None:
            graphs.check_run_of(record, assistant)
        else:
            inputs = await graphs.input_names(self._service, caller, assistant_id)
            wanted = await requests.request_of(self._service, caller, assistant_id, given, inputs)
            await self._service.runs.create(caller, wanted)
        encoder = Encoder(given.thread_id, given.run_id, given.parent_run_id, is_old=given.protocol_version is None)
        cancels = wanted is not None and wanted.on_disconnect == "cancel"
        return self._stream(caller, run_id, encoder, after, cancels=cancels)

    async def attach(self, request: Request) -> Response:
        caller = caller_of(request)
        thread_id, run_id = request.path_params["thread_id"], request.path_params["run_id"]
        after = _position(request)
        assistant = await self._service.assistants.get(caller, request.path_params["assistant_id"])
        graphs.check_run_of(await self._service.runs.get(caller, run_id, thread_id), assistant)
        return self._stream(caller, run_id, Encoder(thread_id, run_id), after)

    async def capabilities(self, request: Request) -> Response:
        caller = caller_of(request)
        assistant = await self._service.assistants.get(caller, request.path_params["assistant_id"])
        found = core.AgentCapabilities(
            identity=core.IdentityCapabilities(
                name=assistant.name,
                type="stategraph",
                description=assistant.description,
                version=str(assistant.version),
            ),
            transport=core.TransportCapabilities(streaming=True, resumable=True),
            tools=core.ToolsCapabilities(supported=True, parallel_calls=True, client_provided=True),
            state=core.StateCapabilities(snapshots=True, deltas=True, persistent_state=True),
            multi_agent=core.MultiAgentCapabilities(supported=True, delegation=True),
            reasoning=core.ReasoningCapabilities(supported=True, streaming=True),
            human_in_the_loop=core.HumanInTheLoopCapabilities(
                supported=True, approvals=True, interrupts=True, approve_with_edits=True
            ),
        )
        return JSONResponse(found.model_dump(by_alias=True, mode="json"))

    async def _found(self, caller: Caller, run_id: str, thread_id: str) -> RunRecord | None:
        try:
            return await self._service.runs.get(caller, run_id, thread_id)
        except NotFoundError:
            return None

    def _stream(
        self, caller: Caller, run_id: str, encoder: Encoder, after: Position, *, cancels: bool = False
    ) -> EventStream:
        async def left() -> None:
            try:
                await self._service.runs.cancel(caller, run_id)
            except (ConflictError, NotFoundError):
                pass

        frames = _frames(self._service, caller, run_id, encoder, after)
        return EventStream(frames, left=left if cancels else None)


async def _frames(
    service: Service, caller: Caller, run_id: str, encoder: Encoder, after: Position
) -> AsyncGenerator[str, None]:
    events = service.runs.events(caller, run_id)
    async with aclosing(wire_events(events, encoder.take, after)) as wire:
        async for at, event in wire:
            yield frame(_json(event), event_id=str(at))


def _json(event: BaseEvent) -> str:
    """Return an event as JSON, with the time at which it is sent."""
    event.timestamp = int(time.time() * 1000)
    return event.model_dump_json(by_alias=True)


def _position(request: Request) -> Position:
    try:
        return position(request.headers.get("last-event-id"))
    except ValueError as error:
        raise InvalidError(str(error)) from None
