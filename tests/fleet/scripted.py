"""Agents that answer by A2A over a real socket, and can be told to fail in each way in which servers do."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator
from typing import Any, Literal

Behaviour = Literal["answer", "stall", "cut", "warm up", "500", "503", "reset", "break", "end early", "refuse"]


class ScriptedAgent:
    """One server. `behaviour` may be changed at any time.

    `stall` answers no message, `cut` nothing at all; `warm up` answers messages once `is_warm` is set.
    """

    def __init__(self, name: str, skills: tuple[str, ...] = ()) -> None:
        self.name = name
        self.skills = skills
        self.behaviour: Behaviour = "answer"
        self.ends_as = "TASK_STATE_COMPLETED"
        self.delay_s = 0.0
        self.max_age: int | None = None
        self.etag = '"1"'
        self.requests = 0
        self.cards = 0
        self.unchanged = 0
        self.tokens: set[str] = set()
        self.is_warm = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, at the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def kill(self) -> None:
        """Stop listening and end every connection at once."""
        assert self._server is not None
        self._server.close()
        for writer in list(self._open):
            writer.transport.abort()
        await asyncio.sleep(0)

    def card(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "description": "Answers by a script",
            "version": "1",
            "supportedInterfaces": [{"url": self.url + "/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}],
            "capabilities": {"streaming": True},
            "defaultInputModes": ["text/plain"],
            "defaultOutputModes": ["text/plain"],
            "skills": [{"id": each, "name": each, "description": each, "tags": ["scripted"]} for each in self.skills],
        }

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                line, *rest = head.decode().split("\r\n")
                headers = dict(each.lower().split(": ", 1) for each in rest if ": " in each)
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                if not await self._respond(line, headers, body, writer):
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass  # who asked has left, or the program ends
        finally:
            self._open.discard(writer)
            writer.close()

    async def _respond(self, line: str, headers: dict[str, str], body: bytes, writer: asyncio.StreamWriter) -> bool:
        if line.startswith("GET"):
            self.cards += 1
            if self.behaviour == "cut":
                await asyncio.sleep(3600)
            if headers.get("if-none-match") == self.etag:
                self.unchanged += 1
                return await _write(writer, 304, b"", etag=self.etag)
            named = {"etag": self.etag, "content-type": "application/json"}
            if self.max_age is not None:
                named["cache-control"] = f"max-age={self.max_age}"
            return await _write(writer, 200, json.dumps(self.card()).encode(), **named)
        self.requests += 1
        if token := headers.get("authorization"):
            self.tokens.add(token.replace("bearer", "Bearer"))
        request = json.loads(body)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.behaviour in ("stall", "cut"):
            await asyncio.sleep(3600)
        if self.behaviour == "warm up":
            await self.is_warm.wait()
        if self.behaviour in ("500", "503"):
            return await _write(writer, int(self.behaviour), b"not well")
        if self.behaviour == "reset":
            writer.transport.abort()
            return False
        if self.behaviour == "refuse":
            error = {"jsonrpc": "2.0", "id": request["id"], "error": {"code": -32602, "message": "not so"}}
            return await _write(writer, 200, json.dumps(error).encode(), **{"content-type": "application/json"})
        return await self._stream(request, writer)

    async def _stream(self, request: dict[str, Any], writer: asyncio.StreamWriter) -> bool:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n")
        task = {"id": "t1", "contextId": "c1"}
        said = request["params"]["message"]["parts"][0]["text"]
        events = [
            {"task": {**task, "status": {"state": "TASK_STATE_SUBMITTED"}}},
            {
                "artifactUpdate": {
                    "taskId": "t1",
                    "contextId": "c1",
                    "artifact": {"artifactId": "a", "parts": [{"text": f"{self.name}: {said}"}]},
                }
            },
            {"statusUpdate": {"taskId": "t1", "contextId": "c1", "status": {"state": self.ends_as}}},
        ]
        for number, event in enumerate(events):
            answer = {"jsonrpc": "2.0", "id": request["id"], "result": event}
            data = f"data: {json.dumps(answer)}\n\n".encode()
            writer.write(b"%x\r\n%b\r\n" % (len(data), data))
            await writer.drain()
            if number == 0 and self.behaviour == "break":
                await asyncio.sleep(0.05)
                writer.transport.abort()
                return False
            if number == 0 and self.behaviour == "end early":
                break
        writer.write(b"0\r\n\r\n")
        return True


@contextlib.asynccontextmanager
async def serving(*names: str, skills: tuple[str, ...] = ()) -> AsyncGenerator[list[ScriptedAgent]]:
    """Run servers as long as the block runs."""
    agents = [ScriptedAgent(name, skills) for name in names]
    for each in agents:
        await each.start()
    try:
        yield agents
    finally:
        for each in agents:
            await each.kill()


async def _write(writer: asyncio.StreamWriter, status: int, body: bytes, **headers: str) -> bool:
    lines = [
        f"HTTP/1.1 {status} x",
        f"content-length: {len(body)}",
        *(f"{key}: {each}" for key, each in headers.items()),
    ]
    writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
    await writer.drain()
    return True
