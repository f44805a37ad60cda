"""Text that can be encoded: what reaches a store, a provider or a browser.

Providers that stream escaped JSON may cut between the two halves of a surrogate pair, and file names that are not UTF-8
come with single halves. Python holds these in a string; UTF-8 cannot.
"""

from __future__ import annotations

import re
from operator import is_
from typing import Any

_HALF = re.compile(r"[\ud800-\udfff]")


def is_encodable(text: str) -> bool:
    """Return whether a text has no half of a surrogate pair."""
    return text.isascii() or _HALF.search(text) is None


def joined(text: str) -> str:
    """Join the halves of surrogate pairs that stand side by side; halves without the other one stay."""
    if is_encodable(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def encodable(text: str) -> str:
    """Join surrogate pairs, and put U+FFFD in the place of halves without the other one.

    Args:
        text: Any text.

    Returns:
        The same object if it can be encoded as it is.
    """
    if is_encodable(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def encodable_value(value: Any) -> Any:
    """Make every text within JSON encodable.

    Args:
        value: Texts, mappings and lists; anything else stays as it is.

    Returns:
        The same object if nothing had to change.
    """
    if isinstance(value, str):
        return encodable(value)
    if isinstance(value, dict):
        if not value:
            return value
        pairs = [(encodable_value(key), encodable_value(each)) for key, each in value.items()]
        same = all(a is key and b is each for (a, b), (key, each) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, list):
        several = [encodable_value(each) for each in value]
        return value if all(map(is_, several, value)) else several
    return value


def without_open_half(text: str) -> tuple[str, str]:
    """Part a piece of a stream from a half at its end, whose other half may follow.

    Args:
        text: The piece.

    Returns:
        The text, encodable, and the half; empty if there is none.
    """
    if text and "\ud800" <= text[-1] <= "\udbff":
        return encodable(text[:-1]), text[-1]
    return encodable(text), ""
