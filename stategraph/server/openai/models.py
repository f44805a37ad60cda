"""Models of the API: the assistants."""

from __future__ import annotations

from typing import Final

from stategraph.server.openai.errors import BadRequestError, UnknownModelError
from stategraph.server.service.port import Assistant, Caller, NotFoundError, Page, Service
from stategraph.server.turns.forms import Json
from stategraph.server.turns.graphs import input_names

_PAGE: Final = 100


async def assistant_of(service: Service, caller: Caller, model: object) -> Assistant:
    """Return the assistant that a request names as its model, by its id or that of its graph.

    Raises:
        UnknownModelError: There is none.
    """
    if not isinstance(model, str) or not model:
        raise UnknownModelError(str(model or ""))
    try:
        return await service.assistants.get(caller, model)
    except NotFoundError:
        raise UnknownModelError(model) from None


async def check_takes_messages(service: Service, caller: Caller, assistant: Assistant) -> None:
    """Make sure that messages can be said to an assistant.

    Raises:
        BadRequestError: Its graph takes other values.
    """
    names = await input_names(service, caller, assistant.assistant_id)
    if names and "messages" not in names:
        raise BadRequestError(
            f"The graph '{assistant.graph_id}' takes no 'messages' but {', '.join(sorted(names))}: call it by the API "
            "of LangGraph, or as a tool by MCP",
            "model",
            "model_without_messages",
        )


async def listed(service: Service, caller: Caller) -> list[Json]:
    """Return all assistants as models, by name; that which stands for its graph has the graph's id."""
    found: list[Assistant] = []
    while True:
        page = await service.assistants.search(caller, page=Page(_PAGE, len(found)))
        found += page
        if len(page) < _PAGE:
            return sorted((model_of(each, _name(each, found)) for each in found), key=lambda each: str(each["id"]))


def _name(assistant: Assistant, all_of_them: list[Assistant]) -> str:
    oldest = min(
        (each for each in all_of_them if each.graph_id == assistant.graph_id), key=lambda each: each.created_at
    )
    return assistant.graph_id if oldest is assistant else assistant.assistant_id


def model_of(assistant: Assistant, name: str) -> Json:
    """Return an assistant as a model."""
    created = int(assistant.created_at.timestamp())
    return {"id": name, "object": "model", "created": created, "owned_by": "stategraph"}
