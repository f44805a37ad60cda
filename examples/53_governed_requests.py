"""An application whose requests are authenticated at the door, and whose runs act as who sent them.

Prints::

    nobody: 401
    ann: 200 acme/ann, thread acme:c1, policies ['default']
    ann, who writes that she is of globex: 200 acme/ann, thread acme:c1, policies ['default']
    eve, of another organisation: 404
"""

import asyncio
import json
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from stategraph import AgentInputs, create_run
from stategraph.governance import session
from stategraph.governance.api.asgi import GovernedApp, open_session
from stategraph.governance.api.configuration import AgentConfiguration
from stategraph.governance.api.requests import RequestSessions
from stategraph.governance.context import AgentRef, Principal
from stategraph.testing import ScriptedChatModel, call, reply

TOKENS = {b"Bearer ann": Principal("acme", "ann"), b"Bearer eve": Principal("globex", "eve")}


def authenticate(scope: Any) -> Principal | None:
    """Check a token; a program asks its identity provider."""
    return TOKENS.get(dict(scope["headers"]).get(b"authorization", b""))


class Agents:
    """The agents that organisations have set up; a program reads them from its database."""

    async def load(self, tenant: str, agent_id: str) -> AgentConfiguration | None:
        known = {("acme", "desk"): AgentConfiguration(AgentRef("desk", "3"), policies=("default",))}
        return known.get((tenant, agent_id))


def whoami() -> str:
    """Say who acts."""
    return session.current().context.principal.name


async def chat(request: Request) -> JSONResponse:
    body = await request.json()
    governed = await open_session(request, agent_id=body["agent"], conversation=body["conversation"])
    model = ScriptedChatModel(replies=[reply(call("whoami")), "Done."])
    agent = AgentInputs(agent_id="desk", model=model, tools=(whoami,))
    run = await create_run(run_id="1", agents=[agent], session=governed.session)
    await run.process_stream({"messages": [("user", "Who am I?")]}, {"configurable": {"thread_id": governed.thread_id}})
    said = run.get_run_messages()[1].content
    policies = list(governed.configuration.policies)
    return JSONResponse({"said": f"{said}, thread {governed.thread_id}, policies {policies}"})


app = GovernedApp(Starlette(routes=[Route("/chat", chat, methods=["POST"])]), RequestSessions(authenticate, Agents()))


async def post(who: str, token: bytes = b"", **claims: str) -> None:
    """Send a request as a client does, and print the answer."""
    body = json.dumps({"agent": "desk", "conversation": "c1", **claims}).encode()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/chat",
        "query_string": b"",
        "headers": [(b"authorization", token)] if token else [],
    }
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    status = sent[0]["status"]
    said = " " + json.loads(sent[1]["body"])["said"] if status == 200 else ""
    print(f"{who}: {status}{said}")


async def main() -> None:
    await post("nobody")
    await post("ann", b"Bearer ann")
    await post("ann, who writes that she is of globex", b"Bearer ann", org_id="globex", user_id="root")
    await post("eve, of another organisation", b"Bearer eve")


asyncio.run(main())
