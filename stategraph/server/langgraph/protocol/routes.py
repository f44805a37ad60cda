"""Commands by HTTP, events by server-sent events, both by WebSocket."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any, Final
from uuid import uuid4

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from stategraph.server.langgraph.answers import answer, caller_of
from stategraph.server.langgraph.protocol.commands import Commands
from stategraph.server.langgraph.protocol.reading import thread_events
from stategraph.server.langgraph.protocol.wanted import Wanted
from stategraph.server.langgraph.stream import FrameStream
from stategraph.server.service.plain import plain_json
from stategraph.server.service.port import Service
from stategraph.server.service.values import MalformedError, NotFoundError

logger = logging.getLogger(__name__)

#: The code with which a connection is closed after an error of the server (RFC 6455, section 7.4.1).
_FAILED: Final = 1011


def routes(service: Service) -> list[BaseRoute]:
    """Return the routes of the protocol."""
    own = ProtocolRoutes(service)
    events = "/threads/{thread_id}/stream/events"
    return [
        Route("/threads/{thread_id}/commands", own.command, methods=["POST"]),
        Route(events, own.events, methods=["POST"]),
        WebSocketRoute(events, own.connected),
    ]


class ProtocolRoutes:
    """The endpoints of the protocol.

    Args:
        service: What they call.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def command(self, request: Request) -> Response:
        """Execute a command."""
        commands = Commands(self._service, caller_of(request), request.path_params["thread_id"])
        status, told = await commands.answer(await _body(request))
        return answer(told, status)

    async def events(self, request: Request) -> Response:
        """Send the events of a thread until the reader leaves."""
        wanted = Wanted.of(await _body(request))
        thread_id: str = request.path_params["thread_id"]
        return FrameStream(_frames(self._service, request, thread_id, wanted), headers={"Connection": "keep-alive"})

    async def connected(self, socket: WebSocket) -> None:
        """Execute commands and send events until the client leaves."""
        await socket.accept()
        connection = _Connection(self._service, socket)
        try:
            while True:
                await connection.received(await socket.receive_text())
        except (WebSocketDisconnect, RuntimeError):  # it may have left while something was sent
            pass
        finally:
            await connection.aclose()


async def _body(request: Request) -> Any:
    try:
        return orjson.loads(await request.body())  # refuses half of a character, which is in no encoding
    except ValueError:
        raise MalformedError("Invalid JSON body") from None


async def _frames(service: Service, request: Request, thread_id: str, wanted: Wanted) -> AsyncGenerator[bytes, None]:
    async with aclosing(thread_events(service, caller_of(request), thread_id, wanted)) as events:
        async for event in events:
            yield f"event: {event['method']}\ndata: {plain_json(event)}\nid: {event['seq']}\n\n".encode()


class _Connection:
    """The commands and subscriptions of one client."""

    def __init__(self, service: Service, socket: WebSocket) -> None:
        self._service = service
        self._socket = socket
        self._thread_id: str = socket.path_params["thread_id"]
        self._caller = caller_of(socket)
        self._commands = Commands(service, self._caller, self._thread_id)
        self._sending = asyncio.Lock()
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._closing: asyncio.Task[None] | None = None

    async def received(self, text: str) -> None:
        """Execute a command and answer it."""
        try:
            command = orjson.loads(text)
        except ValueError:
            command = None
        method = command.get("method") if isinstance(command, Mapping) else None
        if isinstance(command, Mapping) and method in ("subscription.subscribe", "subscription.unsubscribe"):
            await self._send(self._subscription(str(method), command))
        else:
            await self._send((await self._commands.answer(command))[1])

    def _subscription(self, method: str, command: Mapping[str, Any]) -> dict[str, Any]:
        number, params = command.get("id"), command.get("params") or {}
        done = {"type": "success", "id": number, "meta": {"applied_through_seq": 0}}
        if method == "subscription.unsubscribe":
            task = self._subscriptions.pop(str(params.get("subscription_id")), None)
            if task is None:
                message = "There is no such subscription on this connection"
                return {"type": "error", "id": number, "error": "no_such_subscription", "message": message}
            task.cancel()
            return {**done, "result": {}}
        try:
            wanted = Wanted.of(params)
        except MalformedError as error:
            return {"type": "error", "id": number, "error": "invalid_argument", "message": str(error)}
        name = str(uuid4())
        self._subscriptions[name] = asyncio.create_task(self._tell(wanted), name=f"subscription {name}")
        return {**done, "result": {"subscription_id": name, "replayed_events": 0}}

    async def _tell(self, wanted: Wanted) -> None:
        try:
            async with aclosing(thread_events(self._service, self._caller, self._thread_id, wanted)) as events:
                async for event in events:
                    await self._send(event)
        except (RuntimeError, WebSocketDisconnect):
            raise  # the client has closed the connection
        except NotFoundError:
            raise  # nothing is told of a thread that the caller may not see
        except Exception:  # a client that is told nothing would wait for ever; one that comes back reads on
            logger.exception("A subscription to thread '%s' has failed", self._thread_id)
            await asyncio.shield(self._close(_FAILED, "The server failed: connect again"))

    async def _send(self, value: Mapping[str, Any]) -> None:
        async with self._sending:
            await self._socket.send_text(plain_json(value))

    def _close(self, code: int = 1000, reason: str = "") -> asyncio.Task[None]:
        """Begin to close the connection, unless that has begun; it goes on if who asked for it is cancelled."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._closed(code, reason))
        return self._closing

    async def _closed(self, code: int, reason: str) -> None:
        async with self._sending:
            await self._socket.close(code, reason)

    async def aclose(self) -> None:
        """End the subscriptions, and close the connection."""
        tasks = list(self._subscriptions.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(RuntimeError, WebSocketDisconnect):  # the client has closed the connection
            await self._close()
