"""The system of `scenarios` on this engine: `python -m tests.governance.traps.ours FOLDER < step.json`.

A graph of LangGraph's making with a tool node, whose calls pass an executor; its state is in a SQLite file.
"""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from stategraph.governance.approval.machine import ApprovalState
from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.capabilities.functions import offer
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.gates.toolnode import ToolCallGate
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.runs import RunRegistry

THREAD: Any = {"configurable": {"thread_id": "t"}}
ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")
POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {{name: mail}}
spec:
  defaults: {{read: allow, write: allow, destructive: deny, external: {0}}}
  rules: {1}
"""
POLICIES = {
    "ask": POLICY.format("escalate", "[]"),
    "ask_again": POLICY.format(
        "escalate", "[{name: pay, at: [pre_tool_call], when: 'tool.name == \"pay\"', then: {decision: deny}}]"
    ),
    "deny": POLICY.format("deny", "[]"),
}


def answer(folder: Path, step: dict[str, Any]) -> dict[str, Any]:
    """Do a step."""
    effects = folder / "effects"

    def done(*effect: str) -> str:
        with effects.open("a") as file:
            file.write(json.dumps(effect) + "\n")
        return "done"

    def send_mail(to: str, body: str, api_key: str) -> str:
        """Send a mail."""
        return done("send_mail", to)

    def pay(to: str, cents: int) -> str:
        """Pay somebody."""
        return done("pay", to)

    tools = [each for each in (send_mail, pay) if each.__name__ in step["tools"]]
    registry = Registry(*(offer(each, Traits(source="office", risk="external"), in_place=True) for each in tools))
    runs = RunRegistry.from_url(f"sqlite:///{folder / 'runs.db'}")
    database = open_database(f"sqlite:///{folder / 'approvals.db'}")
    approvals = SqlApprovals(database, clock=lambda: time.time() + step.get("later_s", 0))
    policy = parse_policy(POLICIES[step["policy"]])
    gate = ToolCallGate(ActionExecutor(registry, policy, approvals, EffectLedger(runs)))
    with closing(sqlite3.connect(folder / "state.db", check_same_thread=False)) as connection:
        builder = StateGraph(MessagesState)
        builder.add_node("model", lambda _: {"messages": [_asks(step["call"])]})
        builder.add_node("tools", ToolNode([tool(each) for each in tools], wrap_tool_call=gate.wrap))
        builder.add_edge(START, "model").add_edge("model", "tools").add_edge("tools", END)
        graph = builder.compile(checkpointer=SqliteSaver(connection))
        with Session(RuntimeSessionContext(ANN, AgentRef("mailer"), "t", approver=BOB)).active_sync("run", "t"):
            match step["do"]:
                case "turn":
                    graph.invoke({"messages": [("user", "go")]}, THREAD)
                case "approve":
                    for each in approvals.newest("acme", [ApprovalState.REQUESTED]):
                        approvals.vote("acme", each.id, BOB, "approve")
                case "resume" if "alter" in step:
                    message = graph.get_state(THREAD).values["messages"][-1]
                    graph.update_state(THREAD, {"messages": [_asks(step["alter"], message.id)]}, as_node="model")
                    graph.invoke(None, THREAD)
                case "resume":
                    graph.invoke(Command(resume={"decisions": [{"type": "approve"}]}), THREAD)
        waiting = [request for each in graph.get_state(THREAD).interrupts for request in each.value["action_requests"]]
    approvals.close()
    runs.operations.close()
    lines = effects.read_text().splitlines() if effects.exists() else []
    return {"effects": [json.loads(line) for line in lines], "waiting": waiting}


def _asks(call: dict[str, Any], id: str | None = None) -> AIMessage:
    calls = [{"name": call["tool"], "args": call["args"], "id": call["id"], "type": "tool_call"}]
    return AIMessage("", tool_calls=calls, id=id)


if __name__ == "__main__":
    print(json.dumps(answer(Path(sys.argv[1]), json.load(sys.stdin))))
