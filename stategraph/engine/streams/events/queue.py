"""The queue between a transformer, which pushes, and the reader of a projection, who iterates.

Rules:

1. One reader. Items pushed before it comes are not kept; to share a queue, split it with `tee` or `atee`.
2. A reader that finds the queue empty asks the run for more, so nothing runs ahead of its reader.
3. The queue is bound to synchronous or asynchronous reading before its first reader, and stays that way.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class StreamChannel(Generic[T]):
    """A queue of a projection's items.

    Attributes:
        name: Method under which each item is also an event of the run. None: it is seen by the reader alone.
    """

    def __init__(self, name: str | None = None, *, maxlen: int | None = None) -> None:
        """Make an unbound queue.

        Args:
            name: See the class.
            maxlen: Accepted and not used: the reader's pace bounds the queue.

        Raises:
            ValueError: If `maxlen` is less than 1.
        """
        if maxlen is not None and maxlen < 1:
            raise ValueError(f"StreamChannel maxlen is a positive int or None, not {maxlen}")
        self.name = name
        self._maxlen = maxlen
        self._items: deque[tuple[int, T]] = deque()
        self._closed = self._subscribed = False
        self._error: BaseException | None = None
        self._is_async: bool | None = None
        self._request_more: Callable[[], bool] | None = None
        self._arequest_more: Callable[[], Awaitable[bool]] | None = None
        self._wire_fn: Callable[[T], None] | None = None
        self._mux: Any = None

    def push(self, item: T) -> None:
        """Add an item.

        Raises:
            RuntimeError: If the queue has a reader and is closed.
        """
        if self._subscribed:
            if self._closed:
                raise RuntimeError("Cannot push to a closed StreamChannel" + (f": {self.name}" if self.name else ""))
            self._items.append((0 if self._mux is None else self._mux._next_push_seq(), item))
        if self._wire_fn is not None:
            self._wire_fn(item)

    def close(self) -> None:
        """Close the queue: nothing more will come."""
        self._closed = True

    def fail(self, err: BaseException) -> None:
        """Close the queue with an exception, which the reader gets after the last item.

        Args:
            err: That exception.
        """
        self._error = err
        self._closed = True

    def __iter__(self) -> Iterator[T]:
        """Read the queue.

        Raises:
            TypeError: If it is not bound, or bound to asynchronous reading.
            RuntimeError: If it has a reader.
        """
        self._subscribe(is_async=False)
        return self._read()

    def __aiter__(self) -> AsyncIterator[T]:
        """Read the queue asynchronously.

        Raises:
            TypeError: If it is not bound, or bound to synchronous reading.
            RuntimeError: If it has a reader.
        """
        self._subscribe(is_async=True)
        return self._aread()

    def tee(self, n: int = 2) -> tuple[Iterator[T], ...]:
        """Become the reader and share what comes among `n` readers, each of whom sees everything.

        Raises:
            ValueError: If `n` is less than 1.
            TypeError: As for iteration.
            RuntimeError: As for iteration.
        """
        shares = _shares(n)
        source = iter(self)

        def read(own: deque[T]) -> Iterator[T]:
            while True:
                while own:
                    yield own.popleft()
                try:
                    item = next(source)
                except StopIteration:
                    break
                for share in shares:
                    share.append(item)
            if self._error is not None:  # the source raises it to one reader only
                raise self._error

        return tuple(map(read, shares))

    def atee(self, n: int = 2) -> tuple[AsyncIterator[T], ...]:
        """Like `tee`, for asynchronous readers. They may run as separate tasks.

        Raises:
            ValueError: If `n` is less than 1.
            TypeError: As for iteration.
            RuntimeError: As for iteration.
        """
        shares = _shares(n)
        source = aiter(self)
        turn = asyncio.Lock()

        async def read(own: deque[T]) -> AsyncIterator[T]:
            while True:
                while own:
                    yield own.popleft()
                async with turn:
                    if own:  # another reader's turn has brought an item meanwhile
                        continue
                    try:
                        item = await anext(source)
                    except StopAsyncIteration:
                        break
                    for share in shares:
                        share.append(item)
            if self._error is not None:
                raise self._error

        return tuple(map(read, shares))

    def _read(self) -> Iterator[T]:
        while self._items or not self._closed:
            if self._items:
                yield self._items.popleft()[1]
            elif self._request_more is None or (not self._request_more() and self._is_idle()):
                return
        if self._error is not None:
            raise self._error

    async def _aread(self) -> AsyncIterator[T]:
        while self._items or not self._closed:
            if self._items:
                yield self._items.popleft()[1]
            elif self._arequest_more is None or (not await self._arequest_more() and self._is_idle()):
                return
        if self._error is not None:
            raise self._error

    def _is_idle(self) -> bool:
        return not self._items and not self._closed

    # Called by the engine that drives the transformers.

    def _subscribe(self, *, is_async: bool) -> None:
        """Become the reader, as iteration does."""
        if self._is_async is None:
            raise TypeError("StreamChannel has not been bound: it can be read once its transformer takes part in a run")
        if self._is_async is not is_async:
            mode, wanted, method = ("async", "async for", "atee") if self._is_async else ("sync", "for", "tee")
            raise TypeError(f"StreamChannel is bound to {mode} mode, as its run: read it with '{wanted}' or {method}()")
        if self._subscribed:
            raise RuntimeError("StreamChannel already has a subscriber; share it with tee() or atee()")
        self._subscribed = True

    def _unsubscribe(self) -> None:
        """Be the reader no longer; what has arrived stays for the next one."""
        self._subscribed = False

    def _bind(self, *, is_async: bool) -> None:
        """Settle how it is read; once."""
        if self._is_async is not None:
            raise RuntimeError("StreamChannel is already bound")
        self._is_async = is_async

    def _bind_mux(self, mux: object) -> None:
        """Set the source of its items' numbers."""
        self._mux = mux

    def _wire(self, fn: Callable[[T], None]) -> None:
        """Settle where each item goes as an event."""
        self._wire_fn = fn


def _shares(n: int) -> list[deque[Any]]:
    if n < 1:
        raise ValueError(f"A StreamChannel is split among 1 reader or more, not {n}")
    return [deque() for _ in range(n)]
