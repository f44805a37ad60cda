"""Reading several queues as one, in the order in which their items arrived.

An error comes after everything that arrived before it, whichever queue that is in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from stategraph.engine.streams.events.mux import StreamMux
from stategraph.engine.streams.events.queue import StreamChannel
from stategraph.engine.streams.events.reading import AsyncPull, Pull


class Merge:
    """The one reader of some queues of a run; to be used in a `with`, which gives the queues free again."""

    def __init__(self, mux: StreamMux, names: tuple[str, ...], *, is_async: bool) -> None:
        """Choose the queues.

        Args:
            mux: Has the projections of the run.
            names: Those to read; one that is named twice is read once.
            is_async: How they are going to be read.
        """
        self._mux = mux
        self._names = names
        self._is_async = is_async
        self._queues: dict[str, StreamChannel[Any]] = {}

    def __enter__(self) -> Merge:
        """Become the reader.

        Raises:
            KeyError: If there is no projection with a name.
            TypeError: If a projection is not a queue, or its run is driven the other way.
            RuntimeError: If a queue has a reader already.
        """
        try:
            for name in dict.fromkeys(self._names):
                queue = self._mux.extensions[name]
                if not isinstance(queue, StreamChannel):
                    raise TypeError(f"interleave() reads StreamChannels, and {name!r} is a {type(queue).__name__}")
                queue._subscribe(is_async=self._is_async)
                self._queues[name] = queue
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        """Be the reader no longer."""
        for queue in self._queues.values():
            queue._unsubscribe()

    @property
    def ended(self) -> bool:
        """True if all queues are closed and empty."""
        return all(queue._closed and not queue._items for queue in self._queues.values())

    @property
    def pull(self) -> Pull | None:
        """Asks the run for more."""
        return self._mux._pump_fn

    @property
    def apull(self) -> AsyncPull | None:
        """Asks an async run for more."""
        return self._mux._apump_fn

    def arrived(self) -> Iterator[tuple[str, Any]]:
        """Yield what has arrived, in that order, each item with the name of its queue.

        Raises:
            BaseException: The error of a queue, if no item is left.
        """
        while filled := {name: queue._items for name, queue in self._queues.items() if queue._items}:
            name = min(filled, key=lambda name: filled[name][0][0])
            yield name, filled[name].popleft()[1]
        for queue in self._queues.values():
            if queue._error is not None:
                raise queue._error
