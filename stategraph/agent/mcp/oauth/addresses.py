"""Addresses that a server names for its authorization: which of them are asked or shown.

A server could name an address inside of the host's network, so that the host asks it in the server's stead. Rules:

1. `https`, or `http` to this machine if the server itself is on this machine.
2. This machine and literal addresses of private networks only if the server itself has the same host, or both are on
   this machine.
3. No name or password in front of the host, and at most `LONGEST` characters.

An IPv6 address that leads to an IPv4 one is judged by both. Of IPv4 addresses only the notation with four decimal
numbers is taken: resolvers read others too. Names are not resolved here: one that leads into a private network is up to
the network's own rules.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final
from urllib.parse import urlsplit

LONGEST: Final = 8192
"""Characters of an address."""

_NUMBERS: Final = re.compile(r"(0x[0-9a-f]*|\d+)(\.(0x[0-9a-f]*|\d+))*\.?")
"""What resolvers may read as an IPv4 address: 2130706433, 0x7f.1, 127.0x0.0.1. No public host is named so."""

_TO_IPV4: Final = (
    ipaddress.IPv6Network("::/96"),  # IPv4-compatible (RFC 4291, deprecated)
    ipaddress.IPv6Network("::ffff:0:0/96"),  # IPv4-mapped (RFC 4291)
    ipaddress.IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052)
)
"""IPv6 networks whose addresses end with an IPv4 address."""

_SPECIAL: Final = (
    ipaddress.IPv6Network("64:ff9b:1::/48"),  # a network's own NAT64 (RFC 8215)
    ipaddress.IPv6Network("2002::/16"),  # 6to4 (RFC 3056): where it leads is up to the next relay (RFC 7526)
)
"""IPv6 networks of special purpose that Python counts as private only since 3.12.4: refused on every Python."""


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
        parts, own_host = urlsplit(address), _in_ascii(urlsplit(server).hostname or "")
        host, _ = _in_ascii(parts.hostname or ""), parts.port
    except ValueError:
        return "it cannot be read"
    if parts.scheme not in ("http", "https") or not host:
        return f"it has the scheme {parts.scheme[:20]!r}; https is expected"
    if "@" in parts.netloc:
        return "it has a name or password in it"
    return _out_of_bounds(parts.scheme, host, own_host)


def _in_ascii(host: str) -> str:
    """Return a host as it is resolved: of 127。0。0。1 the HTTP client makes 127.0.0.1."""
    return host if host.isascii() else host.encode("idna").decode()


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
        return _NUMBERS.fullmatch(host) is not None
    if isinstance(found, ipaddress.IPv4Address):
        return not found.is_global
    if not found.is_global or any(found in network for network in _SPECIAL):
        return True
    return (
        any(found in network for network in _TO_IPV4) and not ipaddress.IPv4Address(int(found) & 0xFFFFFFFF).is_global
    )
