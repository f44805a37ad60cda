"""Ids in the form that front ends know: a prefix and 21 characters of an alphabet that is safe in URLs."""

from __future__ import annotations

from base64 import urlsafe_b64encode

from stategraph.engine.config import environment

_LENGTH = 21  # of six bits each, so that two of the 128 are left over


def new_id(prefix: str) -> str:
    """Return a new id.

    Args:
        prefix: Its prefix, such as `step_`.

    Returns:
        The prefix and the lower 126 bits of a UUID, all but six of which are random.
    """
    lower = environment.current().ids.unique().int & (1 << 6 * _LENGTH) - 1
    return prefix + urlsafe_b64encode((lower << 2).to_bytes(16, "big"))[:_LENGTH].decode()
