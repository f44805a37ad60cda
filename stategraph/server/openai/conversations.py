"""Endpoints of `/v1/conversations`: threads, and their messages as items.

Items that are given to a conversation in which nothing has run yet wait in the thread's metadata, and are the first
messages of its first response.
"""

from __future__ import annotations

from typing import Any, Final
from uuid import uuid4

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from stategraph.server.access import caller_of
from stategraph.server.openai import ids, items
from stategraph.server.openai.errors import BadRequestError, json_of
from stategraph.server.openai.responses import page_of
from stategraph.server.service.port import NotFoundError, Service, Thread
from stategraph.server.turns import conversation
from stategraph.server.turns.forms import Json

#: Where a thread's metadata keeps the client's.
METADATA: Final = "openai_metadata"


class Conversations:
    """The endpoints.

    Args:
        service: Has the threads.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def create(self, request: Request) -> Response:
        """Make a conversation."""
        body = await json_of(request)
        if not isinstance(body.get("metadata") or {}, dict):
            raise BadRequestError("'metadata' is no object", "metadata")
        given = _with_ids(items.listed(body.get("items")))
        items.read(given)
        metadata = {METADATA: body.get("metadata") or {}, items.WAITING: given}
        thread = await self._service.threads.create(caller_of(request), thread_id=str(uuid4()), metadata=metadata)
        return JSONResponse(_conversation(thread))

    async def retrieve(self, request: Request) -> Response:
        """Answer with a conversation."""
        return JSONResponse(_conversation(await self._thread(request)))

    async def update(self, request: Request) -> Response:
        """Change the metadata of a conversation."""
        body = await json_of(request)
        if not isinstance(body.get("metadata"), dict):
            raise BadRequestError("'metadata' is no object", "metadata")
        thread = await self._thread(request)
        caller = caller_of(request)
        changed = await self._service.threads.update(caller, thread.thread_id, {METADATA: body["metadata"]})
        return JSONResponse(_conversation(changed))

    async def delete(self, request: Request) -> Response:
        """Delete a conversation with all that ran in it."""
        thread = await self._thread(request)
        await self._service.threads.delete(caller_of(request), thread.thread_id)
        name = ids.conversation_id(thread.thread_id)
        return JSONResponse({"id": name, "object": "conversation.deleted", "deleted": True})

    async def list_items(self, request: Request) -> Response:
        """List the items of a conversation."""
        return JSONResponse(page_of(await self._items(request), request))

    async def item(self, request: Request) -> Response:
        """Answer with an item of a conversation."""
        wanted = request.path_params["item_id"]
        for each in await self._items(request):
            if each["id"] == wanted:
                return JSONResponse(each)
        raise NotFoundError(f"Item with id '{wanted}' not found.")

    async def add(self, request: Request) -> Response:
        """Add items to a conversation."""
        body, caller = await json_of(request), caller_of(request)
        given = _with_ids(items.listed(body.get("items")))
        messages = items.read(given)
        if not messages:
            raise BadRequestError("'items' has no message", "items")
        thread = await self._thread(request)
        if await conversation.state_of(self._service, caller, thread.thread_id) is None:
            waiting = [*(thread.metadata.get(items.WAITING) or []), *given]
            await self._service.threads.update(caller, thread.thread_id, {items.WAITING: waiting})
        else:
            await self._service.threads.update_state(caller, thread.thread_id, {"messages": messages})
        found = [item for message in messages for item in items.write(message)]
        about = {"first_id": found[0]["id"], "last_id": found[-1]["id"], "has_more": False}
        return JSONResponse({"object": "list", "data": found, **about})

    async def _thread(self, request: Request) -> Thread:
        given = request.path_params["conversation_id"]
        try:
            return await self._service.threads.get(caller_of(request), ids.thread_id(given))
        except NotFoundError:
            raise NotFoundError(f"Conversation with id '{given}' not found.") from None

    async def _items(self, request: Request) -> list[Json]:
        thread, caller = await self._thread(request), caller_of(request)
        snapshot = await conversation.state_of(self._service, caller, thread.thread_id)
        said = (
            conversation.messages_of(conversation.values_of(snapshot))
            if snapshot
            else items.waiting_in(thread.metadata)
        )
        return [item for message in said for item in items.write(message)]


def _with_ids(given: list[Any]) -> list[Json]:
    return [{**each, "id": each.get("id") or f"msg_{uuid4().hex}"} for each in given]


def _conversation(thread: Thread) -> Json:
    return {
        "id": ids.conversation_id(thread.thread_id),
        "object": "conversation",
        "created_at": int(thread.created_at.timestamp()),
        "metadata": dict(thread.metadata.get(METADATA) or {}),
    }
