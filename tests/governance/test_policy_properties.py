"""Properties of policies, over random rules and random snapshots."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stategraph.governance.policy import points
from stategraph.governance.policy.document import Outcome, PolicyDocument, Rule
from stategraph.governance.policy.rules import RulePolicy
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint
from tests.governance.policies import call
from tests.properties import examples

TOOL = InterventionPoint.PRE_TOOL_CALL
NAMES = ("refund", "send_email", "search")
RISKS = ("read", "write", "external", "destructive")

LEAVES = st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5)
JSON = st.recursive(
    LEAVES,
    lambda each: (
        st.lists(each, max_size=3) | st.dictionaries(st.sampled_from("abc") | st.text(max_size=3), each, max_size=3)
    ),
    max_leaves=8,
)
ANY_SNAPSHOT = JSON | st.dictionaries(
    st.sampled_from(
        ["tool", "args", "principal", "ifc", "resource", "result", "input", "annotations", "data", "point"]
    ),
    JSON | st.fixed_dictionaries({"id": JSON, "name": JSON, "risk": JSON}),
)

CONDITIONS = st.lists(
    st.sampled_from(
        [
            'tool.name == "refund"',
            'tool.name in ["refund", "search"]',
            "tool.id.startsWith('mcp:billing/')",
            'tool.risk == "read"',
            "args.cents > 5",
            "args.missing == 1",
            "has(args.to)",
            '"support" in principal.roles',
            'args.to.contains("a || b")',
            "!(args.cents == 7)",
            "true",
            "false",
            "args[args.to] == 1",
            'annotations.x == "&&"',
        ]
    ),
    min_size=1,
    max_size=3,
).flatmap(lambda terms: st.sampled_from([" && ".join(terms), " || ".join(terms), f"({' && '.join(terms)})"]))

OUTCOMES = st.sampled_from(
    [
        Outcome(Decision.ALLOW),
        Outcome(Decision.DENY, "no"),
        Outcome(Decision.WARN),
        Outcome(Decision.ESCALATE, approval=ApprovalTerms()),
    ]
)
PATTERNS = st.sampled_from([(), ("mcp:*",), ("*/refund",), ("mcp:mail/*", "*@1"), ("function:*",)])


@st.composite
def policies(draw: st.DrawFn, outcomes: st.SearchStrategy[Outcome] = OUTCOMES) -> RulePolicy:
    drawn = draw(st.lists(st.tuples(CONDITIONS | st.none(), outcomes, PATTERNS), max_size=5))
    rules = [Rule(f"r{n}", (TOOL,), then, when, tools) for n, (when, then, tools) in enumerate(drawn)]
    return RulePolicy(PolicyDocument("p", "0" * 64, rules=tuple(rules)))


CALLS = st.builds(
    lambda tool, risk, source, args: call(tool, risk, source, args=args),
    st.sampled_from(NAMES),
    st.sampled_from(RISKS),
    st.sampled_from(["mcp:billing", "mcp:mail", "function:mod"]),
    st.dictionaries(st.sampled_from(["cents", "to", "missing"]), st.sampled_from([1, 7, "a", None]), max_size=3),
)


@given(policies(), CALLS | ANY_SNAPSHOT, st.sampled_from(list(InterventionPoint)))
@examples(60)
def test_any_snapshot_has_one_verdict_and_is_left_as_it_was(
    p: RulePolicy, snapshot: Any, point: InterventionPoint
) -> None:
    before = copy.deepcopy(snapshot)
    verdict = p.decide(point, snapshot)
    assert verdict == p.decide(point, json.loads(json.dumps(snapshot)))
    assert verdict.policy_digest == p.digest
    assert snapshot == before
    done = points.evaluate(p, point, snapshot)
    assert done.verdict.decision in (verdict.decision, Decision.DENY)
    assert done == points.evaluate(p, point, snapshot)


@given(policies(), CALLS)
@examples(100)
def test_the_rules_left_out_for_a_tool_are_those_that_do_not_match(p: RulePolicy, snapshot: Any) -> None:
    """The verdict is that of every rule evaluated in its order."""
    facts = p.facts(TOOL, snapshot)
    id, matched, decided = snapshot["tool"]["id"], [], None
    for each in p.rules_at(TOOL):
        excluded = each.excludes is not None and each.excludes(id, snapshot["tool"]["name"], snapshot["tool"]["risk"])
        from_patterns = bool(each.rule.tools) and excluded
        holds = False if from_patterns else each.holds(facts)
        if excluded:
            assert holds is False
        if holds is True:
            matched.append(each.rule.name)
            decided = decided or each.rule.then.decision
        elif holds is not False and decided is None:
            decided = Decision.DENY
            break
    verdict = p.decide(TOOL, snapshot)
    assert verdict.decision == (decided or p.document.risks[snapshot["tool"]["risk"]])
    assert list(verdict.matched) == matched


@given(policies(), CALLS, st.sampled_from(NAMES))
@examples(100)
def test_a_rule_that_denies_put_first_only_takes_away(p: RulePolicy, snapshot: Any, name: str) -> None:
    first = Rule("first", (TOOL,), Outcome(Decision.DENY, "no"), f"tool.name == '{name}'")
    q = RulePolicy(PolicyDocument("q", "1" * 64, rules=(first, *p.document.rules)))
    before, after = p.decide(TOOL, snapshot), q.decide(TOOL, snapshot)
    if snapshot["tool"]["name"] == name:
        assert after.decision == Decision.DENY
    else:
        assert after.decision == before.decision


@given(policies(st.just(Outcome(Decision.ALLOW))), CALLS, st.sampled_from(["tool", "principal"]))
@examples(100)
def test_a_field_that_goes_missing_never_allows_what_was_not_allowed(p: RulePolicy, snapshot: Any, field: str) -> None:
    less = {name: each for name, each in snapshot.items() if name != field}
    if p.decide(TOOL, less).decision == Decision.ALLOW:
        assert p.decide(TOOL, snapshot).decision == Decision.ALLOW
