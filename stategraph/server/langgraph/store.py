"""The routes of the store."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from stategraph.server.langgraph import answers, schemas
from stategraph.server.langgraph.answers import answer, caller_of
from stategraph.server.langgraph.checks import body_of
from stategraph.server.service.port import Service
from stategraph.server.service.store import NamespaceError

_FLAGS = {"true": True, "false": False}


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the store."""
    own = StoreRoutes(service)
    return [
        Route("/store/items", own.get),
        Route("/store/items", own.put, methods=["PUT"]),
        Route("/store/items", own.delete, methods=["DELETE"]),
        Route("/store/items/search", own.search, methods=["POST"]),
        Route("/store/namespaces", own.namespaces, methods=["POST"]),
    ]


class StoreRoutes:
    """The endpoints of the store.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._store = service.store

    async def put(self, request: Request) -> Response:
        """Store a value."""
        body = await body_of(request, schemas.ITEM_PUT)
        try:
            await self._store.put(
                caller_of(request),
                body["namespace"],
                body["key"],
                body["value"],
                index=body.get("index"),
                ttl=body.get("ttl"),
            )
        except NamespaceError as error:
            return _of_namespace(error)
        return answers.nothing()

    async def get(self, request: Request) -> Response:
        """Return an item, or null."""
        given = request.query_params
        if not (key := given.get("key")):
            return answer({"error": "Key is required"}, 400)
        refresh = _FLAGS.get(given.get("refresh_ttl", "").lower())
        try:
            namespace = given.get("namespace", "").split(".")
            item = await self._store.get(caller_of(request), namespace, key, refresh_ttl=refresh)
        except NamespaceError as error:
            return _of_namespace(error)
        return answer(None if item is None else record(item))

    async def delete(self, request: Request) -> Response:
        """Delete a value."""
        body = await body_of(request, schemas.ITEM_DELETE)
        try:
            await self._store.delete(caller_of(request), body["namespace"], body["key"])
        except NamespaceError as error:
            return _of_namespace(error)
        return answers.nothing()

    async def search(self, request: Request) -> Response:
        """List items below a namespace."""
        body = await body_of(request, schemas.ITEM_SEARCH)
        try:
            found = await self._store.search(
                caller_of(request),
                body.get("namespace_prefix") or (),
                query=body.get("query"),
                filter=body.get("filter"),
                limit=int(body.get("limit") or 10),
                offset=int(body.get("offset") or 0),
                refresh_ttl=body.get("refresh_ttl"),
            )
        except NamespaceError as error:
            return _of_namespace(error)
        return answer({"items": [{**record(each), "score": each.score} for each in found]})

    async def namespaces(self, request: Request) -> Response:
        """List namespaces."""
        body = await body_of(request, schemas.NAMESPACES)
        try:
            found = await self._store.namespaces(
                caller_of(request),
                prefix=body.get("prefix"),
                suffix=body.get("suffix"),
                max_depth=body.get("max_depth"),
                limit=int(body.get("limit", 100)),
                offset=int(body.get("offset", 0)),
            )
        except NamespaceError as error:
            return _of_namespace(error)
        return answer({"namespaces": found})


def record(item: Any) -> dict[str, Any]:
    """Return an item as JSON."""
    return {
        "namespace": list(item.namespace),
        "key": item.key,
        "value": item.value,
        "created_at": answers.moment(item.created_at),
        "updated_at": answers.moment(item.updated_at),
    }


def _of_namespace(error: NamespaceError) -> Response:
    return PlainTextResponse(str(error), error.status)
