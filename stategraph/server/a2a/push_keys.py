"""Keys that encrypt what clients give with their addresses, from the environment."""

from __future__ import annotations

import os
from typing import Final

from stategraph.agent.mcp.oauth.files import Cipher
from stategraph.errors import ConfigurationError

#: Has the keys, as `Fernet.generate_key()` makes them, with commas between them. The first one encrypts, all decrypt.
VARIABLE: Final = "STATEGRAPH_PUSH_KEYS"


def cipher() -> Cipher | None:
    """Return what encrypts the addresses, tokens and credentials of clients; None if the variable is not set.

    Raises:
        ConfigurationError: A key is none.
    """
    keys = [each.strip() for each in os.environ.get(VARIABLE, "").split(",") if each.strip()]
    if not keys:
        return None
    from cryptography.fernet import Fernet, MultiFernet

    try:
        return MultiFernet([Fernet(each) for each in keys])
    except ValueError as error:
        raise ConfigurationError(
            f"A key in {VARIABLE} is none: expected 32 bytes in URL-safe base64, as `Fernet.generate_key()` returns"
        ) from error
