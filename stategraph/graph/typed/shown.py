"""Values that do not fit, as errors show them: short, and without secrets.

Rules
-----
* What is under a name of a secret, such as `password` or `apiKey`, is never shown, at whatever depth.
* Of other texts the passwords of addresses are hidden, what follows the name of a secret, and long words of letters and
  digits, which keys and tokens are.
* pydantic's own error, the cause, shows no value: its text goes to logs as well.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, cast

from pydantic import ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError

from stategraph.engine.config.hidden import HIDDEN, is_secret, names_secret, without_logins
from stategraph.engine.state.account.shown import plain

_LONGEST: Final = 80
"""Characters of a value that a message shows."""

_NAMED: Final = re.compile(
    r"((?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|authorization|cookie)\w{0,20}[\"']?\s{0,3}[=:]\s{0,3}[\"']?)"
    r"(?:(?:bearer|basic)\s{1,3})?[^\s\"',;&}]+",
    re.IGNORECASE,
)
_SCHEME: Final = re.compile(r"\b((?:bearer|basic)\s{1,3})[\w.~+/=-]{6,}", re.IGNORECASE)
_LONG_WORD: Final = re.compile(r"(?=[\w+/=-]{0,200}\d)(?=[\w+/=-]{0,200}[A-Za-z])(?<![\w+/=-])[\w+/=-]{20,}")


def is_hidden(name: object) -> bool:
    """Return whether a value is secret by its name."""
    return isinstance(name, str) and (is_secret(name) or names_secret(name))


def shown(value: object, *names: object) -> str:
    """Return a value and its class in few words.

    Args:
        value: The value.
        names: What it is called, from outside to inside.
    """
    kind = type(value).__name__
    if value is not None and any(map(is_hidden, names)):
        return f"{HIDDEN} ({kind})"
    try:
        text = repr(_cleaned(value if type(value) is str else plain(value)))
    except Exception:  # of an object of whatever class
        return f"({kind})"
    return f"{text if len(text) <= _LONGEST else f'{text[: _LONGEST - 1]}…'} ({kind})"


def reason(problem: Mapping[str, Any], *names: object) -> str:
    """Return what pydantic says of a value, without the value.

    Args:
        problem: One of `ValidationError.errors()`.
        names: What the value is called, but for the places that the problem has.
    """
    if any(map(is_hidden, (*names, *problem["loc"]))):
        return str(problem["type"])
    return clean_text(str(problem["msg"]))


def cause(error: ValidationError, *names: object) -> ValidationError:
    """Return an error of pydantic that says the same and shows no value.

    Args:
        error: The error.
        names: What the value is called.
    """
    lines: list[InitErrorDetails] = []
    for each in error.errors(include_url=False):
        kind, said = each["type"], reason(each, *names)
        hides = any(map(is_hidden, (*names, *each["loc"])))
        lines.append(
            {
                "type": PydanticCustomError(cast("Any", kind), cast("Any", said)),
                "loc": each["loc"],
                "input": HIDDEN if hides else each["input"],
            }
        )
    return ValidationError.from_exception_data(error.title, lines, hide_input=True)


def clean_text(text: str) -> str:
    """Return a text without what looks like a secret."""
    text = _SCHEME.sub(rf"\1{HIDDEN}", _NAMED.sub(rf"\1{HIDDEN}", without_logins(text)))
    return _LONG_WORD.sub(HIDDEN, text)


def _cleaned(value: Any) -> Any:
    """Return a plain value without secrets."""
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, Mapping):
        return {
            name: HIDDEN if each is not None and is_hidden(name) else _cleaned(each) for name, each in value.items()
        }
    return [_cleaned(each) for each in value] if isinstance(value, list) else value
