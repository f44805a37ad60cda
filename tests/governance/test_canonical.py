"""Canonical JSON: equal values have equal bytes, and what has no form is refused."""

import math

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from stategraph.governance.canonical import canonical_json, digest

LEAVES = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(st.characters(exclude_categories=["Cs"]))
)
JSON = st.recursive(
    LEAVES,
    lambda each: st.lists(each, max_size=4) | st.dictionaries(st.text("ab€😀", max_size=3), each, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text("abc€😀"), JSON, max_size=6))
def test_the_order_of_keys_changes_nothing(value) -> None:
    assert digest(dict(reversed(value.items()))) == digest(value)


@given(JSON, JSON)
def test_values_that_differ_in_type_or_content_have_other_bytes(one, other) -> None:
    assert (repr_of(one) == repr_of(other)) == (canonical_json(one) == canonical_json(other))


def repr_of(value):
    """True is not 1 here, as in JSON; dicts are compared without their order."""
    if isinstance(value, dict):
        return {key: repr_of(each) for key, each in value.items()}
    if isinstance(value, list):
        return [repr_of(each) for each in value]
    return (type(value), value)


def test_the_example_of_the_standard() -> None:
    value = {"numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001], "literals": [None, True]}
    assert canonical_json(value) == b'{"literals":[null,true],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27]}'


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**53, {1: 2}, object(), b"x", "\ud800", {"\ud800": 1}])
def test_what_has_no_form_is_refused(value) -> None:
    with pytest.raises(ValueError, match="no canonical form"):
        canonical_json(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list = []
    value.append(value)
    with pytest.raises(ValueError, match="no canonical form"):
        canonical_json(value)


@given(JSON)
def test_values_without_floats_have_the_form_of_the_library(value) -> None:
    assert canonical_json(value) == rfc8785.dumps(value)
    assert canonical_json({'a\x7f\x00\n\u2028"\\/': [value, "\x1f\b\f\u00fc"]}) == rfc8785.dumps(
        {'a\x7f\x00\n\u2028"\\/': [value, "\x1f\b\f\u00fc"]}
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_texts_have_the_form_of_the_library(text) -> None:
    assert canonical_json({"a": text, "b": (text, True, 1)}) == rfc8785.dumps({"a": text, "b": (text, True, 1)})
