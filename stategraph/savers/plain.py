"""Values in the plain form of PostgreSQL, in which a checkpoint is JSON."""

from __future__ import annotations

import math


def is_inline(value: object) -> bool:
    """Return whether a value of a channel stands in the checkpoint itself, in the plain form."""
    if value is None or type(value) is bool or type(value) is int:
        return True
    if type(value) is str:
        return "\x00" not in value and (value.isascii() or _is_whole(value))
    return type(value) is float and math.isfinite(value)


def _is_whole(value: str) -> bool:
    """Return whether a text has no halves of characters, which UTF-8 does not have."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True
