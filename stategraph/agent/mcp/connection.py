"""One session with one MCP server: the only module that imports the `mcp` package.

Rules:

- A session lives in a task of its own, because the transports of `mcp` have to be entered and left by one task.
  Requests may come from any task of the same event loop.
- That task has a clean context: it outlives the run that happened to open it.
- A session is over when its server's output ends, when its transport fails or when it is closed; then all requests that
  wait for an answer fail. It is never opened again: there is a new one instead.
- What a server says about a call while it works is heard before the call returns, in order, by the reporter that the
  caller had when it called. If that reporter fails, the call is cancelled and fails with its error.
- The protocol does not say which call a line of the server's log belongs to. Over HTTP it comes with the call's own
  answer; over stdio every call that is being worked on hears it. With no call to tell, it goes to Python's log.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import Context, ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import anyio
import httpx2
import mcp_types as wire
from mcp import Client, MCPDeprecationWarning, MCPError, StdioServerParameters, stdio_client
from mcp.client import IncomingMessage
from mcp.client.streamable_http import MCP_SESSION_ID, streamable_http_client
from mcp.client.subscriptions import SubscriptionLost
from mcp.shared.message import SessionMessage
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from stategraph import __version__
from stategraph.agent import reporting
from stategraph.agent.mcp.errors import McpBadAnswer, McpError, McpForgotten, McpRefused, McpTimeout, McpUnavailable
from stategraph.agent.mcp.servers import HttpServer, McpServer, StdioServer

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream
    from mcp.client._transport import TransportStreams as Streams

T = TypeVar("T")

logger = logging.getLogger("stategraph.agent.mcp")

CLOSING_S: Final = 10.0
"""Seconds that a session may take to end by itself: a program gets two to exit and two to heed a signal."""

PING_S: Final = 5.0
"""Seconds in which a server has to show that it is there."""

LARGEST_ANSWER: Final = 64 * 1024 * 1024
"""Bytes of one answer that comes as an event over HTTP; images and files are large."""

TOOLS_KEPT_S: Final = 60.0
"""Seconds for which a list of tools is believed: a server may lose the way to tell that it changed."""

PAGES: Final = 1000
"""Where a listing that does not end is given up."""

_LEVELS: Final = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "notice": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


@dataclass(eq=False, slots=True)
class _Request:
    """A request that waits for its answer.

    Attributes:
        said: What the server said about it meanwhile, until None ends it; None if nobody listens.
        status: The HTTP status that refused it.
        forgotten: Whether the server did not know the session.
    """

    said: asyncio.Queue[reporting.ToolReport | None] | None = None
    status: int | None = None
    forgotten: bool = False

    def tell(self, what: reporting.ToolReport) -> bool:
        """Pass on what the server said; False if nobody listens."""
        if self.said is None:
            return False
        self.said.put_nowait(what)
        return True

    async def progress(self, progress: float, total: float | None, message: str | None) -> None:
        self.tell(reporting.ToolProgress(progress, total, message))


#: The request that is being made. Over HTTP it is also known where its answer is read.
_request: ContextVar[_Request | None] = ContextVar("stategraph_mcp_request", default=None)


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
        self._started = False
        self._scope = anyio.CancelScope()
        self._handshake = _Request()
        self._requests: set[_Request] = set()
        self._used_at = asyncio.get_running_loop().time()
        self._doubtful = False
        self._tools: Sequence[wire.Tool] | None = None
        self._listed_at = 0.0
        self._changes = 0
        self._tells_changes = False
        self._owner = asyncio.create_task(self._live(), name=f"MCP session of {name}")

    @classmethod
    async def open(cls, name: str, server: McpServer) -> Connection:
        """Start or reach a server and agree on a protocol.

        Args:
            name: What the server is called, in errors.
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
        """Whether requests can be made."""
        return not self._stop.is_set()

    def doubtful(self, idle_s: float) -> bool:
        """Whether the server should show that it is there before it is used: after a failure, or a long silence."""
        idle = asyncio.get_running_loop().time() - self._used_at
        return self._doubtful or (not self._requests and idle > idle_s)

    def retire(self) -> None:
        """Let the session end; `close` waits for it."""
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
        _request.set(self._handshake)
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
            self._error = error
        finally:
            self._stop.set()
            self._settled.set()

    async def _serve(self, client: Client) -> None:
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
                    self._forget_tools()
        except (SubscriptionLost, MCPError, TimeoutError):
            # Either the server went away, or it only stopped telling: the next request finds out.
            self._doubtful = True
        self._tells_changes = False
        self._forget_tools()

    def _forget_tools(self) -> None:
        self._tools = None
        self._changes += 1

    async def _choose_log_level(self, client: Client) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            setting = client.session.set_logging_level(self._server.log_level)
        try:
            await setting
        except MCPError as error:
            logger.info("MCP server %r keeps its own log level: %s", self._name, error)

    @asynccontextmanager
    async def _transport(self) -> AsyncIterator[Streams]:
        match self._server:
            case StdioServer() as program:
                parameters = StdioServerParameters(
                    command=program.command,
                    args=list(program.args),
                    env={name: value.get_secret_value() for name, value in program.env.items()},
                    cwd=program.cwd,
                )
                async with stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr) as streams:
                    yield self._entered(*streams)
            case HttpServer() as endpoint:
                headers = {name: value.get_secret_value() for name, value in endpoint.headers.items()}
                # No limit for reading: a request has its own, and a stream of notifications may be silent for hours.
                timeout = httpx2.Timeout(endpoint.connect_timeout_s, read=None)
                async with (
                    httpx2.AsyncClient(
                        headers=headers, timeout=timeout, event_hooks={"response": [self._responded]}
                    ) as http,
                    streamable_http_client(
                        endpoint.url, http_client=http, max_sse_event_size=LARGEST_ANSWER
                    ) as streams,
                ):
                    yield self._entered(*streams)

    def _entered(self, read: ReadStream[SessionMessage | Exception], write: WriteStream[SessionMessage]) -> Streams:
        self._started = True
        # Not earlier: a program whose start is cut short is killed, but nobody waits for its end.
        if self._closing:
            self._scope.cancel()
        return _Watched(read, self.retire), write

    async def _logged(self, params: wire.LoggingMessageNotificationParams) -> None:
        line = reporting.ToolLog(params.level, params.data, params.logger)
        request = _request.get()
        about = [request] if request in self._requests else [*self._requests]
        heard = [one.tell(line) for one in about if one is not None]
        if not any(heard):
            logger.log(_LEVELS.get(params.level, logging.CRITICAL), "MCP server %r: %s", self._name, params.data)

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
        try:
            async with asyncio.timeout(PING_S):
                await ask
        except MCPError as error:
            if error.code != wire.METHOD_NOT_FOUND:
                raise McpUnavailable(f"MCP server {self._name!r} is not well: {error}", server=self._name) from error
        except TimeoutError:
            raise McpUnavailable(
                f"MCP server {self._name!r} did not answer a ping within {PING_S:g} s", server=self._name
            ) from None
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
        request = _Request(None if hear is None else asyncio.Queue())
        on_progress = None if hear is None else request.progress

        async def send(client: Client) -> wire.CallToolResult:
            return await client.call_tool(name, arguments, timeout_s, on_progress)

        waiting = self._ask(f"tool {name!r}", send, request)
        if hear is None or request.said is None:
            return await waiting
        return await _reporting(waiting, request.said, hear)

    async def tools(self) -> Sequence[wire.Tool]:
        """List all tools; from memory, if the server promised to tell of changes and has told of none since."""
        now = asyncio.get_running_loop().time()
        if self._tools is not None and now - self._listed_at < TOOLS_KEPT_S:
            return self._tools
        if self._connected().server_capabilities.tools is None:
            return ()
        changes = self._changes
        found = await self._pages("list of tools", _tools_page)
        if self._tells_changes and changes == self._changes:
            self._tools, self._listed_at = found, now
        return found

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
            because = f"{type(why).__name__}: {why}{_with(self._handshake.status)}"
        return f"There is no session with MCP server {self._name!r} ({self._server.where}): {because}"

    async def _pages(
        self, what: str, fetch: Callable[[str | None, Client], Awaitable[tuple[Sequence[T], str | None]]]
    ) -> Sequence[T]:
        found: list[T] = []
        cursor: str | None = None
        for _ in range(PAGES):
            items, cursor = await self._ask(what, partial(fetch, cursor))
            found += items
            if not cursor:
                return tuple(found)
        raise McpBadAnswer(
            f"The {what} of MCP server {self._name!r} has more than {PAGES} pages, {len(found)} entries so far: "
            "it does not seem to end",
            server=self._name,
        )

    async def _ask(self, what: str, send: Callable[[Client], Awaitable[T]], request: _Request | None = None) -> T:
        client = self._connected()
        request = request or _Request()
        self._requests.add(request)
        token = _request.set(request)
        try:
            return await send(client)
        except MCPError as error:
            if request.forgotten:
                message = f"MCP server {self._name!r} was started anew and forgot the session before {what}"
                raise McpForgotten(message, server=self._name) from error
            raise self._failure(what, error, request.status) from error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
            raise self._gone(what) from error
        except Exception as error:
            message = f"What MCP server {self._name!r} answered for {what} cannot be used: {error}"
            raise McpBadAnswer(message, server=self._name) from error
        finally:
            _request.reset(token)
            self._requests.discard(request)
            self._used_at = asyncio.get_running_loop().time()

    async def _responded(self, response: httpx2.Response) -> None:
        if not response.is_error:
            return
        request = _request.get() or self._handshake
        request.status = response.status_code
        # The specification's sign for it; what servers say in words differs.
        if response.status_code == httpx2.codes.NOT_FOUND and MCP_SESSION_ID in response.request.headers:
            request.forgotten = True
            self.retire()

    def _failure(self, what: str, error: MCPError, status: int | None) -> McpError:
        if error.code == wire.CONNECTION_CLOSED:
            return self._gone(what)
        if error.code == wire.REQUEST_TIMEOUT:
            self._doubtful = True
            return McpTimeout(f"MCP server {self._name!r} did not answer in time for {what}", server=self._name)
        message = f"MCP server {self._name!r} refused {what}: {error.message}{_with(status)}"
        return McpRefused(message, server=self._name)

    def _gone(self, what: str) -> McpUnavailable:
        self._doubtful = True
        if self._closing:
            message = f"The session with MCP server {self._name!r} was closed while it worked on {what}"
        else:
            message = (
                f"MCP server {self._name!r} went away while it worked on {what}; it is started or reached again for "
                "the next request"
            )
        return McpUnavailable(message, server=self._name)


class _Watched:
    """The stream of what a server says, telling of its end: the session itself does not."""

    def __init__(self, inner: ReadStream[SessionMessage | Exception], ended: Callable[[], None]) -> None:
        self._inner = inner
        self._ended = ended

    @property
    def last_context(self) -> Context | None:
        """The context of who sent the last message, where the transport knows it."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        try:
            return await self._inner.receive()
        except (anyio.EndOfStream, anyio.ClosedResourceError):
            self._ended()
            raise

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> SessionMessage | Exception:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()


async def _reporting(
    call: Awaitable[T], said: asyncio.Queue[reporting.ToolReport | None], hear: reporting.Reporter
) -> T:
    """Wait for a call while somebody hears what is said about it: all of that before the call ends, well or not."""

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
