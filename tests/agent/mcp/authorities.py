"""An authorization server for tests with several users and processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from starlette.requests import Request
from starlette.responses import Response

from examples.loopback_authority import Authority
from stategraph.agent.mcp import AuthorizationCode, HttpServer, McpSessions, UserTokenStorage
from tests.agent.mcp.test_mcp_oauth import BACK, visit

PROGRAM = Path(__file__).with_name("refreshing.py")
server = MCPServer("guarded", log_level="CRITICAL")


@server.tool(structured_output=False)
def look() -> str:
    """Look."""
    return "seen"


@server.tool(structured_output=False)
def bearer(ctx: Context) -> str:
    """Say which token came along."""
    request: Any = ctx.request_context.request
    return str(request.headers["authorization"]).removeprefix("Bearer ")


class SlowAuthority(Authority):
    """One that takes its time to refresh a token, so that all who ask for that do so side by side."""

    async def token(self, request: Request) -> Response:
        answer = await super().token(request)
        await asyncio.sleep(0.5)
        return answer


class People:
    """Users who agree, and how often each was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def __call__(self, page: str, user: str) -> str:
        self.asked.append(user)
        return await asyncio.to_thread(visit, page)


def described(authority: Authority, people: People, kept: UserTokenStorage, **more: Any) -> HttpServer:
    code = AuthorizationCode(authorize=people, redirect_uri=BACK, user_storage=kept)
    return HttpServer(url=authority.url, oauth=code, **{"session": "user", **more})


def begin(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


async def race(authority: Authority, kept: UserTokenStorage, address: str, processes: int = 3) -> list[str]:
    """Have a token granted and refused, and several processes need another one at once; return what they saw."""
    people = People()
    async with McpSessions({"one": described(authority, people, kept)}) as sessions:
        with sessions.acting_for("ada"):
            await sessions.call_tool("one", "look", {})
    authority.revoke()
    command = [sys.executable, str(PROGRAM), authority.url, address, "ada"]
    started = [begin(command) for _ in range(processes)]
    try:
        for each in started:
            assert each.stdout is not None
            assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
        for each in started:
            assert each.stdin is not None
            each.stdin.write("go\n")
            each.stdin.flush()
        said = await asyncio.gather(*(asyncio.to_thread(each.communicate, timeout=60) for each in started))
    finally:
        for each in started:
            each.kill()
    return [out.strip() for out, _ in said]
