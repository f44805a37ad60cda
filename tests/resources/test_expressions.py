"""Expressions in manifests."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage

from stategraph.governance.policy import cel
from stategraph.resources.compile import comparisons, expr

NAMES = frozenset({"state", "input", "item", "result"})


def value(written, **scope):
    return expr.template(written, NAMES, "step 'a', input").value(scope)


@pytest.mark.parametrize(
    ("written", "scope", "expected"),
    [
        ("${{ state.items }}", {"state": {"items": [1, {"a": None}]}}, [1, {"a": None}]),
        ("Hi ${{ input.name }}: ${{ state.n }}", {"input": {"name": "Ann"}, "state": {"n": [1]}}, "Hi Ann: [1]"),
        ({"q": ["${{ item + 1 }}", 2], "n": "x"}, {"item": 1}, {"q": [2, 2], "n": "x"}),
        ("${{ [result.text] }}", {"result": {"text": "é"}}, ["é"]),
        ('${{ state["a-b"] }}', {"state": {"a-b": 1}}, 1),
        ("${{ has(state.x) ? state.x : 7 }}", {"state": {"y": object()}}, 7),
        ("${{ size(state.items.filter(i, i > 1)) }}", {"state": {"items": [1, 2, 3]}}, 2),
        ("no expression", {}, "no expression"),
    ],
)
def test_values(written, scope, expected):
    assert value(written, **scope) == expected


@pytest.mark.parametrize(
    ("written", "scope", "message"),
    [
        (
            "${{ state.nope }}",
            {"state": {"a": 1}},
            "step 'a', input: the expression 'state.nope' has no value: there is",
        ),
        ("${{ state.a.b }}", {"state": {"a": 1}}, "'b' is asked of a value of type int"),
        ("${{ 1 / state.a }}", {"state": {"a": 0}}, "divide by zero"),
        ({"q": ["${{ item.x }}"]}, {"item": {}}, r"step 'a', input.q\[0\]"),
        ("${{ 'a' + state.x }}", {"state": {"x": object()}}, "a value of type object is no data"),
    ],
)
def test_an_expression_without_a_value_names_step_and_field(written, scope, message):
    with pytest.raises(expr.ExpressionError, match=message):
        value(written, **scope)


@pytest.mark.parametrize("written", ["${{ stat.x }}", "${{ state. }}", "a ${{ b", "${{ __import__('os') }}"])
def test_what_is_no_expression_is_found_before_it_is_evaluated(written):
    with pytest.raises(expr.ExpressionError, match="step 'a'"):
        expr.template(written, NAMES, "step 'a', input")


def test_messages_travel_along_paths_as_they_are_and_are_mappings_in_expressions():
    message = AIMessage("hi")
    assert value("${{ result.messages }}", result={"messages": [message]})[0] is message
    assert value("${{ result.messages[0].content }}", result={"messages": [message]}) == "hi"


def test_constants_are_fresh_each_time():
    template = expr.template({"a": []}, NAMES, "step 'a'")
    template.value({})["a"].append(1)
    assert template.value({}) == {"a": []}


def test_a_condition_is_true_or_false():
    assert expr.condition("size(state.x) == 0", NAMES, "switch").value({"state": {"x": []}}) is True
    assert expr.condition("${{ state.x }}", NAMES, "switch").value({"state": {"x": False}}) is False
    with pytest.raises(expr.ExpressionError, match="is int; a condition is true or false"):
        expr.condition("state.x", NAMES, "switch").value({"state": {"x": 1}})


def test_only_what_is_named_is_read():
    assert expr.reads_of('state.a + state["b"] + input + "item"', NAMES) == {
        "state": frozenset({"a", "b"}),
        "input": None,
    }
    assert expr.reads_of("other.state.a + item", NAMES) == {"item": None}


def test_errors_survive_pickling():
    error = expr.ExpressionError("step 'a'", "x.y", "has no value")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


_keys = st.sampled_from(["a", "b", "c"])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**31), 2**31) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_keys, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(_keys, _json), st.lists(_keys, min_size=1, max_size=3))
def test_a_path_has_the_value_that_cel_gives_it(state, fields):
    source = ".".join(["state", *fields])
    program = cel.compile_value(source, NAMES)
    try:
        expected = program.value(cel.facts({"state": state}))
    except ValueError:
        with pytest.raises(expr.ExpressionError):
            value("${{ " + source + " }}", state=state)
    else:
        assert value("${{ " + source + " }}", state=state) == expected


VALUES = [
    *(0, 1, 2, -3, 7.5, 2.0, True, False, None, "", "a", "b", "1", "ä", [], [1], ["a", "b"], {}, {"a": 1}),
    *(2**62, 2**63, float("nan"), (1, 2), {1, 2}, b"a"),
]


OPERATORS = ["==", "!=", "<", "<=", ">", ">="]
COMPARED = [
    (left, operator, literal)
    for left in ("state.x", "size(state.x)", "size( state.x )", "state.y.x")
    for operator in OPERATORS
    for literal in ("0", "1", "-3", "2", "'a'", '"b"', "''", "true", "false")
    if not (left.startswith("size") and not literal.lstrip("-").isdigit())  # CEL refuses it
]


@pytest.mark.parametrize(("left", "operator", "literal"), COMPARED)
def test_a_simple_comparison_is_what_cel_says(left, operator, literal):
    source = f"{left} {operator} {literal}"
    with_quick = expr.condition(source, frozenset({"state"}), "here")
    by_cel = expr.template("${{ " + source + " }}", frozenset({"state"}), "here")
    answered = 0
    for value in VALUES:
        scope = {"state": {"x": value, "y": {"x": value}}}
        known = comparisons.quick(source)
        answered += known is not None and known(scope) is not None
        try:
            expected = by_cel.value(scope)
        except expr.ExpressionError as error:
            with pytest.raises(expr.ExpressionError) as caught:
                with_quick.value(scope)
            assert caught.value.why == error.why
        else:
            assert with_quick.value(scope) is expected
    is_order_of_truths = literal in ("true", "false") and operator not in ("==", "!=")
    assert bool(answered) is not is_order_of_truths


@pytest.mark.parametrize("source", ["size(state.x) < 2 && true", "state.x", "1 < state.x", "state.x == 1.5", "x == 1"])
def test_other_conditions_are_left_to_cel(source):
    assert comparisons.quick(source) is None
