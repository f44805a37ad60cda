"""The sessions with some MCP servers, and what those servers offer.

Rules:

- A request that was sent is never repeated: it may have had effects. The exceptions are one about which the server did
  nothing for certain (it could not be reached at all, or says that it does not know the session), and a call of a tool
  that paused its run, if the call is lost (see `calls`).
- A server that cannot be listed costs its own tools and no others'.
- A tool whose description or schema changed is a new version, and is told; a host that pins versions gets no other.
- The pool belongs to the event loop it was opened in. Tools may be called from threads without a loop as well.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from langchain_core.tools import BaseTool, ToolException

from stategraph.agent import reporting
from stategraph.agent.mcp import calls, results
from stategraph.agent.mcp.elicitation import OnElicitation
from stategraph.agent.mcp.errors import McpBadAnswer, McpError, McpNotDone, McpUnavailable
from stategraph.agent.mcp.names import visible_names
from stategraph.agent.mcp.servers import McpServer, parse
from stategraph.agent.mcp.slots import Slot, Slots
from stategraph.agent.mcp.tools import make_resource_tool, make_tool
from stategraph.agent.mcp.versions import OnChange, ToolChange, Versions
from stategraph.constants import CONF, CONFIG_KEY_THREAD_ID
from stategraph.engine.config.context import get_config
from stategraph.errors import ConfigurationError, GraphBubbleUp

if TYPE_CHECKING:
    import mcp_types as wire

    from stategraph.agent.mcp.connection import Connection, Tools
    from stategraph.agent.settings.secrets import Secrets

T = TypeVar("T")

_acting: ContextVar[str | None] = ContextVar("stategraph_mcp_user", default=None)

_DROPPED_NAMED: Final = 5
"""Tools that a warning names."""

logger = logging.getLogger("stategraph.agent.mcp")


@dataclass(frozen=True, slots=True)
class McpListing:
    """The tools of some servers.

    Attributes:
        tools: For agents.
        failed: Servers that could not be asked, and why.
        dropped: By server, the tools that no agent can have and are left out, each with the reason: without a name,
            listed twice, or with a description that breaks the protocol or that model providers refuse; or not the
            version that the host pinned.
        changed: Tools that are not what they were when they were listed before.
    """

    tools: tuple[BaseTool, ...]
    failed: Mapping[str, McpError]
    dropped: Mapping[str, tuple[str, ...]]
    changed: tuple[ToolChange, ...] = ()


class McpSessions:
    """The sessions with some MCP servers, and what those servers offer.

    A `ToolSource`, and an async context manager; leaving it ends every session and every program that was started.

    Args:
        servers: Descriptions by name, as dataclasses or as mappings (see `StdioServer` and `HttpServer`).
        on_elicitation: Answers the questions of servers; None: a run that can pause asks by an interrupt, and elsewhere
            the server is told that nobody answers.
        on_change: Told of each tool that is not what it was when it was listed before.

    Raises:
        ConfigurationError: A description is wrong.
    """

    def __init__(
        self,
        servers: Mapping[str, McpServer | Mapping[str, Any]],
        *,
        on_elicitation: OnElicitation | None = None,
        on_change: OnChange | None = None,
    ) -> None:
        if not isinstance(servers, Mapping):
            raise ConfigurationError(
                f"MCP servers are given as a mapping from names to descriptions; found {type(servers).__name__}"
            )
        self._described = {name: parse(name, given) for name, given in servers.items()}
        self._slots = Slots(self._described)
        self._parked: calls.Parked[wire.CallToolResult] = calls.Parked()
        self._on_elicitation = on_elicitation
        self._versions = Versions(on_change)
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
        self._slots, self._parked = Slots(self._described), calls.Parked()
        self._loop, self._closed = asyncio.get_running_loop(), False

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """End all sessions and wait until nothing of them is left; requests in the middle fail."""
        self._closed = True
        closing = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing
            raise

    async def _end(self) -> None:
        await asyncio.gather(self._parked.aclose(), self._slots.aclose())

    async def end_thread(self, thread_id: str) -> None:
        """End the sessions that belong to a thread, and its calls that wait; a later request opens others.

        Args:
            thread_id: The thread.
        """
        await self._parked.end_thread(thread_id)
        await self._slots.end_thread(thread_id)

    async def end_user(self, user: str) -> None:
        """End the sessions of a user, such as one who signs off; what is stored for that user stays.

        Args:
            user: The user.
        """
        await self._slots.end_user(user)

    @contextmanager
    def acting_for(self, user: str) -> Iterator[None]:
        """Name the user of the requests that are made in a block, where no run does, such as to list tools.

        Args:
            user: The user; a run's `configurable.user_id` goes before it.
        """
        token = _acting.set(user)
        try:
            yield
        finally:
            _acting.reset(token)

    async def erase_thread(self, thread_id: str) -> int:
        """Forget a thread, as its erasure asks for.

        Args:
            thread_id: The thread.

        Returns:
            0: no run is kept here.
        """
        await self.end_thread(thread_id)
        return 0

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
        with self._used(server) as slot:
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
        listing = [self._list(name) for name in asked]
        found: dict[tuple[str, str], wire.Tool] = {}
        failed: dict[str, McpError] = {}
        dropped: dict[str, tuple[str, ...]] = {}
        changed: list[ToolChange] = []
        endpoints: dict[str, dict[str, Any]] = {}
        for server, listed in zip(asked, await asyncio.gather(*listing, return_exceptions=True), strict=True):
            if isinstance(listed, McpError):
                failed[server] = listed
            elif isinstance(listed, BaseException):
                raise listed
            else:
                protocol = {} if listed.protocol is None else {"protocol": listed.protocol}
                endpoints[server] = self._described[server].endpoint() | protocol
                usable, unpinned = self._versions.split(self._described[server].pins, listed.found)
                found |= {(server, tool.name): tool for tool in usable}
                without = (*listed.dropped, *unpinned)
                dropped |= {server: without} if without else {}
                if not self._described[server].per_user:  # lists of different users are no versions of each other
                    changed += self._versions.note(server, listed.found)
        names = visible_names(found, prefix=prefix)
        made = tuple(
            make_tool(self, tool[0], names[tool], described, endpoints[tool[0]]) for tool, described in found.items()
        )
        return McpListing(made, failed, dropped, tuple(changed))

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
        answer, secrets = await self._call(server, tool, dict(arguments), timeout_s)
        if answer.is_error:
            raise ToolException(results.failure(answer, secrets))
        return results.tool_result(answer)

    async def _call(
        self, server: str, tool: str, arguments: dict[str, Any], timeout_s: float | None
    ) -> tuple[wire.CallToolResult, Secrets]:
        hear = reporting.reporter.get()
        with self._used(server) as slot:
            key = None if self._on_elicitation is not None else calls.place(server, tool, arguments)
            if key is not None and (parked := self._parked.take(key)) is not None:
                return await self._attend(parked, key, hear), slot.secrets
            resumed = None if key is None else await calls.resume(key)
            connection = await slot.ready()
            if (pins := self._described[server].pins) is not None:
                self._versions.check(server, tool, pins, (await connection.tools(known=True)).found)
            if (change := self._versions.untold(server, tool)) is not None and hear is not None:
                await hear(reporting.ToolLog("warning", change.as_json(), "stategraph.agent.mcp"))
            try:
                call = connection.begin_call(tool, arguments, timeout_s, hear is not None, resumed)
                answer = await self._attend(call, key, hear)
            except McpNotDone:
                connection = await slot.ready()
                call = connection.begin_call(tool, arguments, timeout_s, hear is not None, resumed)
                answer = await self._attend(call, key, hear)
            slot.answered()
            return answer, connection.secrets

    async def _attend(
        self, call: calls.Call[wire.CallToolResult], key: calls.Key | None, hear: reporting.Reporter | None
    ) -> wire.CallToolResult:
        """Attend to a call; if a question of its server pauses the run, keep it for when the run goes on."""
        try:
            return await call.attend(self._on_elicitation, hear)
        except GraphBubbleUp:
            if key is None:
                await call.abandon()
            else:
                self._parked.park(key, call)
            raise

    async def _list(self, server: str) -> Tools:
        return await self._use(server, lambda session: session.tools())

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

    def resource_tool(self, *servers: str) -> BaseTool:
        """Make a tool with which a model reads resources, such as those that results of tools link to.

        Args:
            *servers: Whose; none means all.

        Raises:
            ValueError: There is no such server.
        """
        if unknown := [each for each in servers if each not in self._described]:
            known = ", ".join(self._described) or "none"
            raise ValueError(f"There is no MCP server {unknown[0]!r}; there are: {known}")
        return make_resource_tool(self, tuple(dict.fromkeys(servers)) or self.servers)

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
        loop, context = self._loop, contextvars.copy_context()

        async def in_context() -> T:
            # The run that calls is known by its context: whom to report to, and whether it can pause.
            return await loop.create_task(ask(), context=context)

        waiting = asyncio.run_coroutine_threadsafe(in_context(), loop)
        try:
            return waiting.result()
        except BaseException:
            waiting.cancel()
            raise

    async def _use(self, server: str, ask: Callable[[Connection], Awaitable[T]]) -> T:
        with self._used(server) as slot:
            connection = await slot.ready()
            try:
                answer = await ask(connection)
            except McpNotDone:
                answer = await ask(await slot.ready())
            slot.answered()
            return answer

    @contextmanager
    def _used(self, server: str) -> Iterator[Slot]:
        if self._closed or self._loop is None:
            state = "closed" if self._closed else "not open"
            raise RuntimeError(f"MCP sessions are {state}; use them inside of `async with McpSessions(servers)`")
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError(
                "MCP sessions were opened in another event loop; use them there, or open others in this one"
            )
        if server not in self._described:
            raise ValueError(f"There is no MCP server {server!r}; there are: {', '.join(self._described) or 'none'}")
        with self._slots.used(server, _of_run(CONFIG_KEY_THREAD_ID), _of_run(calls.USER_ID) or _acting.get()) as slot:
            yield slot


def _of_run(name: str) -> str | None:
    """Return what the run that is calling has in its `configurable`, such as its thread."""
    try:
        found = (get_config().get(CONF) or {}).get(name)
    except RuntimeError:
        return None
    return None if found is None else str(found)
