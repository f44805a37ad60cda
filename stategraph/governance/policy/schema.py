"""Policy files: resources of the kind `Policy`, from their parsed content to a `PolicyDocument`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from stategraph.governance.canonical import digest
from stategraph.governance.capability import RISKS
from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import paths
from stategraph.governance.policy.document import RISK_DEFAULTS, Change, Outcome, PolicyDocument, Rule
from stategraph.governance.policy.fields import Fields
from stategraph.governance.policy.flow import LEVELS, Flow
from stategraph.governance.policy.limits import MAX_RULES
from stategraph.governance.policy.normalization import MAX_EXPIRY_S
from stategraph.governance.policy.reasons import RESERVED_PREFIX
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint

API_VERSION: Final = "stategraph.dev/v1"
KIND: Final = "Policy"

_SPEC: Final = ("mode", "defaults", "data", "flow", "budgets", "rules")
_RULE: Final = ("name", "description", "at", "tools", "when", "then")
_THEN: Final = (
    "decision",
    "reason",
    "message",
    "approvers",
    "quorum",
    "expires",
    "self_approval",
    "path",
    "value",
    "with",
    "labels",
)
_ONLY_FOR: Final = {
    **dict.fromkeys(("approvers", "quorum", "expires", "self_approval"), Decision.ESCALATE),
    **dict.fromkeys(("path", "value", "with"), Decision.TRANSFORM),
}


def document_of(content: Any, source: str) -> PolicyDocument:
    """Return the policy that a file says.

    Args:
        content: The parsed file: JSON.
        source: Its name, for messages.

    Raises:
        PolicyError: It is no policy; the message names the file, the rule and the field.
    """
    file = Fields(content, source)
    file.only(("apiVersion", "kind", "metadata", "spec"))
    file.one_of("apiVersion", (API_VERSION,))
    file.one_of("kind", (KIND,))
    metadata, spec = file.object("metadata"), file.object("spec")
    metadata.only(("name", "namespace", "description", "labels", "annotations"))
    spec.only(_SPEC)
    risks, points = _defaults(spec)
    try:
        known = digest({"version": 1, "content": content})
    except ValueError as error:
        raise PolicyError(f"{source}: {error}") from None
    return PolicyDocument(
        name=metadata.text("name"),
        namespace=metadata.text("namespace", None),
        digest=known,
        mode=spec.one_of("mode", ("enforce", "evaluate_only"), "enforce"),
        rules=_rules(spec, source),
        risks=risks,
        points=points,
        data=spec.object("data").value if "data" in spec.value else {},
        flow=_flow(spec.object("flow")) if "flow" in spec.value else None,
        budget=_budget(spec.object("budgets")) if "budgets" in spec.value else None,
        source=source,
    )


def _defaults(spec: Fields) -> tuple[dict[Any, Decision], dict[InterventionPoint, Decision]]:
    risks, points = dict[Any, Decision](RISK_DEFAULTS), dict[InterventionPoint, Decision]()
    if "defaults" not in spec.value:
        return risks, points
    defaults = spec.object("defaults")
    others = [each for each in InterventionPoint if each is not InterventionPoint.PRE_TOOL_CALL]
    defaults.only([*RISKS, *others])
    choices = [each for each in Decision if each is not Decision.TRANSFORM]
    for name in defaults.value:
        decision = Decision(defaults.one_of(name, choices))
        if name in RISKS:
            risks[name] = decision
        else:
            points[InterventionPoint(name)] = decision
    return risks, points


def _rules(spec: Fields, source: str) -> tuple[Rule, ...]:
    listed = spec.value.get("rules", [])
    if not isinstance(listed, list):
        spec.fail("rules", f"is {type(listed).__name__}; expected a list of rules")
    if len(listed) > MAX_RULES:
        spec.fail("rules", f"has {len(listed):,} rules; at most {MAX_RULES:,} are read: split the policy")
    names = set[str]()
    found = list[Rule]()
    for number, each in enumerate(listed, 1):
        named = each.get("name") if isinstance(each, Mapping) else None
        where = f"{source}: rule {named!r}" if isinstance(named, str) else f"{source}: rule {number}"
        rule = _rule(Fields(each, where))
        if rule.name in names:
            raise PolicyError(f"{where}: name is used by an earlier rule; names are unique in a policy")
        names.add(rule.name)
        found.append(rule)
    return tuple(found)


def _rule(rule: Fields) -> Rule:
    rule.only(_RULE)
    name = rule.text("name")
    rule.text("description", None)
    at = rule.texts("at")
    for each in at:
        if each not in list(InterventionPoint):
            Fields({"at": each}, rule.where).one_of("at", InterventionPoint)
    points = tuple(InterventionPoint(each) for each in at)
    tools = rule.texts("tools", ())
    if tools and (without := [each.value for each in points if not each.value.endswith("_tool_call")]):
        rule.fail("tools", f"is given, but the rule is also at {', '.join(without)}, where there is no tool")
    return Rule(name, points, _outcome(rule.object("then")), rule.text("when", None), tools)


def _outcome(then: Fields) -> Outcome:
    then.only(_THEN)
    decision = Decision(then.one_of("decision", Decision))
    for field, belongs in _ONLY_FOR.items():
        if field in then.value and decision is not belongs:
            then.fail(field, f"belongs to the decision {belongs.value}; this one is {decision.value}")
    reason = then.text("reason", None)
    if reason is not None and reason.startswith(RESERVED_PREFIX):
        then.fail("reason", f"is {reason!r}; reasons that begin with {RESERVED_PREFIX} are reserved")
    labels = then.texts("labels", ())
    if labels and decision is Decision.DENY:
        then.fail("labels", "is given, but what is denied brings no data")
    return Outcome(
        decision=decision,
        reason=reason,
        message=then.text("message", None),
        approval=_approval(then) if decision is Decision.ESCALATE else None,
        change=_change(then) if decision is Decision.TRANSFORM else None,
        labels=frozenset(labels),
    )


def _approval(then: Fields) -> ApprovalTerms:
    approvers = then.texts("approvers", ())
    for each in approvers:
        kind, _, name = each.partition(":")
        if kind not in ("role", "user") or not name:
            then.fail("approvers", f"names {each!r}; expected role:<name> or user:<id>")
    terms = ApprovalTerms(
        approvers=approvers,
        quorum=then.number("quorum", 1, 1, whole=True),
        expires_s=then.seconds("expires", MAX_EXPIRY_S, ApprovalTerms().expires_s),
        self_approval=then.flag("self_approval", False),
    )
    if not terms.has_enough_approvers:
        then.fail("quorum", f"is {terms.quorum}; then.approvers names fewer people: {', '.join(approvers)}")
    return terms


def _change(then: Fields) -> Change:
    try:
        path = paths.parse(then.text("path"))
    except ValueError as error:
        then.fail("path", f"cannot be read: {error}")
    if path.root != paths.TARGET:
        then.fail("path", f"is {path.text!r}; a transform may only change $policy_target")
    if ("value" in then.value) == ("with" in then.value):
        then.fail("value", "or with is required, and not both: what replaces the old value, or what is done to it")
    if "with" in then.value:
        return Change(path, function=then.one_of("with", ("redact",)))
    return Change(path, value=then.value["value"])


def _flow(flow: Fields) -> Flow:
    flow.only(("levels", "clearance", "unlabelled", "produces"))
    levels = flow.texts("levels", LEVELS)
    clearance = flow.object("clearance")
    produced = dict[str, tuple[str, ...]]()
    if "produces" in flow.value:
        produces = flow.object("produces")
        for pattern in produces.value:
            produced[pattern] = produces.texts(pattern)
            if unknown := [each for each in produced[pattern] if each not in levels]:
                produces.fail(pattern, f"names {unknown[0]!r}, which is none of the levels {', '.join(levels)}")
    return Flow(
        levels=levels,
        clearance={pattern: clearance.one_of(pattern, levels) for pattern in clearance.value},
        unlabelled=flow.one_of("unlabelled", levels, None),
        produces=produced,
    )


def _budget(budgets: Fields) -> Budget:
    budgets.only(("per_run", "on_limit"))
    amounts = budgets.object("per_run")
    amounts.only(("tokens", "usd", "tool_calls", "wall"))
    return Budget(
        tokens=amounts.number("tokens", 0, whole=True),
        usd=amounts.number("usd", 0),
        tool_calls=amounts.number("tool_calls", 0, whole=True),
        wall_s=amounts.seconds("wall", float("inf")),
        on_limit=budgets.one_of("on_limit", ("interrupt", "deny", "raise"), "interrupt"),
    )
