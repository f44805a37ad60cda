"""Writes to the API server of a cluster: statuses, and objects that the operator owns."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import aiohttp
    import kopf

#: Who the fields belong to that the operator sets (server-side apply).
MANAGER: Final = "stategraph-operator"

_TIMEOUT_S: Final = 30.0


class ClusterError(Exception):
    """The API server refused a request.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.status)


class Cluster:
    """A connection to the API server. An async context manager.

    Args:
        connection: Address and credentials, as kopf has them.
    """

    def __init__(self, connection: kopf.ConnectionInfo) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        import aiohttp

        connection = self._connection
        headers = {"Authorization": f"{connection.scheme or 'Bearer'} {connection.token}"} if connection.token else {}
        auth = None
        if connection.username and connection.password:
            auth = aiohttp.BasicAuth(connection.username, connection.password)
        self._session = aiohttp.ClientSession(
            headers=headers,
            auth=auth,
            connector=aiohttp.TCPConnector(ssl=_tls(connection)),
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    async def patch_status(self, path: str, status: Mapping[str, Any]) -> None:
        """Merge fields into the status of an object; a field that is None goes.

        Args:
            path: Path of the object.
            status: The fields.

        Raises:
            ClusterError: The server refused.
        """
        await self._send("PATCH", f"{path}/status", {"status": dict(status)}, "application/merge-patch+json")

    async def apply(self, path: str, document: Mapping[str, Any]) -> None:
        """Create or change an object by server-side apply.

        Args:
            path: Path of the object.
            document: The object, with the fields that the operator sets.

        Raises:
            ClusterError: The server refused.
        """
        url = f"{path}?fieldManager={MANAGER}&force=true"
        await self._send("PATCH", url, document, "application/apply-patch+yaml")

    async def delete(self, path: str) -> None:
        """Delete an object; one that is not there is deleted already."""
        await self._send("DELETE", path, None, "application/json", missing=True)

    async def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, kind: str, *, missing: bool = False
    ) -> None:
        assert self._session is not None
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        url = f"{self._connection.server.rstrip('/')}{path}"
        async with self._session.request(method, url, data=data, headers={"Content-Type": kind}) as answer:
            if answer.status >= 400 and not (missing and answer.status == 404):
                text = (await answer.text())[:500]
                raise ClusterError(f"{method} {path}: {answer.status} {text}", answer.status)


def _tls(connection: kopf.ConnectionInfo) -> ssl.SSLContext | bool:
    """Return how the server is verified."""
    if not connection.server.startswith("https"):
        return True
    if connection.insecure:
        return False
    cadata = connection.ca_data
    context = ssl.create_default_context(
        cafile=None if connection.ca_path is None else str(connection.ca_path),
        cadata=None if cadata is None else _pem(cadata),
    )
    if connection.certificate_path is not None:
        context.load_cert_chain(
            str(connection.certificate_path),
            None if connection.private_key_path is None else str(connection.private_key_path),
        )
    return context


def _pem(data: str | bytes) -> str:
    """Return certificates as PEM; a kubeconfig has them in base64."""
    import base64

    text = data.decode() if isinstance(data, bytes) else data
    return text if "-----BEGIN" in text else base64.b64decode(text).decode()
