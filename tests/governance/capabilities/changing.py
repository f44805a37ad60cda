"""An MCP server whose descriptions a test changes while it runs: `changing.py FILE`, with descriptions by name as JSON.

A tool that the file does not name is not listed. `describe` changes a description, and tells clients of it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mcp_types as wire
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

FILE = Path(sys.argv[1])
server = MCPServer("changing", log_level="CRITICAL")


@server.tool(annotations=wire.ToolAnnotations(read_only_hint=True), structured_output=False)
def look(at: str) -> str:
    return f"looked at {at}"


@server.tool()
def note(text: str) -> int:
    return len(text)


@server.tool(structured_output=False)
async def describe(ctx: Context, name: str, text: str) -> str:
    keep(described() | {name: text})
    await ctx.notify_tools_changed()
    return "described"


def keep(words: dict[str, str]) -> None:
    FILE.write_text(json.dumps(words), encoding="utf-8")


def described() -> dict[str, str]:
    return json.loads(FILE.read_text(encoding="utf-8"))


async def middleware(ctx: Any, call_next: Any) -> Any:
    result = await call_next(ctx)
    if ctx.method == "tools/list":
        words = described()
        named = [each for each in result["tools"] if each["name"] in words]
        return result | {"tools": [each | {"description": words[each["name"]]} for each in named]}
    return result


server.middleware.append(middleware)
server.run()
