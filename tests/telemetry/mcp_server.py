"""An MCP server over stdio whose tools tell the trace that came along, and fail in the ways there are."""

from __future__ import annotations

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError

server = MCPServer("told", log_level="CRITICAL")


@server.tool(structured_output=False)
def trace(ctx: Context) -> str:
    """Return the trace that came along."""
    return str(dict(ctx.request_context.meta or {}).get("traceparent"))


@server.tool(structured_output=False)
def fail() -> str:
    """Say that it failed."""
    raise ToolError("it failed")


@server.tool(structured_output=False)
def refuse() -> str:
    """Answer with an error of the protocol."""
    raise MCPError(code=-32050, message="no")


if __name__ == "__main__":
    server.run()
