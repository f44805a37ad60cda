"""Conditions and values in CEL (Common Expression Language): compiled once, evaluated on facts.

`cel-expr-python`, the binding of Google's C++ implementation, is known to this module alone. Evaluation is bounded by
the language, which has no loops but those over given lists, and by the implementation: expressions nest at most 32
deep, and one evaluation makes less than 10,000 iterations. Regular expressions are RE2, linear in the text.

A missing field is no exception there but a value that stands for an error. It is neither true nor false here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NewType

from stategraph.errors import MissingPackageError
from stategraph.governance.policy.limits import MAX_EXPRESSION_BYTES
from stategraph.governance.policy.reasons import RuntimeReason

Facts = NewType("Facts", object)
"""A snapshot in the form that programs read."""

_DETAIL: Final = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): (.*?)(?: \(in container ''\))?(?:\n|$)")


@dataclass(frozen=True, slots=True)
class Failure:
    """The result of a condition that is neither true nor false.

    Attributes:
        reason: The reserved reason.
        text: What the implementation says; it may quote the snapshot.
    """

    reason: RuntimeReason
    text: str


class Program:
    """A compiled condition.

    Attributes:
        source: The expression.
    """

    __slots__ = ("_expression", "source")

    def __init__(self, source: str, expression: Any) -> None:
        self.source = source
        self._expression = expression

    def holds(self, facts: Facts) -> bool | Failure:
        """Return whether the condition holds, or why that cannot be said; never raises."""
        try:
            value = self._expression.eval(activation=facts).value()
        except Exception as error:  # the binding raises RuntimeError for what it gives no value for
            return _failure(str(error))
        if value is True or value is False:
            return bool(value)
        return _failure(value if isinstance(value, str) else f"the condition is {type(value).__name__}, not bool")


class ValueProgram:
    """A compiled expression that is asked for its value.

    Attributes:
        source: The expression.
    """

    __slots__ = ("_expression", "source")

    def __init__(self, source: str, expression: Any) -> None:
        self.source = source
        self._expression = expression

    def value(self, facts: Facts) -> Any:
        """Return the value as plain data: texts, numbers, lists, mappings with texts as keys, None.

        Raises:
            ValueError: There is none, as where a field is missing; the message is the implementation's, and may quote
                the facts.
        """
        try:
            found = self._expression.eval(activation=facts)
            if found.type().name() not in ("ERROR", "UNKNOWN", "TYPE"):
                return found.plain_value()
            text = str(found.value())
        except Exception as error:  # the binding raises RuntimeError for what it gives no value for
            text = str(error)
        raise ValueError(text)


def compile(source: str, variables: frozenset[str]) -> Program:
    """Compile a condition.

    Args:
        source: The expression.
        variables: The names that it may use.

    Raises:
        ValueError: It is no expression, uses another name, or is no condition; the message says where.
        MissingPackageError: The extra `governance` is not installed.
    """
    expression = _compiled(source, variables)
    kind = expression.return_type().name()
    if kind not in ("BOOL", "DYN"):
        raise ValueError(f"the expression is of type {kind}; a condition is true or false")
    return Program(source, expression)


def compile_value(source: str, variables: frozenset[str]) -> ValueProgram:
    """Compile an expression of any type; arguments and errors are those of `compile`."""
    return ValueProgram(source, _compiled(source, variables))


def _compiled(source: str, variables: frozenset[str]) -> Any:
    if len(source.encode("utf-8", "replace")) > MAX_EXPRESSION_BYTES:
        raise ValueError(f"the expression is longer than {MAX_EXPRESSION_BYTES:,} bytes")
    try:
        return _environment(variables).compile(source)
    except RuntimeError as error:
        raise ValueError(_compile_error(str(error), variables)) from None


def facts(snapshot: Mapping[str, Any]) -> Facts:
    """Return a snapshot in the form that programs read; it must not change while they do.

    Raises:
        RuntimeError: The binding cannot read it.
    """
    return Facts(_environment(frozenset()).Activation(snapshot))


@cache
def _environment(variables: frozenset[str]) -> Any:
    try:
        from cel_expr_python import cel  # type: ignore[import-untyped]  # 2 ms, and only those who have policies need it
        from cel_expr_python.ext import ext_strings  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "Conditions of policies") from error
    kinds = dict.fromkeys(sorted(variables), cel.Type.DYN)
    return cel.NewEnv(variables=kinds, extensions=[ext_strings.ExtStrings()])


def _failure(text: str) -> Failure:
    if text.startswith(("NOT_FOUND", "UNKNOWN: No value")):
        return Failure(RuntimeReason.PATH_MISSING, text)
    if "Iteration budget" in text:
        return Failure(RuntimeReason.RESOURCE_LIMIT_EXCEEDED, text)
    if "No matching overload" in text or "non-message" in text or "not bool" in text:
        return Failure(RuntimeReason.PATH_TYPE_MISMATCH, text)
    return Failure(RuntimeReason.POLICY_INVOCATION_FAILED, text)


def _compile_error(text: str, variables: frozenset[str]) -> str:
    found = _DETAIL.search(text)
    if found is None:
        return "the expression is nested too deeply; at most 32 levels" if "recursion" in text else text
    line, column, what = found.groups()
    if "recursion" in what:
        return "the expression is nested too deeply; at most 32 levels"
    if what.startswith("undeclared reference"):
        what += f"; known at its points: {', '.join(sorted(variables))}"
    return f"line {line}, column {column}: {what}"
