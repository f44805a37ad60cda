"""This package's client in a scenario of the conformance suite: `client.py URL`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import httpx2

from stategraph.agent.mcp import AuthorizationCode, HttpServer, McpError, McpSessions
from stategraph.agent.mcp.elicitation import Elicitation
from tests.mcp_conformance.plans import CLIENT_PAGE, RAN, REDIRECT, Scenario, answer


async def agree(page: str) -> str:
    """Agrees in place of a person: the suite's page sends the browser back at once."""
    async with httpx2.AsyncClient() as browser:
        return (await browser.get(page)).headers["location"]


async def accept(asked: Elicitation) -> dict[str, Any]:
    return {"action": "accept", "content": answer(dict(asked.schema or {}))}


def described(url: str, scenario: Scenario) -> HttpServer:
    if not scenario.name.startswith("auth/"):
        return HttpServer(url=url)
    known = {name: scenario.context[name] for name in ("client_id", "client_secret") if name in scenario.context}
    issuers = [scenario.context["issuer"]] if "client_secret" in known else []
    return HttpServer(
        url=url,
        oauth=AuthorizationCode.model_validate(
            {
                "authorize": agree,
                "redirect_uri": REDIRECT,
                "client_metadata_url": CLIENT_PAGE,
                "issuers": issuers,
                **known,
            }
        ),
    )


async def main(url: str) -> None:
    scenario = Scenario.told()
    try:
        async with McpSessions({"server": described(url, scenario)}, on_elicitation=accept) as sessions:
            tools = {tool.tool: tool for tool in await sessions.tools()}  # type: ignore[attr-defined]
            for name, arguments in scenario.calls(list(tools)):
                try:
                    await sessions.call_tool("server", name, arguments)
                except McpError as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    except McpError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    print(f"{RAN} {scenario.name}")


asyncio.run(main(sys.argv[-1]))
