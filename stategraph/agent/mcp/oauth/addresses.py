"""Addresses that a server names for its authorization: which of them are asked or shown.

A server could name an address inside of the host's network, so that the host asks it in the server's stead. Rules:

1. `https`, or `http` to this machine if the server itself is on this machine.
2. This machine and literal addresses of private networks only if the server itself has the same host, or both are on
   this machine.
3. No name or password in front of the host, and at most `LONGEST` characters.

Names are not resolved here: a name that leads into a private network is up to the network's own rules.
"""

from __future__ import annotations

import ipaddress
from typing import Final
from urllib.parse import urlsplit

LONGEST: Final = 8192
"""Characters of an address."""


def objection(address: str, server: str) -> str | None:
    """Say why an address must not be used.

    Args:
        address: As a server named it.
        server: The server's own address.

    Returns:
        The reason, without the address; None if there is none.
    """
    if len(address) > LONGEST:
        return f"it has {len(address)} characters, and at most {LONGEST} are taken"
    try:
        parts, own_host = urlsplit(address), urlsplit(server).hostname or ""
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "it cannot be read"
    if parts.scheme not in ("http", "https") or not host:
        return f"it has the scheme {parts.scheme[:20]!r}; https is expected"
    if "@" in parts.netloc:
        return "it has a name or password in it"
    return _out_of_bounds(parts.scheme, host, own_host)


def _out_of_bounds(scheme: str, host: str, own_host: str) -> str | None:
    here, own_here = is_this_machine(host), is_this_machine(own_host)
    if scheme == "http" and not (here and own_here):
        return "it is http, which is used on this machine alone; https is expected"
    if (here and not own_here) or (not here and host != own_host and _is_private(host)):
        return "it is inside of a private network, and the server is not"
    return None


def is_this_machine(host: str) -> bool:
    """Return whether a host is this machine by its name."""
    host = host.rstrip(".").lower()
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_private(host: str) -> bool:
    """Return whether a host is a literal address that is not of the public Internet, in any notation."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        # Resolvers also read 2130706433 and 0x7f.1 as addresses; no public host is named so.
        return host.replace(".", "").isdecimal() or host.startswith("0x")
    return not found.is_global
