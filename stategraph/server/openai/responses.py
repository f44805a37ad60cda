"""Endpoints of `/v1/responses`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stategraph.run.json_safe import to_json
from stategraph.server.access import caller_of
from stategraph.server.openai import creating, ids, items
from stategraph.server.openai.errors import BadRequestError, json_of
from stategraph.server.openai.events import Encoder
from stategraph.server.projection.reading import wire_events
from stategraph.server.service.port import Caller, ConflictError, NotFoundError, RunRecord, Service
from stategraph.server.turns.forms import Fields, Json
from stategraph.server.turns.sse import EventStream, frame


class Responses:
    """The endpoints.

    Args:
        service: Has the runs.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, request: Request) -> Response:
        """Begin a response; answer with it at its end, with its events, or at once if it is in the background."""
        caller, body = caller_of(request), await json_of(request)
        wanted = await creating.wanted_of(self._service, caller, body)
        await self._service.runs.create(caller, wanted.request)
        encoder = _encoder(wanted.kept)
        run_id = wanted.request.run_id
        if wanted.is_streamed:
            return self._stream(caller, run_id, encoder, stays=wanted.is_background)
        if wanted.is_background:
            return JSONResponse(encoder.response)
        return JSONResponse(await self._whole(caller, run_id, encoder))

    async def retrieve(self, request: Request) -> Response:
        """Answer with a response as it is now, or with its events, those after `starting_after`."""
        caller = caller_of(request)
        record = await self._record(caller, request.path_params["response_id"])
        encoder = _encoder(_kept(record))
        query = request.query_params
        if query.get("stream") == "true":
            try:
                after = int(query.get("starting_after", "-1"))
            except ValueError:
                raise BadRequestError("'starting_after' is no number", "starting_after") from None
            return self._stream(caller, record.run_id, encoder, after, stays=True)
        if record.status in ("pending", "running"):
            return JSONResponse(
                {**encoder.response, "status": "queued" if record.status == "pending" else "in_progress"}
            )
        return JSONResponse(await self._whole(caller, record.run_id, encoder))

    async def cancel(self, request: Request) -> Response:
        """Stop a response and answer with it; one that has ended stays as it is."""
        caller = caller_of(request)
        record = await self._record(caller, request.path_params["response_id"])
        try:
            await self._service.runs.cancel(caller, record.run_id, wait=True)
        except ConflictError:
            pass
        return JSONResponse(await self._whole(caller, record.run_id, _encoder(_kept(record))))

    async def delete(self, request: Request) -> Response:
        """Delete a response; the conversation keeps its messages."""
        caller = caller_of(request)
        record = await self._record(caller, request.path_params["response_id"])
        await self._service.runs.delete(caller, record.run_id)
        return JSONResponse({"id": ids.response_id(record.run_id), "object": "response", "deleted": True})

    async def input_items(self, request: Request) -> Response:
        """List the items that a response was asked for with."""
        caller = caller_of(request)
        record = await self._record(caller, request.path_params["response_id"])
        given = _kept(record).get("input") or []
        found = [item for message in items.read(given) for item in items.write(message)]
        for number, each in enumerate(found):
            each["id"] = (
                each["id"] if any(one.get("id") == each["id"] for one in given) else f"msg_{record.run_id}_{number}"
            )
        return JSONResponse(page_of(found, request))

    async def _record(self, caller: Caller, response_id: str) -> RunRecord:
        try:
            record = await self._service.runs.get(caller, ids.run_id(response_id))
        except NotFoundError:
            record = None
        if record is None or not creating.is_stored(record):
            raise NotFoundError(f"Response with id '{response_id}' not found.")
        return record

    async def _whole(self, caller: Caller, run_id: str, encoder: Encoder) -> Json:
        async with aclosing(self._service.runs.events(caller, run_id)) as events:
            async for event in events:
                encoder.take(event)
        return encoder.response

    def _stream(
        self, caller: Caller, run_id: str, encoder: Encoder, after: int = -1, *, stays: bool = False
    ) -> EventStream:
        async def left() -> None:
            try:
                await self._service.runs.cancel(caller, run_id)
            except (ConflictError, NotFoundError):
                pass

        frames = _frames(self._service, caller, run_id, encoder, after)
        return EventStream(frames, left=None if stays else left)


async def _frames(
    service: Service, caller: Caller, run_id: str, encoder: Encoder, after: int
) -> AsyncGenerator[str, None]:
    async with aclosing(wire_events(service.runs.events(caller, run_id), encoder.take)) as wire:
        async for _, event in wire:
            if event["sequence_number"] > after:
                yield frame(to_json(event), event=event["type"])


def _kept(record: RunRecord) -> Fields:
    """Return what a run keeps of its request; of one that another protocol began what a response needs."""
    found = record.metadata.get(creating.KEPT)
    if isinstance(found, Mapping):
        return found
    about = creating.fields_of(record)
    return {"response": about}


def _encoder(kept: Fields) -> Encoder:
    return Encoder(kept["response"], kept.get("client_tools") or (), kept.get("answered"))


def page_of(found: list[Json], request: Request) -> Json:
    """Return a page of a list of items, in the order and after the item that the query names.

    Raises:
        BadRequestError: The query makes no sense.
    """
    query = request.query_params
    try:
        limit = int(query.get("limit", "20"))
    except ValueError:
        limit = 0
    if not 1 <= limit <= 100:
        raise BadRequestError("'limit' is no number from 1 to 100", "limit")
    order = query.get("order", "desc")
    if order not in ("asc", "desc"):
        raise BadRequestError("'order' is neither asc nor desc", "order")
    ordered = found if order == "asc" else found[::-1]
    if after := query.get("after"):
        places = [number for number, each in enumerate(ordered) if each["id"] == after]
        if not places:
            raise BadRequestError(f"No item has the id '{after}'", "after")
        ordered = ordered[places[0] + 1 :]
    shown = ordered[:limit]
    return {
        "object": "list",
        "data": shown,
        "first_id": shown[0]["id"] if shown else None,
        "last_id": shown[-1]["id"] if shown else None,
        "has_more": len(ordered) > limit,
    }
