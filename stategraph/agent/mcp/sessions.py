"""A pool of sessions, one for each MCP server: opened when first needed, watched, replaced when lost.

Rules:

- One attempt at a time to reach a server; all callers that need it wait for that one. A caller that stops waiting does
  not stop the attempt.
- A session whose server failed to answer, or that was silent for `IDLE_S`, has to answer a ping before it is used
  again; one that does not is replaced.
- Attempts that follow failures wait: `backoff_s`. `ATTEMPTS` failures in a row are reported to the caller; from then on
  each request makes one attempt. A request that is answered resets the count of failures.
- A request that was sent is never repeated: it may have had effects. The exception is one about which the server did
  nothing for certain: it could not be reached at all, or says that it does not know the session.
- What one request learns about a session is not the others' answer: a session that was forgotten takes no new ones, and
  those that it has get their own.
- A server that cannot be listed costs its own tools and no others'.
- The pool belongs to the event loop it was opened in. Tools may be called from threads without a loop as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from langchain_core.tools import BaseTool, ToolException

from stategraph.agent.mcp import results
from stategraph.agent.mcp.errors import McpBadAnswer, McpError, McpNotDone, McpTimeout, McpUnavailable
from stategraph.agent.mcp.names import visible_names
from stategraph.agent.mcp.servers import McpServer, parse
from stategraph.agent.mcp.tools import make_tool
from stategraph.errors import ConfigurationError

if TYPE_CHECKING:
    import mcp_types as wire

    from stategraph.agent.mcp.connection import Connection

T = TypeVar("T")

IDLE_S: Final = 30.0
ATTEMPTS: Final = 3

_DROPPED_NAMED: Final = 5
"""Tools that a warning names."""

logger = logging.getLogger("stategraph.agent.mcp")


def backoff_s(failures: int) -> float:
    """Return seconds to wait before an attempt to reach a server.

    Args:
        failures: How many attempts or sessions ended badly since a request was answered.

    Returns:
        Nothing at first, then a tenth of a second and twice as much each time, at most two seconds.
    """
    return min(0.1 * 2 ** (failures - 1), 2.0) if failures else 0.0


@dataclass(frozen=True, slots=True)
class McpListing:
    """The tools of some servers.

    Attributes:
        tools: For agents.
        failed: Servers that could not be asked, and why.
        dropped: By server, the tools that no agent can have and are left out, each with the reason: without a name,
            listed twice, or with a description that breaks the protocol or that model providers refuse.
    """

    tools: tuple[BaseTool, ...]
    failed: Mapping[str, McpError]
    dropped: Mapping[str, tuple[str, ...]]


class McpSessions:
    """The sessions with some MCP servers, and what those servers offer.

    A `ToolSource`, and an async context manager; leaving it ends every session and every program that was started.

    Args:
        servers: Descriptions by name, as dataclasses or as mappings (see `StdioServer` and `HttpServer`).

    Raises:
        ConfigurationError: A description is wrong.
    """

    def __init__(self, servers: Mapping[str, McpServer | Mapping[str, Any]]) -> None:
        if not isinstance(servers, Mapping):
            raise ConfigurationError(
                f"MCP servers are given as a mapping from names to descriptions; found {type(servers).__name__}"
            )
        self._described = {name: parse(name, given) for name, given in servers.items()}
        self._slots: dict[str, _Slot] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def __repr__(self) -> str:
        state = "closed" if self._closed else "not open" if self._loop is None else "open"
        return f"<McpSessions {', '.join(self._described) or 'without servers'}: {state}>"

    async def open(self) -> None:
        """Get ready; servers are reached when they are needed.

        Raises:
            RuntimeError: The sessions are open already.
        """
        if self._loop is not None and not self._closed:
            raise RuntimeError(
                "These MCP sessions are open already: use them, or leave the block in which they were opened before "
                "they are opened again"
            )
        # Nothing of an earlier block is used again: it belonged to another event loop, perhaps.
        self._slots = {name: _Slot(name, server) for name, server in self._described.items()}
        self._loop, self._closed = asyncio.get_running_loop(), False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all sessions and wait until nothing of them is left; requests in the middle fail."""
        self._closed = True
        closing = asyncio.gather(*(slot.close() for slot in self._slots.values()))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    @property
    def servers(self) -> tuple[str, ...]:
        """The servers' names."""
        return tuple(self._described)

    @property
    def names(self) -> tuple[str, ...]:
        """The servers' names."""
        return self.servers

    async def ping(self, server: str) -> None:
        """Find out whether a server is well; it is started or reached first, if need be.

        Raises:
            McpUnavailable: It is not. Its session is over; the next request opens a new one.
        """
        slot = self._slot(server)
        connection = await slot.ready()
        try:
            await connection.ping()
        except McpUnavailable:
            connection.retire()
            raise

    async def tools(self, *servers: str, prefix: bool = False) -> list[BaseTool]:
        """List the tools of servers, for agents.

        A tool keeps its name; where several servers have one of the same name, each gets its server's name in front,
        as in `github_search` (see `stategraph.agent.mcp.names`). Characters that model providers refuse become `_`.

        A server that cannot be asked costs its own tools only, and a tool that no agent can have costs itself: both are
        logged as warnings, and `listing` returns them.

        Args:
            *servers: Whose; none means all.
            prefix: Put the server's name in front of every tool's.

        Raises:
            McpError: None of the servers can be asked: the first one's error, with those of the others noted on it.
        """
        listed = await self.listing(*servers, prefix=prefix)
        if listed.failed and len(listed.failed) == len(set(servers or self.servers)):
            first, *others = listed.failed.values()
            for error in others:
                first.add_note(str(error))
            raise first
        for error in listed.failed.values():
            logger.warning("The tools of MCP server %r are missing: %s", error.server, error)
        for server, dropped in listed.dropped.items():
            more = f" and {len(dropped) - _DROPPED_NAMED} more" if len(dropped) > _DROPPED_NAMED else ""
            named = "; ".join(dropped[:_DROPPED_NAMED])
            logger.warning("MCP server %r lists what no agent can have, which is left out: %s%s", server, named, more)
        return list(listed.tools)

    async def listing(self, *servers: str, prefix: bool = False) -> McpListing:
        """List the tools of servers, and say which servers and tools are missing.

        Args:
            *servers: Whose; none means all.
            prefix: Put the server's name in front of every tool's.
        """
        asked = tuple(dict.fromkeys(servers)) or self.servers
        listing = [self._use(name, lambda session: session.tools()) for name in asked]
        found: dict[tuple[str, str], wire.Tool] = {}
        failed: dict[str, McpError] = {}
        dropped: dict[str, tuple[str, ...]] = {}
        for server, listed in zip(asked, await asyncio.gather(*listing, return_exceptions=True), strict=True):
            if isinstance(listed, McpError):
                failed[server] = listed
            elif isinstance(listed, BaseException):
                raise listed
            else:
                found |= {(server, tool.name): tool for tool in listed.found}
                dropped |= {server: listed.dropped} if listed.dropped else {}
        names = visible_names(found, prefix=prefix)
        made = tuple(make_tool(self, tool[0], names[tool], described) for tool, described in found.items())
        return McpListing(made, failed, dropped)

    async def call_tool(
        self, server: str, tool: str, arguments: Mapping[str, Any], *, timeout_s: float | None = None
    ) -> tuple[results.Content, dict[str, Any] | None]:
        """Call a tool.

        What the server says about its progress and logs meanwhile goes to the reporter of
        `stategraph.agent.reporting`. Cancelling the call tells the server to stop; the session stays usable.

        Args:
            server: The server.
            tool: The tool's name there.
            arguments: As its schema asks for them.
            timeout_s: Seconds in which it has to answer; None: the server's `call_timeout_s`.

        Returns:
            The content for the model, and what is kept with it: see `stategraph.agent.mcp.results`.

        Raises:
            ToolException: The tool says that it failed, in these words.
            McpError: There is no answer, or one that cannot be used.
        """
        answer = await self._use(server, lambda connection: connection.call_tool(tool, dict(arguments), timeout_s))
        if answer.is_error:
            raise ToolException(results.failure(answer, self._described[server].secrets))
        return results.tool_result(answer)

    async def resources(self, server: str) -> list[results.Resource]:
        """List what a server lets be read.

        Raises:
            McpError: The server cannot be asked.
        """
        return [results.resource(found) for found in await self._use(server, lambda session: session.resources())]

    async def resource_templates(self, server: str) -> list[results.ResourceTemplate]:
        """List the families of resources of a server.

        Raises:
            McpError: The server cannot be asked.
        """
        listed = await self._use(server, lambda session: session.resource_templates())
        return [results.resource_template(found) for found in listed]

    async def read_resource(self, server: str, uri: str) -> list[results.ResourceContents]:
        """Read a resource; a folder has several contents.

        Raises:
            McpRefused: There is no such resource.
            McpError: The server cannot be asked.
        """
        read = await self._use(server, lambda session: session.read_resource(uri))
        try:
            return [results.contents(one) for one in read.contents]
        except ValueError as error:
            message = f"What MCP server {server!r} answered for resource {uri!r} cannot be used: {error}"
            raise McpBadAnswer(message, server=server) from error

    async def prompts(self, server: str) -> list[results.Prompt]:
        """List the prompts that a server offers.

        Raises:
            McpError: The server cannot be asked.
        """
        return [results.prompt(found) for found in await self._use(server, lambda session: session.prompts())]

    async def get_prompt(
        self, server: str, name: str, arguments: Mapping[str, str] | None = None
    ) -> results.PromptText:
        """Fill in a prompt.

        Raises:
            McpRefused: There is no such prompt, or an argument is missing.
            McpError: The server cannot be asked.
        """
        return results.prompt_text(
            await self._use(server, lambda session: session.get_prompt(name, dict(arguments or {})))
        )

    def from_thread(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Make a request from a thread that has no event loop, while the pool's loop runs in another.

        Args:
            ask: Makes the request.

        Raises:
            RuntimeError: Called from a thread with a loop, or the pool's loop is not running.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            pass
        else:
            raise RuntimeError(
                "An MCP tool was invoked synchronously in a thread that runs an event loop; await its `ainvoke` "
                "(run the graph with `ainvoke` or `astream`)"
            )
        if self._loop is None or not self._loop.is_running():
            raise RuntimeError(
                "An MCP tool was invoked synchronously and the event loop of its sessions is not running; run the "
                "graph with `ainvoke`, or hold the sessions open in a thread: "
                "`with anyio.from_thread.start_blocking_portal() as portal, "
                "portal.wrap_async_context_manager(McpSessions(...)) as sessions:`"
            )
        waiting = asyncio.run_coroutine_threadsafe(ask(), self._loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    async def _use(self, server: str, ask: Callable[[Connection], Awaitable[T]]) -> T:
        slot = self._slot(server)
        connection = await slot.ready()
        try:
            answer = await ask(connection)
        except McpNotDone:
            answer = await ask(await slot.ready())
        slot.answered()
        return answer

    def _slot(self, server: str) -> _Slot:
        if self._closed or self._loop is None:
            state = "closed" if self._closed else "not open"
            raise RuntimeError(f"MCP sessions are {state}; use them inside of `async with McpSessions(servers)`")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "MCP sessions were opened in another event loop; use them there, or open others in this one"
            )
        if server not in self._slots:
            raise ValueError(f"There is no MCP server {server!r}; there are: {', '.join(self._described) or 'none'}")
        return self._slots[server]


class _Slot:
    """The place of one server's session in the pool."""

    def __init__(self, name: str, server: McpServer) -> None:
        self._name = name
        self._server = server
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._leaving: list[Connection] = []
        self._failures = 0
        self._closed = False

    async def ready(self) -> Connection:
        """Return the session, opened or replaced if need be."""
        if self._closed:
            raise self._was_closed()
        held = self._connection
        if self._opening is None:
            if held is not None and held.alive and not held.doubtful(IDLE_S):
                return held
            # A clean context: the session outlives the run that happens to need it first.
            self._opening = asyncio.get_running_loop().create_task(
                self._reopen(), name=f"opening MCP session of {self._name}", context=contextvars.Context()
            )
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait((opening,))  # whose own cancellation does not reach the attempt
        if opening.cancelled():
            raise self._was_closed()
        return opening.result()

    def answered(self) -> None:
        """Note that a request was answered."""
        self._failures = 0

    async def close(self) -> None:
        """End the session, and the attempt to open one."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        left = [*self._leaving, *([] if self._connection is None else [self._connection])]
        await asyncio.gather(*(connection.close() for connection in left))

    def _was_closed(self) -> McpUnavailable:
        return McpUnavailable(f"MCP server {self._name!r} was closed", server=self._name)

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # raised to those who wait; if none is left, the next caller tries again

    async def _reopen(self) -> Connection:
        if (held := self._connection) is not None:
            if held.alive and await _answers(held):
                return held
            self._connection = None
            self._leaving = [each for each in (*self._leaving, held) if not each.ended]
            if not held.forgotten:
                await held.close()
                self._failures += 1
        session = await asyncio.to_thread(_load)
        while True:
            await asyncio.sleep(backoff_s(self._failures))
            try:
                self._connection = await session.open(self._name, self._server)
            except (McpUnavailable, McpTimeout) as error:
                self._failures += 1
                # After waiting for a time-out, do not wait again.
                if self._failures >= ATTEMPTS or isinstance(error, McpTimeout):
                    raise
            else:
                return self._connection


async def _answers(connection: Connection) -> bool:
    try:
        await connection.ping()
    except McpUnavailable:
        return False
    return True


def _load() -> type[Connection]:
    """Import the modules that need the `mcp` package: on first use, in a thread, since that takes 0.57 s."""
    try:
        from stategraph.agent.mcp.connection import Connection
    except ModuleNotFoundError as error:
        raise ImportError(
            f"MCP servers need the `mcp` package ({error}); install the extra 'mcp' of stategraph"
        ) from error
    return Connection
