"""An MCP server written with the official package, for tests to start: `server.py stdio|http [port] [2025] [locked]`.

`2025` makes it speak the protocol from before 2026-07-28, as most servers do: an initialize handshake, pings, sessions.
Over HTTP it says on its output which port it listens on, and wants a key if `locked`. Listings have two entries a page.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import warnings
from base64 import b64encode
from typing import Any

import anyio
import mcp_types as wire
from mcp import MCPDeprecationWarning
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.stdio import stdio_server
from mcp.shared.message import SessionMessage

TRANSPORT = sys.argv[1]
PORT = int(sys.argv[2]) if len(sys.argv) > 2 else 0
OLD = "2025" in sys.argv[3:]
LOCKED = "locked" in sys.argv[3:]
PAGE = 2

warnings.simplefilter("ignore", MCPDeprecationWarning)  # logs are deprecated since 2026-07-28, and still spoken
server = MCPServer("specimen", log_level="CRITICAL")
counts = {"listings": 0, "given_up": 0, "pings": 0}


# What the protocol allows and the official server leaves to others: pages, an old protocol, changes and log levels.


async def middleware(ctx: Any, call_next: Any) -> Any:
    match ctx.method:
        case "initialize":
            result = await call_next(ctx)
            result["capabilities"] |= {"tools": {"listChanged": True}, "logging": {}}
            return result
        case "ping" | "server/discover":
            counts["pings"] += 1
        case "logging/setLevel":
            counts["log_level"] = ctx.params["level"]
            return {}
        case "tools/list" | "resources/list" | "prompts/list" as method:
            cursor = (ctx.params or {}).get("cursor")
            if method == "tools/list" and not cursor:
                counts["listings"] += 1
            return page(await call_next(ctx), method.partition("/")[0], int(cursor or 0))
        case "tools/call" if ctx.params["name"] == "wrong":
            return (await call_next(ctx)) | {"structuredContent": {"result": "not a number"}}
        case "resources/read" if str(ctx.params["uri"]).endswith("/broken"):
            return (await call_next(ctx)) | {"contents": [{"uri": "note://day/broken", "blob": "abc"}]}
    return await call_next(ctx)


def page(result: dict[str, Any], kind: str, start: int) -> dict[str, Any]:
    entries = result[kind]
    more = {"nextCursor": str(start + PAGE)} if start + PAGE < len(entries) else {}
    return result | {kind: entries[start : start + PAGE]} | more


server.middleware.append(middleware)


# Tools.


@server.tool(title="Adding", annotations=wire.ToolAnnotations(read_only_hint=True))
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@server.tool(structured_output=False)
def fail(city: str) -> str:
    """Fail in words."""
    raise ToolError(f"no such city: {city}")


@server.tool()
def wrong() -> int:
    """Break its own schema."""
    return 1


@server.tool(structured_output=False)
def echo(config: str, run_manager: str, self: str = "") -> list[str]:
    """Have parameters with names that frameworks use."""
    return [config, run_manager]


@server.tool()
def show() -> wire.CallToolResult:
    """Return content of every kind."""
    data = b64encode(b"\x00\x01").decode()
    held = wire.TextResourceContents(uri="note://held", text="a note", mime_type="text/plain")
    blob = wire.BlobResourceContents(uri="note://blob", blob=data, mime_type="application/pdf")
    return wire.CallToolResult(
        content=[
            wire.TextContent(text="look:"),
            wire.ImageContent(data=data, mime_type="image/png"),
            wire.AudioContent(data=data, mime_type="audio/wav"),
            wire.EmbeddedResource(resource=held),
            wire.EmbeddedResource(resource=blob),
            wire.ResourceLink(uri="note://far", name="far", mime_type="text/plain", description="far away"),
        ]
    )


@server.tool(structured_output=False)
def structure() -> wire.CallToolResult:
    """Return nothing but structured content."""
    return wire.CallToolResult(content=[], structured_content={"deg": 21, "where": "Köln"})


@server.tool(structured_output=False)
async def count(ctx: Context, to: int) -> str:
    """Tell of its progress, and log."""
    for done in range(1, to + 1):
        await ctx.report_progress(done, to, f"step {done}")
        await ctx.warning({"step": done}, logger_name="counter")
    return "done"


@server.tool(structured_output=False)
async def mutter(ctx: Context, line: str) -> str:
    """Log one line."""
    await ctx.error(line)
    return "said"


@server.tool(structured_output=False)
async def hang(ctx: Context) -> str:
    """Say that it began, then wait for ever."""
    await ctx.report_progress(0, message=str(os.getpid()))
    try:
        await anyio.sleep_forever()
    finally:
        counts["given_up"] += 1


@server.tool(structured_output=False)
def large(size: int) -> str:
    """Return much."""
    return "x" * size


@server.tool(structured_output=False)
def die() -> str:
    """Be killed in the middle."""
    os.kill(os.getpid(), signal.SIGKILL)
    return "unreachable"


@server.tool()
def counted() -> dict[str, Any]:
    """What happened so far."""
    return counts | {"pid": os.getpid()}


@server.tool(structured_output=False)
def variable(name: str) -> str:
    """A variable of the environment."""
    return os.environ.get(name, "")


@server.tool(structured_output=False)
def header(ctx: Context, name: str) -> str:
    """A header of the request."""
    return (ctx.headers or {}).get(name, "")


@server.tool(structured_output=False)
def along(ctx: Context) -> str:
    """What the client sent along with the call."""
    meta = ctx.request_context.meta or {}
    return " ".join(f"{name}={value}" for name, value in sorted(dict(meta).items()) if name.startswith("stategraph/"))


@server.tool(structured_output=False)
async def grow(ctx: Context, name: str) -> str:
    """Get another tool, and tell."""
    server.add_tool(lambda: "new", name=name, description="grown", structured_output=False)
    if OLD:
        await ctx.session.send_tool_list_changed()
    else:
        await ctx.notify_tools_changed()
    return "grown"


# Resources and prompts.


@server.resource("note://today", title="Today", mime_type="text/plain")
def today() -> str:
    """What is to do."""
    return "water the plants"


@server.resource("note://raw", mime_type="application/octet-stream")
def raw() -> bytes:
    return b"\x00\xff"


@server.resource("note://list", mime_type="application/json")
def listed() -> str:
    return "[]"


@server.resource("note://day/{day}")
def of_day(day: str) -> str:
    """The note of a day."""
    return f"note of {day}"


@server.prompt(title="Greeting")
def greet(name: str, tone: str = "kind") -> list[Any]:
    """Greet somebody."""
    from mcp.server.mcpserver.prompts.base import AssistantMessage, UserMessage

    return [UserMessage(f"Greet {name}, be {tone}."), AssistantMessage(f"Dear {name},")]


@server.prompt()
def short() -> str:
    return "Be brief."


@server.prompt()
def long() -> str:
    return "Be thorough."


# Serving, with the question that only the new protocol knows refused before the official server sees it.


def serve_http() -> None:
    import uvicorn

    app = server.streamable_http_app()

    async def door(scope: Any, receive: Any, send: Any) -> None:
        headers = scope.get("headers", ())
        status = 200
        if OLD and (b"mcp-method", b"server/discover") in headers:
            status = 400
        if LOCKED and scope["type"] == "http" and (b"authorization", b"Bearer key") not in headers:
            status = 401
        if status == 200:
            await app(scope, receive, send)
        else:
            await send({"type": "http.response.start", "status": status, "headers": []})
            await send({"type": "http.response.body"})

    listening = socket.create_server(("127.0.0.1", PORT))
    print(listening.getsockname()[1], flush=True)
    uvicorn.Server(uvicorn.Config(door, log_level="error")).run(sockets=[listening])


async def serve_old_stdio() -> None:
    serving = server._lowlevel_server
    known, asked = anyio.create_memory_object_stream[Any](0)
    async with stdio_server() as (read, write), anyio.create_task_group() as tasks:
        tasks.start_soon(serving.run, asked, write, serving.create_initialization_options())
        async with known:
            async for message in read:
                if getattr(message.message, "method", None) == "server/discover":
                    unknown = wire.ErrorData(code=wire.METHOD_NOT_FOUND, message="Method not found")
                    refusal = wire.JSONRPCError(jsonrpc="2.0", id=message.message.id, error=unknown)
                    await write.send(SessionMessage(refusal))
                else:
                    await known.send(message)


def main() -> None:
    if TRANSPORT == "http":
        serve_http()
    elif OLD:
        anyio.run(serve_old_stdio)
    else:
        server.run()


if __name__ == "__main__":
    main()
