"""Information flow: data goes no lower than its labels say, and what is not known denies."""

from __future__ import annotations

import pytest

from stategraph.governance.policy.verdict import InterventionPoint
from tests.governance.policies import call, policy

TOOL, RESULT = InterventionPoint.PRE_TOOL_CALL, InterventionPoint.POST_TOOL_CALL
FLOW = """
flow:
  clearance: {"mcp:billing/*": confidential, "mcp:mail/*": internal}
  produces: {"mcp:billing/*": [internal], "*/refund": [confidential]}
defaults: {write: allow}
"""


@pytest.mark.parametrize(
    ("labels", "source", "passes"),
    [
        (["public"], "mcp:mail", True),
        (["internal"], "mcp:mail", True),
        (["internal", "confidential"], "mcp:mail", False),
        (["internal", "confidential"], "mcp:billing", True),
        (["secret"], "mcp:billing", False),
        (["public"], "mcp:other", False),
        (["purple"], "mcp:billing", False),
        (["public", 7], "mcp:billing", False),
        ([], "mcp:billing", False),
        ("public", "mcp:billing", False),
        (None, "mcp:billing", False),
    ],
)
def test_data_flows_to_tools_that_are_cleared_for_it(labels, source, passes) -> None:
    verdict = policy(FLOW).decide(TOOL, call(source=source, ifc={"labels": labels}))
    assert (verdict.decision == "allow") is passes
    assert verdict.reason == (None if passes else "ifc_clearance_violation")


@pytest.mark.parametrize("ifc", [None, [], {}, 1])
def test_a_snapshot_without_labels_denies(ifc) -> None:
    assert policy(FLOW).decide(TOOL, call(ifc=ifc)).reason == "ifc_clearance_violation"


def test_data_without_labels_flows_where_a_policy_says_what_it_is() -> None:
    p = policy(FLOW.replace("flow:\n", "flow:\n  unlabelled: public\n"))
    assert p.decide(TOOL, call(ifc={"labels": []})).decision == "allow"
    assert p.decide(TOOL, call(source="mcp:other", ifc={"labels": []})).decision == "deny"


def test_a_rule_that_allows_opens_no_flow() -> None:
    p = policy(FLOW + "rules: [{name: all, at: [pre_tool_call], then: {decision: allow}}]")
    verdict = p.decide(TOOL, call(ifc={"labels": ["secret"]}))
    assert (verdict.decision, verdict.matched) == ("deny", ("all",))


def test_levels_of_a_policy_replace_the_usual_ones() -> None:
    p = policy('flow: {levels: [low, high], clearance: {"*": low}}\ndefaults: {write: allow}')
    assert p.decide(TOOL, call(ifc={"labels": ["low"]})).decision == "allow"
    assert p.decide(TOOL, call(ifc={"labels": ["high"]})).decision == "deny"
    assert p.decide(TOOL, call(ifc={"labels": ["public"]})).decision == "deny"


def test_what_a_tool_brings_bears_its_labels() -> None:
    p = policy(FLOW)
    assert p.decide(TOOL, call(ifc={"labels": ["public"]})).labels == {"internal", "confidential"}
    assert p.decide(RESULT, call("list", ifc={"labels": ["public"]})).labels == {"internal"}
    assert p.decide(TOOL, call(ifc={"labels": ["secret"]})).labels == frozenset()
