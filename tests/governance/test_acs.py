"""The cases of the Agent Control Specification, through this package's points."""

import pytest

from stategraph.governance.policy.reasons import RuntimeReason
from tests.governance.acs import ours
from tests.governance.acs.cases import load, problems, reserved


@pytest.mark.parametrize("case", load(), ids=lambda case: case["id"])
def test_a_case_of_the_specification(case) -> None:
    result = ours.run(case)
    assert result.skipped is None
    assert problems(case, result) == []


def test_all_cases_are_there() -> None:
    assert len(load()) == 39


def test_the_reserved_reasons_are_those_of_the_specification() -> None:
    assert set(reserved()) < set(RuntimeReason)
    assert set(RuntimeReason) - set(reserved()) == {RuntimeReason.APPROVAL_ACTION_MISMATCH}


def test_a_difference_from_what_is_expected_is_seen() -> None:
    """A judge that finds nothing wrong with anything would be no judge."""
    case = {
        "expected": {"decision": "deny", "reason": "x", "transformed_policy_target": None, "action_identity": "present"}
    }
    assert len(problems(case, ours.Result("allow", None, transformed=True, transformed_policy_target=1))) == 4
