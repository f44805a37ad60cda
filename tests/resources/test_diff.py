"""Three values decide what an apply changes: the last one applied, the stored one, the new one."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from stategraph.resources.manifests.diff import differences
from stategraph.resources.store.merging import merge

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(0, 3) | st.sampled_from("ab"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
SPECS = st.dictionaries(st.sampled_from("xyz"), VALUES, max_size=3)


def told(last: Any, stored: Any, new: Any) -> list[tuple[str, str, Any, Any]]:
    return [(each.kind, each.path, each.old, each.new) for each in differences(last, stored, new)]


def test_a_field_that_was_applied_and_is_left_out_goes_and_one_that_something_else_set_stays() -> None:
    last = {"scaling": {"minReplicas": 1}, "version": "1"}
    stored = {"scaling": {"minReplicas": 1, "maxReplicas": 9}, "version": "1"}
    new = {"scaling": {"minReplicas": 2}}
    assert told(last, stored, new) == [
        ("changed", "spec.scaling.minReplicas", 1, 2),
        ("kept", "spec.scaling.maxReplicas", 9, None),
        ("removed", "spec.version", "1", None),
    ]
    assert merge(last, stored, new) == {"scaling": {"minReplicas": 2, "maxReplicas": 9}}


def test_nothing_is_removed_that_was_never_applied() -> None:
    assert told(None, {"a": 1}, {"b": 2}) == [("added", "spec.b", None, 2), ("kept", "spec.a", 1, None)]
    assert merge(None, {"a": 1}, {"b": 2}) == {"b": 2, "a": 1}


def test_steps_are_compared_by_their_ids() -> None:
    stored = {"steps": [{"id": "a", "next": "b"}, {"id": "b", "next": "END"}]}
    new = {"steps": [{"id": "first", "next": "a"}, {"id": "a", "next": "c"}]}
    assert told(stored, stored, new) == [
        ("added", "spec.steps[first]", None, {"id": "first", "next": "a"}),
        ("changed", "spec.steps[a].next", "b", "c"),
        ("removed", "spec.steps[b]", {"id": "b", "next": "END"}, None),
    ]
    assert [each.place for each in differences(stored, stored, new)][1] == ("spec", "steps", 1, "next")


def test_another_order_is_a_difference_of_the_list() -> None:
    a, b = {"name": "a"}, {"name": "b"}
    assert told(None, {"agents": [a, b]}, {"agents": [b, a]}) == [("changed", "spec.agents", ["a", "b"], ["b", "a"])]
    assert told(None, {"tags": ["x", "y"]}, {"tags": ["y", "x"]}) == [
        ("changed", "spec.tags[0]", "x", "y"),
        ("changed", "spec.tags[1]", "y", "x"),
    ]


def test_elements_of_one_name_are_compared_by_their_places() -> None:
    assert told(None, {"a": [{"id": "x", "n": 1}]}, {"a": [{"id": "x", "n": 1}, {"id": "x", "n": 2}]}) == [
        ("added", "spec.a[1]", None, {"id": "x", "n": 2})
    ]


def test_true_is_not_1() -> None:
    assert told(None, {"a": 1}, {"a": True}) == [("changed", "spec.a", 1, True)]


@given(SPECS, SPECS, SPECS)
def test_what_is_merged_differs_from_the_new_value_by_what_is_kept_alone(last: Any, stored: Any, new: Any) -> None:
    merged = merge(last, stored, new)
    assert {each.kind for each in differences(last, merged, new)} <= {"kept"}
    assert merge(new, merged, new) == merged


@given(SPECS, SPECS)
def test_a_value_that_was_applied_whole_is_replaced_whole(stored: Any, new: Any) -> None:
    assert merge(stored, stored, new) == new


@given(SPECS)
def test_the_same_value_has_no_differences(value: Any) -> None:
    assert differences(value, value, value) == []
