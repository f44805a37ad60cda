"""Addresses of providers, looked at before anything is sent there: a client would only say that it cannot connect."""

from __future__ import annotations

from urllib.parse import urlsplit


def problem_with(address: object) -> str | None:
    """Return what is wrong with the address of an API, without showing it, as it may hold secrets; None: nothing."""
    expected = "expected an address such as https://api.example.com/v1"
    if not isinstance(address, str):
        return f"is a value of type {type(address).__name__}; {expected}"
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        return f"cannot be read ({type(error).__name__}); {expected}"
    if any(each.isspace() for each in address):
        return f"has blanks in it; {expected}"
    if parts.scheme not in ("http", "https"):
        return f"does not begin with http:// or https://; {expected}"
    return None if host else f"names no host; {expected}"
