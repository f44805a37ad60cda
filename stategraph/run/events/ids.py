"""Ids in the form that front ends know: a prefix and 21 characters of an alphabet that is safe in URLs."""

from __future__ import annotations

from binascii import b2a_base64

from stategraph.engine.config import environment

_LENGTH = 21  # of six bits each, so that two of the 128 are not used
_SAFE_IN_URLS = bytes.maketrans(b"+/", b"-_")


def new_id(prefix: str) -> str:
    """Return a new id.

    Args:
        prefix: Its prefix, such as `step_`.

    Returns:
        The prefix and the lower 126 bits of 16 bytes.
    """
    # With two bytes before them, the lower bits begin with a character.
    encoded = b2a_base64(b"\0\0" + environment.current().unique_bytes(), newline=False)
    return prefix + encoded.translate(_SAFE_IN_URLS)[-_LENGTH:].decode()
