"""The tape of a run that is recorded."""

from __future__ import annotations

import itertools
from asyncio import CancelledError
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from stategraph.core.effects import Fact
from stategraph.core.settings import UNHEARD, Watch
from stategraph.replay import asking, codec, facts, standins
from stategraph.replay.asking import Ask, AsyncPieces, AsyncWork, Inside, Pieces, Work
from stategraph.replay.codec import Json
from stategraph.replay.surroundings import scope

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from stategraph.engine.ports import ToolCalls

_WATCH: Final = UNHEARD._replace(ended=True, planned=True)


class RecordTape:
    """Writes down what one call of a graph gets from outside of it; see `stategraph.engine.ports.Tape`.

    Args:
        write: Takes the lines.
        numbers: Numbers the calls to the outside.
    """

    def __init__(self, write: Callable[[Mapping[str, Json]], object], numbers: itertools.count[int]) -> None:
        self._write = write
        self._numbers = numbers
        self._models = standins.Models()

    # -- calls ---------------------------------------------------------------

    def through(self, ask: Ask, perform: Work) -> Any:
        """Make a call, and write down what it returns or raises."""
        with self._writing(ask) as write:
            return write(perform())

    async def athrough(self, ask: Ask, perform: AsyncWork) -> Any:
        """Do the same on an event loop."""
        with self._writing(ask) as write:
            return write(await perform())

    def stream(self, ask: Ask, perform: Pieces) -> Iterator[Any]:
        """Yield what a call yields, and write it down at the end."""
        with self._listing(ask) as (step, note):
            pieces = step(perform)
            while (piece := step(lambda: next(pieces, _END))) is not _END:
                yield note(piece)

    async def astream(self, ask: Ask, perform: AsyncPieces) -> AsyncIterator[Any]:
        """Yield the same on an event loop."""
        with self._listing(ask) as (step, note):
            pieces = step(perform)
            try:
                while (piece := await _going_in(step.call, anext(pieces, _END))) is not _END:
                    yield note(piece)
            finally:
                if hasattr(pieces, "aclose"):
                    await _going_in(step.call, pieces.aclose())

    @contextmanager
    def _writing(self, ask: Ask) -> Iterator[Callable[[Any], Any]]:
        """Be inside of a call in the block, and yield the function that notes what it returns."""
        if asking.inside.get() is not None:
            yield lambda value: value
            return
        number, call = self._asked(ask), Inside()
        returned: list[Any] = []

        def write(value: Any) -> Any:
            returned.append(value)
            return value

        try:
            with asking.going_in(call, counts=ask.asks_persons):
                yield write
        except BaseException as error:
            self._failed(number, call, error)
            raise
        value = codec.check_returns(returned[0], f"What {ask.what} '{ask.name}' returned")
        self._tell(number, call, None, {"value": value})

    @contextmanager
    def _listing(self, ask: Ask) -> Iterator[tuple[_Step, Callable[[Any], Any]]]:
        """Yield what makes a step inside of a call that streams, and the function that notes a piece of it."""
        outer = asking.inside.get()
        if outer is not None:
            yield _Step(outer), lambda piece: piece
            return
        number, call, seen = self._asked(ask), Inside(), list[Json]()

        def note(piece: Any) -> Any:
            seen.append(codec.check_returns(piece, f"What {ask.what} '{ask.name}' streamed"))
            return piece

        try:
            yield _Step(call), note
        except BaseException as error:
            self._failed(number, call, error, seen)
            raise
        self._tell(number, call, None, {"pieces": seen})

    def _asked(self, ask: Ask) -> int:
        number = next(self._numbers)
        self._write(
            {
                "kind": "ask",
                "id": number,
                "task": scope(),
                "what": ask.what,
                "name": ask.name,
                "request": ask.request(),
            }
        )
        return number

    def _failed(self, number: int, call: Inside, error: BaseException, seen: list[Json] | None = None) -> None:
        if isinstance(error, CancelledError | GeneratorExit):
            self._write({"kind": "answer", "id": number, "cancelled": True, "pieces": seen or []})
        else:
            self._tell(number, call, error, {} if seen is None else {"pieces": seen})

    def _tell(self, number: int, call: Inside, error: BaseException | None, more: Mapping[str, Json]) -> None:
        self._write({"kind": "answer", "id": number, **asking.outcome(call, error), **more})

    # -- what the engine and agents ask ----------------------------------------

    def model(self, chat: BaseChatModel, /) -> BaseChatModel:
        """Return a model whose calls come through here."""
        return self._models.of(chat)

    def invoker(self, invoker: ToolCalls, /) -> ToolCalls:
        """Return what makes the calls of a tool through here."""
        return standins.TapedTool(self, invoker)

    def writer(self, write: Callable[[Any], None], /) -> Callable[[Any], None]:
        """Note what is written to the custom stream inside of a call."""

        def written(value: Any) -> None:
            call = asking.inside.get()
            if call is not None:
                call.wrote.append(codec.check_returns(value, "What a tool or function wrote to the stream"))
            write(value)

        return written

    def hold(self, ns: str, task_id: str, /) -> None:
        """Return at once: tasks end as they end."""

    async def ahold(self, ns: str, task_id: str, /) -> None:
        """Return at once."""

    def taken(self, ns: str, task_id: str, /) -> None:
        """Write down that a run hears of a task's end now."""
        self._write({"kind": "taken", "ns": ns, "task": task_id})

    # -- facts ---------------------------------------------------------------

    def sink(self, ns: str) -> _Sink | None:
        """Return what takes the facts of a graph in this namespace; None if it is part of a call to the outside."""
        return None if asking.inside.get() is not None else _Sink(self._write, ns)


class _Sink:
    watch: Watch = _WATCH

    def __init__(self, write: Callable[[Mapping[str, Json]], object], ns: str) -> None:
        self._write = write
        self._ns = ns

    def take(self, number: int, fact: Fact, /) -> None:
        """Write down a fact."""
        line = facts.line_of(self._ns, fact)
        if line is not None:
            self._write(line)


class _Step:
    """Makes a step inside of a call that streams: its reader is not inside of it."""

    def __init__(self, call: Inside) -> None:
        self.call = call

    def __call__(self, make: Callable[[], Any]) -> Any:
        with asking.going_in(self.call, counts=False):
            return make()


async def _going_in(call: Inside, step: Awaitable[Any]) -> Any:
    with asking.going_in(call, counts=False):
        return await step


_END: Final = object()
