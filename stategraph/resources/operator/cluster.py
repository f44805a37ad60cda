"""Requests to the API server of a cluster: statuses, events, leases, and objects that the operator owns.

Rules
-----
* Writes are paced: a burst, then so many a second, so that a storm of changes does not become one of requests.
* 429 and its `Retry-After` are obeyed. A token that is refused is read anew, once. What else fails is the caller's.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from stategraph.resources.operator.connecting import Login

if TYPE_CHECKING:
    import aiohttp
    import kopf

#: Who the fields belong to that the operator sets (server-side apply).
MANAGER: Final = "stategraph-operator"

MERGE: Final = "application/merge-patch+json"
APPLY: Final = "application/apply-patch+yaml"
_JSON: Final = "application/json"

_TIMEOUT_S: Final = 30.0
_PATIENCE: Final = 5
_LONGEST_WAIT_S: Final = 30.0


class ClusterError(Exception):
    """The API server refused a request, or cannot be reached.

    Attributes:
        status: The HTTP status; 0: it cannot be reached.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.status)


@dataclass(slots=True)
class Pace:
    """A limit of writes: a bucket of tokens.

    Attributes:
        per_s: Writes a second, in the long run.
        burst: Writes at once.
        clock: The time, in seconds.
        sleep: Waits for seconds.
    """

    per_s: float = 20.0
    burst: float = 40.0
    clock: Callable[[], float] = field(default=lambda: asyncio.get_running_loop().time())
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _level: float = field(default=0.0, init=False)
    _at: float | None = field(default=None, init=False)

    async def take(self) -> None:
        """Wait until there may be another write."""
        now = self.clock()
        if self._at is None:
            self._level, self._at = self.burst, now
        self._level = min(self.burst, self._level + (now - self._at) * self.per_s) - 1.0
        self._at = now
        if self._level < 0.0:
            await self.sleep(-self._level / self.per_s)


class Cluster:
    """A connection to the API server. An async context manager.

    Args:
        login: Returns address and credentials; it is asked again when they are refused.
        pace: The limit of writes; None: 20 a second, 40 at once.
    """

    def __init__(self, login: Login, pace: Pace | None = None) -> None:
        self._login = login
        self._pace = pace or Pace()
        self._connection: kopf.ConnectionInfo | None = None
        self._session: aiohttp.ClientSession | None = None

    @property
    def server(self) -> str:
        """The address of the API server."""
        return "" if self._connection is None else self._connection.server

    async def __aenter__(self) -> Self:
        await self._log_in()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def _log_in(self) -> bool:
        """Log in, and return whether that made a difference."""
        import aiohttp

        connection = await asyncio.to_thread(self._login)
        if connection == self._connection:
            return False
        before, self._connection = self._session, connection
        secure = connection.server.startswith("https")
        self._session = aiohttp.ClientSession(
            headers=connection.as_http_headers(),
            connector=aiohttp.TCPConnector(ssl=connection.as_ssl_context() if secure else True),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )
        if before is not None:
            await before.close()
        return True

    async def get(self, path: str) -> dict[str, Any] | None:
        """Return what is at a path; None if there is nothing.

        Raises:
            ClusterError: The server refused.
        """
        return await self._send("GET", path, None, _JSON, missing=True)

    async def create(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object in a collection.

        Raises:
            ClusterError: The server refused; with the status 409 if it is there already.
        """
        return await self._send("POST", path, document, _JSON) or {}

    async def replace(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Put an object in the place of the version that it names.

        Raises:
            ClusterError: The server refused; with the status 409 if somebody was faster.
        """
        return await self._send("PUT", path, document, _JSON) or {}

    async def patch(self, path: str, changes: Mapping[str, Any]) -> dict[str, Any]:
        """Merge fields into an object; a field that is None goes.

        Raises:
            ClusterError: The server refused.
        """
        return await self._send("PATCH", path, changes, MERGE) or {}

    async def patch_status(self, path: str, status: Mapping[str, Any]) -> None:
        """Merge fields into the status of an object; a field that is None goes.

        Args:
            path: Path of the object.
            status: The fields.

        Raises:
            ClusterError: The server refused.
        """
        await self.patch(f"{path}/status", {"status": dict(status)})

    async def apply(self, path: str, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create or change an object by server-side apply, and return it.

        Args:
            path: Path of the object.
            document: The object, with the fields that the operator sets.

        Raises:
            ClusterError: The server refused.
        """
        return await self._send("PATCH", f"{path}?fieldManager={MANAGER}&force=true", document, APPLY) or {}

    async def delete(self, path: str) -> None:
        """Delete an object; one that is not there is deleted already."""
        await self._send("DELETE", path, None, _JSON, missing=True)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, kind: str, *, missing: bool = False
    ) -> dict[str, Any] | None:
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        renewed = False
        for attempt in range(1, _PATIENCE + 1):
            if method != "GET":
                await self._pace.take()
            status, text, after = await self._once(method, path, data, kind)
            if status == 401 and not renewed:
                renewed = True
                if await self._log_in():
                    continue
            if status == 429 and attempt < _PATIENCE:
                await self._pace.sleep(min(_LONGEST_WAIT_S, after if after is not None else 0.5 * 2**attempt))
                continue
            break
        if missing and status == 404:
            return None
        if status >= 400:
            raise ClusterError(f"{method} {path}: {status} {text[:500]}", status)
        found = json.loads(text) if text else {}
        return found if isinstance(found, dict) else {}

    async def _once(self, method: str, path: str, data: bytes | None, kind: str) -> tuple[int, str, float | None]:
        """Send a request, and return the status, the body, and after how many seconds to come again."""
        import aiohttp

        assert self._session is not None and self._connection is not None
        url = f"{self._connection.server.rstrip('/')}{path}"
        try:
            async with self._session.request(method, url, data=data, headers={"Content-Type": kind}) as answer:
                return answer.status, await answer.text(), _seconds(answer.headers.get("Retry-After"))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ClusterError(f"{method} {url}: {error or type(error).__name__}", 0) from error


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else max(0.0, float(text))
    except ValueError:
        return None
