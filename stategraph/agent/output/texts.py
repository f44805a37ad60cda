"""Texts to and from the model: how it is asked, how it is told what was wrong, and the JSON in what it writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Literal

from pydantic import VERSION
from pydantic_core import from_json

from stategraph.agent.messages import truncation
from stategraph.agent.output.schemas import Schema


class _NoJson:
    """The type of `NO_JSON`."""

    def __repr__(self) -> str:
        return "NO_JSON"


NO_JSON: Final = _NoJson()
"""Stands for the value of a text that has no JSON in it: None is a value."""

_PARTIAL: Final[Literal["trailing-strings"] | bool] = (
    "trailing-strings" if tuple(map(int, VERSION.split(".")[:2])) >= (2, 9) else True
)
"""Texts that are not at their end count from pydantic 2.9 on; before it they are left out."""

_THOUGHT = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_FENCED = re.compile(r"```[a-zA-Z]*\s*\n(.*?)(?:\n\s*```|\Z)", re.DOTALL)
_BEGINNINGS = ("{", "[", "```")
_SHOWN_CHARS = 120


# To the model.


def tool(description: str) -> str:
    """Return the description of a tool that takes an output.

    Args:
        description: What the output is; empty if that is not known.
    """
    about = "Give your final answer with this tool, once you have everything that it needs: the conversation ends then."
    return f"{description}\n\n{about}" if description else about


def instructions(schema: Schema) -> str:
    """Return instructions to answer in JSON, for models that have no other way."""
    return (
        "## Your final answer\n\n"
        "Write your final answer as JSON that fits this JSON schema, and nothing else: no text before or after it, no "
        f"code fence.\n\n{truncation.compact_json(schema)}"
    )


def correction(problems: Sequence[str], tools: Sequence[str], *, as_json: bool) -> str:
    """Return what a model is told about an answer that does not fit.

    Args:
        problems: What is wrong with it.
        tools: The tools that take an output; none if the model has none.
        as_json: Whether it may answer with JSON as text.
    """
    ways = []
    if tools:
        ways.append(f"by calling {' or '.join(tools)}")
    if as_json or not tools:
        ways.append("as JSON that fits the schema, without any other text")
    return f"{refusal(problems)}\nGive the whole answer again, corrected, {', or '.join(ways)}."


def refusal(problems: Sequence[str]) -> str:
    """Return the problems of an answer as a list."""
    return "\n".join(["The answer does not fit what is expected:", *(f"- {each}" for each in problems)])


ACCEPTED: Final = "The answer was accepted."
SURPLUS: Final = "Not used: another answer was accepted."
HANDED_OVER: Final = "Not used: the conversation is being handed over to another agent."


def no_json(text: str) -> tuple[str, ...]:
    """Return the problem of an answer that is no JSON."""
    if not text.strip():
        return ("the answer is empty",)
    shown = text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}..."
    return (f"the answer is no valid JSON: {shown!r}",)


# From the model.


def json_in(text: str) -> object:
    """Return the JSON in a text; `NO_JSON` if there is none.

    It may be all of the text, in a code fence, or an object or a list between words.

    Args:
        text: The text.
    """
    for each in _candidates(without_thought(text).strip()):
        try:
            return from_json(each, allow_inf_nan=False)
        except ValueError:
            continue
    return NO_JSON


def without_thought(text: str) -> str:
    """Return a text without the reasoning between tags that some models begin with."""
    return _THOUGHT.sub("", text, count=1) if "<think>" in text else text


def seems_json(text: str) -> bool:
    """Return whether a text begins as JSON does."""
    return without_thought(text).lstrip().startswith(_BEGINNINGS)


def _candidates(text: str) -> list[str]:
    found = [text, *_FENCED.findall(text)]
    for opening, closing in ("{}", "[]"):
        first, last = text.find(opening), text.rfind(closing)
        if 0 <= first < last:
            found.append(text[first : last + 1])
    return found


def beginning(text: str) -> object:
    """Return as much of the JSON as a text has that is not at its end; `NO_JSON` if there is nothing.

    Args:
        text: The text so far.
    """
    begun = without_thought(text).lstrip()
    if begun.startswith("```"):
        begun = begun.partition("\n")[2].partition("\n```")[0]
    try:
        return from_json(begun, allow_inf_nan=False, allow_partial=_PARTIAL)
    except ValueError:
        return NO_JSON
