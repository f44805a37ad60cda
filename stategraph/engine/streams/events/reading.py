"""The loop of every reader: take what has arrived, then ask the run for more, until there is no more.

Rules:

1. Nothing is asked for while something is there to be read.
2. A source that ended with an error raises it after its last item.
3. Readers of one source may ask at the same time; the run shares what is under way among them.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from typing import Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Pull = Callable[[], bool]
"""Has the run produce more; returns whether there may be something now."""

AsyncPull = Callable[[], Awaitable[bool]]
"""Like `Pull`, awaited."""


class Source(Protocol[T_co]):
    """A queue, a share of one, or several queues as one."""

    def arrived(self) -> Iterator[T_co]:
        """Take the items that are there, one by one.

        Raises:
            BaseException: What the source ended with, if it failed and no item is left.
        """

    @property
    def ended(self) -> bool:
        """True if nothing more will come."""

    @property
    def pull(self) -> Pull | None:
        """Asks for more, for a sync reader; None if there is no run to ask."""

    @property
    def apull(self) -> AsyncPull | None:
        """Asks for more, for an async reader; None if there is no run to ask."""


def read(source: Source[T]) -> Iterator[T]:
    """Read a source to its end, or until there is no run to ask for more."""
    more = True
    while more:
        yield from source.arrived()
        more = not source.ended and (pull := source.pull) is not None and pull()
    yield from source.arrived()


async def aread(source: Source[T]) -> AsyncGenerator[T, None]:
    """Like `read`, awaiting what is asked for."""
    more = True
    while more:
        for item in source.arrived():
            yield item
        more = not source.ended and (pull := source.apull) is not None and await pull()
    for item in source.arrived():
        yield item
