"""Attributes of a tool's span if an MCP server has the tool.

The conventions (https://opentelemetry.io/docs/specs/semconv/gen-ai/mcp/) have no second span of the call where the
tool has one already: its span gets the attributes that tell of the protocol. They are in the tool's metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.tools import ToolException

from stategraph.agent.mcp.errors import McpError
from stategraph.telemetry import names

TOOL_ERROR = "tool_error"
"""The `error.type` of a tool whose result says that it failed."""


def attributes(metadata: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Return the attributes of a call, of the metadata of the tool; none if no server has it."""
    about = (metadata or {}).get("mcp")
    if not isinstance(about, Mapping) or "server" not in about:
        return {}
    at: Mapping[str, Any] = about.get("endpoint") or {}
    return {
        names.MCP_METHOD: "tools/call",
        names.MCP_PROTOCOL: at.get("protocol"),
        names.NETWORK_TRANSPORT: at.get("transport"),
        names.SERVER_ADDRESS: at.get("host"),
        names.SERVER_PORT: at.get("port"),
    }


def failure(error: BaseException) -> tuple[Mapping[str, Any], str | None]:
    """Return the attributes and the `error.type` of a call that failed; None: the error's class.

    Args:
        error: The error. What the tool itself tells as its failure is a plain `ToolException`.
    """
    if isinstance(error, McpError):
        code = None if error.code is None else str(error.code)
        return {names.RPC_STATUS: code}, code
    return {}, TOOL_ERROR if type(error) is ToolException else None
