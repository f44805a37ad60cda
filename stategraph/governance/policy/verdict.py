"""Points at which a policy decides, and its verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

Snapshot: TypeAlias = Mapping[str, Any]
"""What a policy decides on, as JSON. See `docs/policies.md` for the fields of each point."""


class InterventionPoint(StrEnum):
    """The points of a run at which a policy is asked."""

    AGENT_STARTUP = "agent_startup"
    INPUT = "input"
    PRE_MODEL_CALL = "pre_model_call"
    POST_MODEL_CALL = "post_model_call"
    PRE_TOOL_CALL = "pre_tool_call"
    POST_TOOL_CALL = "post_tool_call"
    OUTPUT = "output"
    AGENT_SHUTDOWN = "agent_shutdown"


class Decision(StrEnum):
    """A policy's decision: let it pass, refuse it, let it pass and tell, ask a person, or change it and let it pass."""

    ALLOW = "allow"
    DENY = "deny"
    WARN = "warn"
    ESCALATE = "escalate"
    TRANSFORM = "transform"


@dataclass(frozen=True, slots=True)
class Transform:
    """A change of the policy target, the part of the snapshot that goes on.

    Attributes:
        path: Where, as `$policy_target.field`.
        value: The value that replaces what stands there.
    """

    path: str
    value: Any


@dataclass(frozen=True, slots=True)
class ApprovalTerms:
    """Terms under which an escalated action is approved.

    Attributes:
        approvers: `role:<name>` or `user:<id>`; whoever matches one may vote. None: anyone of the tenant whom the host
            lets vote.
        quorum: How many different people have to approve.
        expires_s: Seconds until the request expires; at most 30 days.
        self_approval: Whether those for whom the action is may approve it, as the user of a chat who is asked there.
    """

    approvers: tuple[str, ...] = ()
    quorum: int = 1
    expires_s: float = 15 * 60.0
    self_approval: bool = False

    @property
    def has_enough_approvers(self) -> bool:
        """True unless users alone are named, and fewer than the quorum: then nobody can satisfy the terms."""
        users = {each for each in self.approvers if each.startswith("user:")}
        return len(users) < len(set(self.approvers)) or not users or len(users) >= self.quorum


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision about one snapshot.

    Attributes:
        decision: What is to happen.
        reason: A code, such as `recipient_not_allowed`; those that begin with `runtime_error:` are reserved for
            failures of the decision itself, which deny.
        message: A sentence for people; None: there is none.
        transform: The change, where the decision is `transform`; also with `escalate` where one of several policies
            asks for it and another asks a person, who then decides about the changed action.
        approval: The terms, where the decision is `escalate`.
        rule: The rule that decided; None: the default.
        matched: All rules that matched, in their order.
        policy_digest: SHA-256 in hex of the policy that decided.
        enforced: Whether the decision is to be carried out; False in the mode `evaluate_only`.
        labels: Labels of information flow that the result carries on.
        parts: The verdicts of the policies that were combined, in their order; none: one policy decided.
    """

    decision: Decision
    reason: str | None = None
    message: str | None = None
    transform: Transform | None = None
    approval: ApprovalTerms | None = None
    rule: str | None = None
    matched: tuple[str, ...] = ()
    policy_digest: str = ""
    enforced: bool = True
    labels: frozenset[str] = field(default_factory=frozenset)
    parts: tuple[Verdict, ...] = ()

    @property
    def lets_pass(self) -> bool:
        """True if the action goes on without a person's approval."""
        return not self.enforced or self.decision in (Decision.ALLOW, Decision.WARN, Decision.TRANSFORM)


class Policy(Protocol):
    """Decides about snapshots; pure and deterministic."""

    @property
    def digest(self) -> str:
        """SHA-256 in hex over all that the decisions depend on beside the snapshot."""

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        """Decide; a failure is a verdict that denies, and is never raised."""
