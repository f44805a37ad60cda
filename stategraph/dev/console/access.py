"""The token of the console: other users of the machine reach its port, and must not read or change resources.

The page has it from the address that the server prints, behind the `#`, which browsers send nobody.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from starlette.requests import Request

from stategraph.dev.replies import RefusedError

#: The header in which a request has it.
HEADER: Final = "x-stategraph-token"


def new_token() -> str:
    """Return a token that nobody can guess."""
    return secrets.token_urlsafe(24)


def check(request: Request, token: str) -> None:
    """Check that a request has the token.

    Raises:
        RefusedError: It has none, or another one.
    """
    given = request.headers.get(HEADER, "")
    if not hmac.compare_digest(given.encode(), token.encode()):
        raise RefusedError(401, "Open the console by the address that the server has printed: it has the token")
