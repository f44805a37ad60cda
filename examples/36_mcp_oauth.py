"""An MCP server that wants an authorization: a person agrees, the token is kept, and more is asked for when needed.

The server and its authorization server run on this machine, and a function plays the browser of a person who agrees.

Prints::

    a person is asked for: no scopes
    the week is free
    a person is asked for: calendar:write
    booked: dentist
    after a restart nobody is asked: the week is free
    the host kept a document with: authorization_server, client, ends_at, resource, tokens
"""

import asyncio
import json
import sys
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
from mcp.server import MCPServer

sys.path.insert(0, str(Path(__file__).parent))

from loopback_authority import Authority, serving

from stategraph.agent.mcp import AuthorizationCode, HttpServer, McpSessions, MemoryTokens

calendar = MCPServer("calendar", log_level="CRITICAL")


@calendar.tool(structured_output=False)
def look() -> str:
    """Say what is in the calendar."""
    return "the week is free"


@calendar.tool(structured_output=False)
def book(what: str) -> str:
    """Book a time."""
    return f"booked: {what}"


async def show_page(address: str) -> str:
    """A chat backend sends the browser to this address, and returns the one that it comes back to."""
    scopes = parse_qs(urlsplit(address).query).get("scope", ["no scopes"])
    print(f"a person is asked for: {scopes[0]}")
    async with httpx2.AsyncClient() as browser:
        return (await browser.get(address)).headers["location"]


async def nobody(address: str) -> str:
    raise AssertionError("nobody has to be asked")


async def main(address: str) -> None:
    kept = MemoryTokens()  # A host keeps them encrypted, for each user; see `TokenStorage`.

    def described(authorize):
        code = AuthorizationCode(authorize=authorize, redirect_uri="http://127.0.0.1:8765/back", storage=kept)
        return {"calendar": HttpServer(url=address, oauth=code)}

    async with McpSessions(described(show_page)) as sessions:
        tools = {tool.name: tool for tool in await sessions.tools()}
        print(await tools["look"].ainvoke({}))
        print(await tools["book"].ainvoke({"what": "dentist"}))
    async with McpSessions(described(nobody)) as sessions:
        (content, _) = await sessions.call_tool("calendar", "look", {})
        print(f"after a restart nobody is asked: {content}")
    document = json.loads(await kept.load(address))
    print(f"the host kept a document with: {', '.join(sorted(document))}")


with serving(Authority(scopes={"book": "calendar:write"}), calendar) as authority:
    asyncio.run(main(authority.url))
