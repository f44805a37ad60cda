"""Scripts for models, as data.

A script is a queue of entries, one for each request of the model. An entry is

* a :class:`Reply`: parts in the order in which a reader sees them. Content
  (:class:`Text`, :class:`Think`, :class:`CallPart`), timing (:class:`Pause`,
  :class:`Hold`) and breakage (:class:`Drop`, :class:`Fault`) are all parts, so
  "two words, then the connection dies" needs no option;
* a string, short for a reply of that text;
* a :class:`Failure` or an exception: the request is refused;
* a function of the :class:`ModelRequest` that returns one of the above.

The module uses the standard library alone: the server and the chat model both
perform the same script, so a test can move from one to the other.
"""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeAlias, TypeVar

GATE_TIMEOUT_S = 10.0
"""Seconds that a :class:`Gate` waits before it reports that the test never opened it."""

_WORD = re.compile(r"\s*\S+\s*|\s+")

M = TypeVar("M")


class ScriptExhausted(RuntimeError):
    """The model was asked once more than its script has entries."""


class ScriptedModelError(RuntimeError):
    """A scripted chat model performed a :class:`Failure` or a :class:`Fault`.

    Attributes:
        status: The HTTP status that a server would have answered with, or None
            when the error broke a reply that had already begun.
        code: The provider's machine-readable code, if the script gave one.
    """

    def __init__(self, message: str, *, status: int | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class _Latch:
    """A one-way switch that threads and event loops can both wait for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._event = threading.Event()
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    def set(self) -> None:
        with self._lock:
            self._event.set()
            waiters, self._waiters = self._waiters, []
        for loop, future in waiters:
            if not loop.is_closed():
                loop.call_soon_threadsafe(_resolve, future)

    def is_set(self) -> bool:
        return self._event.is_set()

    def wait(self, timeout_s: float) -> bool:
        return self._event.wait(timeout_s)

    async def wait_async(self, timeout_s: float) -> bool:
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._event.is_set():
                return True
            future: asyncio.Future[None] = loop.create_future()
            self._waiters.append((loop, future))
        try:
            await asyncio.wait_for(future, timeout_s)
        except TimeoutError:
            return self._event.is_set()
        return True


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class Gate:
    """A point in a reply where the model waits until the test lets it go on.

    It replaces a sleep: the test waits until the model has come to the gate,
    makes its assertions in the middle of a reply, and opens it.
    """

    def __init__(self, name: str = "gate") -> None:
        self.name = name
        self._reached = _Latch()
        self._opened = _Latch()

    @property
    def reached(self) -> bool:
        """True once the model has reached this gate."""
        return self._reached.is_set()

    @property
    def is_open(self) -> bool:
        """True if the model may pass."""
        return self._opened.is_set()

    def open(self) -> None:
        """Let the model pass, now or when it comes here."""
        self._opened.set()

    def arrive(self) -> None:
        """Note that the model has come here. For performers of a script."""
        self._reached.set()

    def wait_reached(self, timeout_s: float = GATE_TIMEOUT_S) -> None:
        """Block the test until the model has come here.

        Raises:
            TimeoutError: The model did not come within `timeout_s`.
        """
        if not self._reached.wait(timeout_s):
            raise TimeoutError(self._unreached(timeout_s))

    async def wait_reached_async(self, timeout_s: float = GATE_TIMEOUT_S) -> None:
        """Like :meth:`wait_reached`, without blocking the event loop."""
        if not await self._reached.wait_async(timeout_s):
            raise TimeoutError(self._unreached(timeout_s))

    def wait_open(self, timeout_s: float = GATE_TIMEOUT_S) -> None:
        """Arrive, and block the model until the gate is open.

        Raises:
            TimeoutError: The gate was not opened within `timeout_s`.
        """
        self.arrive()
        if not self._opened.wait(timeout_s):
            raise TimeoutError(self._unopened(timeout_s))

    async def wait_open_async(self, timeout_s: float = GATE_TIMEOUT_S) -> None:
        """Like :meth:`wait_open`, without blocking the event loop."""
        self.arrive()
        if not await self._opened.wait_async(timeout_s):
            raise TimeoutError(self._unopened(timeout_s))

    def _unreached(self, timeout_s: float) -> str:
        return f"the model did not reach {self.name!r} within {timeout_s:g} s; was it asked at all?"

    def _unopened(self, timeout_s: float) -> str:
        return f"{self.name!r} was not opened within {timeout_s:g} s; call open() on it in the test"


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of the visible answer; one chunk of a stream."""

    text: str


@dataclass(frozen=True, slots=True)
class Think:
    """A piece of the model's reasoning; one chunk of a stream."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPart:
    """A piece of a tool call as providers stream it.

    The first piece of a call carries `name` and `id`; the following ones only
    the same `index` and more of the `arguments` text.
    """

    index: int
    arguments: str = ""
    name: str | None = None
    id: str | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Wait `seconds_s` before the next part."""

    seconds_s: float


@dataclass(frozen=True, slots=True)
class Hold:
    """Wait at `gate` before the next part."""

    gate: Gate


@dataclass(frozen=True, slots=True)
class Drop:
    """Break the connection here: nothing further is sent, not even an end."""


@dataclass(frozen=True, slots=True)
class Fault:
    """Break the reply here with an error that the provider reports."""

    message: str = "scripted fault in the middle of a reply"


Part: TypeAlias = Text | Think | CallPart | Pause | Hold | Drop | Fault


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A whole tool call; :func:`reply` takes it apart for streaming.

    Attributes:
        name: The tool.
        args: The arguments, or a string that is sent as it is (also when it is
            not JSON, as truncated arguments are not).
        id: The call's id; None lets the performer number it.
    """

    name: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    id: str | None = None

    def arguments(self) -> str:
        """Return the arguments in their JSON text form."""
        if isinstance(self.args, str):
            return self.args
        return json.dumps(self.args, separators=(",", ":"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one reply."""

    input_tokens: int
    output_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer of the model.

    Attributes:
        parts: Content, timing and breakage in order.
        usage: Token counts; None leaves them to the performer's default.
        finish_reason: None derives it: ``tool_calls`` if there are any, else ``stop``.
        delay_s: Wait before the first byte of the answer.
        gap_s: Wait after every content part.
        id: The message's id; None lets the performer choose.
    """

    parts: tuple[Part, ...] = ()
    usage: Usage | None = None
    finish_reason: str | None = None
    delay_s: float = 0.0
    gap_s: float = 0.0
    id: str | None = None

    @property
    def finish(self) -> str:
        """The finish reason that is reported."""
        if self.finish_reason is not None:
            return self.finish_reason
        return "tool_calls" if any(isinstance(p, CallPart) for p in self.parts) else "stop"

    def text(self) -> str:
        """Return the visible answer as a whole."""
        return "".join(p.text for p in self.parts if isinstance(p, Text))

    def reasoning(self) -> str:
        """Return the reasoning as a whole."""
        return "".join(p.text for p in self.parts if isinstance(p, Think))

    def calls(self) -> list[ToolCall]:
        """Return the tool calls put together, their arguments as text, ordered by index."""
        built: dict[int, tuple[str, str, str | None]] = {}
        for part in self.parts:
            if isinstance(part, CallPart):
                name, arguments, call_id = built.get(part.index, ("", "", None))
                built[part.index] = (name + (part.name or ""), arguments + part.arguments, call_id or part.id)
        return [ToolCall(name, arguments, call_id) for _, (name, arguments, call_id) in sorted(built.items())]

    def numbered(self, prefix: str) -> Reply:
        """Return this reply with an id on each tool call that has none."""
        named = {p.index for p in self.parts if isinstance(p, CallPart) and p.id is not None}
        parts: list[Part] = []
        for part in self.parts:
            if isinstance(part, CallPart) and part.index not in named:
                named.add(part.index)
                part = CallPart(part.index, part.arguments, part.name, f"{prefix}_{part.index}")
            parts.append(part)
        return Reply(tuple(parts), self.usage, self.finish_reason, self.delay_s, self.gap_s, self.id)


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that the provider refuses.

    Attributes:
        status: The HTTP status, 400 or more.
        message: What the provider says.
        type: The provider's error family.
        code: The provider's machine-readable code.
        retry_after_s: Sent as the ``retry-after`` header.
        delay_s: Wait before refusing.
    """

    status: int
    message: str = "scripted error"
    type: str = "invalid_request_error"
    code: str | None = None
    retry_after_s: float | None = None
    delay_s: float = 0.0

    def __post_init__(self) -> None:
        if not 400 <= self.status <= 599:
            raise ValueError(f"a Failure needs an HTTP status from 400 to 599, got {self.status}")


@dataclass(frozen=True, slots=True)
class ModelRequest(Generic[M]):
    """A request to the model.

    Attributes:
        number: 0 for the first request of the script.
        model: The model's name.
        messages: The conversation: message objects in a scripted chat model,
            JSON objects in a server.
        tools: Names of the tools on offer.
        stream: Whether the caller reads the answer as a stream.
        options: Everything else that came with the request.
    """

    number: int
    model: str
    messages: tuple[M, ...]
    tools: tuple[str, ...] = ()
    stream: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


Answer: TypeAlias = Reply | Failure | BaseException | str
Entry: TypeAlias = Answer | Callable[[ModelRequest[Any]], Answer]


def call(
    name: str, args: Mapping[str, Any] | str | None = None, /, *, id: str | None = None, **kwargs: Any
) -> ToolCall:
    """Return a tool call, its arguments as a mapping, as raw text or as keywords.

    Raises:
        TypeError: Both raw text and keywords were given.
    """
    if isinstance(args, str):
        if kwargs:
            raise TypeError(f"call({name!r}): give the arguments as text or as keywords, not both")
        return ToolCall(name, args, id)
    return ToolCall(name, {**(args or {}), **kwargs}, id)


def reply(
    *parts: str | ToolCall | Part,
    usage: Usage | tuple[int, int] | None = None,
    finish_reason: str | None = None,
    delay_s: float = 0.0,
    gap_s: float = 0.0,
    id: str | None = None,
) -> Reply:
    """Build a :class:`Reply` the short way.

    Args:
        *parts: A string becomes one :class:`Text` for each of its words. A
            :class:`Think` is split into words in the same way. A :class:`ToolCall`
            becomes a header and two pieces of arguments, and calls are numbered
            in order. Everything else is taken as it is.
        usage: Token counts, or (input, output).
        finish_reason: None derives it from the parts.
        delay_s: Wait before the first byte of the answer.
        gap_s: Wait after every content part.
        id: The message's id.
    """
    out: list[Part] = []
    calls = 0
    for part in parts:
        if isinstance(part, str):
            out.extend(Text(word) for word in _WORD.findall(part))
        elif isinstance(part, Think):
            out.extend(Think(word) for word in _WORD.findall(part.text))
        elif isinstance(part, ToolCall):
            out.extend(_pieces(part, calls))
            calls += 1
        else:
            out.append(part)
    counted = Usage(*usage) if isinstance(usage, tuple) else usage
    return Reply(tuple(out), counted, finish_reason, delay_s, gap_s, id)


def _pieces(tool_call: ToolCall, index: int) -> Iterator[CallPart]:
    yield CallPart(index, "", tool_call.name, tool_call.id)
    arguments = tool_call.arguments()
    middle = (len(arguments) + 1) // 2
    for fragment in (arguments[:middle], arguments[middle:]):
        if fragment:
            yield CallPart(index, fragment)


class Script:
    """A queue of entries that any number of threads may take from.

    Args:
        entries: What the model does, request by request.
        repeat_last: Whether the last entry is used for all further requests.
            Otherwise one request too many raises :class:`ScriptExhausted`.
    """

    def __init__(self, entries: Iterable[Entry] = (), *, repeat_last: bool = False) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque(entries)
        self._repeat_last = repeat_last
        self._taken = 0

    @classmethod
    def of(cls, entries: Script | Entry | Sequence[Entry]) -> Script:
        """Make a script of any convenient form."""
        if isinstance(entries, Script):
            return entries
        if isinstance(entries, str | Reply | Failure | BaseException) or callable(entries):
            return cls([entries])
        return cls(entries)

    @property
    def remaining(self) -> int:
        """Entries that no request has taken yet."""
        return len(self._entries)

    @property
    def taken(self) -> int:
        """Requests that were answered from this script."""
        return self._taken

    def extend(self, *entries: Entry) -> None:
        """Append to the script, also while it is being performed."""
        with self._lock:
            self._entries.extend(entries)

    def next_number(self) -> int:
        """Return the number that the next request will have."""
        return self._taken

    def answer(self, request: ModelRequest[Any]) -> Reply | Failure | BaseException:
        """Take the next entry and settle it for `request`.

        Raises:
            ScriptExhausted: Nothing is left.
        """
        with self._lock:
            if not self._entries:
                raise ScriptExhausted(self._exhausted(request))
            keep = self._repeat_last and len(self._entries) == 1
            entry = self._entries[0] if keep else self._entries.popleft()
            self._taken += 1
        if callable(entry) and not isinstance(entry, BaseException):
            entry = entry(request)
        settled = reply(entry) if isinstance(entry, str) else entry
        if isinstance(settled, Reply):
            return settled.numbered(f"call_{request.number}")
        return settled

    def _exhausted(self, request: ModelRequest[Any]) -> str:
        count = "1 reply" if self._taken == 1 else f"{self._taken} replies"
        last = repr(request.messages[-1]) if request.messages else "nothing"
        if len(last) > 200:
            last = last[:200] + "..."
        return (
            f"the script of model {request.model!r} has no reply left: {count} used, and it was asked again"
            f" with {last}. Add a reply, or give Script([...], repeat_last=True)."
        )
