"""Several policies that decide together, in order.

- All are asked, and the strongest decision counts: deny, then escalate, transform, warn, allow. Among equals the first
  gives the reason.
- A policy is given what the ones before it made of the policy target.
- Transforms are kept with `escalate`: a person decides about the changed action. A deny has none.
- If several escalate, the approval has to satisfy all: the approvers that all of them name, the largest quorum, the
  shortest time, `self_approval` if all have it. If they name none in common, or fewer people than the quorum, the
  action is denied.
- Policies in the mode `evaluate_only` are asked for the record, and count only where there are no others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from stategraph.governance.canonical import digest
from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import normalization
from stategraph.governance.policy.budgets import budget_of, tightest
from stategraph.governance.policy.reasons import DecisionFailed, RuntimeReason
from stategraph.governance.policy.snapshot import TARGETS
from stategraph.governance.policy.verdict import (
    ApprovalTerms,
    Decision,
    InterventionPoint,
    Policy,
    Snapshot,
    Transform,
    Verdict,
)

CONFLICT: Final = "approval_terms_conflict"

_STRENGTH: Final = (Decision.ALLOW, Decision.WARN, Decision.TRANSFORM, Decision.ESCALATE, Decision.DENY)


class PolicySet:
    """Policies that decide together.

    Args:
        policies: The policies by their names, in the order in which they are asked.

    Attributes:
        policies: The same.

    Raises:
        PolicyError: There are none.
    """

    def __init__(self, policies: Mapping[str, Policy]) -> None:
        if not policies:
            raise PolicyError("A set of policies needs at least one policy")
        self.policies = dict(policies)
        self._digest = digest([[name, each.digest] for name, each in self.policies.items()])

    @property
    def digest(self) -> str:
        """SHA-256 in hex over the names and digests of the policies in their order."""
        return self._digest

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        """Decide; a failure is a verdict that denies, and is never raised."""
        verdicts, given = list[Verdict](), snapshot
        for name, policy in self.policies.items():
            verdict = _asked(policy, point, given)
            if verdict.enforced and verdict.transform is not None:
                verdict, given = self._applied(verdict, point, given)
            verdicts.append(_named(name, verdict))
        counted = [each for each in verdicts if each.enforced] or verdicts
        return self._combined(counted, verdicts, point, given)

    @property
    def budget(self) -> Budget | None:
        """The limits over the tree of a run that keep to those of all policies; None: none sets any."""
        return tightest(budget_of(each) for each in self.policies.values())

    def asks_at(self, point: InterventionPoint) -> bool:
        """Return whether one of the policies may do anything but allow at a point."""
        return any(asks_at(each, point) for each in self.policies.values())

    def _applied(self, verdict: Verdict, point: InterventionPoint, given: Snapshot) -> tuple[Verdict, Snapshot]:
        assert verdict.transform is not None
        try:
            target = normalization.apply(verdict.transform, given[TARGETS[point]])
        except (DecisionFailed, LookupError, TypeError) as error:
            reason = error.reason if isinstance(error, DecisionFailed) else RuntimeReason.TRANSFORM_INVALID
            return _failed(verdict, reason, f"The transform does not apply: {error}"), given
        return verdict, {**given, TARGETS[point]: target}

    def _combined(
        self, counted: list[Verdict], verdicts: list[Verdict], point: InterventionPoint, given: Snapshot
    ) -> Verdict:
        decides = max(counted, key=lambda each: _STRENGTH.index(each.decision))  # the first of equals
        combined = replace(
            decides,
            transform=_transform(decides, counted, point, given),
            labels=frozenset[str]().union(*(each.labels for each in counted)),
            matched=tuple(rule for each in verdicts for rule in each.matched),
            policy_digest=self._digest,
            parts=tuple(verdicts),
        )
        if decides.decision is Decision.DENY:
            return replace(combined, labels=frozenset())
        if decides.decision is not Decision.ESCALATE:
            return combined
        terms = _joint(each.approval or ApprovalTerms() for each in counted if each.decision is Decision.ESCALATE)
        if terms is not None:
            return replace(combined, approval=terms)
        return replace(
            combined,
            decision=Decision.DENY,
            reason=CONFLICT,
            message="Several policies ask for approval, and too few approvers are named by all of them",
            transform=None,
            approval=None,
            labels=frozenset(),
        )


class Policies:
    """Policies by name, from which a session's are chosen.

    Args:
        policies: All policies.
        default: The names of those that apply where a session names none, in order.

    Raises:
        PolicyError: A default names a policy that there is not.
    """

    def __init__(self, policies: Mapping[str, Policy], default: Iterable[str]) -> None:
        self._policies = dict(policies)
        self._default = tuple(default)
        self._sets = dict[tuple[str, ...], Policy]()
        if unknown := [name for name in self._default if name not in self._policies]:
            raise PolicyError(f"There is no policy {unknown[0]!r}; there are: {', '.join(self._policies)}")

    def select(self, names: Iterable[str] = ()) -> Policy:
        """Return the policy of a session.

        Args:
            names: The names that its context has; none: the default.

        Returns:
            One policy for all of them. If one of them is not known, it denies everything with
            `runtime_error:manifest_invalid`.
        """
        chosen = tuple(names) or self._default
        found = self._sets.get(chosen)
        if found is None:
            unknown = [name for name in chosen if name not in self._policies]
            if unknown or not chosen:
                return DenyAll(f"There is no policy {unknown[0]!r}" if unknown else "No policy is chosen")
            found = self._sets[chosen] = PolicySet({name: self._policies[name] for name in chosen})
        return found


class DenyAll:
    """Denies everything: stands for a policy that there is not.

    Args:
        message: Why.
    """

    def __init__(self, message: str) -> None:
        self._verdict = Verdict(
            Decision.DENY, RuntimeReason.MANIFEST_INVALID.value, message, policy_digest=digest(["deny", message])
        )

    @property
    def digest(self) -> str:
        """SHA-256 in hex of the message."""
        return self._verdict.policy_digest

    def decide(self, point: InterventionPoint, snapshot: Snapshot, /) -> Verdict:
        """Deny."""
        return self._verdict


def asks_at(policy: Policy, point: InterventionPoint) -> bool:
    """Return whether a policy may do anything but allow at a point; of one that does not say, that it may."""
    says: Callable[[InterventionPoint], bool] | None = getattr(policy, "asks_at", None)
    return says is None or says(point)


def _asked(policy: Policy, point: InterventionPoint, snapshot: Snapshot) -> Verdict:
    try:
        return normalization.checked(policy.decide(point, snapshot))
    except DecisionFailed as error:
        return _failed(_nothing_of(policy), error.reason, str(error))
    except Exception as error:  # of a policy that is not this package's; its text may quote the snapshot
        text = f"The policy raised {type(error).__name__}"
        return _failed(_nothing_of(policy), RuntimeReason.POLICY_INVOCATION_FAILED, text)


def _nothing_of(policy: Policy) -> Verdict:
    try:
        return Verdict(Decision.DENY, policy_digest=policy.digest)
    except Exception:  # a policy that cannot even say this is still only a policy that denies
        return Verdict(Decision.DENY)


def _failed(verdict: Verdict, reason: RuntimeReason, message: str) -> Verdict:
    return replace(
        verdict,
        decision=Decision.DENY,
        reason=reason.value,
        message=message,
        transform=None,
        approval=None,
        labels=frozenset(),
    )


def _named(name: str, verdict: Verdict) -> Verdict:
    """Return a verdict whose rules bear the name of their policy."""
    rule = None if verdict.rule is None else f"{name}/{verdict.rule}"
    return replace(verdict, rule=rule, matched=tuple(f"{name}/{each}" for each in verdict.matched))


def _transform(decides: Verdict, counted: list[Verdict], point: InterventionPoint, given: Snapshot) -> Transform | None:
    """Return the one change, or the target that several have made of it."""
    changes = [each.transform for each in counted if each.transform is not None]
    if decides.decision is Decision.DENY or not changes:
        return None
    if len(changes) == 1 or not decides.enforced:
        return decides.transform if not decides.enforced else changes[0]
    target: Any = given[TARGETS[point]]
    return Transform("$policy_target", target)


def _joint(asked: Iterable[ApprovalTerms]) -> ApprovalTerms | None:
    """Return terms that satisfy all; None: nobody may vote by all of them."""
    terms = list(asked)
    named = [each.approvers for each in terms if each.approvers]
    approvers = tuple(each for each in named[0] if all(each in others for others in named)) if named else ()
    joint = ApprovalTerms(
        approvers,
        max(each.quorum for each in terms),
        min(each.expires_s for each in terms),
        all(each.self_approval for each in terms),
    )
    return joint if (approvers or not named) and joint.has_enough_approvers else None
