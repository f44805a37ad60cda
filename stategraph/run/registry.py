"""Who handles which event.

- One handler per event; registering again replaces it. An event nobody registered for is dropped.
- A handler is called with the event's name, its payload, the metadata of where it arose, and the run's graph. It may be
  sync or async; the run waits for it.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol, TypeAlias, cast

Handle: TypeAlias = Callable[[str, Any, "Mapping[str, Any] | None", Any], "Awaitable[None] | None"]


class HandlerObject(Protocol):
    """An object that handles events."""

    def handle(
        self, event: str, data: Any, metadata: Mapping[str, Any] | None, graph: Any, /
    ) -> Awaitable[None] | None:
        """Handle one event."""


Handler: TypeAlias = Handle | HandlerObject


class EventHandlerRegistry:
    """Handlers by the name of their event.

    Args:
        handlers: The first handlers.
    """

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers: dict[str, Handler] = {}
        self._calls: dict[str, Handle] = {}
        for event, handler in (handlers or {}).items():
            self.register(event, handler)

    def register(self, event: str, handler: Handler) -> None:
        """Let a handler handle an event, in place of the one before.

        Args:
            event: The event's name on the wire; also a name of your own, for custom events.
            handler: A function of (event, data, metadata, graph), or an object with such a method `handle`.

        Raises:
            TypeError: If the handler is neither.
        """
        handle = getattr(handler, "handle", handler)
        if not callable(handle):
            raise TypeError(
                f"The handler of '{event}' is {type(handler).__name__}; expected a function of (event, data, metadata, "
                "graph), or an object with a method `handle` that takes them"
            )
        self._handlers[str(event)] = handler
        self._calls[str(event)] = cast("Handle", handle)

    def get_handler(self, event: str) -> Handler | None:
        """The handler of an event, or None."""
        return self._handlers.get(event)

    def get_handle(self, event: str) -> Handle | None:
        """The function that handles an event, or None."""
        return self._calls.get(event)

    def unregister(self, event: str) -> Handler | None:
        """Take the handler of an event away.

        Returns:
            The handler, or None if there was none.
        """
        self._calls.pop(str(event), None)
        return self._handlers.pop(str(event), None)

    @property
    def events(self) -> frozenset[str]:
        """The names of all events that have a handler."""
        return frozenset(self._handlers)

    async def handle(self, event: str, data: Any, metadata: Mapping[str, Any] | None, graph: Any) -> bool:
        """Call the handler of an event, if there is one, and wait for it.

        Returns:
            Whether there was one.
        """
        call = self._calls.get(event)
        if call is None:
            return False
        answer = call(event, data, metadata, graph)
        if answer is not None and inspect.isawaitable(answer):
            await answer
        return True


def compose_event_handlers(*several: Mapping[str, Handler]) -> dict[str, Handler]:
    """One mapping of handlers from several: those of the same event are called one after the other.

    Args:
        *several: Handlers by event.

    Returns:
        Handlers by event.
    """
    by_event: dict[str, list[Handler]] = {}
    for handlers in several:
        for event, handler in handlers.items():
            by_event.setdefault(str(event), []).append(handler)
    return {event: each[0] if len(each) == 1 else _in_turn(each) for event, each in by_event.items()}


def _call_of(handler: Handler) -> Handle:
    return cast("Handle", getattr(handler, "handle", handler))


def _in_turn(handlers: list[Handler]) -> Handle:
    calls = [_call_of(handler) for handler in handlers]

    async def handle(event: str, data: Any, metadata: Mapping[str, Any] | None, graph: Any) -> None:
        for call in calls:
            answer = call(event, data, metadata, graph)
            if answer is not None and inspect.isawaitable(answer):
                await answer

    return handle


def name_of(handler: Handler | None) -> str:
    """What a handler is called, for a message."""
    handle: Any = getattr(handler, "handle", handler)
    return str(getattr(handle, "__qualname__", None) or type(handle).__name__)
