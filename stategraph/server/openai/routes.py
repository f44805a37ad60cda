"""All endpoints of the API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from stategraph.server.access import caller_of
from stategraph.server.openai import models
from stategraph.server.openai.completions import Completions
from stategraph.server.openai.conversations import Conversations
from stategraph.server.openai.errors import answered
from stategraph.server.openai.responses import Responses
from stategraph.server.service.port import Service


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the API."""
    responses, conversations, completions = Responses(service), Conversations(service), Completions(service)
    response, conversation = "/v1/responses/{response_id}", "/v1/conversations/{conversation_id}"

    async def list_models(request: Request) -> Response:
        return JSONResponse({"object": "list", "data": await models.listed(service, caller_of(request))})

    async def model(request: Request) -> Response:
        name = request.path_params["model"]
        return JSONResponse(models.model_of(await models.assistant_of(service, caller_of(request), name), name))

    endpoints = [
        ("/v1/responses", "POST", responses.create),
        (response, "GET", responses.retrieve),
        (response, "DELETE", responses.delete),
        (f"{response}/cancel", "POST", responses.cancel),
        (f"{response}/input_items", "GET", responses.input_items),
        ("/v1/conversations", "POST", conversations.create),
        (conversation, "GET", conversations.retrieve),
        (conversation, "POST", conversations.update),
        (conversation, "DELETE", conversations.delete),
        (f"{conversation}/items", "GET", conversations.list_items),
        (f"{conversation}/items", "POST", conversations.add),
        (f"{conversation}/items/{{item_id}}", "GET", conversations.item),
        ("/v1/chat/completions", "POST", completions.create),
        ("/v1/models", "GET", list_models),
        ("/v1/models/{model}", "GET", model),
    ]
    return [Route(path, answered(endpoint), methods=[method]) for path, method, endpoint in endpoints]
