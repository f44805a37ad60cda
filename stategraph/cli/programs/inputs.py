"""Inputs of graphs as a person writes them: JSON, the words of a message, a file, standard input."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from typing import Any, Final, get_origin, get_type_hints

from stategraph.cli.output import text_of
from stategraph.errors import ConfigurationError

#: Values for examples, by type; other types are shown as a text.
_EXAMPLES: Final[Mapping[Any, Any]] = {int: 1, float: 1.5, bool: True, list: [], dict: {}}


def input_of(text: str | None, graph: Any, *, goes_on: bool) -> Any:
    """Return the input of a run; None if the thread goes on without one.

    Args:
        text: JSON or words; `@FILE` for those of a file, `-` for those of standard input. None: standard input, unless
            somebody types there.
        graph: The graph.
        goes_on: Whether a thread was named, which goes on from where it stands if there is no input.

    Raises:
        ConfigurationError: There is none, it cannot be read, or it is not what the graph takes.
    """
    if text is None and goes_on:
        return None
    if text is None and (not sys.stdin or sys.stdin.isatty()):
        raise ConfigurationError(f"The graph needs an input: give --input. {fields_of(graph)}")
    if text is None or text == "-":
        text = text_of("-")
    elif text.startswith("@"):
        text = text_of(text[1:])
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        if "messages" in _examples(graph):
            return {"messages": [{"role": "user", "content": text.strip()}]}
        raise ConfigurationError(f"The input is not JSON ({error}). {fields_of(graph)}") from None


def fields_of(graph: Any) -> str:
    """Return a sentence about the input that a graph takes, with an example."""
    found = _examples(graph)
    if not found:
        return 'It is JSON, such as --input \'{"key": "value"}\''
    example = json.dumps(dict(list(found.items())[:3]))
    return f"It is JSON with {', '.join(found)}, such as --input '{example}'"


def _examples(graph: Any) -> dict[str, Any]:
    """Return an example for each key of a graph's input."""
    try:
        hints = get_type_hints(graph.builder.input_schema)
    except Exception:  # a graph of another kind, or names that are only there for type checkers
        return {}
    return {name: _EXAMPLES.get(get_origin(hint) or hint, "...") for name, hint in hints.items()}


def json_or_text(text: str) -> Any:
    """Return JSON, or the text itself if it is none."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def json_object(option: str, text: str | None) -> dict[str, Any] | None:
    """Return the object that an option has.

    Raises:
        ConfigurationError: It is no object of JSON.
    """
    if text is None:
        return None
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigurationError(f"{option} is not JSON ({error}): write it as in {option} '{{\"key\": 1}}'") from None
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{option} is {type(value).__name__}; expected an object, as in {option} '{{\"key\": 1}}'"
        )
    return value
