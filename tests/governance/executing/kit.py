"""A small office that acts: capabilities that note what they do, policies, people, and what an executor needs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stategraph.governance.actions import ActionRequest, RunRef
from stategraph.governance.approval.store import SqlApprovals
from stategraph.governance.audit.event import AuditEvent
from stategraph.governance.capabilities.functions import Traits, offer
from stategraph.governance.capability import Risk
from stategraph.governance.context import AgentRef, Principal, RuntimeSessionContext
from stategraph.governance.errors import AuditUnavailable
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.files import parse_policy
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.registry import Registry
from stategraph.workers.ledger.effects import EffectLedger
from stategraph.workers.registry.databases import open_database
from stategraph.workers.registry.runs import RunRegistry

ANN = Principal("acme", "ann")
BOB = Principal("acme", "bob", frozenset({"security"}))
CLEO = Principal("acme", "cleo", frozenset({"security"}))

ASK = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: office}
spec:
  defaults: {read: allow, write: allow, destructive: deny, external: escalate}
  rules:
    - name: two-people
      at: [pre_tool_call]
      when: tool.name == "refund" && args.cents > 5000
      then: {decision: escalate, approvers: [role:security], quorum: 2}
    - name: refunds
      at: [pre_tool_call]
      when: tool.name == "refund" && args.cents > 100
      then: {decision: escalate, approvers: [role:security], reason: large_refund}
"""

STRICT = ASK.replace(
    "  rules:",
    """  rules:
    - name: no-mail
      at: [pre_tool_call]
      when: tool.name == "send_mail"
      then: {decision: deny, reason: mail_is_off}""",
)


FLOW = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: flow}
spec:
  defaults: {read: allow, write: allow, external: allow, destructive: deny}
  rules:
    - name: orders-are-secret
      at: [pre_tool_call]
      when: tool.name == "look_up"
      then: {decision: allow, labels: [secret]}
    - name: no-exfiltration
      at: [pre_tool_call]
      when: tool.risk == "external" && "secret" in ifc.labels
      then: {decision: deny, reason: secret_read_before}
"""


def policy(text: str = ASK) -> RulePolicy:
    return parse_policy(text)


def session(
    principal: Principal = ANN, approver: Principal | None = None, policies: tuple[str, ...] = ()
) -> RuntimeSessionContext:
    return RuntimeSessionContext(principal, AgentRef("support"), "t", policies=policies, approver=approver)


@dataclass
class Log:
    """An audit log in memory.

    Attributes:
        events: What it took.
        durable: Those that were to be stored at once.
        full: Whether it can take no more.
    """

    events: list[AuditEvent] = field(default_factory=list)
    durable: list[str] = field(default_factory=list)
    full: bool = False

    async def record(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        self.record_sync(event, durable=durable)

    def record_sync(self, event: AuditEvent, /, *, durable: bool = False) -> None:
        if self.full:
            raise AuditUnavailable("the queue is full")
        self.events.append(event)
        if durable:
            self.durable.append(event.id)

    @property
    def types(self) -> list[str]:
        return [str(event.type) for event in self.events]

    def of(self, type: str) -> list[AuditEvent]:
        return [event for event in self.events if event.type == type]


class Office:
    """Capabilities that note what they do.

    Attributes:
        done: What was done, in order.
        raises: Raised by `send_mail`.
        meanwhile: Called by `send_mail`.
    """

    def __init__(self) -> None:
        self.done: list[Any] = []
        self.raises: BaseException | None = None
        self.meanwhile: Callable[[], object] | None = None

    def look_up(self, order: str) -> str:
        """Look an order up."""
        self.done.append(("look_up", order))
        return f"{order}: on its way"

    def send_mail(self, to: str, body: str = "") -> str:
        """Send a mail."""
        if self.raises is not None:
            raise self.raises
        if self.meanwhile is not None:
            self.meanwhile()
        self.done.append(("send_mail", to, body))
        return f"sent to {to}"

    def refund(self, order: str, cents: int) -> str:
        """Refund an order."""
        self.done.append(("refund", order, cents))
        return f"refunded {cents}"

    def drop_all(self) -> str:
        """Delete everything."""
        self.done.append(("drop_all",))
        return "gone"

    def registry(self, **traits: Any) -> Registry:
        risks: Mapping[str, Risk] = {
            "look_up": "read",
            "send_mail": "external",
            "refund": "write",
            "drop_all": "destructive",
        }
        return Registry(
            *(offer(getattr(self, name), Traits(source="office", risk=risk, **traits)) for name, risk in risks.items())
        )


@dataclass
class World:
    """What an executor needs, in a folder of its own.

    Attributes:
        office: The capabilities.
        log: The audit log.
        approvals: Requests for approval.
        ledger: The effect ledger.
    """

    folder: Path
    office: Office
    log: Log
    approvals: SqlApprovals
    ledger: EffectLedger

    def executor(
        self, text: str | None = ASK, traits: Mapping[str, Any] | None = None, **options: Any
    ) -> ActionExecutor:
        given: dict[str, Any] = {"approvals": self.approvals, "ledger": self.ledger, "audit": self.log, **options}
        registry = given.pop("registry") if "registry" in given else self.office.registry(**(traits or {}))
        return ActionExecutor(registry, None if text is None else policy(text), **given)


@contextlib.contextmanager
def world(folder: Path, clock: Any = None) -> Iterator[World]:
    """A world in a folder; made again in the same folder, it is the same after a restart."""
    runs = RunRegistry.from_url(f"sqlite:///{folder / 'runs.db'}")
    runs.operations.set_up()
    approvals = SqlApprovals(open_database(f"sqlite:///{folder / 'approvals.db'}"), clock=clock)
    try:
        yield World(folder, Office(), Log(), approvals, EffectLedger(runs))
    finally:
        approvals.close()
        runs.operations.close()


def asked(
    capability: str, call_id: str = "call-1", context: RuntimeSessionContext | None = None, **args: Any
) -> ActionRequest:
    return ActionRequest(capability, args, call_id, RunRef("run-1", "t"), context or session())
