"""Arguments of tool calls: read whole, or not at all.

A model's text that breaks off, or that no store and no provider could take, is never completed or put right: a guess at
the input of something with effects is worse than no call. The model is told why its call did not run.
"""

from __future__ import annotations

import json
import math
import reprlib
from typing import Any, NoReturn

from stategraph.agent.messages import encodable

MAX_DEPTH = 100
"""Limit for the nesting of arguments. Savers and providers refuse values that are nested much deeper."""

_LOWEST, _HIGHEST = -(2**63), 2**64 - 1
_SHOWN_CHARS = 200

_TOO_DEEP = f"they are nested more than {MAX_DEPTH} levels deep"
_TOO_LARGE = "an integer has more than 64 bits; write it as a text"
_HALF = "a text has half of a surrogate pair, which cannot be encoded"


class UnreadableArgumentsError(ValueError):
    """Arguments that no tool can be given; the text says why, for the model."""


def read(given: object) -> dict[str, Any]:
    """Read the arguments of a call.

    Args:
        given: The arguments, or their JSON as the model wrote it. Empty text or None means no arguments.

    Returns:
        The arguments; the object itself if a dict was given.

    Raises:
        UnreadableArgumentsError: They break off, are no JSON object, or hold a value that cannot be stored or sent.
    """
    arguments = _parsed(given) if isinstance(given, str) else {} if given is None else given
    if not isinstance(arguments, dict):
        shown = repr(given[:_SHOWN_CHARS]) if isinstance(given, str) else reprlib.repr(given)
        raise UnreadableArgumentsError(f"The arguments are not a JSON object: {shown}")
    if (flaw := _flaw(arguments, 0)) is not None:
        raise _unusable(flaw)
    return arguments


def is_plain(value: Any) -> bool:
    """Return whether a value is JSON that can be stored and sent as it is."""
    return _flaw(value, 0) is None


def _unusable(flaw: str) -> UnreadableArgumentsError:
    return UnreadableArgumentsError(f"The arguments cannot be used: {flaw}")


def _parsed(text: str) -> Any:
    """Return the value of JSON text; the text itself if it is none."""
    if not text.strip():
        return {}
    try:
        # Line breaks within texts are common and unambiguous.
        return _DECODER.decode(encodable.joined(text))
    except (UnreadableArgumentsError, json.JSONDecodeError) as error:
        if isinstance(error, UnreadableArgumentsError):
            raise
        return text
    except RecursionError:
        raise _unusable(_TOO_DEEP) from None
    except ValueError:  # Python reads no more than some thousand digits
        raise _unusable(_TOO_LARGE) from None


def _refuse(constant: str) -> NoReturn:
    raise _unusable(f"{constant} is no number of JSON")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _flaw(value: Any, depth: int) -> str | None:
    """Return what keeps a value from being stored and sent as JSON; None if nothing does."""
    kind = type(value)
    if kind is str:
        return None if encodable.is_encodable(value) else _HALF
    if kind is bool or value is None:
        return None
    if kind is int:
        return None if _LOWEST <= value <= _HIGHEST else _TOO_LARGE
    if kind is float:
        return None if math.isfinite(value) else f"{value} is no number of JSON"
    if kind is dict or kind is list:
        if depth == MAX_DEPTH:
            return _TOO_DEEP
        parts = (*value, *value.values()) if kind is dict else value
        for each in parts:
            if (flaw := _flaw(each, depth + 1)) is not None:
                return flaw
        return None
    return f"a value of type {kind.__name__} is no JSON"
