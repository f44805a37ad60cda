"""Wire events of a protocol with their places in the log, so that a reader may come back.

Rules
-----
* The id of a wire event is `SEQ-PART`: the number of the logged event that it comes from, and its place among the wire
  events of that one, from 1. It is the same whenever and wherever the run is read.
* A reader that comes back names the last id it has. The log is read from its start, as an encoder needs to know what
  was before, and only what comes after that id is sent.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterable, Callable, Iterable
from contextlib import aclosing
from typing import Final, NamedTuple, TypeVar

from stategraph.server.projection.projection import Logged

T = TypeVar("T")

_ID: Final = re.compile(r"(\d{1,15})-(\d{1,9})")


class Position(NamedTuple):
    """A place between the wire events of a run."""

    seq: int
    part: int

    def __str__(self) -> str:
        """Return the id of the event before it."""
        return f"{self.seq}-{self.part}"


#: Before the first event.
START: Final = Position(0, 0)


def position(last_event_id: str | None) -> Position:
    """Read the id of the last event that a reader has; the start, if it names none.

    Raises:
        ValueError: It is no such id.
    """
    if not last_event_id:
        return START
    found = _ID.fullmatch(last_event_id.strip())
    if found is None:
        raise ValueError(
            f"The id of the last event is {last_event_id[:40]!r}; expected one of this stream, like '12-1'"
        )
    return Position(int(found[1]), int(found[2]))


async def wire_events(
    events: AsyncIterable[Logged], encode: Callable[[Logged], Iterable[T]], after: Position = START
) -> AsyncGenerator[tuple[Position, T], None]:
    """Yield the wire events of a run after a position, as they come.

    Args:
        events: The log from its start.
        encode: Called with each event; returns the wire events that it gives.
        after: The last one that the reader has.
    """
    async with aclosing(_closing(events)) as logged:
        async for event in logged:
            for part, each in enumerate(encode(event), 1):
                at = Position(event.seq, part)
                if at > after:
                    yield at, each


async def _closing(events: AsyncIterable[Logged]) -> AsyncGenerator[Logged, None]:
    """Yield what is given, and close it when the reader leaves."""
    try:
        async for event in events:
            yield event
    finally:
        if (close := getattr(events, "aclose", None)) is not None:
            await close()
