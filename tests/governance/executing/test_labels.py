"""What a tool brings bears labels, and later actions of the conversation are decided about with them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from stategraph.governance.executor import ActionExecutor
from stategraph.governance.labels import SqlLabels
from stategraph.governance.policy.files import parse_policy
from tests.governance.executing.kit import World, asked

POLICY = """
apiVersion: stategraph.dev/v1
kind: Policy
metadata: {name: flow}
spec:
  defaults: {read: allow, write: allow, external: allow}
  flow:
    clearance: {"function:office/send_mail": public, "*": secret}
    unlabelled: public
    produces: {"function:office/look_up": [secret]}
"""


@pytest.fixture
def labels(office: World) -> Iterator[SqlLabels]:
    made = SqlLabels.from_url(f"sqlite:///{office.folder / 'labels.db'}")
    yield made
    made.close()


def executor(office: World, labels: SqlLabels, text: str = POLICY) -> ActionExecutor:
    return ActionExecutor(
        office.office.registry(), parse_policy(text), office.approvals, office.ledger, office.log, labels=labels
    )


def test_what_was_read_keeps_a_tool_from_being_called(office: World, labels: SqlLabels, act: Any) -> None:
    made = executor(office, labels)
    assert act(made, asked("send_mail", "1", to="ann")).status == "completed"
    assert labels.read("acme", "t") == frozenset()
    assert act(made, asked("look_up", "2", order="7")).status == "completed"
    assert labels.read("acme", "t") == {"secret"}
    refused = act(executor(office, labels), asked("send_mail", "3", to="bob"))
    assert (refused.status, refused.reason) == ("rejected", "ifc_clearance_violation")
    assert office.office.done == [("send_mail", "ann", ""), ("look_up", "7")]
    assert act(made, asked("refund", "4", order="7", cents=1)).status == "completed"


def test_another_conversation_is_not_concerned(office: World, labels: SqlLabels, act: Any) -> None:
    labels.add("acme", "other", ["secret"])
    labels.add("umbrella", "t", ["secret"])
    assert act(executor(office, labels), asked("send_mail", to="ann")).status == "completed"


def test_labels_of_the_request_count_beside_those_of_the_conversation(
    office: World, labels: SqlLabels, act: Any
) -> None:
    request = replace(asked("send_mail", to="ann"), labels=frozenset({"secret"}))
    assert act(executor(office, labels), request).reason == "ifc_clearance_violation"


def test_a_result_that_is_kept_back_brings_nothing(office: World, labels: SqlLabels, act: Any) -> None:
    keep = "  rules: [{name: keep, at: [post_tool_call], then: {decision: deny}}]\n"
    act(executor(office, labels, POLICY + keep), asked("look_up", order="7"))
    assert office.office.done == [("look_up", "7")]
    assert labels.read("acme", "t") == frozenset()


def test_the_labels_of_rules_before_and_after_a_call_are_carried(office: World, labels: SqlLabels, act: Any) -> None:
    rules = """  rules:
    - {name: before, at: [pre_tool_call], then: {decision: allow, labels: [asked]}}
    - name: after
      at: [post_tool_call]
      then: {decision: transform, path: $policy_target.text, value: x, labels: [got]}
"""
    text = POLICY.partition("  flow:")[0] + rules
    assert act(executor(office, labels, text), asked("refund", order="7", cents=1)).content == "x"
    assert labels.read("acme", "t") == {"asked", "got"}


def test_a_stored_result_brings_its_labels_again(office: World, labels: SqlLabels, act: Any) -> None:
    text = POLICY.replace("look_up", "refund")
    act(executor(office, labels, text), asked("refund", order="7", cents=1))
    labels.erase("acme", "t")
    act(executor(office, labels, text), asked("refund", order="7", cents=1))
    assert office.office.done == [("refund", "7", 1)]
    assert labels.read("acme", "t") == {"secret"}


def test_without_a_store_labels_are_those_of_the_request(office: World, act: Any) -> None:
    made = office.executor(POLICY)
    request = replace(asked("send_mail", to="ann"), labels=frozenset({"secret"}))
    assert act(made, request).reason == "ifc_clearance_violation"
    assert act(made, asked("send_mail", to="ann")).status == "completed"
