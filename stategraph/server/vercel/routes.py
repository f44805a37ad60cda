"""The endpoints of the UI message stream, as `DefaultChatTransport` and `useChat` call them.

    POST /vercel/{assistant_id}                    send messages, read the answer
    GET  /vercel/{assistant_id}/{chat_id}          the messages of the chat, for a page that is loaded again
    GET  /vercel/{assistant_id}/{chat_id}/stream   read the answer that is being given, from its start; 204 if none is
    POST /vercel/{assistant_id}/{chat_id}/stop     stop it

The chat is a thread. Each run of it is one message of the user interface.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph.run.json_safe import to_json
from stategraph.server.access import caller_of
from stategraph.server.projection.reading import START, Position, position, wire_events
from stategraph.server.service.port import (
    Caller,
    ConflictError,
    InvalidError,
    NotFoundError,
    RunRecord,
    Service,
)
from stategraph.server.turns import conversation, graphs
from stategraph.server.turns.forms import Fields
from stategraph.server.turns.sse import EventStream, frame
from stategraph.server.vercel import messages
from stategraph.server.vercel import request as requests
from stategraph.server.vercel.encoder import Encoder

#: Checkpoints of the run that goes on, at most: the state before it is behind them.
_FURTHEST: Final = 200

_HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the protocol."""
    endpoints = _Endpoints(service)
    return [
        Route("/vercel/{assistant_id}", endpoints.send, methods=["POST"]),
        Route("/vercel/{assistant_id}/{chat_id}", endpoints.messages, methods=["GET"]),
        Route("/vercel/{assistant_id}/{chat_id}/stream", endpoints.reconnect, methods=["GET"]),
        Route("/vercel/{assistant_id}/{chat_id}/stop", endpoints.stop, methods=["POST"]),
    ]


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def send(self, request: Request) -> Response:
        caller, assistant_id = caller_of(request), request.path_params["assistant_id"]
        try:
            body = orjson.loads(await request.body())  # refuses half of a character, which is in no encoding
        except ValueError:
            raise InvalidError("The body is no JSON") from None
        given = requests.read(body)
        inputs = await graphs.input_names(self._service, caller, assistant_id)
        wanted = await requests.request_of(self._service, caller, assistant_id, given, inputs)
        record = await self._service.runs.create(caller, wanted)
        return self._stream(caller, record.run_id, wanted.metadata, cancels=wanted.on_disconnect == "cancel")

    async def messages(self, request: Request) -> Response:
        caller, chat_id = caller_of(request), request.path_params["chat_id"]
        active = await self._active(caller, request)
        told = None
        if active is not None:
            states = await self._service.threads.history(caller, chat_id, limit=_FURTHEST)
            told = messages.before(states, active.run_id)
        found = messages.written(await conversation.state_of(self._service, caller, chat_id), told)
        about = {} if active is None else _kept(active.metadata)
        if about.get("is_continued") and found and found[-1]["role"] == "assistant":
            found[-1]["id"] = about["message_id"]  # the stream goes on with that message
        answer = {"id": chat_id, "messages": found, "isActive": active is not None}
        return Response(to_json(answer), media_type="application/json", headers={"Cache-Control": "no-store"})

    async def reconnect(self, request: Request) -> Response:
        caller = caller_of(request)
        record = await self._active(caller, request)
        if record is None:
            return Response(status_code=204)
        try:
            after = position(request.headers.get("last-event-id"))
        except ValueError as error:
            raise InvalidError(str(error)) from None
        return self._stream(caller, record.run_id, record.metadata, after)

    async def stop(self, request: Request) -> Response:
        caller = caller_of(request)
        record = await self._active(caller, request)
        if record is not None:
            await self._cancel(caller, record.run_id)
        return Response(status_code=204)

    async def _active(self, caller: Caller, request: Request) -> RunRecord | None:
        """Return the run of an assistant that is executed on a thread, or is to be; None: there is none.

        Raises:
            NotFoundError: There is no such assistant.
        """
        assistant = await self._service.assistants.get(caller, request.path_params["assistant_id"])
        try:
            found = await self._service.runs.list(caller, request.path_params["chat_id"])
        except NotFoundError:
            return None
        own = (each for each in found if each.assistant_id == assistant.assistant_id)
        return next((each for each in own if each.status in ("pending", "running")), None)

    async def _cancel(self, caller: Caller, run_id: str) -> None:
        try:
            await self._service.runs.cancel(caller, run_id)
        except (ConflictError, NotFoundError):
            pass

    def _stream(
        self,
        caller: Caller,
        run_id: str,
        metadata: Fields,
        after: Position = START,
        *,
        cancels: bool = False,
    ) -> EventStream:
        async def left() -> None:
            await self._cancel(caller, run_id)

        about = _kept(metadata)
        encoder = Encoder(
            str(about.get("message_id") or f"msg-{run_id}"),
            is_continued=bool(about.get("is_continued")),
            denied=about.get("denied") or (),
        )
        frames = _frames(self._service, caller, run_id, encoder, after)
        return EventStream(frames, headers=_HEADERS, left=left if cancels else None)


def _kept(metadata: Fields) -> Fields:
    """Return what a request left in the metadata of its run."""
    kept = metadata.get(requests.KEPT)
    return kept if isinstance(kept, Mapping) else {}


async def _frames(
    service: Service, caller: Caller, run_id: str, encoder: Encoder, after: Position
) -> AsyncGenerator[str, None]:
    events = service.runs.events(caller, run_id)
    async with aclosing(wire_events(events, encoder.take, after)) as wire:
        async for at, chunk in wire:
            yield frame(to_json(chunk), event_id=str(at))
    yield frame("[DONE]")
