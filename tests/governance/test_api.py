"""The door for ASGI applications: sessions are made of the authenticated request and of what is stored, and no more."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from stategraph.errors import ConfigurationError
from stategraph.governance import session as sessions
from stategraph.governance.api.asgi import Caller, GovernedApp, caller, caller_of, open_session
from stategraph.governance.api.configuration import AgentConfiguration
from stategraph.governance.api.requests import RequestSessions
from stategraph.governance.api.secrets import OrganisationServers
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.context import AgentRef, Budget, CapabilitySelector, Principal
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.policy.combination import Policies
from stategraph.governance.policy.verdict import Policy
from stategraph.governance.redaction import Redactor
from stategraph.governance.session import Session
from tests.governance.policies import policy
from tests.governance.sessions import context

TOKENS = {
    "ann-token": Principal("acme", "ann", frozenset({"support"}), {"locale": "de-CH"}),
    "eve-token": Principal("globex", "eve", frozenset({"support"})),
    "bob-token": Principal("acme", "bob"),
}


async def authenticate(scope: Any) -> Principal | None:
    headers = dict(scope["headers"])
    return TOKENS.get(headers.get(b"authorization", b"").decode().removeprefix("Bearer "))


class Configurations:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.known = {
            ("acme", "support"): AgentConfiguration(
                AgentRef("support", "7"),
                CapabilitySelector(("mcp:github/*",)),
                ("default",),
                Budget(tokens=1000),
                frozenset({"support"}),
            )
        }

    async def load(self, tenant: str, agent_id: str, /) -> AgentConfiguration | None:
        self.asked.append((tenant, agent_id))
        return self.known.get((tenant, agent_id))


class Log:
    """An audit log that keeps events, or is away."""

    def __init__(self, *, away: bool = False) -> None:
        self.events: list[tuple[AuditEvent, bool]] = []
        self.away = away

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        if self.away:
            raise AuditUnavailable("away")
        self.events.append((event, durable))

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        raise AssertionError


async def chat(request: Request) -> Response:
    """An endpoint that believes nothing of what the client says of itself."""
    body = await request.json()
    governed = await open_session(request, agent_id=body["agent"], conversation=body["conversation"])
    async with governed.session.active("run", governed.thread_id) as active:
        found = sessions.current().context
        return JSONResponse(
            {
                "tenant": active.tenant,
                "user": found.principal.user_id,
                "roles": sorted(found.principal.roles),
                "policies": found.policies,
                "budget": found.budget.tokens if found.budget else None,
                "agent": [found.agent.id, found.agent.version],
                "locale": found.locale,
                "thread": governed.thread_id,
            }
        )


async def health(request: Request) -> Response:
    with pytest.raises(HTTPException):
        caller_of(request)
    return Response("ok")


def app(**more: Any) -> GovernedApp:
    made = RequestSessions(authenticate, more.pop("configurations", Configurations()), **more)
    routes = [Route("/chat", chat, methods=["POST"]), Route("/health", health)]
    return GovernedApp(Starlette(routes=routes), made, open_paths=["/health"])


def ask(made: Any, body: Mapping[str, Any] | None = None, token: str = "", path: str = "/chat", **headers: str) -> Any:
    """Send a request, and return status, headers and body of the answer."""
    sent: list[Any] = []
    data = json.dumps(body or {"agent": "support", "conversation": "c1"}).encode()
    given = {"authorization": f"Bearer {token}"} if token else {}
    scope = {
        "type": "http",
        "method": "GET" if path == "/health" else "POST",
        "path": path,
        "headers": [(key.encode(), each.encode()) for key, each in {**given, **headers}.items()],
        "query_string": b"org_id=globex&user_id=eve",
        "root_path": "",
        "client": None,
        "server": None,
        "scheme": "http",
        "http_version": "1.1",
    }

    async def receive() -> Any:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(made(scope, receive, send))
    text = b"".join(each.get("body", b"") for each in sent[1:]).decode()
    return sent[0]["status"], dict(sent[0]["headers"]), json.loads(text) if text.startswith("{") else text


def test_the_context_is_that_of_the_authenticated_caller_and_the_stored_agent() -> None:
    log = Log()
    status, _, body = ask(app(audit=log), token="ann-token")
    assert status == 200
    assert body == {
        "tenant": "acme",
        "user": "ann",
        "roles": ["support"],
        "policies": ["default"],
        "budget": 1000,
        "agent": ["support", "7"],
        "locale": "de-CH",
        "thread": "acme:c1",
    }
    ((event, _),) = log.events
    assert (event.type, event.tenant, event.principal) == ("context.created", "acme", "acme/ann")
    assert event.thread_id == "acme:c1"
    assert "ann-token" not in repr(event)


def test_what_a_client_says_of_itself_counts_for_nothing() -> None:
    claims = {
        "agent": "support",
        "conversation": "c1",
        "org_id": "globex",
        "tenant": "globex",
        "user_id": "root",
        "roles": ["admin"],
        "policies": [],
        "budget": None,
        "context": {"principal": {"org_id": "globex"}},
    }
    headers = {"x-tenant": "globex", "x-user": "root", "x-roles": "admin", "traceparent": "00-" + "1" * 32}
    _, _, honest = ask(app(), token="ann-token")
    status, _, body = ask(app(), claims, token="ann-token", **headers)
    assert (status, body) == (200, honest)


@pytest.mark.parametrize("token", ["", "wrong", "ann-token2"])
def test_nobody_gets_in_without_being_known(token: str) -> None:
    configurations = Configurations()
    status, headers, body = ask(app(configurations=configurations), token=token)
    assert status == 401
    assert headers[b"www-authenticate"] == b"Bearer"
    assert set(body) == {"error"}
    assert configurations.asked == []
    assert ask(app(), path="/health")[0] == 200


def test_agents_of_other_organisations_and_of_other_roles_do_not_exist() -> None:
    answers = [ask(app(), token=token) for token in ("eve-token", "bob-token")]
    answers.append(ask(app(), {"agent": "none", "conversation": "c"}, token="ann-token"))
    assert [status for status, _, _ in answers] == [404, 404, 404]
    assert len({str(body) for _, _, body in answers}) == 1


def test_names_that_are_none_are_refused() -> None:
    for wrong in ("", "x" * 257, 7, None):
        for field in ("agent", "conversation"):
            body = {"agent": "support", "conversation": "c1", field: wrong}
            assert ask(app(), body, token="ann-token")[0] == 400


def test_without_an_audit_log_that_takes_it_no_context_is_made() -> None:
    with pytest.raises(AuditUnavailable):
        ask(app(audit=Log(away=True)), token="ann-token")


def test_websockets_are_refused_as_well() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def main() -> None:
        await app()({"type": "websocket", "path": "/x", "headers": []}, None, send)  # type: ignore[arg-type]

    asyncio.run(main())
    assert (sent[0]["type"], sent[0]["code"]) == ("websocket.close", 1008)


def test_an_endpoint_outside_of_the_door_has_no_caller() -> None:
    with pytest.raises(HTTPException) as refused:
        caller_of({"type": "http"})
    assert refused.value.status_code == 401
    with pytest.raises(ConfigurationError, match="list of paths"):
        GovernedApp(Starlette(), RequestSessions(authenticate, Configurations()), open_paths="/health")
    wrong = RequestSessions(lambda _: "ann", Configurations())  # type: ignore[arg-type,return-value]
    with pytest.raises(ConfigurationError, match="expected a Principal"):
        asyncio.run(wrong.principal({}))
    dependency = caller()
    found = Caller(TOKENS["ann-token"], wrong)
    assert dependency(Request({"type": "http", "headers": [], "stategraph.caller": found})) is found


SERVER = """
import os, sys
from mcp.server.mcpserver import MCPServer
server = MCPServer("private")

@server.tool()
def reveal() -> str:
    "Say what the environment has."
    return "the wall says " + os.environ["TOKEN"]

server.run()
"""


def configured(**references: Any) -> AgentConfiguration:
    described = {"command": sys.executable, "args": ["-c", SERVER], "env": references}
    return AgentConfiguration(AgentRef("support"), mcp_servers={"private": described})


class Secrets:
    async def get(self, tenant: str, name: str, /) -> str | None:
        return {("acme", "token"): "violet heron of acme", ("globex", "token"): "violet heron of globex"}.get(
            (tenant, name)
        )


def test_secrets_are_resolved_for_the_call_hidden_during_it_and_accounted_for() -> None:
    async def main() -> None:
        redactor, log = Redactor(), Log()
        servers = OrganisationServers(Secrets(), redactor, log)
        configuration = configured(TOKEN={"secretRef": "token", "prefix": "a "})
        assert "heron" not in repr(configuration)
        async with Session(context("acme")).active("r") as active, asyncio.timeout(60):
            async with servers.opened(active, configuration) as opened:
                (tool,) = await opened.tools()
                answer = str(await tool.ainvoke({}))
                assert "a violet heron of acme" in answer
                assert "heron" not in str(redactor.clean(answer))
                assert "heron" not in repr(opened)
            assert "heron" in str(redactor.clean(answer))  # which the redactor knew only while it was in use
            ((event, durable),) = log.events
            assert durable
            assert (event.type, event.tenant, event.data) == (
                *("secret.accessed", "acme"),
                {"secret": "token", "server": "private"},
            )
        assert "heron" not in repr(log.events)

    asyncio.run(main())


def test_a_secret_that_is_missing_or_cannot_be_accounted_for_is_not_used() -> None:
    async def main() -> None:
        async with Session(context("initech")).active("r") as active:
            with pytest.raises(ConfigurationError, match="has none of this name"):
                async with OrganisationServers(Secrets(), Redactor()).opened(
                    active, configured(TOKEN={"secretRef": "token"})
                ):
                    pass
        async with Session(context("acme")).active("r") as active:
            with pytest.raises(AuditUnavailable):
                async with OrganisationServers(Secrets(), Redactor(), Log(away=True)).opened(
                    active, configured(TOKEN={"secretRef": "token"})
                ):
                    pass

    asyncio.run(main())
    for plain in ("violet heron", {"secretRef": ""}, {"secretRef": "a", "value": "b"}, None):
        with pytest.raises(ConfigurationError, match="expected a reference"):
            configured(TOKEN=plain)


PLAIN = """
import asyncio, sys
import stategraph.governance.api.asgi as door
from stategraph.governance.api.requests import RequestSessions
from stategraph.governance.context import Principal

class Nothing:
    async def load(self, tenant, agent_id):
        return None

async def app(scope, receive, send):
    await door.open_session(scope, agent_id="a", conversation="c")

sent = []
async def send(message):
    sent.append(message)

made = door.GovernedApp(app, RequestSessions(lambda scope: Principal("acme", "ann"), Nothing()))
asyncio.run(made({"type": "http", "path": "/"}, None, send))
assert sent[0]["status"] == 404, sent
assert "starlette" not in sys.modules
"""


def test_an_application_without_a_framework_is_answered_for_and_none_is_imported() -> None:
    root = Path(__file__).resolve().parents[2]
    subprocess.run([sys.executable, "-c", PLAIN], check=True, cwd=root, timeout=60)


def test_a_session_keeps_to_the_budgets_of_its_policies_and_of_its_configuration() -> None:
    def limits(budgets: str) -> Policy:
        return policy(f"budgets: {budgets}")

    known = {"default": limits("{per_run: {tokens: 5000, tool_calls: 7}, on_limit: deny}"), "free": policy("")}
    configurations = Configurations()

    async def budget(agent: str = "support", policies: Policies | None = None) -> Budget | None:
        made = RequestSessions(authenticate, configurations, policies=policies)
        return (await made.open(TOKENS["ann-token"], agent, "c1")).session.context.budget

    together = Policies(known, default=["default"])
    assert asyncio.run(budget()) == Budget(tokens=1000)
    assert asyncio.run(budget(policies=together)) == Budget(tokens=1000, tool_calls=7, on_limit="deny")
    # A configuration without policies of its own is under the default.
    configurations.known["acme", "plain"] = AgentConfiguration(AgentRef("plain"))
    configurations.known["acme", "free"] = AgentConfiguration(AgentRef("free"), policies=("free",))
    assert asyncio.run(budget("plain", together)) == Budget(tokens=5000, tool_calls=7, on_limit="deny")
    assert asyncio.run(budget("free", together)) is None
    # A policy that there is not denies every action; it sets no budget, and takes none away.
    configurations.known["acme", "lost"] = AgentConfiguration(
        AgentRef("lost"), policies=("lost",), budget=Budget(tokens=9)
    )
    assert asyncio.run(budget("lost", together)) == Budget(tokens=9)
