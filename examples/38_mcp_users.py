"""An MCP server with tokens of each user, for a chat backend of several processes.

The server and its authorization server run on this machine, and a function plays the browsers of people who agree. The
tokens are in a folder that several processes may share; in production encrypt them, see `FileTokens`.

Prints::

    ada is asked
    bob is asked
    ada: a user of her own: True
    refreshed once for two processes: True
    ada is signed off, and asked again later
    ada is asked
"""

import asyncio
import sys
import tempfile
from pathlib import Path
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx2
from langchain_core.messages import HumanMessage
from mcp.server import MCPServer
from mcp.server.mcpserver import Context

sys.path.insert(0, str(Path(__file__).parent))

from loopback_authority import Authority, serving

from stategraph import AgentInputs, AgentRuntime
from stategraph.agent.mcp import AuthorizationCode, FileTokens, HttpServer
from stategraph.testing import ScriptedChatModel, call, reply

calendar = MCPServer("calendar", log_level="CRITICAL")


@calendar.tool(structured_output=False)
def whoami(ctx: Context) -> str:
    """Say whose token came along."""
    return ctx.request_context.request.headers["authorization"]


async def show_page(page: str, *, user: str) -> str:
    """A chat backend sends the browser of this user to the page, and returns the address that it comes back to."""
    assert "state" in parse_qs(urlsplit(page).query)
    print(f"{user} is asked")
    async with httpx2.AsyncClient() as browser:
        return (await browser.get(page)).headers["location"]


def backend(address: str, tokens: FileTokens) -> AgentRuntime:
    """A process of the chat backend."""
    oauth = AuthorizationCode(authorize=show_page, redirect_uri="http://127.0.0.1:8765/back", user_storage=tokens)
    return AgentRuntime(mcp_servers={"calendar": HttpServer(url=address, session="user", oauth=oauth)})


async def turn(runtime: AgentRuntime, user: str) -> str:
    """Run a turn of a user, and return what the tool said."""
    with runtime.mcp.acting_for(user):
        tools = await runtime.tools()
    model = ScriptedChatModel(replies=[reply(call("whoami", {}, id="c1")), "Done."])
    run = await runtime.create_run(run_id=uuid4().hex, agents=[AgentInputs(agent_id="a", model=model, tools=tools)])
    await run.process_stream(
        {"messages": [HumanMessage("Who am I?")]}, {"configurable": {"thread_id": user, "user_id": user}}
    )
    return next(str(each.content) for each in run.get_run_messages() if each.type == "tool")


async def main(authority: Authority, folder: str) -> None:
    tokens = FileTokens(folder)
    async with backend(authority.url, tokens) as one, backend(authority.url, FileTokens(folder)) as two:
        ada, bob = await turn(one, "ada"), await turn(one, "bob")
        print(f"ada: a user of her own: {ada != bob and await turn(two, 'ada') == ada}")

        authority.revoke()
        before = authority.asked["refresh_token"]
        both = await asyncio.gather(turn(one, "ada"), turn(two, "ada"))
        refreshes = authority.asked["refresh_token"] - before
        print(f"refreshed once for two processes: {refreshes == 1 and len(set(both)) == 1}")

        print("ada is signed off, and asked again later")
        await asyncio.gather(one.mcp.end_user("ada"), two.mcp.end_user("ada"))
        await tokens.forget("ada", authority.url)
        await turn(one, "ada")


with serving(Authority(), calendar) as authority, tempfile.TemporaryDirectory() as folder:
    asyncio.run(main(authority, folder))
