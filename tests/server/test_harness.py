"""The harness of `make server`: what counts as the same answer, and what does not."""

import pytest

from tests.server.projection import Projection, differences, says_more


def found(theirs, ours):
    return list(differences(Projection()(theirs), Projection()(ours)))


def test_ids_times_and_versions_differ_between_any_two_runs():
    one = {"run": "0b6b2b3e-8f0e-4f59-9d7e-000000000001", "at": "2026-01-02T03:04:05.6Z", "langgraph_version": "1"}
    two = {"run": "0b6b2b3e-8f0e-4f59-9d7e-000000000002", "at": "2026-01-02T03:04:06+00:00", "langgraph_version": "2"}
    assert found(one, two) == []


def test_which_ids_are_the_same_must_not_differ():
    one, two = (f"0b6b2b3e-8f0e-4f59-9d7e-00000000000{n}" for n in (1, 2))
    assert found([one, two, one], [two, one, two]) == []
    assert found([one, two, one], [two, one, one])


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ({"a": 1}, {}),
        ({}, {"a": 1}),
        ([1], [1, 2]),
        (1, True),
        (1, "1"),
        ({"a": [1]}, {"a": [2]}),
        ("ab", "ba"),
        (None, {}),
    ],
)
def test_anything_else_is_a_difference(theirs, ours):
    assert found(theirs, ours)


def test_a_message_may_say_more_than_langgraphs_but_nothing_else():
    page = "\nFor troubleshooting, visit: https://docs.example.com/A"
    assert says_more(f"Expected dict, got 3{page}", f"Expected dict, got 3. The input is of type int.{page}")
    assert says_more("Error('Received no input for x')", "Error(\"Received no input for x, but 'y'\")")
    assert not says_more(f"Expected dict, got 3{page}", f"Expected a dict, got 3{page}")
    assert not says_more(f"Expected dict, got 3{page}", "Expected dict, got 3. The input is of type int.")
    assert not says_more("success", "success and more")
