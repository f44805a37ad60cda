"""Values: cases, outcomes of attempts, and scores of evaluators."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from langchain_core.messages import AIMessage, BaseMessage, ToolCall


@dataclass(frozen=True, slots=True)
class Case:
    """A row of the table.

    Attributes:
        input: What the target is given. A text becomes the message of a person where the target is a graph or agents.
        expected: What the output should be, for evaluators that compare; None: nothing is said.
        name: For reports and pytest; empty: the beginning of the input.
        evaluators: Look at this case, in addition to those of all cases.
        tags: Words by which cases are chosen.
        metadata: The program's own.
    """

    input: Any
    expected: Any = None
    name: str = ""
    evaluators: Sequence[Evaluator] = ()
    tags: Sequence[str] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Usage:
    """Calls of models in an attempt, and their tokens.

    Attributes:
        model_calls: Their calls.
        input_tokens: Tokens that they read, as they report it.
        output_tokens: Tokens that they wrote.
        cost: US dollars; None: no price is known.
    """

    model_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float | None = None

    @property
    def total_tokens(self) -> int:
        """Tokens read and written."""
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        costs = [each for each in (self.cost, other.cost) if each is not None]
        return Usage(
            self.model_calls + other.model_calls,
            self.input_tokens + other.input_tokens,
            self.output_tokens + other.output_tokens,
            sum(costs) if costs else None,
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The output of a target for a case, as evaluators see it.

    Attributes:
        case: The case.
        output: What the target returned: of a graph its state, of agents `{"messages": [...]}`.
        text: The output as text: that of its last answer, if it has messages; JSON, if it is a mapping or a list.
        messages: Messages of the output that were not in the input.
        tool_calls: The calls of tools in these messages, in order, with `name`, `args` and `id`.
        usage: What it took of models.
        duration_s: Seconds that it took.
    """

    case: Case
    output: Any
    text: str = ""
    messages: tuple[BaseMessage, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage = field(default_factory=Usage)
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Score:
    """The verdict of an evaluator.

    Attributes:
        passed: Whether it is content.
        reason: Why, or why not, in a sentence; empty: it says no more.
        score: A number, for averages; None: 1 if it is content, else 0.
        name: The evaluator; empty: its own name is put in.
    """

    passed: bool
    reason: str = ""
    score: float | None = None
    name: str = ""

    @property
    def number(self) -> float:
        """The score as a number."""
        return float(self.passed) if self.score is None else self.score


Verdict: TypeAlias = Score | bool | None
Evaluator: TypeAlias = Callable[[Outcome], Verdict | Awaitable[Verdict]]
"""Looks at an outcome. It returns a :class:`Score` or a truth value, or nothing and raises `AssertionError` if it is
not content; an async function may do the same."""


def outcome_of(case: Case, output: object, usage: Usage, duration_s: float) -> Outcome:
    """Describe what a target returned.

    Args:
        case: The case.
        output: What the target returned.
        usage: What was counted of models meanwhile; if that is nothing, the messages of the output say it.
        duration_s: Seconds that it took.
    """
    messages = _messages(output)
    given = _messages(case.input)
    known = {each.id for each in given if each.id}
    new = tuple(each for at, each in enumerate(messages) if at >= len(given) and each.id not in known)
    calls = tuple(call for each in new if isinstance(each, AIMessage) for call in each.tool_calls)
    if not usage.model_calls:
        usage = sum((_reported(each) for each in new if isinstance(each, AIMessage)), Usage())
    return Outcome(case, output, _text(output, messages), new, calls, usage, duration_s)


def _messages(value: object) -> list[BaseMessage]:
    found = value.get("messages") if isinstance(value, Mapping) else value
    if isinstance(found, BaseMessage):
        return [found]
    if isinstance(found, list | tuple) and found and all(isinstance(each, BaseMessage) for each in found):
        return list(found)
    return []


def _text(output: object, messages: Sequence[BaseMessage]) -> str:
    if isinstance(output, str):
        return output
    if messages:
        return str(messages[-1].text)
    try:
        return json.dumps(output, ensure_ascii=False) if isinstance(output, Mapping | list) else str(output)
    except (TypeError, ValueError):
        return str(output)


def _reported(message: AIMessage) -> Usage:
    told = message.usage_metadata
    return Usage(1, told["input_tokens"], told["output_tokens"]) if told else Usage(1)
