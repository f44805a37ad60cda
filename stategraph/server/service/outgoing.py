"""Requests that the server sends to addresses of clients: their webhooks, and where they are told of tasks.

Rules
-----
* Such an address is chosen by a client. It has to be https and public: every IP address of its host is looked at when
  it is given and again when it is connected to, and the connection goes to an IP address that was looked at, so a name
  that is changed in between (DNS rebinding) leads nowhere.
* Redirects are not followed, proxies of the environment are not used, cookies are not kept, answers are not read.
* Hosts that the settings name are trusted: they may be private, and be told over http.
* Errors and logs name the host alone: paths and queries of such addresses are often secrets.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import logging
import random
import socket
import ssl
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpcore

from stategraph.server.service.port import InvalidError

logger = logging.getLogger(__name__)

#: How often a request is sent until it is taken, and the pause after the first time, in seconds; it doubles.
TRIES: Final = 5
FIRST_PAUSE_S: Final = 1.0

#: For each of connecting, writing and waiting for the answer, in seconds.
TIMEOUT_S: Final = 10.0

#: Header of the signature of a body, by the secret that the client gave.
SIGNATURE: Final = "X-Signature-SHA256"

_LONGEST_URL: Final = 2_048


class Outgoing:
    """Sends requests.

    Args:
        trusted_hosts: Names and addresses that may be private.
        tries: How often a request is sent until it is taken.
        first_pause_s: The pause after the first time, in seconds.
    """

    def __init__(
        self, trusted_hosts: Collection[str] = (), *, tries: int = TRIES, first_pause_s: float = FIRST_PAUSE_S
    ) -> None:
        self._trusted = frozenset(each.lower() for each in trusted_hosts)
        self._tries = tries
        self._first_pause_s = first_pause_s
        self._pool: httpcore.AsyncConnectionPool | None = None

    async def check(self, url: str) -> None:
        """Make sure that an address may be sent to.

        Raises:
            InvalidError: It may not; the message says why, and names the host alone.
        """
        host = self._host(url)
        if host not in self._trusted:
            await _public_addresses(host, urlsplit(url).port or 443)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, secret: str = "") -> bool:
        """Send a body as JSON; send it again, after growing pauses, while the receiver is away or fails.

        Args:
            url: Where to.
            body: JSON.
            headers: Further headers.
            secret: Signs the body with HMAC-SHA256, in the header `SIGNATURE`; empty: it is not signed.

        Returns:
            Whether it was taken, which is logged if it was not.

        Raises:
            RuntimeError: It failed in a way that is none of a network's; the message names the host alone.
        """
        sent = {"Content-Type": "application/json", **headers}
        if secret:
            sent[SIGNATURE] = hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
        pause_s = self._first_pause_s
        problem = ""
        for number in range(self._tries):
            if number:
                await asyncio.sleep(pause_s * random.uniform(0.8, 1.2))
                pause_s *= 2
            try:
                status = await self._post(url, body, sent)
            except InvalidError as error:
                problem = str(error)
                break
            except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError, OSError) as error:
                problem = type(error).__name__
                continue
            except Exception as error:  # its message may show the address, or a header
                said = f"A message to a client at '{urlsplit(url).hostname}' failed with {type(error).__name__}"
                raise RuntimeError(said).with_traceback(error.__traceback__) from None
            if 200 <= status < 300:
                return True
            problem = f"status {status}"
            if status < 500 and status not in (408, 425, 429):
                break
        logger.warning("A message to a client at '%s' was not taken: %s", urlsplit(url).hostname, problem)
        return False

    async def aclose(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            await self._pool.aclose()
            self._pool = None

    async def _post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        self._host(url)
        if self._pool is None:
            self._pool = httpcore.AsyncConnectionPool(
                ssl_context=ssl.create_default_context(), network_backend=_Guarded(self._trusted), max_connections=20
            )
        timeouts = dict.fromkeys(("connect", "read", "write", "pool"), TIMEOUT_S)
        async with self._pool.stream(
            "POST", url, headers=list(headers.items()), content=body, extensions={"timeout": timeouts}
        ) as answer:
            return answer.status

    def _host(self, url: str) -> str:
        """Return the host of an address whose form is allowed."""
        try:
            parts = urlsplit(url)
            host, _ = (parts.hostname or "").lower(), parts.port
        except ValueError:
            raise InvalidError("The address to send to is none") from None
        if not host or len(url) > _LONGEST_URL or any(ord(each) <= 32 for each in url):
            raise InvalidError("The address to send to is none")
        if parts.username or parts.password:
            raise InvalidError(f"The address to send to has a login in front of '{host}': use a header instead")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in self._trusted):
            raise InvalidError(f"The address to send to, of '{host}', has to begin with https://")
        return host


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to addresses that have been looked at."""

    def __init__(self, trusted: frozenset[str]) -> None:
        self._trusted = trusted
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 # the interface is the package's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to a host by one of its addresses, all of which have to be public."""
        target = host
        if host.lower() not in self._trusted:
            target = (await _public_addresses(host, port))[0]
        return await self._backend.connect_tcp(target, port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 # the same
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no address of a client is a socket of this machine."""
        raise InvalidError("The address to send to is none")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


async def _public_addresses(host: str, port: int) -> list[str]:
    """Return the addresses of a host.

    Raises:
        InvalidError: It has none, or one of them is not public.
    """
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise InvalidError(f"The host '{host}' is not known") from None
    addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
    if not addresses or not all(is_public(each) for each in addresses):
        raise InvalidError(f"The host '{host}' is not on the public Internet, and may not be sent to")
    return addresses


def is_public(address: str) -> bool:
    """Return whether an IP address is one of the public Internet, also where IPv6 carries one of IPv4."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        carried = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if carried is None and found in _NAT64:
            carried = ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)
        if carried is not None:
            return is_public(str(carried))
    return found.is_global and not found.is_multicast


_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
