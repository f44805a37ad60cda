"""Policy documents: what a policy file says, read and checked, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from stategraph.governance.capability import Risk
from stategraph.governance.context import Budget
from stategraph.governance.policy.flow import Flow
from stategraph.governance.policy.paths import Path
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint

Mode = Literal["enforce", "evaluate_only"]

RISK_DEFAULTS: Final[Mapping[Risk, Decision]] = {
    "read": Decision.ALLOW,
    "write": Decision.ESCALATE,
    "external": Decision.ESCALATE,
    "destructive": Decision.DENY,
}
"""The decision about a tool that no rule is for, by its risk, where a policy does not say otherwise."""


@dataclass(frozen=True, slots=True)
class Change:
    """The change of a rule that transforms.

    Attributes:
        path: Where, below `$policy_target`.
        value: The new value; used where `function` is None.
        function: The name of the function that makes the new value of the old: `redact`.
    """

    path: Path
    value: Any = None
    function: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The decision of a rule; the attributes are those of a `Verdict`."""

    decision: Decision
    reason: str | None = None
    message: str | None = None
    approval: ApprovalTerms | None = None
    change: Change | None = None
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule.

    Attributes:
        name: Its name, which is unique in the policy.
        at: The points at which it applies.
        then: What is decided if it matches.
        when: Its condition in CEL; None: it always matches.
        tools: Patterns of tools; empty: any, and also points without one.
    """

    name: str
    at: tuple[InterventionPoint, ...]
    then: Outcome
    when: str | None = None
    tools: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyDocument:
    """A policy as its file says it.

    Attributes:
        name: Its name.
        namespace: Whose it is, such as an organisation; None: nobody's in particular.
        mode: `enforce`; `evaluate_only` decides and tells, and changes nothing.
        rules: The rules in order.
        risks: The decision about a tool by its risk, where no rule matches.
        points: The decision at other points where no rule matches; those not named are allowed.
        data: Constants that conditions read as `data`.
        flow: The information flow; None: it is not checked.
        budget: Limits over the tree of a run; None: none.
        source: The file, for messages.
        digest: SHA-256 in hex of the content of the file, in canonical form without its comments and order of keys.
    """

    name: str
    digest: str
    namespace: str | None = None
    mode: Mode = "enforce"
    rules: tuple[Rule, ...] = ()
    risks: Mapping[Risk, Decision] = field(default_factory=lambda: RISK_DEFAULTS)
    points: Mapping[InterventionPoint, Decision] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)
    flow: Flow | None = None
    budget: Budget | None = None
    source: str = "<policy>"
