"""Ids in the form that front ends know: a prefix and 21 characters of an alphabet that is safe in URLs."""

from __future__ import annotations

import secrets

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LENGTH = 21


def new_id(prefix: str) -> str:
    """Return a new id.

    Args:
        prefix: Its prefix, such as `step_`.

    Returns:
        The prefix and 126 random bits.
    """
    return prefix + "".join(_ALPHABET[byte & 63] for byte in secrets.token_bytes(_LENGTH))
