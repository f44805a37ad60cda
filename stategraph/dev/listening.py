"""Sockets that a server listens at, and the addresses under which it is found."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence
from typing import Final

from stategraph.errors import ConfigurationError

_HOSTS: Final = "give an address of this machine, such as 127.0.0.1, or 0.0.0.0 for all of them"


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a host."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, ports: Sequence[int]) -> socket.socket:
    """Return a socket that listens at the first port that is free.

    Args:
        host: An address of this machine, or its name.
        ports: The ports, in the order in which they are tried; 0: any.

    Raises:
        ConfigurationError: None is free, or the host is not this machine.
    """
    family = _family(host)
    problem: OSError | None = None
    for each in ports:
        listening = socket.socket(family)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((host, each))
            listening.listen(128)
        except OSError as error:
            listening.close()
            problem = error
            if error.errno == errno.EADDRNOTAVAIL:
                raise ConfigurationError(f"The host {host!r} is not this machine: {_HOSTS}") from error
        else:
            return listening
    where = f"{host}:{ports[0]}" if len(ports) == 1 else f"{host}, ports {ports[0]} to {ports[-1]}"
    raise ConfigurationError(f"Nothing can listen at {where}: {problem}. Choose another port") from problem


def _family(host: str) -> socket.AddressFamily:
    """Return the family of the addresses of a host.

    Raises:
        ConfigurationError: There is no such host.
    """
    if ":" in host:
        return socket.AF_INET6
    try:
        socket.getaddrinfo(host, None, socket.AF_INET)
    except (socket.gaierror, UnicodeError) as error:
        raise ConfigurationError(f"There is no host {host!r}: {_HOSTS}") from error
    return socket.AF_INET


def address_of(host: str, port: int, *, encrypted: bool = False) -> str:
    """Return the address at which a person or a program on this machine finds a server."""
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"{'https' if encrypted else 'http'}://{shown}:{port}"
