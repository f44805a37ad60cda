"""The document of a server, and a page that lists its routes."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Collection, Iterable
from typing import Any, Final

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import BaseRoute, Match, Route

import stategraph
from stategraph.server.openapi.notation import schema
from stategraph.server.openapi.operations import Operation, operations
from stategraph.server.openapi.schemas import components

_PARAMETER: Final = re.compile(r"\{(\w+)\}")

#: Schemas of parameters of paths; others are texts.
_IDS: Final = ("thread_id", "run_id", "cron_id", "checkpoint_id")

_TITLES: Final = {
    "": "Server",
    "langgraph": "LangGraph",
    "runs": "Run API",
    "openai": "OpenAI",
    "agui": "AG-UI",
    "vercel": "Vercel AI SDK",
    "a2a": "A2A",
    "mcp": "MCP",
}

#: Further statuses of answers without a body.
_ALSO: Final = {
    ("GET", "/vercel/{assistant_id}/{thread_id}/stream"): (204,),
    ("POST", "/mcp/"): (202,),
    ("POST", "/threads/{thread_id}/runs/{run_id}/cancel"): (202,),
}

_PROBLEMS: Final = ("runs", "agui", "vercel")


def document(
    protocols: Collection[str], *, secured: bool, is_served: Callable[[Operation], bool] = lambda _: True
) -> dict[str, Any]:
    """Return the document.

    Args:
        protocols: Those that are served.
        secured: Whether requests need credentials.
        is_served: Returns whether there is a route for an operation; others are left out.
    """
    paths: dict[str, dict[str, Any]] = {}
    for each in filter(is_served, operations(frozenset(protocols))):
        paths.setdefault(each.path, {})[each.method.lower()] = _described(each)
    found: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "stategraph", "version": stategraph.__version__},
        "paths": paths,
        "components": {"schemas": components()},
    }
    if secured:
        found["components"]["securitySchemes"] = {
            "bearer": {"type": "http", "scheme": "bearer"},
            "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
        }
        found["security"] = [{"bearer": []}, {"key": []}]
    return found


def _described(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {
        "operationId": _id(operation),
        "summary": operation.summary,
        "tags": [_TITLES[operation.protocol]],
        "responses": _responses(operation),
    }
    parameters = [_in_path(operation, name) for name in _PARAMETER.findall(operation.path)]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema(word)}
        for name, word in operation.query.items()
    ]
    if parameters:
        told["parameters"] = parameters
    if operation.body:
        told["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema(operation.body)}},
        }
    return told


def _id(operation: Operation) -> str:
    """Return a name of an operation, such as `post_threads_search`."""
    return "_".join(re.findall(r"[a-z0-9]+", f"{operation.method} {operation.path}".lower()))


def _in_path(operation: Operation, name: str) -> dict[str, Any]:
    is_uuid = operation.protocol == "langgraph" and name in _IDS
    return {"name": name, "in": "path", "required": True, "schema": schema("uuid" if is_uuid else "text")}


def _responses(operation: Operation) -> dict[str, Any]:
    told: dict[str, Any] = {str(operation.status): {"description": operation.summary, **_content(operation.answer)}}
    told |= {
        str(each): {"description": "There is nothing to tell"}
        for each in _ALSO.get((operation.method, operation.path), ())
    }
    if operation.protocol in _PROBLEMS:
        failure = {"application/problem+json": {"schema": schema("Problem")}}
    elif operation.protocol == "langgraph":
        failure = {"application/json": {"schema": schema("ErrorResponse")}, "text/plain": {}}
    elif operation.protocol == "mcp":
        failure = {}
    else:
        failure = {"application/json": {}, "application/problem+json": {}, "text/plain": {}}
    told["4XX"] = {"description": "The request is refused", **({"content": failure} if failure else {})}
    told["503"] = {**told["4XX"], "description": "The server or its database is not there for now"}
    return told


def _content(answer: str) -> dict[str, Any]:
    if answer == "-":
        return {}
    if answer == "~":
        return {"content": {"text/event-stream": {}}}
    if answer in ("text/plain", "text/html"):
        return {"content": {answer: {"schema": schema("text")}}}
    return {"content": {"application/json": {"schema": schema(answer)}}}


def routes(protocols: Collection[str], *, secured: bool) -> list[BaseRoute]:
    """Return the routes of the document and of the page; see `document`."""
    made: dict[str, Any] = {}

    async def as_json(request: Request) -> Response:
        if not made:
            made.update(document(protocols, secured=secured, is_served=_served_by(request.app)))
        return JSONResponse(made)

    async def as_page(request: Request) -> Response:
        headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
        return HTMLResponse(page(filter(_served_by(request.app), operations(frozenset(protocols)))), headers=headers)

    return [Route("/openapi.json", as_json), Route("/docs", as_page)]


def _served_by(app: Starlette) -> Callable[[Operation], bool]:
    """Return what says whether an application has a route for an operation."""

    def is_served(operation: Operation) -> bool:
        path = operation.path.replace("{", "").replace("}", "")
        scope = {"type": "http", "method": operation.method, "path": path, "headers": [], "app": app}
        return any(route.matches(scope)[0] is Match.FULL for route in app.router.routes)

    return is_served


def page(served: Iterable[Operation]) -> str:
    """Return a page that lists operations; it loads nothing and runs no script."""
    rows = []
    title = None
    for each in served:
        if _TITLES[each.protocol] != title:
            title = _TITLES[each.protocol]
            rows.append(f"<tr><th colspan=3>{html.escape(title)}</th></tr>")
        rows.append(
            f"<tr><td>{each.method}</td><td><code>{html.escape(each.path)}</code></td>"
            f"<td>{html.escape(each.summary)}</td></tr>"
        )
    style = (
        "body{font:15px system-ui;margin:2rem}td,th{text-align:left;padding:.2rem .8rem .2rem 0}th{padding-top:1rem}"
    )
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><title>stategraph</title><style>{style}</style>"
        f"<h1>stategraph {stategraph.__version__}</h1><p>The same as <a href=openapi.json>OpenAPI</a>.</p>"
        f"<table>{''.join(rows)}</table></html>"
    )
