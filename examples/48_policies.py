"""A policy decides what an agent may do: rules in a file, first match wins, and what cannot be decided is denied.

Prints::

    12.00: allow, by small-refunds
    990.00: escalate to role:finance, 2 of them
    no amount: deny, runtime_error:path_missing
    mail: deny, recipient_not_allowed
"""

from pathlib import Path

from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.canonical import digest
from stategraph.governance.capability import Capability
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.policy import points
from stategraph.governance.policy.files import load_policy
from stategraph.governance.policy.snapshot import tool_call_snapshot
from stategraph.governance.policy.verdict import InterventionPoint

policy = load_policy(Path(__file__).parent / "refund_policy.yaml")
context = RuntimeSessionContext(
    Principal("acme", "ann", frozenset({"support"})), AgentRef("desk"), session_id="thread-1"
)


def evaluate(kind, source, name, risk, arguments):
    tool = Capability(
        id=f"{kind}:{source}/{name}@1",
        kind=kind,
        name=name,
        input_schema={"type": "object"},
        version="1",
        source=source,
        digest=digest([source, name]),
        risk=risk,
    )
    request = ActionRequest(tool.id, arguments, call_id="call-1", run=RunRef("run-1"), context=context)
    return points.evaluate(policy, InterventionPoint.PRE_TOOL_CALL, tool_call_snapshot(request, tool)).verdict


def refund(**arguments):
    return evaluate("function", "shop", "refund", "write", arguments)


small = refund(cents=1200)
print(f"12.00: {small.decision}, by {small.rule}")
large = refund(cents=99000)
print(f"990.00: {large.decision} to {large.approval.approvers[0]}, {large.approval.quorum} of them")
unknown = refund()
print(f"no amount: {unknown.decision}, {unknown.reason}")
mail = evaluate("mcp", "mail", "send", "external", {"to": "eve@example.org"})
print(f"mail: {mail.decision}, {mail.reason}")
