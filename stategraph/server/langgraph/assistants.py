"""The routes of assistants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from stategraph.server.langgraph import answers, drawings, schemas
from stategraph.server.langgraph.answers import answer, caller_of
from stategraph.server.langgraph.checks import body_of, checked_id, id_of
from stategraph.server.service.port import Service
from stategraph.server.service.values import Assistant, AssistantSettings, InvalidError, NotFoundError


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of assistants."""
    own = AssistantRoutes(service)
    one = "/assistants/{assistant_id}"
    return [
        Route("/assistants", own.create, methods=["POST"]),
        Route("/assistants/search", own.search, methods=["POST"]),
        Route("/assistants/count", own.count, methods=["POST"]),
        Route(f"{one}/graph", own.graph),
        Route(f"{one}/schemas", own.schemas),
        Route(f"{one}/subgraphs", own.subgraphs),
        Route(f"{one}/subgraphs/{{namespace}}", own.subgraphs),
        Route(f"{one}/versions", own.versions, methods=["POST"]),
        Route(f"{one}/latest", own.set_latest, methods=["POST"]),
        Route(one, own.get),
        Route(one, own.update, methods=["PATCH"]),
        Route(one, own.delete, methods=["DELETE"]),
    ]


class AssistantRoutes:
    """The endpoints of assistants.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._assistants = service.assistants
        self._graphs = service.graphs

    async def create(self, request: Request) -> Response:
        """Make an assistant."""
        body = await body_of(request, schemas.ASSISTANT_CREATE)
        given = body.get("assistant_id")
        made = await self._assistants.create(
            caller_of(request),
            body["graph_id"],
            _settings(body),
            assistant_id=None if given is None else checked_id(given, "assistant"),
            if_exists=body.get("if_exists", "raise"),
        )
        return answer(record(made))

    async def search(self, request: Request) -> Response:
        """List assistants."""
        body = await body_of(request, schemas.ASSISTANT_SEARCH)
        page = answers.page_of(body)
        found = await self._assistants.search(
            caller_of(request),
            metadata=body.get("metadata"),
            graph_id=body.get("graph_id"),
            name=body.get("name"),
            page=answers.further(page),
        )
        return answers.listed([record(each) for each in found], page, body.get("select"))

    async def count(self, request: Request) -> Response:
        """Count assistants."""
        body = await body_of(request, schemas.ASSISTANT_COUNT)
        number = await self._assistants.count(
            caller_of(request),
            metadata=body.get("metadata"),
            graph_id=body.get("graph_id"),
            name=body.get("name"),
        )
        return answer(number)

    async def get(self, request: Request) -> Response:
        """Return an assistant."""
        return answer(record(await self._found(request)))

    async def _found(self, request: Request) -> Assistant:
        return await self._assistant(request, id_of(request, "assistant_id", "assistant"))

    async def _assistant(self, request: Request, name: str) -> Assistant:
        try:
            return await self._assistants.get(caller_of(request), name)
        except NotFoundError:
            raise NotFoundError("Not Found") from None

    async def update(self, request: Request) -> Response:
        """Make a new version of an assistant."""
        name = id_of(request, "assistant_id", "assistant")
        body = await body_of(request, schemas.ASSISTANT_PATCH)
        changed = await self._assistants.update(
            caller_of(request), name, _settings(body), graph_id=body.get("graph_id")
        )
        return answer(record(changed))

    async def delete(self, request: Request) -> Response:
        """Delete an assistant."""
        await self._assistants.delete(caller_of(request), id_of(request, "assistant_id", "assistant"))
        return answers.nothing()

    async def versions(self, request: Request) -> Response:
        """List the versions of an assistant."""
        name = id_of(request, "assistant_id", "assistant")
        body = await body_of(request, schemas.ASSISTANT_VERSIONS)
        page = answers.page_of(body)
        found = await self._assistants.versions(caller_of(request), name, metadata=body.get("metadata"), page=page)
        return answer([{key: value for key, value in record(each).items() if key != "updated_at"} for each in found])

    async def set_latest(self, request: Request) -> Response:
        """Make a version of an assistant the current one."""
        name = id_of(request, "assistant_id", "assistant")
        body = await body_of(request, schemas.ASSISTANT_LATEST)
        version = body.get("version")
        return answer(record(await self._assistants.set_latest(caller_of(request), name, version)))

    async def graph(self, request: Request) -> Response:
        """Return the nodes and edges of an assistant's graph, also by the graph's id."""
        named = request.path_params["assistant_id"] in self._graphs.ids()
        name = request.path_params["assistant_id"] if named else id_of(request, "assistant_id", "assistant")
        assistant = await self._assistant(request, name)
        xray = _xray(request.query_params.get("xray"))
        async with self._graphs.open(
            assistant.graph_id, assistant.config, access="assistants.read", caller=caller_of(request)
        ) as graph:
            drawn = await graph.aget_graph(xray=xray)
        return answer(drawings.nodes_and_edges(drawn))

    async def schemas(self, request: Request) -> Response:
        """Return the schemas of an assistant's graph."""
        assistant = await self._found(request)
        async with self._graphs.open(
            assistant.graph_id, assistant.config, access="assistants.read", caller=caller_of(request)
        ) as graph:
            shown = drawings.schemas_of(graph)
        return answer({"graph_id": assistant.graph_id, **shown})

    async def subgraphs(self, request: Request) -> Response:
        """Return the schemas of the graphs inside of an assistant's graph."""
        assistant = await self._found(request)
        namespace = request.path_params.get("namespace")
        recurse = request.query_params.get("recurse", "false").lower() in ("1", "true", "yes", "on")
        async with self._graphs.open(
            assistant.graph_id, assistant.config, access="assistants.read", caller=caller_of(request)
        ) as graph:
            found = [each async for each in graph.aget_subgraphs(namespace=namespace, recurse=recurse)]
        return answer({name: drawings.schemas_of(below) for name, below in found})


def record(assistant: Assistant) -> Mapping[str, Any]:
    """Return an assistant as JSON."""
    return {
        "assistant_id": assistant.assistant_id,
        "graph_id": assistant.graph_id,
        "config": assistant.config,
        "context": assistant.context,
        "metadata": assistant.metadata,
        "name": assistant.name,
        "created_at": answers.moment(assistant.created_at),
        "updated_at": answers.moment(assistant.updated_at),
        "version": assistant.version,
        "description": assistant.description,
    }


def _settings(body: Mapping[str, Any]) -> AssistantSettings:
    names = ("config", "context", "metadata", "name", "description")
    return AssistantSettings(**{name: body.get(name) for name in names})


def _xray(given: str | None) -> int | bool:
    """Return how deep a graph is looked into.

    Raises:
        InvalidError: It is neither a flag nor a number above 0.
    """
    text = (given or "false").lower()
    if text in ("true", "false"):
        return text == "true"
    if text.isdecimal() and len(text) < 10 and int(text) > 0:
        return int(text)
    raise InvalidError("Invalid xray value")
