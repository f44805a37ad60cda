"""One session with one MCP server: the only module that imports the `mcp` package.

Rules:

- A session lives in its own task, because the transports of `mcp` have to be entered and left by one task.
  Requests may come from any task of the same event loop.
- That task has a clean context: it outlives the run that happened to open it.
- A session is over when its server's output ends, when its transport fails or when it is closed; then all requests that
  wait for an answer fail. It is never opened again: there is a new one instead.
- A session that its server forgot takes no more requests, and ends when those that were made have their answers: what
  one of them learned is not the others' answer.
- What the server says, and every error, leaves without the secrets that its description has.
- What a server says about a call while it works is heard before the call returns, in order, by the reporter that the
  caller had when it called. If that reporter fails, the call is cancelled and fails with its error.
- The protocol does not say which call a line of the server's log belongs to. Over HTTP it comes with the call's own
  answer; over stdio every call that is being worked on hears it. With no call to tell, it goes to Python's log.
"""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

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
from stategraph.agent.mcp import call_meta, listing, logs, stdio
from stategraph.agent.mcp.errors import (
    LONGEST,
    McpBadAnswer,
    McpError,
    McpNotDone,
    McpRefused,
    McpTimeout,
    McpUnavailable,
    bounded,
    words,
)
from stategraph.agent.mcp.exchange import Exchange, Request, current
from stategraph.agent.mcp.http import LARGEST_ANSWER, Door
from stategraph.agent.mcp.servers import HttpServer, McpServer, StdioServer

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams as Streams

T = TypeVar("T")

logger = logging.getLogger("stategraph.agent.mcp")
logs.install()

CLOSING_S: Final = 10.0
"""Seconds that a session may take to end by itself: a program gets two to exit and two to heed a signal."""

PING_S: Final = 5.0
"""Seconds in which a server has to show that it is there."""

TOOLS_KEPT_S: Final = 60.0
"""Seconds for which a list of tools is believed: a server may lose the way to tell that it changed."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that a server lists.

    Attributes:
        found: Tools that an agent can have, in the server's order.
        dropped: The tools left out, each with the reason.
    """

    found: tuple[wire.Tool, ...]
    dropped: tuple[str, ...]


class Connection:
    """A session; `open` makes one."""

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
        self._requests: set[Request] = set()
        self._used_at = asyncio.get_running_loop().time()
        self._doubtful = False
        self._kept: tuple[Tools, float] | None = None
        self._changes = 0
        self._tells_changes = False
        self._owner = asyncio.create_task(self._live(), name=f"MCP session of {name}")

    @classmethod
    async def open(cls, name: str, server: McpServer) -> Connection:
        """Start or reach a server and agree on a protocol.

        Args:
            name: The server's name, for errors.
            server: Its description.

        Raises:
            McpUnavailable: That failed.
            McpTimeout: It took longer than `connect_timeout_s`.
        """
        opened = cls(name, server)
        try:
            async with asyncio.timeout(server.connect_timeout_s):
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
        if _is_modern(client):
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
        self._kept = None
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

    # Requests.

    async def ping(self) -> None:
        """Ask whether the server is there.

        Raises:
            McpUnavailable: It is not, or did not say so within `PING_S`.
        """
        client = self._connected()
        # Protocols since 2026-07-28 have no ping; what a server can do may be asked at any time.
        ask = (
            client.session.send_discover(client.protocol_version) if _is_modern(client) else client.session.send_ping()
        )
        token = current.set(Request())
        failure: str | None = None
        try:
            async with asyncio.timeout(PING_S):
                await ask
        except MCPError as error:
            failure = None if error.code == wire.METHOD_NOT_FOUND else f"is not well: {self._said(error.message)}"
        except TimeoutError:
            failure = f"did not answer a ping within {PING_S:g} s"
        except Exception as error:
            # Its streams are closed, or the answer is another one than the protocol has.
            failure = f"is not well: {type(error).__name__}: {self._said(words(error), 300)}"
        finally:
            current.reset(token)
        if failure is not None:
            raise McpUnavailable(f"MCP server {self._name!r} {failure}", server=self._name)
        self._doubtful = False
        self._used_at = asyncio.get_running_loop().time()

    async def call_tool(self, name: str, arguments: dict[str, Any], timeout_s: float | None) -> wire.CallToolResult:
        """Call a tool.

        Args:
            name: The tool's name on the server.
            arguments: As its schema asks for them.
            timeout_s: Seconds in which it has to answer; None: the server's `call_timeout_s`.

        Raises:
            McpError: There is no answer, or one that cannot be used.
        """
        hear = reporting.reporter.get()
        request = Request()

        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            request.tell(reporting.ToolProgress(progress, total, self._secrets.value(message)))

        on_progress = None if hear is None else progressed
        # Taken here: the request may be made in another task.
        meta = call_meta.current.get()

        async def send(client: Client) -> wire.CallToolResult:
            if meta is None:
                return await client.call_tool(name, arguments, timeout_s, on_progress)
            along = cast("wire.RequestParamsMeta", dict(meta))
            return await client.call_tool(name, arguments, timeout_s, on_progress, meta=along)

        waiting = self._ask(f"tool {name!r}", send, request)
        if hear is None:
            return await waiting
        request.said = said = asyncio.Queue[reporting.ToolReport | None]()
        return await _reporting(waiting, said, hear)

    async def tools(self) -> Tools:
        """List all tools; from memory, if the server promised to tell of changes and has told of none since."""
        now = asyncio.get_running_loop().time()
        if self._kept is not None and now - self._kept[1] < TOOLS_KEPT_S:
            return self._kept[0]
        if self._connected().server_capabilities.tools is None:
            return Tools((), ())
        changes = self._changes
        request = Request()
        found, dropped = listing.usable(await self._pages("list of tools", _tools_page, request))
        tools = Tools(tuple(found), tuple(self._said(each) for each in (*request.dropped, *dropped)))
        if self._tells_changes and changes == self._changes:
            self._kept = tools, now
        return tools

    async def resources(self) -> Sequence[wire.Resource]:
        """List all resources."""
        return await self._pages("list of resources", _resources_page) if self._has_resources() else ()

    async def resource_templates(self) -> Sequence[wire.ResourceTemplate]:
        """List all families of resources."""
        return await self._pages("list of resource templates", _templates_page) if self._has_resources() else ()

    async def read_resource(self, uri: str) -> wire.ReadResourceResult:
        """Read a resource."""
        return await self._ask(f"resource {uri!r}", lambda client: client.read_resource(uri))

    async def prompts(self) -> Sequence[wire.Prompt]:
        """List all prompts."""
        if self._connected().server_capabilities.prompts is None:
            return ()
        return await self._pages("list of prompts", _prompts_page)

    async def get_prompt(self, name: str, arguments: dict[str, str]) -> wire.GetPromptResult:
        """Fill in a prompt."""
        return await self._ask(f"prompt {name!r}", lambda client: client.get_prompt(name, arguments))

    def _has_resources(self) -> bool:
        return self._connected().server_capabilities.resources is not None

    def _connected(self) -> Client:
        if self._client is None or not self.alive:
            raise McpUnavailable(self._no_session(), server=self._name) from self._error
        return self._client

    def _no_session(self) -> str:
        why = _first(self._error)
        if why is None or (isinstance(why, MCPError) and why.code == wire.CONNECTION_CLOSED):
            because = "it ended, or closed its output; what it wrote to its standard error may say why"
        else:
            because = f"{type(why).__name__}: {self._said(str(why))}{_with(self._handshake.status)}"
        return f"There is no session with MCP server {self._name!r} ({self._server.where}): {because}"

    async def _pages(
        self,
        what: str,
        fetch: Callable[[str | None, Client], Awaitable[tuple[Sequence[T], str | None]]],
        request: Request | None = None,
    ) -> Sequence[T]:
        whole = request or Request()

        async def page(cursor: str | None) -> tuple[Sequence[T], str | None]:
            one = Request(dropped=whole.dropped)
            return await self._ask(what, partial(fetch, cursor), one)

        limit = self._server.call_timeout_s
        try:
            async with asyncio.timeout(limit):
                return await listing.all_pages(page)
        except listing.EndlessListing as error:
            raise McpBadAnswer(f"The {what} of MCP server {self._name!r} {error}", server=self._name) from None
        except TimeoutError:
            self._doubtful = True
            message = f"MCP server {self._name!r} did not give the whole {what} within {limit:g} s"
            raise McpTimeout(message, server=self._name) from None

    async def _ask(self, what: str, send: Callable[[Client], Awaitable[T]], request: Request | None = None) -> T:
        client = self._connected()
        failure: McpError
        cause: BaseException
        request = request or Request()
        self._requests.add(request)
        token = current.set(request)
        try:
            return await send(client)
        except MCPError as error:
            failure, cause = self._failure(what, error, request), self._cause(error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            failure, cause = self._gone(what), error
        except Exception as error:
            message = f"What MCP server {self._name!r} answered for {what} cannot be used: {self._said(words(error))}"
            failure, cause = McpBadAnswer(message, server=self._name), self._cause(error)
        finally:
            current.reset(token)
            self._requests.discard(request)
            self._used_at = asyncio.get_running_loop().time()
            if self._forgotten and not self._requests:
                self._stop.set()
        # Not from within a handler: the error there still has all that the server said.
        raise failure from cause

    def _said(self, text: str, most: int = LONGEST) -> str:
        """Return what the server said as it may be repeated."""
        # Hidden first: of a secret that was cut in two, nothing would be found.
        return bounded(self._secrets.text(text), most)

    def _cause(self, error: Exception) -> BaseException:
        """Return an error as it may stand behind one of ours: bounded, and without secrets."""
        if isinstance(error, MCPError):
            return MCPError(error.code, self._said(error.message))
        if isinstance(error, ValidationError):
            return ValueError(self._said(words(error)))
        return self._secrets.error(error if len(str(error)) <= LONGEST else ValueError(self._said(str(error))))

    def _failure(self, what: str, error: MCPError, request: Request) -> McpError:
        server = f"MCP server {self._name!r}"
        if request.not_done is not None:
            self._doubtful = True
            return McpNotDone(f"{server} did nothing about {what}: {request.not_done}", server=self._name)
        if error.code == wire.REQUEST_TIMEOUT:
            self._doubtful = True
            return McpTimeout(f"{server} did not answer in time for {what}", server=self._name)
        if (trouble := request.trouble) is not None:
            said = self._said(trouble.text)
            match trouble.kind:
                case "gone":
                    return self._gone(what, said)
                case "unavailable":
                    message = f"{server} was not there for {what}; what stands before it answered in its place ({said})"
                    return McpUnavailable(message, server=self._name)
                case "refused":
                    return McpRefused(f"{server} refused {what} ({said})", server=self._name)
                case "bad":
                    message = f"What {server} answered for {what} cannot be used: {said}"
                    return McpBadAnswer(message, server=self._name)
        if error.code == wire.CONNECTION_CLOSED:
            return self._gone(what)
        if error.code == wire.PARSE_ERROR and error.message.startswith("Failed to parse "):
            # The package's words for an event that is no message.
            message = f"What {server} answered for {what} cannot be used: {self._said(error.message, 300)}"
            return McpBadAnswer(message, server=self._name)
        message = f"{server} refused {what}: {self._said(error.message)}{_with(request.status)}"
        return McpRefused(message, server=self._name)

    def _gone(self, what: str, why: str = "") -> McpUnavailable:
        self._doubtful = True
        if self._closing:
            message = f"The session with MCP server {self._name!r} was closed while it worked on {what}"
        else:
            because = f" ({why})" if why else ""
            message = (
                f"MCP server {self._name!r} went away while it worked on {what}{because}; it is started or reached "
                "again for the next request"
            )
        return McpUnavailable(message, server=self._name)


async def _reporting(
    call: Awaitable[T], said: asyncio.Queue[reporting.ToolReport | None], hear: reporting.Reporter
) -> T:
    """Await a call and forward its progress and log; all is delivered before this returns or raises."""

    async def pass_on() -> None:
        while (what := await said.get()) is not None:
            await hear(what)

    async def answered() -> T | McpError:
        try:
            return await call
        except McpError as error:
            return error
        finally:
            said.put_nowait(None)

    broken: BaseException
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(pass_on())
            answer = await answered()
    except BaseExceptionGroup as failed:
        broken = failed.exceptions[0]
    else:
        if not isinstance(answer, McpError):
            return answer
        broken = answer
    raise broken


async def _tools_page(cursor: str | None, client: Client) -> tuple[Sequence[wire.Tool], str | None]:
    page = await client.list_tools(cursor=cursor)
    return page.tools, page.next_cursor


async def _resources_page(cursor: str | None, client: Client) -> tuple[Sequence[wire.Resource], str | None]:
    page = await client.list_resources(cursor=cursor)
    return page.resources, page.next_cursor


async def _templates_page(cursor: str | None, client: Client) -> tuple[Sequence[wire.ResourceTemplate], str | None]:
    page = await client.list_resource_templates(cursor=cursor)
    return page.resource_templates, page.next_cursor


async def _prompts_page(cursor: str | None, client: Client) -> tuple[Sequence[wire.Prompt], str | None]:
    page = await client.list_prompts(cursor=cursor)
    return page.prompts, page.next_cursor


def _is_modern(client: Client) -> bool:
    return client.protocol_version in MODERN_PROTOCOL_VERSIONS


def _with(status: int | None) -> str:
    return "" if status is None else f" (HTTP status {status})"


def _first(error: BaseException | None) -> BaseException | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
