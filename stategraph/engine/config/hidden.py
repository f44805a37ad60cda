"""Hide what is secret by its form in texts that people see, though nobody has declared it so.

That is values under the usual names of secrets, and passwords in addresses.
"""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "[redacted]"

_PASSWORD = re.compile(r"(://[^\s/:@]*:)[^\s/]+(?=@)")
"""The password of an address within a text."""

_SECRET = re.compile(
    r"api_?key|(^|_)(password|passwd|secret|authorization|(access|auth|bearer|refresh)_?token)$", re.IGNORECASE
)


def without_logins(text: str) -> str:
    """Return a text with the passwords of the addresses in it hidden, whoever gave them."""
    return _PASSWORD.sub(rf"\1{HIDDEN}", text) if "://" in text else text


def is_secret(name: str) -> bool:
    """Return whether the name of a value is one of a secret."""
    return _SECRET.search(name) is not None
