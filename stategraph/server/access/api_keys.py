"""API keys, of which the server keeps hashes alone.

A key is `sg_ID_SECRET`. The file of keys has a line of JSON for each: the id, whose it is, what it may, and the hash of
the secret (scrypt, RFC 7914). Clients send a key as Bearer token or as `X-Api-Key`.

Rules
-----
* A hash takes 50 ms on purpose. What was found right is remembered for some minutes, under a digest whose key is this
  process's, so that the next request of the same key takes none.
* A key that nobody has takes as long as a wrong one, so that ids cannot be found by the time that an answer takes.
* The file is read again when it has changed: a line that is taken away locks its key out within seconds.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import HTTPConnection

from stategraph.errors import ConfigurationError
from stategraph.server.access.port import AuthenticationError
from stategraph.server.access.tokens import key_of
from stategraph.server.service.values import Caller

_log = logging.getLogger(__name__)

PREFIX: Final = "sg_"

_COST: Final = {"n": 2**14, "r": 8, "p": 1}
_REMEMBERED_S: Final = 300.0
_REMEMBERED: Final = 10_000

#: Seconds between looks at the file.
_LOOK_S: Final = 2.0

#: Hashes that are made at once; each takes 16 MiB.
_AT_ONCE: Final = 4

_REFUSED: Final = "The key of the request is not one of this server"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept.

    Attributes:
        key_id: Names it.
        identity: Whose it is.
        permissions: What the caller may do, in the application's words.
        salt: The salt of the hash.
        digest: The hash of the secret.
    """

    key_id: str
    identity: str
    permissions: tuple[str, ...]
    salt: bytes
    digest: bytes

    def to_line(self) -> str:
        """Return the line of a file of keys."""
        told = {
            "id": self.key_id,
            "identity": self.identity,
            "permissions": list(self.permissions),
            "scrypt": {"salt": _text(self.salt), "hash": _text(self.digest)},
        }
        return json.dumps(told)

    @classmethod
    def from_line(cls, line: str) -> ApiKey:
        """Read a line of a file of keys.

        Raises:
            ValueError: It is none.
        """
        told = json.loads(line)
        try:
            hashed = told["scrypt"]
            found = cls(
                str(told["id"]),
                str(told["identity"]),
                tuple(map(str, told.get("permissions", ()))),
                base64.b64decode(hashed["salt"]),
                base64.b64decode(hashed["hash"]),
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"no key: {error!r}") from None
        if not found.identity.strip():
            raise ValueError("the key is nobody's")
        return found


def make(identity: str, permissions: Sequence[str] = ()) -> tuple[str, ApiKey]:
    """Make a key.

    Args:
        identity: Whose it is.
        permissions: What the caller may do.

    Returns:
        The key itself, which is kept nowhere, and what is kept of it.
    """
    key_id, secret, salt = secrets.token_hex(6), secrets.token_urlsafe(32), secrets.token_bytes(16)
    return f"{PREFIX}{key_id}_{secret}", ApiKey(key_id, identity, tuple(permissions), salt, _hashed(secret, salt))


class ApiKeys:
    """Knows requests that have a key.

    Args:
        path: The file of keys.
        clock: Returns a time in seconds that goes on evenly.

    Raises:
        ConfigurationError: The file is not there, or has a line that is no key.
    """

    def __init__(self, path: str | Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(path)
        self._clock = clock
        self._stamp: tuple[int, int] | None = None
        self._looked_at = 0.0
        self._keys: Mapping[str, ApiKey] = {}
        self._known: OrderedDict[bytes, tuple[float, ApiKey]] = OrderedDict()
        self._process = secrets.token_bytes(32)
        self._free = asyncio.Semaphore(_AT_ONCE)
        self._load()

    def challenge(self) -> str:
        """Return the challenge of RFC 6750."""
        return "Bearer"

    async def authenticate(self, connection: HTTPConnection, /) -> Caller | None:
        """Return whose key a request has; None: it has none.

        Raises:
            AuthenticationError: Nobody has this key.
        """
        given = key_of(connection)
        if not given.startswith(PREFIX):
            return None
        self._load_if_changed()
        found = self._remembered(given) or await self._checked(given)
        user = {
            "identity": found.identity,
            "display_name": found.identity,
            "is_authenticated": True,
            "permissions": list(found.permissions),
            "key_id": found.key_id,
        }
        return Caller(found.identity, user, found.permissions)

    async def _checked(self, given: str) -> ApiKey:
        key_id, _, secret = given.removeprefix(PREFIX).partition("_")
        key = self._keys.get(key_id)
        async with self._free:
            salt = key.salt if key is not None else self._process[:16]
            digest = await asyncio.to_thread(_hashed, secret, salt)
        if key is None or not hmac.compare_digest(digest, key.digest):
            raise AuthenticationError(_REFUSED)
        self._known[self._short(given)] = (self._clock() + _REMEMBERED_S, key)
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return key

    def _remembered(self, given: str) -> ApiKey | None:
        until, key = self._known.get(self._short(given), (0.0, None))
        return key if key is not None and self._clock() < until and self._keys.get(key.key_id) == key else None

    def _short(self, given: str) -> bytes:
        return hmac.digest(self._process, given.encode(), "sha256")

    def _load_if_changed(self) -> None:
        now = self._clock()
        if now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            try:
                self._load()
            except ConfigurationError as error:
                _log.error("%s; the keys of before are in use", error)

    def _load(self) -> None:
        try:
            found = self._path.stat()
            stamp = found.st_mtime_ns, found.st_size
            if stamp == self._stamp:
                return
            lines = self._path.read_text(encoding="utf-8").splitlines()
        except OSError as error:
            raise ConfigurationError(f"The file of API keys cannot be read: {error}") from None
        keys: dict[str, ApiKey] = {}
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                try:
                    key = ApiKey.from_line(line)
                except ValueError:
                    raise ConfigurationError(f"Line {number} of the file of API keys is none: {self._path}") from None
                keys[key.key_id] = key
        self._keys, self._stamp = keys, stamp


def _hashed(secret: str, salt: bytes) -> bytes:
    return hashlib.scrypt(secret.encode(), salt=salt, dklen=32, maxmem=64 * 1024**2, **_COST)


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()
