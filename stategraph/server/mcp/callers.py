"""The caller of a request, and the capabilities that its client declared."""

from __future__ import annotations

from typing import Any, Final

import mcp_types as wire
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import HTTPConnection

from stategraph.server.access import caller_of
from stategraph.server.service.port import ANYONE, Caller

#: The extension for long calls.
TASKS: Final = "io.modelcontextprotocol/tasks"

Context = ServerRequestContext[Any, Any]


def caller_in(context: Context) -> Caller:
    """Return who makes a request."""
    request = context.request
    return caller_of(request) if isinstance(request, HTTPConnection) else ANYONE


def is_modern(context: Context) -> bool:
    """Return whether a request is of 2026-07-28: on its own, with answers in a repetition of it."""
    return context.protocol_version in MODERN_PROTOCOL_VERSIONS


def knows_tasks(context: Context) -> bool:
    """Return whether the client knows the extension for long calls."""
    capabilities = context.session.client_capabilities
    declared = capabilities.extensions if capabilities is not None else None
    return is_modern(context) and bool(declared) and TASKS in (declared or {})


def can_be_asked(context: Context, capability: str) -> bool:
    """Return whether the client has declared `elicitation`, `sampling` or `roots`."""
    capabilities = context.session.client_capabilities
    return capabilities is not None and getattr(capabilities, capability) is not None


def lacking(sentence: str, capabilities: wire.ClientCapabilities) -> MCPError:
    """Return the error for a client that has not declared what a request needs."""
    data = wire.MissingRequiredClientCapabilityErrorData(required_capabilities=capabilities)
    shown = data.model_dump(by_alias=True, mode="json", exclude_none=True)
    return MCPError(wire.MISSING_REQUIRED_CLIENT_CAPABILITY, sentence, shown)


def needs_tasks() -> MCPError:
    """Return the error for a client that does not know the extension for long calls."""
    return lacking(f"The client has not declared '{TASKS}'", wire.ClientCapabilities(extensions={TASKS: {}}))
