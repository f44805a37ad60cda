"""Requests as authenticators see them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request


def request(
    headers: Mapping[str, str] | None = None,
    path: str = "/threads",
    peer: str = "127.0.0.1",
    body: bytes = b'{"k": 1}',
) -> Request:
    """Make a request."""
    raw = [(name.lower().encode(), value.encode("latin-1")) for name, value in (headers or {}).items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "headers": raw,
        "query_string": b"a=1",
        "client": (peer, 1),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return Request(scope, receive)


def bearer(token: str, **options: Any) -> Request:
    """Make a request with a Bearer token."""
    return request({"Authorization": f"Bearer {token}"}, **options)
