"""A client that costs little: one connection, one request after the other, JSON both ways.

With a general client, a process that asks for a run needs more processor time than the server that executes it, so that
runs per second would be the client's. HTTP/1.1 (RFC 9112), as far as the servers here speak it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any


class Client:
    """A connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def post(self, path: str, body: object, header: str = "") -> Any:
        """Send JSON and return the JSON of the answer.

        Args:
            path: Where to.
            body: What is sent.
            header: A further header, `Name: value`.

        Raises:
            RuntimeError: The answer has another status than 200.
        """
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        head += f"{header}\r\n" if header else ""
        self._writer.write(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content)
        status, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer = await self._body(headers.get("content-length"))
        if status.split()[1] != "200":
            raise RuntimeError(f"{path}: {status}: {answer[:200]!r}")
        return json.loads(answer)

    async def _body(self, length: str | None) -> bytes:
        if length is not None:
            return await self._reader.readexactly(int(length))
        body = b""
        while size := int((await self._reader.readuntil(b"\r\n")), 16):
            body += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        await self._reader.readexactly(2)
        return body


@asynccontextmanager
async def clients(url: str, number: int) -> AsyncIterator[list[Client]]:
    """Open connections to a server for a block."""
    host, _, port = url.partition("//")[2].partition(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(number)]
    try:
        yield [Client(*each) for each in opened]
    finally:
        for _, writer in opened:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in opened), return_exceptions=True)
