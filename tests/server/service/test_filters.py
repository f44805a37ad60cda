"""Conditions on JSON: both databases find what the rules say, for any values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stategraph.server.service.database import Tables, encoded
from stategraph.server.service.filters import allowed, compared, contains
from stategraph.server.service.values import InvalidError, RefusedError
from stategraph.workers.registry.runs import RunRegistry

TEXTS = st.sampled_from(["", "a", "b", "a.b", 'q"', "ä", "1", "true", "$x"])
SCALARS = st.none() | st.booleans() | st.sampled_from([0, 1, -1, 2**70, 1.5, 1e300]) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)
OBJECTS = st.dictionaries(TEXTS, VALUES, max_size=3)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tables(url: str):
    registry = RunRegistry.from_url(url)
    yield Tables(registry.operations)
    registry.operations.close()


def holds(tables: Tables, metadata: Mapping[str, Any], condition: Any) -> bool:
    """Whether a condition on the column `metadata` holds of some metadata."""
    statement = tables.say(f"SELECT COUNT(*) FROM (SELECT {{given}} AS metadata) AS x WHERE {condition.text}")
    rows = tables.perform(
        lambda session: session.execute(statement, (encoded(metadata), *condition.values)), write=False
    )
    return bool(rows[0][0])


def same(one: Any, other: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return (type(one) is type(other) and one == other) or (_number(one) and _number(other) and one == other)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def has(value: Any, wanted: Any) -> bool:
    """Containment, as PostgreSQL's `@>` below the first level."""
    if isinstance(wanted, dict):
        return isinstance(value, dict) and all(key in value and has(value[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return isinstance(value, list) and all(any(has(each, one) for each in value) for one in wanted)
    return same(value, wanted)


@MANY
@given(metadata=OBJECTS, wanted=OBJECTS)
def test_a_search_finds_what_contains_the_values(tables, metadata, wanted):
    assert holds(tables, metadata, contains(tables, "metadata", wanted)) == has(metadata, wanted)


@MANY
@given(metadata=OBJECTS, data=st.data())
def test_what_is_there_is_found(tables, metadata, data):
    keys = data.draw(st.lists(st.sampled_from(sorted(metadata)), unique=True)) if metadata else []
    assert holds(tables, metadata, contains(tables, "metadata", {key: metadata[key] for key in keys}))


@MANY
@given(metadata=OBJECTS, key=TEXTS.filter(lambda key: not key.startswith("$")), value=SCALARS)
def test_a_handlers_filter_is_equality(tables, metadata, key, value):
    equal = key in metadata and same(metadata[key], value)
    for filter in ({key: value}, {key: {"$eq": value}}, {"$or": [{key: value}, {key: value}]}):
        assert holds(tables, metadata, allowed(tables, "metadata", filter)) == equal


@MANY
@given(metadata=OBJECTS, key=TEXTS.filter(lambda key: not key.startswith("$")), values=st.lists(SCALARS, max_size=2))
def test_a_handlers_filter_asks_lists_for_members(tables, metadata, key, values):
    listed = isinstance(metadata.get(key), list)
    every = listed and all(any(same(each, value) for each in metadata[key]) for value in values)
    assert holds(tables, metadata, allowed(tables, "metadata", {key: {"$contains": values}})) == every
    for value in values:
        one = listed and any(same(each, value) for each in metadata[key])
        assert holds(tables, metadata, allowed(tables, "metadata", {key: {"$contains": value}})) == one


def test_filters_are_combined(tables):
    ada = {"owner": "ada", "tags": ["x"]}
    assert holds(tables, ada, allowed(tables, "metadata", {"owner": "ada", "tags": {"$contains": "x"}}))
    assert not holds(tables, ada, allowed(tables, "metadata", {"owner": "ada", "tags": {"$contains": "y"}}))
    assert holds(tables, ada, allowed(tables, "metadata", {"$or": [{"owner": "bob"}, {"owner": "ada"}]}))
    assert not holds(tables, ada, allowed(tables, "metadata", {"$and": [{"owner": "bob"}, {"owner": "ada"}]}))
    assert holds(tables, ada, allowed(tables, "metadata", None))


@pytest.mark.parametrize("filter", [{"a": {"$regex": "x"}}, {"$or": []}, {"$and": "x"}, {"$or": ["x"]}])
def test_a_filter_that_is_not_understood_lets_nobody_in(tables, filter):
    with pytest.raises(RefusedError):
        allowed(tables, "metadata", filter)


def test_numbers_and_texts_have_an_order(tables):
    item = {"n": 2, "s": "b", "f": True}
    found = [
        sign for sign in ("<", "<=", ">", ">=", "=") if holds(tables, item, compared(tables, "metadata", "n", sign, 2))
    ]
    assert found == ["<=", ">=", "="]
    assert holds(tables, item, compared(tables, "metadata", "s", ">", "a"))
    for key, value in (("s", 1), ("f", 0), ("none", 0), ("n", None), ("n", [1])):
        assert not holds(tables, item, compared(tables, "metadata", key, ">", value))


def test_a_search_has_a_limit(tables):
    with pytest.raises(InvalidError, match="100 values"):
        contains(tables, "metadata", {str(number): number for number in range(101)})


@pytest.mark.parametrize("value", ["\0", "\ud800", float("nan"), {1, 2}])
def test_what_cannot_be_stored_is_refused(value):
    with pytest.raises(InvalidError):
        encoded({"x": value})
