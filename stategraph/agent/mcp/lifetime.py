"""The life of one session with one MCP server, from its opening to its end.

Rules:

- A session lives in its own task, because the transports of `mcp` have to be entered and left by one task.
  Requests may come from any task of the same event loop.
- That task has a clean context: it outlives the run that happened to open it.
- A session is over when its server's output ends, when its transport fails or when it is closed; then all requests that
  wait for an answer fail. It is never opened again: there is a new one instead.
- A session that its server forgot takes no more requests, and ends when those that were made have their answers: what
  one of them learned is not the others' answer.
- What the server says, and every error, leaves without the secrets that its description has.
- The protocol does not say which call a line of the server's log, or a question of its own, belongs to. Over HTTP it
  comes with the call's own answer; over stdio every call that is being worked on hears a line, and `calls.Askers` finds
  out who asks. With no call to tell, a line goes to Python's log, and a question is answered with `cancel`.
- Sampling and roots are not offered; a server that asks for them all the same is told so.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Final, Self, cast

import anyio
import httpx2
import mcp_types as wire
from mcp import Client, MCPDeprecationWarning, MCPError
from mcp.client import IncomingMessage
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from stategraph._version import __version__
from stategraph.agent import reporting
from stategraph.agent.mcp import elicitation, logs, stdio
from stategraph.agent.mcp.calls import Askers
from stategraph.agent.mcp.clock import Clock
from stategraph.agent.mcp.elicitation import Elicitation, ElicitationAnswer, Question, Round
from stategraph.agent.mcp.errors import LONGEST, McpTimeout, McpUnauthorized, McpUnavailable, bounded
from stategraph.agent.mcp.exchange import Exchange, Request, current
from stategraph.agent.mcp.http import LARGEST_ANSWER, Door
from stategraph.agent.mcp.oauth import addresses
from stategraph.agent.mcp.servers import HttpServer, McpServer, StdioServer
from stategraph.agent.settings.secrets import Secrets

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams as Streams

logger = logging.getLogger("stategraph.agent.mcp")
logs.install()

CLOSING_S: Final = 10.0
"""Seconds that a session may take to end by itself: a program gets two to exit and two to heed a signal."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class Session:
    """A session; `open` makes one. `connection` adds the requests."""

    def __init__(self, name: str, server: McpServer) -> None:
        self._name = name
        self._server = server
        self._client: Client | None = None
        self._error: Exception | None = None
        self._settled = asyncio.Event()
        self._stop = asyncio.Event()
        self._closing = False
        self._forgotten = False
        self._started = False
        self._secrets = server.secrets
        self._scope = anyio.CancelScope()
        self._handshake = Request()
        self._requests: dict[Request, None] = {}
        self._used_at = asyncio.get_running_loop().time()
        self._doubtful = False
        self._changes = 0
        self._askers = Askers()
        self._tells_changes = False
        self._owner = asyncio.create_task(self._live(), name=f"MCP session of {name}")

    @classmethod
    async def open(cls, name: str, server: McpServer) -> Self:
        """Start or reach a server and agree on a protocol.

        Args:
            name: The server's name, for errors.
            server: Its description.

        Raises:
            McpUnavailable: That failed.
            McpTimeout: It took longer than `connect_timeout_s`, not counting the time that a person was asked.
            McpUnauthorized: It wants an authorization, and there is none.
        """
        opened = cls(name, server)
        try:
            async with Clock(server.connect_timeout_s) as opened._handshake.clock:
                await opened._settled.wait()
        except TimeoutError:
            await opened.close()
            raise McpTimeout(
                f"MCP server {name!r} ({server.where}) did not answer within {server.connect_timeout_s:g} s of being "
                "started or reached; is it an MCP server? `connect_timeout_s` allows it more time",
                server=name,
            ) from None
        except BaseException:
            await opened.close()
            raise
        if opened._client is None:
            if (trouble := opened._handshake.trouble) is not None and trouble.kind == "unauthorized":
                raise McpUnauthorized(opened._unauthorized("a session", trouble.text), server=name)
            raise McpUnavailable(opened._no_session(), server=name) from opened._error
        return opened

    @property
    def alive(self) -> bool:
        """True if requests can be made."""
        return not self._stop.is_set() and not self._forgotten

    @property
    def forgotten(self) -> bool:
        """True if the session ends by itself as soon as its pending requests have their answers."""
        return self._forgotten

    @property
    def working(self) -> bool:
        """True if a request has no answer yet."""
        return bool(self._requests)

    @property
    def secrets(self) -> Secrets:
        """Texts that are hidden in what the server says."""
        return self._secrets

    @property
    def ended(self) -> bool:
        """True if the session has ended completely."""
        return self._owner.done()

    def doubtful(self, idle_s: float) -> bool:
        """Return whether the server should be pinged before it is used: after a failure, or a long silence."""
        idle = asyncio.get_running_loop().time() - self._used_at
        return self._doubtful or (not self._requests and idle > idle_s)

    def retire(self) -> None:
        """Let the session end; `close` waits for it."""
        self._stop.set()

    def _forget(self) -> None:
        self._forgotten = True
        if not self._requests:
            self._stop.set()

    async def close(self) -> None:
        """End the session and wait until nothing of it is left, even when cancelled meanwhile."""
        self._closing = True
        self.retire()
        if self._client is None and self._started:
            self._scope.cancel()
        cancelled: asyncio.CancelledError | None = None
        deadline = asyncio.get_running_loop().time() + CLOSING_S
        while not self._owner.done():
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                self._scope.cancel()
            try:
                await asyncio.wait((self._owner,), timeout=left if left > 0 else None)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    # The session's own task.

    async def _live(self) -> None:
        info = wire.Implementation(name="stategraph", version=__version__)
        current.set(self._handshake)
        logs.hiding.set(self._secrets)
        try:
            with self._scope:
                async with Client(
                    self._transport(),
                    client_info=info,
                    cache=None,
                    read_timeout_seconds=self._server.call_timeout_s,
                    logging_callback=self._logged,
                    log_level=self._server.log_level,
                    message_handler=self._noticed,
                    elicitation_callback=self._elicited,
                ) as client:
                    await self._serve(client)
        except Exception as error:
            self._error = cast("Exception", self._secrets.error(error))
        finally:
            self._stop.set()
            self._settled.set()

    async def _serve(self, client: Client) -> None:
        current.set(Request())  # the handshake is over
        changes = client.server_capabilities.tools is not None and bool(client.server_capabilities.tools.list_changed)
        if is_modern(client):
            async with anyio.create_task_group() as tasks:
                if changes:
                    tasks.start_soon(self._listen, client)
                await self._until_stopped(client)
                tasks.cancel_scope.cancel()
        else:
            self._tells_changes = changes
            if client.server_capabilities.logging is not None:
                await self._choose_log_level(client)
            await self._until_stopped(client)

    async def _until_stopped(self, client: Client) -> None:
        self._client = client
        self._settled.set()
        await self._stop.wait()

    async def _listen(self, client: Client) -> None:
        """Hear of changed tools (protocols since 2026-07-28)."""
        try:
            async with client.listen(tools_list_changed=True) as changes:
                self._tells_changes = bool(changes.honored.tools_list_changed)
                async for _ in changes:
                    pass  # `_noticed` hears of each as well
        except (SubscriptionLost, MCPError, TimeoutError):
            # Either the server went away, or it only stopped telling: the next request finds out.
            self._doubtful = True
        self._tells_changes = False
        self._forget_tools()

    def _forget_tools(self) -> None:
        self._changes += 1

    async def _choose_log_level(self, client: Client) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            setting = client.session.set_logging_level(self._server.log_level)
        try:
            await setting
        except MCPError as error:
            logger.info("MCP server %r keeps its own log level: %s", self._name, self._said(str(error)))

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Streams]:
        match self._server:
            case StdioServer() as program:
                async with stdio.running(program) as streams:
                    yield self._entered(*streams)
            case HttpServer() as endpoint:
                door = Door(endpoint, self._secrets, self._handshake, self._forget)
                # No limit for reading: a request has its own, and a stream of notifications may be silent for hours.
                timeout = httpx2.Timeout(endpoint.connect_timeout_s, read=None)
                async with (
                    httpx2.AsyncClient(transport=door, timeout=timeout) as http,
                    streamable_http_client(
                        door.address, http_client=http, max_sse_event_size=LARGEST_ANSWER
                    ) as streams,
                ):
                    yield self._entered(*streams)

    def _entered(self, read: Any, write: Any) -> Streams:
        self._started = True
        # Not earlier: a program whose start is cut short is killed, but its end is not awaited.
        if self._closing:
            self._scope.cancel()
        exchange = Exchange(read, write, self.retire, self._version)
        return exchange.read, exchange.write

    def _version(self) -> str | None:
        return None if self._client is None else self._client.protocol_version

    async def _logged(self, params: wire.LoggingMessageNotificationParams) -> None:
        hide = self._secrets.value
        line = reporting.ToolLog(params.level, hide(params.data), hide(params.logger))
        request = current.get()
        about = [request] if request in self._requests else [*self._requests]
        heard = [one.tell(line) for one in about if one is not None]
        if not any(heard):
            logger.log(
                _LEVELS.get(params.level, logging.CRITICAL), "MCP server %r: %s", self._name, bounded(str(line.data))
            )

    async def _noticed(self, message: IncomingMessage) -> None:
        if isinstance(message, wire.ToolListChangedNotification):
            self._forget_tools()

    async def _elicited(self, context: object, params: wire.ElicitRequestParams) -> wire.ElicitResult | wire.ErrorData:
        """Have the call that a question belongs to ask it; its time limit stands still meanwhile."""
        asked = self._asked(params)
        if (why := self._flaw(asked)) is not None:
            logger.warning("MCP server %r asks what is not put to a person: %s", self._name, why)
            return wire.ErrorData(code=wire.INVALID_PARAMS, message=f"This is not put to a person: {why}")
        request = current.get()
        if request not in self._requests:
            request = await self._askers.find(lambda: [each for each in self._requests if each.said is not None])
        if request is None or request.said is None or request.clock is None:
            logger.warning(
                "MCP server %r asks a person, and for which call is not known: answered with cancel", self._name
            )
            return wire.ElicitResult(action="cancel")
        request.asked += 1
        if request.asked > elicitation.MOST_QUESTIONS:
            logger.warning("MCP server %r asked %d questions about one call", self._name, request.asked)
            return wire.ElicitResult(action="cancel")
        answer = await self._put(self._question(asked, request, getattr(context, "request_id", None)), request)
        return as_result(answer)

    def _question(self, asked: Elicitation, request: Request, key: object = None) -> Question:
        """Make a question of a request; the first one of a round has the round with it."""
        question = Question(asked, asyncio.get_running_loop().create_future(), again=request.again)
        if (found := request.round) is not None:
            if found.asked is None:
                found.asked = dict(self._questions_of(found))
            if key == next(iter(found.asked), None):
                question.round = found
        return question

    def _questions_of(self, found: Round) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, raw in found.requests.items():
            with suppress(ValidationError):  # sampling or roots
                yield key, self._asked(wire.ElicitRequest.model_validate(raw, by_name=False).params).payload()

    async def _put(self, question: Question, request: Request) -> ElicitationAnswer:
        """Have the caller of a request ask a question."""
        assert request.said is not None and request.clock is not None
        request.asking = True
        try:
            with request.clock.paused():
                request.said.put_nowait(question)
                return await question.answer
        finally:
            request.asking = False

    def _asked(self, params: wire.ElicitRequestParams) -> Elicitation:
        hide = self._secrets.value
        if isinstance(params, wire.ElicitRequestURLParams):
            identity = params.elicitation_id
            return Elicitation(self._name, "url", hide(params.message), url=params.url, elicitation_id=identity)
        return Elicitation(self._name, "form", hide(params.message), hide(dict(params.requested_schema)))

    def _flaw(self, asked: Elicitation) -> str | None:
        """Say why a question cannot be put to a person; None if it can."""
        if asked.url is None:
            return elicitation.flaw(asked)
        # A program that was started here is on this machine.
        where = self._server.url if isinstance(self._server, HttpServer) else "http://localhost"
        return elicitation.flaw(asked) or addresses.objection(asked.url, where)

    # What can be said of it.

    def _connected(self) -> Client:
        if self._client is None or not self.alive:
            raise McpUnavailable(self._no_session(), server=self._name) from self._error
        return self._client

    def _no_session(self) -> str:
        why = _first(self._error)
        if why is None or (isinstance(why, MCPError) and why.code == wire.CONNECTION_CLOSED):
            because = "it ended, or closed its output; what it wrote to its standard error may say why"
        else:
            because = f"{type(why).__name__}: {self._said(str(why))}{with_status(self._handshake.status)}"
        return f"There is no session with MCP server {self._name!r} ({self._server.where}): {because}"

    def _said(self, text: str, most: int = LONGEST) -> str:
        """Return what the server said as it may be repeated."""
        # Hidden first: of a secret that was cut in two, nothing would be found.
        return bounded(self._secrets.text(text), most)

    def _unauthorized(self, what: str, why: str) -> str:
        return (
            f"MCP server {self._name!r} ({self._server.where}) wants an authorization for {what}, and there is none: "
            f"{self._said(why)}"
        )


def as_result(answer: ElicitationAnswer) -> wire.ElicitResult:
    """Return an answer as the protocol has it."""
    return wire.ElicitResult(action=answer.action, content=None if answer.content is None else dict(answer.content))


def is_modern(client: Client) -> bool:
    """Return whether a session speaks the protocol that has no sessions of its own (2026-07-28 and later)."""
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS


def with_status(status: int | None) -> str:
    """Return a status of HTTP for the end of an error, nothing if there is none."""
    return "" if status is None else f" (HTTP status {status})"


def _first(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
