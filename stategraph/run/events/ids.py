"""Ids in the form that front ends know: a prefix and 21 characters of an alphabet that is safe in URLs."""

from __future__ import annotations

from stategraph.engine.config import environment

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
_LENGTH = 21


def new_id(prefix: str) -> str:
    """Return a new id.

    Args:
        prefix: Its prefix, such as `step_`.

    Returns:
        The prefix and the lower 126 bits of a UUID, all but six of which are random.
    """
    number = environment.current().ids.unique().int
    return prefix + "".join(_ALPHABET[number >> 6 * place & 63] for place in range(_LENGTH))
