"""An agent whose risky call waits for a second person, across a restart, and is carried out once.

Prints::

    first process: send_mail waits, shown as {'to': 'ann@example.com', 'api_key': '[hidden]'}
    first process: ended, nothing sent
    second process: bob is asked whether ann may, and approves
    second process: sent to ann@example.com
    the log: approval.requested, approval.granted, approval.consumed, action.started, action.completed
"""

import asyncio
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.audit.log import AuditLog
from stategraph.governance.audit.reader import AuditReader
from stategraph.governance.audit.storages.urls import storage_at
from stategraph.governance.capabilities.functions import capability, offer
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.run.run import Run
from stategraph.savers import AsyncSqliteSaver
from stategraph.testing import ScriptedChatModel, script
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.runs import RunRegistry

POLICY = parse_policy("""
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: office}
spec:
  defaults: {read: allow, write: allow, destructive: deny, external: escalate}
""")
ANN, BOB = Principal("acme", "ann"), Principal("acme", "bob")
THREAD: Any = {"configurable": {"thread_id": "t"}}


@capability(risk="external", source="office")
def send_mail(to: str, api_key: str) -> str:
    """Send a mail."""
    return f"sent to {to}"


async def turn(folder: Path, name: str, model: Any, answer: Any = None) -> None:
    """Be one process: begin the run, or go on with a person's answer."""
    with ExitStack() as stack:
        audit = stack.enter_context(AuditLog(f"sqlite:///{folder / 'audit.db'}"))
        approvals = SqlApprovals.from_url(f"sqlite:///{folder / 'office.db'}")
        stack.callback(approvals.close)
        runs = RunRegistry.from_url(f"sqlite:///{folder / 'office.db'}")
        stack.callback(runs.operations.close)
        executor = ActionExecutor(Registry(offer(send_mail)), POLICY, approvals, EffectLedger(runs), audit)
        # The run is ann's, whoever answers; the host knows who that is, the model and the client do not say it.
        context = RuntimeSessionContext(ANN, AgentRef("desk"), "t", approver=BOB if answer else None)
        async with AsyncSqliteSaver.from_conn_string(str(folder / "threads.db")) as saver:
            agent = {"agent_id": "desk", "model": model, "tools": [send_mail]}
            run = await Run.create(
                {
                    "run_id": "r",
                    "graph_config": {"agents": [agent], "compile_options": {"checkpointer": saver}},
                    "human_in_the_loop": {"enabled": True},
                    "tool_gates": [ActionGate(executor)],
                    "session": Session(context),
                }
            )
            if answer is None:
                await run.process_stream({"messages": [("user", "Write to Ann.")]}, THREAD)
            else:
                await run.resume(answer, THREAD)
            for waiting in run.get_interrupts():
                (request,) = waiting.payload["action_requests"]
                print(f"{name}: {request['name']} waits, shown as {request['arguments']}", flush=True)
            if answer is not None:
                print(f"{name}: {run.get_run_messages()[-2].content}", flush=True)


def second(folder: Path) -> None:
    """Be the process after the restart."""
    print("second process: bob is asked whether ann may, and approves", flush=True)
    asyncio.run(turn(folder, "second process", ScriptedChatModel(replies=["Done."]), [{"type": "approve"}]))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        call = script.call("send_mail", {"to": "ann@example.com", "api_key": "sk-live-0123456789abcdef"}, id="call_1")
        asyncio.run(turn(folder, "first process", ScriptedChatModel(replies=[script.reply("", call)])))
        print("first process: ended, nothing sent", flush=True)
        restarted = subprocess.run(
            [sys.executable, __file__, "second", name], check=True, stdout=subprocess.PIPE, text=True
        )
        print(restarted.stdout, end="")
        storage = storage_at(f"sqlite:///{folder / 'audit.db'}")
        reader = AuditReader(storage, Principal("acme", "auditor", frozenset({"auditor"})))
        told = [str(entry.event.type) for entry in reader.entries()]
        storage.close()
        print("the log:", ", ".join(each for each in told if each.startswith(("action.", "approval."))))


if __name__ == "__main__":
    second(Path(sys.argv[2])) if sys.argv[1:2] == ["second"] else main()
