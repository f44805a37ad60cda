"""Evaluators that need no model.

Each is a value: what it looks for is said when it is made, and it is called with the outcome of an attempt.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stategraph.testing.evaluation.outcomes import Outcome, Score

_SHOWN = 120


def shown(value: object, most: int = _SHOWN) -> str:
    """Return a value for a report: not too long, in one line."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


@dataclass(frozen=True, slots=True)
class Equals:
    """The output is this value; where it is a text, the output's text, without spaces around it.

    Attributes:
        value: The value; None: what the case expects.
    """

    value: object = None

    def __call__(self, outcome: Outcome) -> Score:
        """Compare."""
        wanted = _wanted(self.value, outcome, "Equals")
        found = outcome.text.strip() if isinstance(wanted, str) else outcome.output
        if isinstance(wanted, str):
            wanted = wanted.strip()
        return Score(found == wanted, "" if found == wanted else f"{shown(found)} is not {shown(wanted)}")


@dataclass(frozen=True, slots=True)
class Contains:
    """The output's text has this text, or all of several.

    Attributes:
        value: The text or texts; None: what the case expects.
        case_sensitive: Whether capitals have to be the same.
    """

    value: str | Sequence[str] | None = None
    case_sensitive: bool = True

    def __call__(self, outcome: Outcome) -> Score:
        """Look for them."""
        wanted = _wanted(self.value, outcome, "Contains")
        texts = [wanted] if isinstance(wanted, str) else [str(each) for each in wanted]
        have = outcome.text if self.case_sensitive else outcome.text.casefold()
        missing = [each for each in texts if (each if self.case_sensitive else each.casefold()) not in have]
        if not missing:
            return Score(True)
        rest = ", ".join(shown(each) for each in missing)
        return Score(False, f"{rest} {'is' if len(missing) == 1 else 'are'} not in {shown(outcome.text)}")


@dataclass(frozen=True, slots=True)
class Regex:
    """The output's text has a place that fits a regular expression.

    Attributes:
        pattern: The expression; `(?i)` at its beginning ignores capitals.
    """

    pattern: str

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"Regex({self.pattern!r}) is no regular expression: {error}") from None

    def __call__(self, outcome: Outcome) -> Score:
        """Search."""
        found = re.search(self.pattern, outcome.text) is not None
        return Score(found, "" if found else f"nothing in {shown(outcome.text)} fits {self.pattern}")


@dataclass(frozen=True, slots=True)
class JSONSchema:
    """The output is JSON that fits a schema; needs the extra `jsonschema`.

    Attributes:
        schema: The schema. It refers to nothing outside of itself.
    """

    schema: Mapping[str, object]

    def __call__(self, outcome: Outcome) -> Score:
        """Validate: a text is read as JSON, also one in a code block."""
        from stategraph.agent.output.checks import InvalidOutput, SchemaCheck  # an extra

        value = outcome.output
        if isinstance(value, str) or outcome.messages:
            try:
                value = json.loads(without_fence(outcome.text))
            except ValueError as error:
                return Score(False, f"{shown(outcome.text)} is no JSON: {error}")
        try:
            SchemaCheck(dict(self.schema)).typed(value)
        except InvalidOutput as error:
            return Score(False, str(error))
        return Score(True)


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """A tool was called.

    Attributes:
        name: The tool.
        args: Arguments that one of its calls has to have, among others; None: any.
        times: How many such calls there have to be; None: one or more. 0: the tool was not called.
    """

    name: str
    args: Mapping[str, object] | None = None
    times: int | None = None

    def __call__(self, outcome: Outcome) -> Score:
        """Look for the calls."""
        of_it = [each["args"] for each in outcome.tool_calls if each["name"] == self.name]
        fitting = [each for each in of_it if self.args is None or self.args.items() <= each.items()]
        if len(fitting) == self.times or (self.times is None and fitting):
            return Score(True)
        wanted = self.name if self.args is None else f"{self.name}({shown(dict(self.args))})"
        if self.times is not None:
            return Score(False, f"{wanted} was called {len(fitting)} times, expected {self.times}")
        if of_it:
            return Score(False, f"{wanted} was not called, but with {', '.join(shown(each) for each in of_it)}")
        others = sorted({each["name"] for each in outcome.tool_calls})
        return Score(False, f"{wanted} was not called; called: {', '.join(others) or 'no tool'}")


@dataclass(frozen=True, slots=True)
class AtMost:
    """An attempt took no more than this.

    Attributes:
        seconds: Time.
        tokens: Tokens of models, read and written.
        cost: US dollars.
        model_calls: Calls of models.
    """

    seconds: float | None = None
    tokens: int | None = None
    cost: float | None = None
    model_calls: int | None = None

    def __call__(self, outcome: Outcome) -> Score:
        """Compare; a cost that is not known is too high."""
        usage = outcome.usage
        if self.cost is not None and usage.cost is None:
            return Score(False, "the cost is not known: give prices")
        taken = (
            ("s", self.seconds, outcome.duration_s),
            ("tokens", self.tokens, usage.total_tokens),
            ("US dollars", self.cost, usage.cost or 0),
            ("model calls", self.model_calls, usage.model_calls),
        )
        over = [
            f"{have:.4g} {what}, at most {most:g}" for what, most, have in taken if most is not None and have > most
        ]
        return Score(not over, "; ".join(over))


def without_fence(text: str) -> str:
    """Return JSON without the code block that a model put it in."""
    found = re.fullmatch(r"\s*```(?:json)?\s*(.*?)\s*```\s*", text, re.DOTALL)
    return found[1] if found else text


def _wanted(value: object, outcome: Outcome, name: str) -> Any:
    if value is not None:
        return value
    if outcome.case.expected is None:
        raise ValueError(f"{name}() compares with what the case expects, and case {outcome.case.name!r} says nothing")
    return outcome.case.expected
