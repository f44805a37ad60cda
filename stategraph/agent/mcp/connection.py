"""The requests of one session with one MCP server, and what their failures mean.

Rules:

- What a server says about a call while it works is heard before the call returns, in order, by the reporter that the
  caller had when it called. If that reporter fails, the call is cancelled and fails with its error.
- Whose words an error is in decides its class: see `errors`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

import anyio
import mcp_types as wire
from mcp import Client, MCPError
from mcp.shared.exceptions import UrlElicitationRequiredError
from pydantic import ValidationError

from stategraph.agent import reporting
from stategraph.agent.mcp import call_meta, elicitation, listing, logs
from stategraph.agent.mcp.calls import Call, Resumed, digest
from stategraph.agent.mcp.clock import Clock
from stategraph.agent.mcp.elicitation import Question
from stategraph.agent.mcp.errors import (
    LONGEST,
    McpBadAnswer,
    McpError,
    McpNotDone,
    McpRefused,
    McpTimeout,
    McpUnauthorized,
    McpUnavailable,
    words,
)
from stategraph.agent.mcp.exchange import Request, current
from stategraph.agent.mcp.lifetime import Session, as_result, is_modern, with_status
from stategraph.agent.mcp.servers import McpServer

T = TypeVar("T")

PING_S: Final = 5.0
"""Seconds in which a server has to show that it is there."""

TOOLS_KEPT_S: Final = 60.0
"""Seconds for which a list of tools is believed: a server may lose the way to tell that it changed."""

_NOT_OFFERED: Final = {"Sampling not supported": "sampling", "List roots not supported": "roots"}
"""What the `mcp` package answers for what is not offered, by its own words."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The tools that a server lists.

    Attributes:
        found: Tools that an agent can have, in the server's order.
        dropped: The tools left out, each with the reason.
        protocol: The version of the protocol that the server speaks.
    """

    found: tuple[wire.Tool, ...]
    dropped: tuple[str, ...]
    protocol: str | None = None


class Connection(Session):
    """A session with the requests that can be made in it."""

    def __init__(self, name: str, server: McpServer) -> None:
        super().__init__(name, server)
        self._kept: tuple[Tools, int, float] | None = None

    async def ping(self) -> None:
        """Ask whether the server is there.

        Raises:
            McpUnavailable: It is not, or did not say so within `PING_S`.
        """
        client = self._connected()
        # Protocols since 2026-07-28 have no ping; what a server can do may be asked at any time.
        ask = client.session.send_discover(client.protocol_version) if is_modern(client) else client.session.send_ping()
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

    def begin_call(
        self,
        name: str,
        arguments: dict[str, Any],
        timeout_s: float | None,
        reports: bool,
        resumed: Resumed | None = None,
    ) -> Call[wire.CallToolResult]:
        """Call a tool; the caller attends to the call.

        Args:
            name: The tool's name on the server.
            arguments: As its schema asks for them.
            timeout_s: Seconds in which it has to answer; None: the server's `call_timeout_s`.
            reports: Whether progress and log of the server are wanted.
            resumed: What is known of the call from before a pause; None: it is made for the first time.

        Raises:
            McpUnavailable: There is no session.
        """
        self._connected()
        said: asyncio.Queue[reporting.ToolReport | Question | None] = asyncio.Queue()
        request = Request(said=said, reports=reports, asked=0 if resumed is None else len(resumed.questions))
        work = self._call(name, arguments, timeout_s, request, resumed)
        return Call(self._name, work, said, digest(self._name, name, arguments), resumed)

    async def _call(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None, request: Request, resumed: Resumed | None
    ) -> wire.CallToolResult:
        async def progressed(progress: float, total: float | None, message: str | None) -> None:
            request.tell(reporting.ToolProgress(progress, total, self._secrets.value(message)))

        on_progress = progressed if request.reports else None
        meta = call_meta.current.get()
        along = None if meta is None else cast("wire.RequestParamsMeta", dict(meta))

        async def send(client: Client) -> wire.CallToolResult:
            call = partial(client.call_tool, name, arguments, math.inf, on_progress, meta=along)
            if resumed is None or request.again:
                return await call()
            if is_modern(client):
                answers: wire.InputResponses = {key: as_result(answer) for key, answer in resumed.answers.items()}
                try:
                    return await call(input_responses=answers, request_state=resumed.state)
                except MCPError as error:
                    if request.round is not None or not _refuses_state(error):
                        raise
            request.again = True
            return await call()

        limit = self._server.call_timeout_s if timeout_s is None else timeout_s
        try:
            # Not the limit of the `mcp` package, which goes on while a person is asked.
            async with Clock(limit) as request.clock:
                if not self._askers.unsure:
                    return await self._asking_pages(f"tool {name!r}", send, request)
                async with self._askers.one_at_a_time:
                    return await self._asking_pages(f"tool {name!r}", send, request)
        except TimeoutError:
            self._doubtful = True
            message = f"MCP server {self._name!r} did not answer in time for tool {name!r}"
            raise McpTimeout(message, server=self._name) from None

    async def _asking_pages(self, what: str, send: Callable[[Client], Awaitable[T]], request: Request) -> T:
        """Make a request; if the server wants a person to open pages first (error -32042), ask, and make it again."""
        while True:
            try:
                return await self._ask(what, send, request)
            except McpRefused:
                pages, request.pages = request.pages, ()
                if not pages or request.asked + len(pages) > elicitation.MOST_QUESTIONS:
                    raise
                for page in pages:
                    request.asked += 1
                    question = self._question(self._asked(page), request)
                    if self._flaw(question.asked) or (await self._put(question, request)).action != "accept":
                        raise

    async def tools(self, *, known: bool = False) -> Tools:
        """List all tools; from memory, if the server promised to tell of changes and has told of none since.

        Args:
            known: Take them from memory also if it promised nothing.
        """
        now = asyncio.get_running_loop().time()
        may_keep = known or self._tells_changes
        if (
            may_keep
            and self._kept is not None
            and self._kept[1] == self._changes
            and now - self._kept[2] < TOOLS_KEPT_S
        ):
            return self._kept[0]
        if self._connected().server_capabilities.tools is None:
            return Tools((), ())
        changes = self._changes
        request = Request()
        found, dropped = listing.usable(await self._pages("list of tools", _tools_page, request))
        said = tuple(self._said(each) for each in (*request.dropped, *dropped))
        tools = Tools(tuple(found), said, self._connected().protocol_version)
        self._kept = tools, changes, now
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

    async def _pages(
        self,
        what: str,
        fetch: Callable[[str | None, Client], Awaitable[tuple[Sequence[T], str | None]]],
        request: Request | None = None,
    ) -> Sequence[T]:
        whole = request or Request()

        async def page(cursor: str | None) -> tuple[Sequence[T], str | None]:
            one = Request(dropped=whole.dropped, clock=whole.clock)
            return await self._ask(what, partial(fetch, cursor), one)

        limit = self._server.call_timeout_s
        try:
            async with Clock(limit) as whole.clock:
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
        self._requests[request] = None
        token, hiding = current.set(request), logs.hiding.set(self._secrets)
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
            logs.hiding.reset(hiding)
            self._requests.pop(request, None)
            self._used_at = asyncio.get_running_loop().time()
            if self._forgotten and not self._requests:
                self._stop.set()
        # Not from within a handler: the error there still has all that the server said.
        raise failure from cause

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
                case "unauthorized":
                    return McpUnauthorized(self._unauthorized(what, said), server=self._name)
                case "refused":
                    return McpRefused(f"{server} refused {what} ({said})", server=self._name)
                case "bad":
                    message = f"What {server} answered for {what} cannot be used: {said}"
                    return McpBadAnswer(message, server=self._name)
        if error.code == wire.CONNECTION_CLOSED:
            return self._gone(what)
        if error.code == wire.URL_ELICITATION_REQUIRED:
            with suppress(ValueError):
                request.pages = tuple(UrlElicitationRequiredError.from_error(error.error).elicitations)
        if error.code == wire.INVALID_REQUEST and (wanted := _NOT_OFFERED.get(error.message)) is not None:
            message = f"{server} asks for {wanted} to work on {what}, which is not offered here"
            return McpRefused(message, server=self._name)
        if error.code == wire.PARSE_ERROR and error.message.startswith("Failed to parse "):
            # The package's words for an event that is no message.
            message = f"What {server} answered for {what} cannot be used: {self._said(error.message, 300)}"
            return McpBadAnswer(message, server=self._name)
        message = f"{server} refused {what}: {self._said(error.message)}{with_status(request.status)}"
        return McpRefused(message, server=self._name, code=error.code)

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


def _refuses_state(error: MCPError) -> bool:
    """Return whether a server says that it takes a state not back: it is too old, or the server was started anew."""
    reason = error.error.data.get("reason") if isinstance(error.error.data, Mapping) else None
    said = reason == "invalid_request_state" or "requeststate" in error.message.lower()
    return error.code == wire.INVALID_PARAMS and said


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
