"""The official Python SDK's client in a scenario of the conformance suite: `reference.py URL`."""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import mcp_types as wire
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

from tests.mcp_conformance.plans import CLIENT_PAGE, RAN, REDIRECT, Scenario, answer


class Storage:
    """Keeps what the provider is granted."""

    def __init__(self, client: OAuthClientInformationFull | None) -> None:
        self.client = client
        self.tokens: OAuthToken | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Browser:
    """Agrees in place of a person."""

    def __init__(self) -> None:
        self.fields: dict[str, list[str]] = {}

    async def show(self, page: str) -> None:
        async with httpx2.AsyncClient() as browser:
            self.fields = parse_qs(urlsplit((await browser.get(page)).headers["location"]).query)

    async def returned(self) -> AuthorizationCodeResult:
        found = {name: values[0] for name, values in self.fields.items()}
        return AuthorizationCodeResult(code=found["code"], state=found.get("state"), iss=found.get("iss"))


def provider(url: str, scenario: Scenario) -> OAuthClientProvider | None:
    if not scenario.name.startswith("auth/"):
        return None
    client = None
    if "client_secret" in scenario.context:
        client = OAuthClientInformationFull.model_validate(
            {
                "client_id": scenario.context["client_id"],
                "client_secret": scenario.context["client_secret"],
                "redirect_uris": [REDIRECT],
                "token_endpoint_auth_method": "client_secret_basic",
            }
        )
    metadata = OAuthClientMetadata.model_validate({"client_name": "reference", "redirect_uris": [REDIRECT]})
    browser = Browser()
    return OAuthClientProvider(url, metadata, Storage(client), browser.show, browser.returned, CLIENT_PAGE)


async def accept(context: Any, params: wire.ElicitRequestParams) -> wire.ElicitResult:
    schema = getattr(params, "requested_schema", None) or {}
    fields = schema.get("properties", {})
    defaults = {name: field["default"] for name, field in fields.items() if "default" in field}
    return wire.ElicitResult(action="accept", content={**answer(schema), **defaults})


async def main(url: str) -> None:
    scenario = Scenario.told()
    try:
        async with (
            httpx2.AsyncClient(auth=provider(url, scenario), timeout=30) as http,
            Client(streamable_http_client(url, http_client=http), elicitation_callback=accept) as client,
        ):
            listed = [tool.name for tool in (await client.list_tools()).tools]
            for name, arguments in scenario.calls(listed):
                try:
                    await client.call_tool(name, arguments)
                except (MCPError, RuntimeError) as error:
                    print(f"{type(error).__name__}: {error}", file=sys.stderr)
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    print(f"{RAN} {scenario.name}")


asyncio.run(main(sys.argv[-1]))
