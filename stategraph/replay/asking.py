"""Calls from a program to the outside: those of models, tools and functions, as both kinds of tape see them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeAlias

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF, CONFIG_KEY_SCRATCHPAD
from stategraph.engine.config import environment
from stategraph.engine.config.context import get_stream_writer
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.errors import GraphInterrupt
from stategraph.replay import codec
from stategraph.replay.codec import Json
from stategraph.replay.surroundings import scope


@dataclass(frozen=True, slots=True)
class Ask:
    """A call to the outside.

    Attributes:
        what: `model`, `tool`, `function`, `embeddings` or `store`.
        name: The name of what is called.
        request: Returns the arguments as JSON; asked in a run that is recorded or replayed alone.
        asks_persons: Whether it may call `interrupt()`.
    """

    what: str
    name: str
    request: Callable[[], Json]
    asks_persons: bool = False


Work: TypeAlias = Callable[[], Any]
AsyncWork: TypeAlias = Callable[[], Awaitable[Any]]
Pieces: TypeAlias = Callable[[], Iterator[Any]]
AsyncPieces: TypeAlias = Callable[[], AsyncIterator[Any]]
"""Calls to the outside: the last two stream."""


class CallTape(Protocol):
    """Lets calls to the outside through, and records what they return; or returns it from a recording."""

    def through(self, ask: Ask, perform: Work) -> Any:
        """Return what a call returns, or raise what it raises."""

    async def athrough(self, ask: Ask, perform: AsyncWork) -> Any:
        """Do the same on an event loop."""

    def stream(self, ask: Ask, perform: Pieces) -> Iterator[Any]:
        """Yield what a call yields."""

    def astream(self, ask: Ask, perform: AsyncPieces) -> AsyncIterator[Any]:
        """Yield the same on an event loop."""


class _Untaped:
    """Lets calls through, in runs that are neither recorded nor replayed."""

    def through(self, ask: Ask, perform: Work) -> Any:
        """Make a call."""
        return perform()

    async def athrough(self, ask: Ask, perform: AsyncWork) -> Any:
        """Make a call on an event loop."""
        return await perform()

    def stream(self, ask: Ask, perform: Pieces) -> Iterator[Any]:
        """Stream what a call streams."""
        return perform()

    def astream(self, ask: Ask, perform: AsyncPieces) -> AsyncIterator[Any]:
        """Stream the same on an event loop."""
        return perform()


UNTAPED: Final = _Untaped()


def tape() -> CallTape:
    """Return the tape of the run that this is called in; one that lets calls through if it has none."""
    found: Any = environment.current().tape
    return found if hasattr(found, "through") else UNTAPED


@dataclass(slots=True)
class Inside:
    """The doings of a program inside of a recorded call that a replay has to repeat.

    Attributes:
        wrote: What it wrote to the custom stream.
        questions: How many interrupts it came to.
    """

    wrote: list[Json] = field(default_factory=list)
    questions: int = 0


inside: ContextVar[Inside | None] = ContextVar("stategraph_replay_inside", default=None)
"""The recorded call that is under way: those in it are part of it."""


@contextmanager
def going_in(call: Inside, *, counts: bool) -> Iterator[None]:
    """Be inside of a recorded call in the `with` block.

    Args:
        call: The call.
        counts: Whether its interrupts are counted.
    """
    token = inside.set(call)
    config = var_child_runnable_config.get() if counts else None
    ambient = None if config is None else var_child_runnable_config.set(counting(config, call))
    try:
        yield
    finally:
        inside.reset(token)
        if ambient is not None:
            var_child_runnable_config.reset(ambient)


def counting(config: RunnableConfig, call: Inside) -> RunnableConfig:
    """Return a config whose interrupts are counted for a call."""
    conf = config.get(CONF) or {}
    pad = conf.get(CONFIG_KEY_SCRATCHPAD)
    if pad is None:
        return config
    return {**config, CONF: {**conf, CONFIG_KEY_SCRATCHPAD: _CountingPad(pad, call)}}


def counted(config: RunnableConfig) -> RunnableConfig:
    """Return a config whose interrupts are counted for the call that is under way."""
    call = inside.get()
    return config if call is None else counting(config, call)


class _CountingPad:
    """A task's scratchpad that counts interrupts for a call."""

    def __init__(self, pad: Any, call: Inside) -> None:
        self._pad = pad
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pad, name)

    def interrupt_counter(self) -> int:
        """Return the number of the next interrupt."""
        self._call.questions += 1
        number: int = self._pad.interrupt_counter()
        return number


def outcome(call: Inside, error: BaseException | None) -> dict[str, Json]:
    """Return what a replay has to know of a call beside what it returned."""
    told: dict[str, Json] = {}
    if call.wrote:
        told["wrote"] = call.wrote
    answered = call.questions
    if isinstance(error, GraphInterrupt) and call.questions and error.args and error.args[0]:
        question = error.args[0][0]
        told["asked"] = codec.encode(question.value)
        told["schema"] = codec.encode(getattr(question, "response_schema", None))
        answered -= 1
    elif error is not None:
        told["error"] = codec.error(error)
    if answered:
        told["answers"] = answered
    return told


def repeat(found: Mapping[str, Json]) -> None:
    """Do what a program did inside of a recorded call, and raise what came of it, unless it returned.

    Args:
        found: The answer, with its error as an exception.

    Raises:
        GraphInterrupt: It asked a question.
        BaseException: It failed.
    """
    for _ in range(found.get("answers", 0)):
        interrupt(None)
    for value in found.get("wrote", ()):
        get_stream_writer()(codec.decode(value))
    if "asked" in found:
        interrupt(codec.decode(found["asked"]), response_schema=codec.decode(found.get("schema")))
    if found.get("error") is not None:
        raise found["error"]


def place(where: str) -> str:
    """Return the names of a task and of those around it, of its namespace, as `outer/inner`."""
    return "/".join(part.partition(":")[0] for part in where.split("|") if part)


def here() -> str:
    """Return the same for the task that runs here."""
    return place(scope())
