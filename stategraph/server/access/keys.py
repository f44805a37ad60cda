"""The public keys of an issuer (JSON Web Key Sets, RFC 7517): fetched, kept for some time, fetched again for a new one.

Rules
-----
* A key that is not known makes the set be fetched again, at most every `_PAUSE_S`: issuers rotate keys, and whoever
  sends tokens with made-up ids must not make the server ask for each.
* A set that cannot be fetched leaves the old one in use, for a day.
* Addresses are `https`, or this machine's; redirects are not followed; a set has a largest size.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import httpx
import jwt

from stategraph.dev.listening import is_loopback
from stategraph.errors import ConfigurationError
from stategraph.server.access.port import AuthenticationError

_log = logging.getLogger(__name__)

#: Seconds for which a set is used without a look at its issuer.
KEPT_S: Final = 600.0

#: Seconds for which it is used if the issuer does not answer.
_STALE_S: Final = 86_400.0

#: Seconds between two attempts to fetch it.
_PAUSE_S: Final = 30.0

_TIMEOUT_S: Final = 5.0
_LARGEST: Final = 1024 * 1024


class KeySource(Protocol):
    """Finds keys."""

    async def find(self, key_id: str, algorithm: str, /) -> Any:
        """Return a public key.

        Raises:
            AuthenticationError: There is no such key, or it cannot be looked up now.
        """


class StaticKeys:
    """Keys that the host has.

    Args:
        keys: A set as JSON (`{"keys": [...]}`), or one public key as PEM.

    Raises:
        ConfigurationError: They cannot be read.
    """

    def __init__(self, keys: str | Mapping[str, Any]) -> None:
        self._pem = keys if isinstance(keys, str) and keys.lstrip().startswith("-----BEGIN") else None
        try:
            found = json.loads(keys) if isinstance(keys, str) and self._pem is None else keys
            self._keys = {} if self._pem is not None else _read(found)
        except (ValueError, TypeError, jwt.PyJWTError) as error:
            raise ConfigurationError(f"The keys of tokens (JWT) are no key set and no PEM: {error}") from None

    async def find(self, key_id: str, algorithm: str, /) -> Any:
        """Return a key, see `KeySource.find`."""
        if self._pem is not None:
            return self._pem
        return _chosen(self._keys, key_id, algorithm) or _unknown()


class FetchedKeys:
    """Keys at the address of an issuer.

    Args:
        url: The address of the set.
        clock: Returns a time in seconds that goes on evenly.
        fetch: Returns what is at an address, as JSON; None: by HTTP.

    Raises:
        ConfigurationError: The address is not `https`, and not this machine's.
    """

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[str], Awaitable[Any]] | None = None,
    ) -> None:
        check_address(url, "The keys of tokens (JWT)")
        self._url = url
        self._clock = clock
        self._fetch = fetch or fetched
        self._keys: Mapping[str, Any] = {}
        self._at = self._tried_at = -_STALE_S
        self._lock = asyncio.Lock()

    async def find(self, key_id: str, algorithm: str, /) -> Any:
        """Return a key, see `KeySource.find`."""
        if self._clock() - self._at >= KEPT_S:
            await self._refresh()
        found = self._chosen(key_id, algorithm)
        if found is None:
            await self._refresh()
            found = self._chosen(key_id, algorithm)
        return found or _unknown()

    def _chosen(self, key_id: str, algorithm: str) -> Any:
        return None if self._clock() - self._at >= _STALE_S else _chosen(self._keys, key_id, algorithm)

    async def _refresh(self) -> None:
        """Fetch the set, unless that was tried just now."""
        async with self._lock:
            now = self._clock()
            if now - self._tried_at < _PAUSE_S:
                return
            self._tried_at = now
            try:
                self._keys = _read(await self._fetch(self._url))
            except (httpx.HTTPError, ValueError, TypeError, jwt.PyJWTError) as error:
                _log.warning("The keys of tokens cannot be fetched: %s", type(error).__name__)
            else:
                self._at = now


def check_address(url: str, what: str) -> None:
    """Check that an address may be asked for keys.

    Raises:
        ConfigurationError: It is not `https`, and not this machine's.
    """
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")):
        return
    raise ConfigurationError(f"{what} are to be fetched from {url!r}; expected an address with https://")


async def fetched(url: str) -> Any:
    """Return what is at an address, as JSON.

    Raises:
        httpx.HTTPError: It does not answer, or not with 200.
        ValueError: It is no JSON, or too large.
    """
    async with (
        httpx.AsyncClient(timeout=_TIMEOUT_S, follow_redirects=False) as client,
        client.stream("GET", url) as got,
    ):
        got.raise_for_status()
        body = bytearray()
        async for chunk in got.aiter_bytes():
            body += chunk
            if len(body) > _LARGEST:
                raise ValueError("the answer is too large")
    return json.loads(bytes(body))


def _read(found: Any) -> Mapping[str, Any]:
    """Return the keys of a set by their ids; keys of kinds that are not known are left out."""
    if not isinstance(found, Mapping) or not isinstance(found.get("keys"), list):
        raise ValueError("expected an object with 'keys'")
    return {
        each.key_id or "": each for each in jwt.PyJWKSet.from_dict(dict(found)).keys if each.public_key_use != "enc"
    }


def _chosen(keys: Mapping[str, Any], key_id: str, algorithm: str) -> Any:
    """Return the key of an id, if it is for an algorithm; without an id, the only one."""
    found = keys.get(key_id) if key_id else (next(iter(keys.values())) if len(keys) == 1 else None)
    return None if found is None or (found.algorithm_name and found.algorithm_name != algorithm) else found.key


def _unknown() -> Any:
    raise AuthenticationError(
        "The token is not one that this server takes", headers={"WWW-Authenticate": 'Bearer error="invalid_token"'}
    )
