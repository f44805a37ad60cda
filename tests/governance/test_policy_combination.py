"""Several policies in order: the strongest decision counts, and nothing that one of them asked for is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stategraph.governance.context import Budget
from stategraph.governance.errors import PolicyError
from stategraph.governance.policy import points
from stategraph.governance.policy.budgets import budget_of, tightest
from stategraph.governance.policy.combination import Policies, PolicySet
from stategraph.governance.policy.verdict import ApprovalTerms, Decision, InterventionPoint, Transform, Verdict
from tests.governance.policies import call, policy, rules
from tests.properties import examples

TOOL, RESULT = InterventionPoint.PRE_TOOL_CALL, InterventionPoint.POST_TOOL_CALL
STRENGTH = ("allow", "warn", "transform", "escalate", "deny")
THEN = {
    "allow": "{decision: allow}",
    "warn": "{decision: warn, reason: w}",
    "transform": "{decision: transform, path: $policy_target.cents, value: 1}",
    "escalate": "{decision: escalate, reason: e}",
    "deny": "{decision: deny, reason: d}",
}


def always(decision: str, **named):
    return rules(f"at: [pre_tool_call], then: {THEN[decision]}", **named)


@given(st.lists(st.sampled_from(STRENGTH), min_size=1, max_size=4))
@examples(60)
def test_the_strongest_decision_counts(decisions) -> None:
    together = PolicySet({f"p{n}": always(each) for n, each in enumerate(decisions)})
    verdict = together.decide(TOOL, call())
    strongest = max(decisions, key=STRENGTH.index)
    assert verdict.decision == strongest
    assert verdict.rule == f"p{decisions.index(strongest)}/r1"
    assert verdict.matched == tuple(f"p{n}/r1" for n in range(len(decisions)))
    assert [each.decision for each in verdict.parts] == decisions
    assert verdict.policy_digest == together.digest
    changes = "transform" in decisions and strongest != "deny"
    assert points.evaluate(together, TOOL, call()).target == {"cents": 1 if changes else 100}


def test_a_policy_sees_what_the_one_before_made_of_the_target() -> None:
    one = rules("at: [pre_tool_call], then: {decision: transform, path: $policy_target.cents, value: 1}")
    two = rules(
        "at: [pre_tool_call], when: args.cents == 1, then: {decision: transform, path: $policy_target.to, value: x}"
    )
    done = points.evaluate(PolicySet({"one": one, "two": two}), TOOL, call(args={"cents": 5, "to": "y"}))
    assert done.target == {"cents": 1, "to": "x"}
    assert done.verdict.transform == Transform("$policy_target", {"cents": 1, "to": "x"})


def test_who_approves_decides_about_the_changed_action() -> None:
    together = PolicySet({"mask": always("transform"), "ask": always("escalate")})
    done = points.evaluate(together, TOOL, call())
    assert (done.verdict.decision, done.target) == ("escalate", {"cents": 1})
    assert done.enforced_identity != done.input_identity
    assert points.confirmed(done, done.enforced_identity).decision == "transform"
    denied = points.confirmed(done, done.input_identity)
    assert (denied.decision, denied.reason) == ("deny", "runtime_error:approval_action_mismatch")


def escalating(terms: str):
    return rules(f"at: [pre_tool_call], then: {{decision: escalate{terms}}}")


def test_an_approval_satisfies_all_that_ask_for_one() -> None:
    together = PolicySet(
        {
            "a": escalating(", approvers: [role:security, role:finance], quorum: 1, expires: 1h"),
            "b": escalating(""),
            "c": escalating(", approvers: [role:finance, user:eve], quorum: 3, expires: 2h"),
        }
    )
    assert together.decide(TOOL, call()).approval == ApprovalTerms(("role:finance",), 3, 900.0)


@pytest.mark.parametrize(("other", "may"), [(", self_approval: true", True), ("", False)])
def test_the_requester_may_approve_if_all_that_ask_say_so(other: str, may: bool) -> None:
    own = escalating(", self_approval: true")
    assert (
        PolicySet({"a": own, "b": always("allow")}).decide(TOOL, call()).approval == own.decide(TOOL, call()).approval
    )
    terms = PolicySet({"a": own, "b": escalating(other)}).decide(TOOL, call()).approval
    assert terms is not None and terms.self_approval is may


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (", approvers: [role:x]", ", approvers: [role:y]"),
        (", approvers: [user:eve]", ", approvers: [user:eve, user:bob], quorum: 2"),
        (", approvers: [user:eve]", ", quorum: 2"),
    ],
)
def test_terms_that_nobody_satisfies_deny(one: str, other: str) -> None:
    verdict = PolicySet({"a": escalating(one), "b": escalating(other)}).decide(TOOL, call())
    assert (verdict.decision, verdict.reason, verdict.approval) == ("deny", "approval_terms_conflict", None)


def test_a_policy_on_trial_is_recorded_and_does_not_count() -> None:
    trial = policy("mode: evaluate_only\nrules: [{name: r1, at: [pre_tool_call], then: {decision: deny}}]")
    verdict = PolicySet({"trial": trial, "live": always("warn")}).decide(TOOL, call())
    assert (verdict.decision, verdict.enforced, verdict.parts[0].decision) == ("warn", True, "deny")
    alone = PolicySet({"trial": trial}).decide(TOOL, call())
    assert (alone.decision, alone.enforced, alone.lets_pass) == ("deny", False, True)


def test_a_transform_that_does_not_apply_denies() -> None:
    p = rules("at: [pre_tool_call], then: {decision: transform, path: $policy_target.nothing, value: 1}")
    verdict = PolicySet({"p": p, "q": always("allow")}).decide(TOOL, call())
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:transform_invalid")


class Broken:
    """A policy of somebody else that raises."""

    digest = "0" * 64

    def decide(self, point, snapshot, /) -> Verdict:
        raise KeyError("hunter2")


def test_a_policy_that_raises_denies() -> None:
    verdict = PolicySet({"broken": Broken(), "live": always("allow")}).decide(TOOL, call())
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:policy_invocation_failed")
    assert "hunter2" not in verdict.message


@pytest.mark.parametrize("returned", [None, "allow", Verdict("allow")])
def test_a_policy_that_returns_no_verdict_denies(returned) -> None:
    odd = Broken()
    odd.decide = lambda point, snapshot, /: returned
    for verdict in (PolicySet({"odd": odd}).decide(TOOL, call()), points.evaluate(odd, TOOL, call()).verdict):
        assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:policy_output_invalid")


def test_the_digest_is_that_of_all_policies_in_their_order() -> None:
    a, b = always("allow"), always("deny")
    digests = {PolicySet(each).digest for each in ({"a": a, "b": b}, {"b": b, "a": a}, {"a": a}, {"a": b, "b": a})}
    assert len(digests) == 4
    assert PolicySet({"a": a, "b": b}).digest == PolicySet({"a": always("allow"), "b": always("deny")}).digest


def test_labels_are_those_of_all_that_let_it_pass() -> None:
    a = rules("at: [post_tool_call], then: {decision: allow, labels: [internal]}")
    b = rules("at: [post_tool_call], then: {decision: warn, labels: [pii]}")
    assert PolicySet({"a": a, "b": b}).decide(RESULT, call()).labels == {"internal", "pii"}
    deny = rules("at: [post_tool_call], then: {decision: deny}")
    assert PolicySet({"a": a, "deny": deny}).decide(RESULT, call()).labels == frozenset()


def test_budgets_of_several_policies_are_all_kept() -> None:
    one = policy("budgets: {per_run: {tokens: 10, usd: 2}}")
    two = policy("budgets: {per_run: {tokens: 20, wall: 1m}, on_limit: deny}")
    assert PolicySet({"one": one, "none": always("allow"), "two": two}).budget == Budget(10, 2, None, 60.0, "deny")
    assert PolicySet({"none": always("allow")}).budget is None
    assert tightest([None, one.budget]) == one.budget
    assert budget_of(Broken()) is None
    assert budget_of(PolicySet({"two": two})) == two.budget


def test_a_set_needs_a_policy() -> None:
    with pytest.raises(PolicyError, match="at least one"):
        PolicySet({})


def test_sessions_choose_policies_by_name() -> None:
    known = Policies({"a": always("allow"), "b": always("warn"), "c": always("deny")}, default=["a"])
    assert known.select().decide(TOOL, call()).decision == Decision.ALLOW
    assert known.select(["a", "b"]).decide(TOOL, call()).decision == Decision.WARN
    assert known.select(["b", "a"]) is known.select(("b", "a"))


@pytest.mark.parametrize("names", [["nobody"], ["a", "nobody"]])
def test_a_name_that_there_is_not_denies_everything(names) -> None:
    chosen = Policies({"a": always("allow")}, default=["a"]).select(names)
    verdict = chosen.decide(TOOL, call(risk="read"))
    assert (verdict.decision, verdict.reason) == ("deny", "runtime_error:manifest_invalid")
    assert "'nobody'" in verdict.message
    assert verdict.policy_digest == chosen.digest


def test_no_policy_at_all_denies_everything() -> None:
    assert Policies({}, default=()).select().decide(TOOL, call(risk="read")).decision == Decision.DENY


def test_a_default_that_there_is_not_is_refused() -> None:
    with pytest.raises(PolicyError, match="'nobody'; there are: a"):
        Policies({"a": always("allow")}, default=["nobody"])
