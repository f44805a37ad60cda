"""The requests of the protocol, over the package's low-level server."""

from __future__ import annotations

import logging
from typing import Any, Final

import anyio.to_thread
import mcp_types as wire
from mcp.server.caching import CacheableMethod, CacheHint
from mcp.server.context import CallNext, HandlerResult
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

from stategraph._version import __version__
from stategraph.server.mcp.callers import TASKS, Context, caller_in
from stategraph.server.mcp.calls import Calls
from stategraph.server.mcp.catalogue import Catalogue
from stategraph.server.mcp.settings import McpSettings
from stategraph.server.mcp.skills import Skills
from stategraph.server.mcp.tasks import TaskParams, TaskRequests, UpdateParams
from stategraph.server.mcp.tools import Tools
from stategraph.server.service.port import Service
from stategraph.server.tasks.work import Tasks

logger = logging.getLogger(__name__)

#: Code of an error about a resource that is not there, before 2026-07-28 and since.
_NO_RESOURCE: Final = -32002


_LISTS: Final[tuple[CacheableMethod, ...]] = (
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "server/discover",
)


def make_server(service: Service, settings: McpSettings) -> Server[Any]:
    """Make the server of the protocol.

    Args:
        service: What is served.
        settings: Of the protocol.
    """
    tools = Tools(service, settings)
    tasks = Tasks(service)
    calls = Calls(service, settings, tools, tasks)

    async def list_tools(context: Context, params: wire.PaginatedRequestParams | None) -> wire.ListToolsResult:
        del params  # there is one page
        return wire.ListToolsResult(tools=[each.tool for each in await tools.all(caller_in(context))])

    hint = CacheHint(ttl_ms=settings.list_ttl_ms, scope="private")
    server: Server[Any] = Server(
        settings.name,
        version=settings.version or __version__,
        instructions=settings.instructions,
        cache_hints=dict.fromkeys(_LISTS, hint),
        on_list_tools=list_tools,
    )
    # Not by the constructor, whose types know no results of extensions.
    server.add_request_handler("tools/call", wire.CallToolRequestParams, calls.call)
    server.middleware.append(_without_internals)
    requests = TaskRequests(settings, tools, calls, tasks)
    server.extensions[TASKS] = {}
    server.add_request_handler("tasks/get", TaskParams, requests.get)
    server.add_request_handler("tasks/update", UpdateParams, requests.update)
    server.add_request_handler("tasks/cancel", TaskParams, requests.cancel)
    server.add_request_handler("logging/setLevel", wire.SetLevelRequestParams, _set_level)
    skills = Skills(settings) if settings.skills else None
    if skills is not None:
        skills.serve(server)
    if settings.catalogue is not None or skills is not None:
        _serve_resources(server, settings.catalogue, skills)
    if settings.catalogue is not None:
        _serve_prompts(server, settings.catalogue)
    return server


async def _without_internals(ctx: Context, call_next: CallNext) -> HandlerResult:
    """Answer what fails unexpectedly without its words, which may be anybody's."""
    try:
        return await call_next(ctx)
    except MCPError:
        raise
    except ValidationError as error:
        raise MCPError(wire.INVALID_PARAMS, f"Invalid request parameters: {_told(error)}") from None
    except Exception:
        logger.exception("A request of MCP failed: %s", ctx.method)
        raise MCPError(wire.INTERNAL_ERROR, "Internal server error") from None


def _told(error: ValidationError) -> str:
    """Return what is wrong first, without the values that were given."""
    first = error.errors(include_url=False, include_input=False, include_context=False)[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


async def _set_level(context: Context, params: wire.SetLevelRequestParams) -> wire.EmptyResult:
    """Take note of nothing: what graphs log is sent with the call that they work on, at every level."""
    del context, params
    return wire.EmptyResult()


def _serve_resources(server: Server[Any], catalogue: Catalogue | None, skills: Skills | None) -> None:
    """Serve resources: those of a catalogue, and files of skills."""

    async def resources(context: Context, params: wire.PaginatedRequestParams) -> wire.ListResourcesResult:
        del params
        found = [] if catalogue is None else await catalogue.resources(caller_in(context))
        return wire.ListResourcesResult(resources=[*found, *(skills.resources() if skills is not None else ())])

    async def templates(context: Context, params: wire.PaginatedRequestParams) -> wire.ListResourceTemplatesResult:
        del params
        found = [] if catalogue is None else await catalogue.templates(caller_in(context))
        return wire.ListResourceTemplatesResult(resource_templates=found)

    async def read(context: Context, params: wire.ReadResourceRequestParams) -> wire.ReadResourceResult:
        uri = str(params.uri)
        if skills is not None and skills.has(uri):
            return wire.ReadResourceResult(contents=[*await anyio.to_thread.run_sync(skills.read, uri)])
        try:
            if catalogue is None:
                raise LookupError(uri)
            return wire.ReadResourceResult(contents=await catalogue.read(caller_in(context), uri))
        except LookupError:
            raise _missing(context, uri) from None

    async def subscribe(
        context: Context, params: wire.SubscribeRequestParams | wire.UnsubscribeRequestParams
    ) -> wire.EmptyResult:
        """Take note of nothing: resources do not tell when they change."""
        del context, params
        return wire.EmptyResult()

    server.add_request_handler("resources/list", wire.PaginatedRequestParams, resources)
    server.add_request_handler("resources/templates/list", wire.PaginatedRequestParams, templates)
    server.add_request_handler("resources/read", wire.ReadResourceRequestParams, read)
    server.add_request_handler("resources/subscribe", wire.SubscribeRequestParams, subscribe)
    server.add_request_handler("resources/unsubscribe", wire.UnsubscribeRequestParams, subscribe)


def _serve_prompts(server: Server[Any], catalogue: Catalogue) -> None:
    """Serve prompts and completions."""

    async def prompts(context: Context, params: wire.PaginatedRequestParams) -> wire.ListPromptsResult:
        del params
        return wire.ListPromptsResult(prompts=await catalogue.prompts(caller_in(context)))

    async def prompt(
        context: Context, params: wire.GetPromptRequestParams
    ) -> wire.GetPromptResult | wire.InputRequiredResult:
        try:
            return await catalogue.prompt(caller_in(context), params)
        except LookupError:
            raise MCPError(wire.INVALID_PARAMS, f"Unknown prompt: {params.name}") from None

    async def complete(context: Context, params: wire.CompleteRequestParams) -> wire.CompleteResult:
        return wire.CompleteResult(completion=await catalogue.complete(caller_in(context), params))

    server.add_request_handler("prompts/list", wire.PaginatedRequestParams, prompts)
    server.add_request_handler("prompts/get", wire.GetPromptRequestParams, prompt)
    server.add_request_handler("completion/complete", wire.CompleteRequestParams, complete)


def _missing(context: Context, uri: str) -> MCPError:
    code = _NO_RESOURCE if context.protocol_version < "2026" else wire.INVALID_PARAMS
    return MCPError(code, f"Resource not found: {uri}", {"uri": uri})
