"""Pages of other origins that may use the server; none unless they are named."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from stategraph.errors import ConfigurationError

#: Headers of answers that pages may read.
_EXPOSED: Final = (
    "Content-Location",
    "Location",
    "Retry-After",
    "X-Pagination-Total",
    "X-Pagination-Next",
    "Mcp-Session-Id",
    "WWW-Authenticate",
)

#: Seconds for which a browser keeps the answer to a question about this.
_KEPT_S: Final = 600

_ORIGIN: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+", re.IGNORECASE)


def pattern_of(origins: Sequence[str]) -> re.Pattern[str] | None:
    """Return the pattern of origins that are allowed; None: there are none.

    Args:
        origins: Such as `https://chat.example.com`; `http://localhost:*` stands for all ports, `*` for all origins.

    Raises:
        ConfigurationError: One is none.
    """
    patterns = []
    for each in origins:
        if each == "*":
            patterns.append(".*")
        elif not _ORIGIN.fullmatch(each):
            raise ConfigurationError(
                f"The origin {each!r} is none; expected one such as 'https://chat.example.com' or 'http://localhost:*'"
            )
        else:
            start, star, rest = each.partition(":*")
            patterns.append(f"{re.escape(start)}(:[0-9]+)?" if star and not rest else re.escape(each))
    return re.compile("|".join(f"(?:{each})" for each in patterns), re.IGNORECASE) if patterns else None


def middleware(origins: Sequence[str], options: Mapping[str, Any] | None = None) -> list[Middleware]:
    """Return the middleware that lets browsers read answers from pages of other origins; none if there are none.

    Args:
        origins: See `pattern_of`.
        options: The section `http.cors` of langgraph.json: `allow_origins`, `allow_methods`, `allow_headers`,
            `allow_credentials`, `allow_origin_regex`, `expose_headers`, `max_age`.
    """
    given = dict(options or {})
    pattern = pattern_of([*origins, *given.pop("allow_origins", ())])
    own = given.pop("allow_origin_regex", None)
    both = [each for each in (pattern.pattern if pattern else None, own) if each]
    if not both:
        return []
    settings = {
        "allow_methods": ["*"],
        "allow_headers": ["*"],
        "max_age": _KEPT_S,
        **given,
        "expose_headers": [*_EXPOSED, *given.get("expose_headers", ())],
    }
    return [Middleware(CORSMiddleware, allow_origin_regex="|".join(f"(?:{each})" for each in both), **settings)]
