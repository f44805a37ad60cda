"""A process that calls a tool of an MCP server with tokens that are stored: `refreshing.py ADDRESS STORAGE USER`.

It says `ready`, waits for a line, makes the call, and says what it got. Nobody can be asked.
"""

from __future__ import annotations

import asyncio
import sys

from stategraph.agent.mcp import AuthorizationCode, FileTokens, HttpServer, McpSessions, UserTokenStorage
from stategraph.agent.mcp.slots import _load


async def nobody(page: str, user: str) -> str:
    raise AssertionError(f"{user} is not to be asked")


def storage(address: str) -> UserTokenStorage:
    if "://" not in address:
        return FileTokens(address)
    from stategraph.workers.registry.tokens import RegistryTokens

    return RegistryTokens.from_url(address)


async def main(address: str, tokens: str, user: str) -> None:
    code = AuthorizationCode(authorize=nobody, redirect_uri="http://127.0.0.1:8765/back", user_storage=storage(tokens))
    described = HttpServer(url=address, session="user", oauth=code)
    _load()
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    async with McpSessions({"one": described}) as sessions:
        with sessions.acting_for(user):
            print((await sessions.call_tool("one", "look", {}))[0], flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
