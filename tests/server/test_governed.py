"""Runs of the server pass the pipeline of governed actions: who asks acts, who answers approves, rows name them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

pytest.importorskip("starlette")
pytest.importorskip("cel_expr_python")

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode

from stategraph import END, START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.session import Session
from stategraph.governance.session_signing import SessionIds, SessionSigner
from stategraph.server import configuring
from stategraph.server.application import create_app, sessions_of
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.opening import ServiceSettings, open_service
from stategraph.server.service.port import RunRequest
from stategraph.server.service.runs.hosting import working
from stategraph.server.service.values import Caller
from stategraph.server.sessions import GovernedSessions
from stategraph.server.settings import Settings
from tests.governance.executing.kit import World, world
from tests.server.protocols.serving import frames_of

pytestmark = pytest.mark.anyio

POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: office}
spec:
  defaults: {read: allow, write: deny, external: deny, destructive: deny}
  rules:
    - name: large
      at: [pre_tool_call]
      when: tool.name == "refund" && args.cents > 1000 && "support" in principal.roles
      then: {decision: escalate, approvers: [role:security]}
    - name: small
      at: [pre_tool_call]
      when: tool.name == "refund" && "support" in principal.roles
      then: {decision: allow}
"""

ANN, BOB, EVE = (Principal("acme", each).name for each in ("ann", "bob", "eve"))

#: What nobody may find in the database.
CANARY = "canary-of-a-claim"

ROLES = {"ann": {"support"}, "bob": {"security"}, "eve": set()}


def context_of(ids: SessionIds) -> RuntimeSessionContext:
    def principal(user: str) -> Principal:
        return Principal(ids.org_id, user, frozenset(ROLES[user]), {"token": CANARY})

    made = RuntimeSessionContext(principal(ids.user_id), AgentRef(ids.agent_id), ids.session_id)
    return made if ids.approver_id is None else replace(made, approver=principal(ids.approver_id))


SESSIONS = GovernedSessions(SessionSigner({"k": b"k" * 32}), lambda ids: Session(context_of(ids)))


async def colleagues(resource: str, action: str, value: Any) -> None:
    """Let everybody of the organisation see all threads."""


class Names:
    """Knows callers by a header."""

    async def authenticate(self, connection: Any, /) -> Caller | None:
        name = connection.headers.get("x-name")
        user = {"identity": name, "org_id": "acme"} if name != "mallory" else {"identity": name}
        return Caller(name, user, authorize=colleagues) if name else None

    def challenge(self) -> str:
        return ""


def refunding(made: World) -> Any:
    """Return a graph that refunds as many cents as it is told."""
    gate = ToolCallGate(made.executor(POLICY))

    def model(state: MessagesState) -> Any:
        call = {"name": "refund", "args": {"order": "7", "cents": int(state["messages"][-1].text)}, "id": "call-1"}
        return {"messages": [AIMessage("", tool_calls=[call])]}

    tools = ToolNode([tool(made.office.refund)], wrap_tool_call=gate.wrap, awrap_tool_call=gate.awrap)
    builder = StateGraph(MessagesState).add_node("model", model).add_node("tools", tools)
    return builder.add_edge(START, "model").add_edge("model", "tools").add_edge("tools", END).compile()


@asynccontextmanager
async def governed(folder: Path) -> AsyncIterator[tuple[World, httpx.AsyncClient]]:
    """Serve the graph with sessions of its callers."""
    with world(folder) as made:
        app = create_app(
            config={"desk": refunding(made)},
            store=f"sqlite:///{folder / 'server.db'}",
            settings=Settings(auth=[Names()], sessions=SESSIONS),
        )
        transport = httpx.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client,
        ):
            yield made, client


def as_(name: str) -> dict[str, str]:
    return {"x-name": name}


async def asked(client: httpx.AsyncClient, name: str, cents: int) -> tuple[str, Any]:
    """Ask for a refund on a new thread; return the thread, and the values at the end."""
    thread = (await client.post("/threads", json={}, headers=as_(name))).json()["thread_id"]
    body = {"assistant_id": "desk", "input": {"messages": [{"role": "user", "content": str(cents)}]}}
    answer = await client.post(f"/threads/{thread}/runs/wait", json=body, headers=as_(name))
    return thread, answer.json()


def everything(folder: Path) -> bytes:
    """Return the bytes of all files in a folder."""
    return b"".join(each.read_bytes() for each in folder.iterdir() if each.is_file())


def result(values: Any) -> str:
    last = values["messages"][-1]
    assert last["type"] == "tool"
    return str(last["content"])


async def test_who_asks_acts_and_the_log_names_them(tmp_path: Path) -> None:
    async with governed(tmp_path) as (made, client):
        _, refused = await asked(client, "eve", 500)
        assert made.office.done == []
        _, allowed = await asked(client, "ann", 500)
    assert result(refused).startswith("Not executed (denied_by_default)")
    assert result(allowed) == "refunded 500"
    assert made.office.done == [("refund", "7", 500)]
    acted = [(str(each.type), each.principal) for each in made.log.events if str(each.type).startswith("action.")]
    assert acted == [("action.rejected", EVE), ("action.started", ANN), ("action.completed", ANN)]
    stored = everything(tmp_path)
    assert b"acme" in stored
    assert CANARY.encode() not in stored


async def test_another_user_approves_over_langgraphs_command(tmp_path: Path) -> None:
    async with governed(tmp_path) as (made, client):
        thread, values = await asked(client, "ann", 5000)
        (question,) = values["__interrupt__"]
        assert question["value"]["action_requests"][0]["name"] == "refund"
        body: Any = {"assistant_id": "desk", "command": {"resume": {"decisions": [{"type": "approve"}]}}}

        async def answered(name: str, **further: Any) -> httpx.Response:
            path = f"/threads/{thread}/runs/wait"
            return await client.post(path, json={**body, **further}, headers=as_(name))

        own = (await answered("ann")).json()
        assert "InvalidAnswerError" in str(own["__error__"])
        assert made.office.done == []
        both = {"resume": body["command"]["resume"], "update": {"messages": [{"role": "user", "content": "900000"}]}}
        for further in ({"command": both}, {"context": {"cents": 1}}, {"checkpoint": {"checkpoint_id": str(uuid4())}}):
            refused = await answered("bob", **further)
            assert refused.status_code == 403, further
            assert "somebody else's" in refused.text
        approved = (await answered("bob")).json()
    assert result(approved) == "refunded 5000"
    assert made.office.done == [("refund", "7", 5000)]
    granted = [each.principal for each in made.log.of("approval.granted")]
    assert granted == [BOB]
    assert [each.principal for each in made.log.of("action.completed")] == [ANN]


async def test_another_user_approves_over_ag_ui(tmp_path: Path) -> None:
    async with governed(tmp_path) as (made, client):
        thread, _ = await asked(client, "ann", 5000)
        (run,) = (await client.get(f"/threads/{thread}/runs", headers=as_("bob"))).json()
        path = f"/agui/desk/threads/{thread}/runs/{run['run_id']}"
        read = frames_of((await client.get(path, headers=as_("bob"))).text)
        (question,) = read[-1][2]["outcome"]["interrupts"]
        answer = {"interruptId": question["id"], "status": "resolved", "payload": {"approved": True}}
        body = {"threadId": thread, "runId": str(uuid4()), "protocolVersion": "1.0", "messages": [], "resume": [answer]}
        told = (await client.post("/agui/desk", json=body, headers=as_("bob"))).text
        events = [each for _, _, each in frames_of(told)]
    assert [each["content"] for each in events if each["type"] == "TOOL_CALL_RESULT"] == ["refunded 5000"]
    assert [each.principal for each in made.log.of("approval.granted")] == [BOB]
    assert [each.principal for each in made.log.of("action.completed")] == [ANN]


async def test_callers_without_an_organisation_begin_nothing(tmp_path: Path) -> None:
    async with governed(tmp_path) as (made, client):
        body = {"assistant_id": "desk", "input": {"messages": [{"role": "user", "content": "5"}]}}
        refused = await client.post("/runs/wait", json=body, headers=as_("mallory"))
    assert refused.status_code == 403
    assert "nothing says who asks" in refused.text
    assert made.office.done == []


async def test_a_worker_that_makes_no_sessions_executes_nothing_of_a_governed_run(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        graphs, caller = ServedGraphs({"desk": refunding(made)}), Caller("ann", {"org_id": "acme"})
        settings = ServiceSettings(works=False, sessions=SESSIONS)
        async with open_service(graphs, f"sqlite:///{tmp_path / 'server.db'}", settings) as opened:
            request = RunRequest(assistant_id="desk", thread_id=None, input={"messages": [("user", "5")]})
            run = await opened.service.runs.create(caller, request)
            async with working(opened.registry, graphs.saver, graphs):
                ended = await opened.service.runs.wait(caller, run.run_id)
    assert ended.status == "error"
    assert "--session-of" in (ended.error or "")
    assert made.office.done == []


@pytest.mark.parametrize("said", ["sessions = 1", 'sessions = "my_app"', 'sessions = ":name"'])
def test_settings_that_name_no_sessions_are_refused(tmp_path: Path, said: str) -> None:
    (tmp_path / "server.toml").write_text(said)
    with pytest.raises(ConfigurationError, match="sessions is"):
        configuring.read(tmp_path / "server.toml")


def test_settings_name_sessions_in_files_of_their_folder(tmp_path: Path) -> None:
    (tmp_path / "server.toml").write_text('sessions = "sessions.py:sessions"')
    (tmp_path / "sessions.py").write_text("from tests.server.test_governed import SESSIONS as sessions\nother = 1\n")
    named = configuring.read(tmp_path / "server.toml").sessions
    assert isinstance(sessions_of(named), GovernedSessions)
    with pytest.raises(ConfigurationError, match="expected a GovernedSessions"):
        sessions_of(f"{tmp_path / 'sessions.py'}:other")
