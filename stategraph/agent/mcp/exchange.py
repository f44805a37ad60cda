"""Messages of one session, watched on the wire: pending requests, and the outcome of each.

The session of the `mcp` package matches answers to requests, and leaves three things open that are decided here:

- An answer that cannot be read. The transports of that package drop it, and its request waits until its time is over.
  Here the request fails at once, as far as the answer says which it is for, or if there is only one it can be for.
- One tool of a listing that breaks the protocol. It would cost the whole listing; here that tool is left out.
- Whose words an error is in: the server's own, or those of what stands between (`Request.trouble`).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self

import anyio
import mcp_types as wire
from mcp.shared.message import SessionMessage
from mcp_types import methods
from pydantic import ValidationError

from stategraph.agent import reporting
from stategraph.agent.mcp.clock import Clock
from stategraph.agent.mcp.elicitation import Question, Round
from stategraph.agent.mcp.errors import bounded

if TYPE_CHECKING:
    from mcp.client._transport import ReadStream, WriteStream

logger = logging.getLogger("stategraph.agent.mcp")

UNREADABLE: Final = "the answer cannot be read"

_ID = re.compile(r'"id"\s*:\s*(\d{1,15})\b')

_LISTENING: Final = "subscriptions/listen"
"""A request whose answer is the end of the session; it waits alongside all others."""

_THEIRS_KNOWN: Final = 64
"""Requests of a server's own that are remembered: some answer the answers to them."""

_WITHOUT_NAME: Final = "a tool without a name"


@dataclass(eq=False, slots=True)
class Request:
    """A request that waits for its answer.

    Attributes:
        said: What the server said about it and asked meanwhile, until None ends it; None if nobody takes that.
        reports: Whether reports are wanted.
        asked: How many questions the server has asked about it.
        pages: Pages that a person has to open before it is made again.
        asking: Whether one of them has no answer yet.
        clock: Its time limit, where that has to stand still while a person is asked.
        status: The HTTP status that refused it.
        trouble: What came instead of an answer of the server, and whether the server may be asked again: see `Trouble`.
        not_done: Why the server did nothing about it; None if it may have.
        dropped: Tools that were left out of the answer, each with the reason.
        round: What the server asked last in place of an answer.
        again: Whether it is made again from its beginning, after the server did not take its state back.
    """

    said: asyncio.Queue[reporting.ToolReport | Question | None] | None = None
    reports: bool = False
    asked: int = 0
    asking: bool = False
    pages: tuple[wire.ElicitRequestURLParams, ...] = ()
    clock: Clock | None = None
    status: int | None = None
    trouble: Trouble | None = None
    not_done: str | None = None
    dropped: list[str] = field(default_factory=list)
    round: Round | None = None
    again: bool = False

    def tell(self, what: reporting.ToolReport) -> bool:
        """Pass on what the server said; False if there is no listener."""
        if self.said is None or not self.reports:
            return False
        self.said.put_nowait(what)
        return True


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure that came instead of an answer of the server.

    Attributes:
        kind: `gone`: the connection broke on the way; `unavailable`: the server could not be reached, now; `refused`:
            it, or what stands before it, will not; `unauthorized`: it wants an authorization that could not be had;
            `bad`: what came is no answer.
        text: The failure, in words.
    """

    kind: Literal["gone", "unavailable", "refused", "unauthorized", "bad"]
    text: str


#: The request that is being made. Over HTTP it is also known where its answer is read.
current: ContextVar[Request | None] = ContextVar("stategraph_mcp_request", default=None)


class Unreadable(Exception):
    """A line or body that is no message.

    Attributes:
        raw: The beginning of it.
    """

    def __init__(self, why: str, raw: str) -> None:
        super().__init__(why)
        self.raw = raw


def read_message(raw: bytes) -> SessionMessage | Unreadable:
    """Read a message.

    Args:
        raw: Its JSON.

    Returns:
        The message, or why it is none.
    """
    try:
        return SessionMessage(wire.jsonrpc_message_adapter.validate_json(raw, by_name=False))
    except (ValidationError, ValueError, RecursionError) as error:
        return Unreadable(_why(error), raw[:4096].decode("utf-8", "replace"))


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return bounded(f"{UNREADABLE}: {error.errors()[0]['msg']}", 300)
    return bounded(f"{UNREADABLE}: {type(error).__name__}", 300)


class Exchange:
    """The two streams of a session, watched.

    Args:
        read: Messages from the server.
        write: Messages to the server.
        ended: Called when the server says no more.
        version: Gives the version of the protocol that was agreed on; None as long as there is none.
    """

    def __init__(
        self,
        read: ReadStream[SessionMessage | Exception],
        write: WriteStream[SessionMessage],
        ended: Callable[[], None],
        version: Callable[[], str | None],
    ) -> None:
        self.read = _Heard(self, read)
        self.write = _Told(self, write)
        self._ended = ended
        self._version = version
        self._waiting: dict[int | str, tuple[str, Request | None]] = {}
        self._newest = 0
        self._theirs: deque[int | str | None] = deque(maxlen=_THEIRS_KNOWN)
        self._ignored = 0

    # Messages to the server.

    def tell(self, message: SessionMessage) -> None:
        """Note a request before it is sent."""
        inner = message.message
        if isinstance(inner, wire.JSONRPCRequest):
            self._waiting[_number(inner.id)] = (inner.method, current.get())
            self._newest = max(self._newest, inner.id if isinstance(inner.id, int) else 0)
        elif isinstance(inner, wire.JSONRPCNotification) and inner.method == "notifications/cancelled":
            self._waiting.pop(_number((inner.params or {}).get("requestId", "")), None)

    # Messages from the server.

    def hear(self, heard: SessionMessage | Exception) -> SessionMessage | None:
        """Return what the session is to hear for what came; None: nothing."""
        if isinstance(heard, Exception):
            return self._unreadable(heard)
        inner = heard.message
        if isinstance(inner, wire.JSONRPCRequest):
            self._theirs.append(_number(inner.id))
        if not isinstance(inner, wire.JSONRPCResponse | wire.JSONRPCError):
            return heard
        number = None if inner.id is None else _number(inner.id)
        waiting = None if number is None else self._waiting.pop(number, None)
        if waiting is None:
            if isinstance(number, str) or (number is not None and number <= self._newest) or number in self._theirs:
                return heard  # late, because its request was given up; or unknown
            return self._fail("the answer is for a request that was never made")
        if isinstance(inner, wire.JSONRPCResponse):
            self._look_at(inner, *waiting)
        return heard

    def _look_at(self, answer: wire.JSONRPCResponse, method: str, request: Request | None) -> None:
        if method == "tools/list":
            self._keep_good_tools(answer, request)
        elif request is not None and answer.result.get("resultType") == "input_required":
            asked, state = answer.result.get("inputRequests"), answer.result.get("requestState")
            request.round = Round(asked if isinstance(asked, dict) else {}, state if isinstance(state, str) else None)

    def end(self) -> None:
        """Take note that the server says no more."""
        self._waiting.clear()
        self._ended()

    def _unreadable(self, error: Exception) -> SessionMessage | None:
        raw = getattr(error, "raw", "").lstrip()
        if raw[:1] == "{" or raw.rstrip() == "null":
            found = _ID.search(raw)
            number = int(found[1]) if found else None
            # Requests and notifications of a server have a method, and are not answers.
            if '"method"' not in raw and (number is None or number in self._waiting):
                return self._fail(str(error), number)
        self._ignored += 1
        if self._ignored == 1:
            logger.info(
                "An MCP server wrote what is no message and is ignored; said once: %s", bounded(str(error), 200)
            )
        return None

    def _fail(self, why: str, number: int | str | None = None) -> SessionMessage | None:
        """End a request whose answer is useless; the only one, if none is named."""
        if number is None:
            asked = [each for each, (method, _) in self._waiting.items() if method != _LISTENING]
            if len(asked) != 1:
                return None
            (number,) = asked
        _, request = self._waiting.pop(number)
        if request is not None and request.trouble is None:
            request.trouble = Trouble("bad", why)
        broken = wire.ErrorData(code=wire.PARSE_ERROR, message=why)
        return SessionMessage(wire.JSONRPCError(jsonrpc="2.0", id=number, error=broken))

    def _keep_good_tools(self, answer: wire.JSONRPCResponse, request: Request | None) -> None:
        version, listed = self._version(), answer.result.get("tools")
        if version is None or not isinstance(listed, list) or _is_valid(version, answer.result):
            return
        good = []
        for tool in listed:
            if _is_valid(version, {**answer.result, "tools": [tool]}):
                good.append(tool)
            elif request is not None:
                name = tool.get("name") if isinstance(tool, Mapping) else None
                named = f"tool {bounded(repr(name), 80)}" if isinstance(name, str) and name else _WITHOUT_NAME
                request.dropped.append(f"{named}: its description breaks the protocol")
        answer.result["tools"] = good


def _is_valid(version: str, result: Mapping[str, Any]) -> bool:
    try:
        methods.validate_server_result("tools/list", version, result)
        wire.ListToolsResult.model_validate(result, by_name=False)
    except (ValidationError, RecursionError):
        return False
    return True


def _number(found: int | str) -> int | str:
    """Return the id of a request as a key: some servers send numbers back as texts."""
    return int(found) if isinstance(found, str) and found.isdecimal() and len(found) < 16 else found


class _Heard:
    """The stream of what a server says, as the session reads it."""

    def __init__(self, exchange: Exchange, inner: ReadStream[SessionMessage | Exception]) -> None:
        self._exchange = exchange
        self._inner = inner

    @property
    def last_context(self) -> Context | None:
        """Return the context of the sender of the last message, where the transport knows it."""
        return getattr(self._inner, "last_context", None)

    async def receive(self) -> SessionMessage | Exception:
        while True:
            try:
                heard = await self._inner.receive()
            except (anyio.EndOfStream, anyio.ClosedResourceError):
                self._exchange.end()
                raise
            if (passed := self._exchange.hear(heard)) is not None:
                return passed

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


class _Told:
    """The stream of what a server is told, as the session writes it."""

    def __init__(self, exchange: Exchange, inner: WriteStream[SessionMessage]) -> None:
        self._exchange = exchange
        self._inner = inner

    async def send(self, item: SessionMessage, /) -> None:
        self._exchange.tell(item)
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
