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

_NAMED_SECRET = re.compile(
    r"(?:^|_)(?:apikey|key|token|secret|password|passwd|credentials?|authorization|cookies?|headers?|(?:default|extra)_query)"
    r"(?:$|_(?:id|json|value)s?$)"
)
"""Options whose values are secret regardless of their form."""

_NO_SECRETS = frozenset({"prompt_cache_key", "reasoning_key"})
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def without_logins(text: str) -> str:
    """Return a text with the passwords of the addresses in it hidden, whoever gave them."""
    return _PASSWORD.sub(rf"\1{HIDDEN}", text) if "://" in text else text


def is_secret(name: str) -> bool:
    """Return whether the name of a value is one of a secret."""
    return _SECRET.search(name) is not None


def names_secret(name: str) -> bool:
    """Return whether a value is secret by its name, such as `apiKey` or `Set-Cookie`."""
    plain = _snake(name)
    return _NAMED_SECRET.search(plain) is not None and plain not in _NO_SECRETS


def _snake(name: str) -> str:
    return _WORD_STARTS.sub("_", name).lower().replace("-", "_")
