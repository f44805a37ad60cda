"""Nothing that a tool returned reaches the model without the policy: not a failure, not a stored result."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph.governance.executor import ActionExecutor
from stategraph.governance.policy.files import parse_policy
from tests.governance.executing.kit import ASK, World, asked

MASK = "then: {decision: transform, path: $policy_target.text, with: redact}"
KEEP = "then: {decision: deny, reason: kept}"


def executor(office: World, rule: str, text: str = ASK, **options: Any) -> ActionExecutor:
    """Return an executor whose policy has one more rule."""
    policy = parse_policy(
        text.replace("  rules:", f"  rules:\n    - {{name: results, at: [post_tool_call], {rule}}}"),
        redact=lambda text: text.replace("ann", "***"),
    )
    return ActionExecutor(office.office.registry(), policy, office.approvals, office.ledger, office.log, **options)


MAIL = ASK.replace("external: escalate", "external: allow")


@pytest.mark.parametrize(("rule", "shown"), [(MASK, "sent to ***"), (KEEP, "not shown (kept)")])
def test_the_stored_result_of_a_call_is_reviewed_as_the_first_was(
    office: World, act: Any, rule: str, shown: str
) -> None:
    for _ in range(2):
        outcome = act(executor(office, rule, MAIL), asked("send_mail", to="ann"))
        assert outcome.status == "completed"
        assert shown in outcome.content
        assert "sent to ann" not in str(outcome)
    assert office.office.done == [("send_mail", "ann", "")]


def test_a_result_that_was_stored_before_the_policy_is_reviewed_by_it(office: World, act: Any) -> None:
    assert act(office.executor(MAIL), asked("send_mail", to="ann")).content == "sent to ann"
    assert act(executor(office, MASK, MAIL), asked("send_mail", to="ann")).content == "sent to ***"
    # Also where the policy would refuse the call by now.
    strict = MAIL.replace("external: allow", "external: deny")
    assert act(executor(office, MASK, strict), asked("send_mail", to="ann")).content == "sent to ***"
    assert "not shown (kept)" in act(executor(office, KEEP, strict), asked("send_mail", to="ann")).content


@pytest.mark.parametrize(("rule", "shown"), [(MASK, "no such address: ***"), (KEEP, "not shown (kept)")])
def test_what_a_failure_says_is_reviewed(office: World, act: Any, rule: str, shown: str) -> None:
    office.office.raises = ValueError("no such address: ann")
    outcome = act(executor(office, f"when: \"result.status == 'error'\", {rule}", MAIL), asked("send_mail", to="ann"))
    assert outcome.status == "failed"
    assert shown in outcome.content
    assert "address: ann" not in outcome.content


def full_at_decisions(office: World) -> None:
    """Have the log take no decision about a result."""
    record = office.log.record_sync

    def recording(event: Any, /, *, durable: bool = False) -> None:
        office.log.full = event.type == "policy.decided"
        record(event, durable=durable)

    office.log.record_sync = recording  # type: ignore[method-assign]


@pytest.mark.parametrize("raised", [None, ValueError("no such address: ann")])
def test_a_result_stays_reviewed_where_the_decision_cannot_be_recorded(office: World, act: Any, raised: Any) -> None:
    office.office.raises = raised
    full_at_decisions(office)
    outcome = act(executor(office, MASK, MAIL), asked("send_mail", to="ann"))
    assert outcome.status == ("completed" if raised is None else "failed")
    assert "address: ann" not in str(outcome.content)
    assert "to ann" not in str(outcome.content)


def test_facts_of_the_host_are_there_for_results_too(office: World, act: Any) -> None:
    rule = f'when: "result.text in resource.hidden", {KEEP}'
    made = executor(office, rule, MAIL, resources=lambda request, capability: {"hidden": ["sent to ann"]})
    assert "not shown (kept)" in act(made, asked("send_mail", to="ann")).content
    assert act(made, asked("send_mail", "call-2", to="bob")).content == "sent to bob"
