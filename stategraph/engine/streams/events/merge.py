"""Reading several queues as one, in the order in which their items arrived.

An error comes after everything that arrived before it, whichever queue that is in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.engine.streams.events.queue import StreamChannel


class Merge:
    """The one reader of some queues of a run; to be used in a `with`, which gives the queues free again."""

    def __init__(self, projections: Mapping[str, object], names: tuple[str, ...], *, is_async: bool) -> None:
        """Choose the queues.

        Args:
            projections: All projections of the run.
            names: Those to read; one that is named twice is read once.
            is_async: How they are going to be read.
        """
        self._projections = projections
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
                queue = self._projections[name]
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

    def take(self) -> tuple[str, Any] | None:
        """Return the item that arrived first, with the name of its queue; None if there is none yet.

        Raises:
            BaseException: The error of a queue, if no item is left.
        """
        filled = {name: queue._items for name, queue in self._queues.items() if queue._items}
        if filled:
            name = min(filled, key=lambda name: filled[name][0][0])
            return name, filled[name].popleft()[1]
        for queue in self._queues.values():
            if queue._error is not None:
                raise queue._error
        return None
