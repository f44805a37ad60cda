"""Policies of other engines: what those in Cedar and in Casbin have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from stategraph.governance.policy import limits
from stategraph.governance.policy.reasons import DecisionFailed, RuntimeReason, known_point
from stategraph.governance.policy.verdict import Decision, InterventionPoint, Snapshot, Verdict


class Caller(NamedTuple):
    """The principal of a snapshot.

    Attributes:
        org_id: The organisation.
        user_id: The user within it.
        roles: Names of roles.
    """

    org_id: str
    user_id: str
    roles: list[str]


class EnginePolicy:
    """A policy whose decisions another engine makes.

    Args:
        name: The name of the policy.
        digest: SHA-256 in hex over all that the decisions depend on beside the snapshot.
        enforce: False: as `evaluate_only`, decide and change nothing.
        limit: The bounds of one decision.
    """

    def __init__(self, name: str, digest: str, enforce: bool, limit: limits.Limits) -> None:
        self.name = name
        self._digest = digest
        self._enforce = enforce
        self._limit = limit

    @property
    def digest(self) -> str:
        """SHA-256 in hex over all that the decisions depend on beside the snapshot."""
        return self._digest

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        """Decide; a failure is a verdict that denies, and is never raised."""
        try:
            limits.check_snapshot(snapshot, self._limit)
            return self.judge(known_point(point), snapshot)
        except DecisionFailed as failed:
            return self.verdict(Decision.DENY, failed.reason.value, str(failed))
        except Exception as error:  # its text may quote the snapshot
            message = f"The policy raised {type(error).__name__}"
            return self.verdict(Decision.DENY, RuntimeReason.POLICY_INVOCATION_FAILED.value, message)

    def judge(self, point: InterventionPoint, snapshot: Snapshot) -> Verdict:
        """Ask the engine.

        Raises:
            DecisionFailed: It cannot decide.
        """
        raise NotImplementedError

    def verdict(self, decision: Decision, reason: str | None, message: str | None, **more: Any) -> Verdict:
        """Return a verdict of this policy."""
        return Verdict(decision, reason, message, policy_digest=self._digest, enforced=self._enforce, **more)


def caller_of(snapshot: Snapshot) -> Caller:
    """Return the principal of a snapshot.

    Raises:
        DecisionFailed: It is not there, or has another form.
    """
    principal = snapshot.get("principal")
    if not isinstance(principal, Mapping):
        raise DecisionFailed(RuntimeReason.PATH_MISSING, "principal: expected an object")
    org, user, roles = principal.get("org_id"), principal.get("user_id"), principal.get("roles")
    if not isinstance(org, str) or not isinstance(user, str) or not isinstance(roles, list):
        raise DecisionFailed(RuntimeReason.PATH_MISSING, "principal: expected org_id, user_id and roles")
    if not all(isinstance(each, str) for each in roles):
        raise DecisionFailed(RuntimeReason.PATH_TYPE_MISMATCH, "principal.roles: expected texts")
    return Caller(org, user, roles)


def agent_id_of(snapshot: Snapshot) -> str:
    """Return the id of the agent of a snapshot.

    Raises:
        DecisionFailed: It is not there.
    """
    agent = snapshot.get("agent")
    id = agent.get("id") if isinstance(agent, Mapping) else None
    if not isinstance(id, str):
        raise DecisionFailed(RuntimeReason.PATH_MISSING, "agent: expected an object with the text id")
    return id
