"""Canonical JSON, and digests of it: equal values have equal bytes, whoever wrote them.

The form is the JSON Canonicalization Scheme (RFC 8785), with `rfc8785` of Trail of Bits where `json` would differ.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

from stategraph.errors import MissingPackageError


def canonical_json(value: Any) -> bytes:
    """Return a value as canonical JSON, in UTF-8.

    Args:
        value: JSON: None, bool, int, float, str, and lists, tuples and dicts of these.

    Raises:
        ValueError: It has no such form: another type, NaN or infinity, an integer beyond 2**53, a lone surrogate.
        MissingPackageError: The extra `governance` is not installed.
    """
    try:
        if _is_simple(value):
            return _simple(value).encode()
    except (RecursionError, UnicodeEncodeError):
        pass  # the library says why it has none
    try:
        import rfc8785  # 3 ms, and only those who govern actions need it
    except ImportError as error:
        raise MissingPackageError("stategraph[governance]", "Canonical JSON") from error
    try:
        return rfc8785.dumps(value)
    except (rfc8785.CanonicalizationError, UnicodeEncodeError, RecursionError) as error:
        raise ValueError(f"This value has no canonical form in JSON: {error}") from error


def _is_simple(value: Any) -> bool:
    """Return whether a value's canonical form is that of `json`: no floats, exact integers, and keys in ASCII.

    The library is written in Python and takes ten times as long; floats and the order of other keys are its business.
    """
    kind = type(value)
    if kind is str or value is None or kind is bool:
        return True
    if kind is int:
        return bool(abs(value) <= _MOST_EXACT)
    if kind is dict:
        return all(type(key) is str and key.isascii() and _is_simple(each) for key, each in value.items())
    return (kind is list or kind is tuple) and all(map(_is_simple, value))


_MOST_EXACT: Final = 2**53 - 1
_simple: Final = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False, allow_nan=False
).encode


def same_json(one: Any, other: Any) -> bool:
    """Return whether two values are the same JSON, in which `1`, `True` and `"1"` are three."""
    if one is other:
        return True
    try:
        return canonical_json(one) == canonical_json(other)
    except ValueError:
        return False


def digest(value: Any) -> str:
    """Return the SHA-256 of a value's canonical JSON, in hex; raises as `canonical_json` does."""
    return hashlib.sha256(canonical_json(value)).hexdigest()
