"""The queue between a transformer, which pushes, and the reader of a projection, who iterates.

Rules:

1. One reader. Items pushed before it comes are not kept; to share a queue, split it with `tee` or `atee`.
2. A reader that finds the queue empty asks the run for more, so nothing runs ahead of its reader.
3. The queue is bound to synchronous or asynchronous reading before its first reader, and stays that way.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Generic, TypeVar

from stategraph.engine.streams.events.reading import AsyncPull, Pull, aread, read

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
        self._items: deque[tuple[int, T]] = deque()  # that its one reader has yet to take
        self._kept = [self._items]  # or those of each share, if it was split
        self._closed = self._subscribed = False
        self._error: BaseException | None = None
        self._is_async: bool | None = None
        self._request_more: Pull | None = None
        self._arequest_more: AsyncPull | None = None
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
            numbered = (0 if self._mux is None else self._mux._next_push_seq(), item)
            for items in self._kept:
                items.append(numbered)
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
        return read(_Share(self, self._items))

    def __aiter__(self) -> AsyncIterator[T]:
        """Read the queue asynchronously.

        Raises:
            TypeError: If it is not bound, or bound to synchronous reading.
            RuntimeError: If it has a reader.
        """
        self._subscribe(is_async=True)
        return aread(_Share(self, self._items))

    def tee(self, n: int = 2) -> tuple[Iterator[T], ...]:
        """Become the reader and share what comes among `n` readers, each of whom sees everything.

        Raises:
            ValueError: If `n` is less than 1.
            TypeError: As for iteration.
            RuntimeError: As for iteration.
        """
        return tuple(read(share) for share in self._split(n, is_async=False))

    def atee(self, n: int = 2) -> tuple[AsyncIterator[T], ...]:
        """Like `tee`, for asynchronous readers. They may run as separate tasks.

        Raises:
            ValueError: If `n` is less than 1.
            TypeError: As for iteration.
            RuntimeError: As for iteration.
        """
        return tuple(aread(share) for share in self._split(n, is_async=True))

    def _split(self, n: int, *, is_async: bool) -> list[_Share[T]]:
        """Become the reader, and keep each item once for each of `n` shares."""
        if n < 1:
            raise ValueError(f"A StreamChannel is split among 1 reader or more, not {n}")
        self._subscribe(is_async=is_async)
        self._kept = [self._items.copy() for _ in range(n)]
        return [_Share(self, items) for items in self._kept]

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


class _Share(Generic[T]):
    """The items that one reader of a queue has yet to take; a `Source`."""

    __slots__ = ("_items", "_queue")

    def __init__(self, queue: StreamChannel[T], items: deque[tuple[int, T]]) -> None:
        self._queue = queue
        self._items = items

    def arrived(self) -> Iterator[T]:
        items, queue = self._items, self._queue
        while items:
            yield items.popleft()[1]
        if queue._closed and queue._error is not None:
            raise queue._error

    @property
    def ended(self) -> bool:
        return self._queue._closed

    @property
    def pull(self) -> Pull | None:
        return self._queue._request_more

    @property
    def apull(self) -> AsyncPull | None:
        return self._queue._arequest_more
