"""Handlers of events.

- One handler per event; registering again replaces it. An event without a handler is dropped.
- A handler is called with the event's name, its payload, the metadata of where it arose, and the run's graph. It may be
  sync or async; the run waits for it.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, cast

from stategraph.agent.messages import problems
from stategraph.errors import HandlerError
from stategraph.run.events.event_types import GraphEvents

_log = logging.getLogger(__name__)

#: Names of all events that runs emit.
_KNOWN = tuple(map(str, GraphEvents))

#: Its return value counts for `on_tool_execute` alone: the results.
Handle: TypeAlias = Callable[[str, Any, "Mapping[str, Any] | None", Any], Any]


class HandlerObject(Protocol):
    """An object that handles events."""

    def handle(self, event: str, data: object, metadata: Mapping[str, Any] | None, graph: Any, /) -> Any:
        """Handle one event; may be async. What it returns counts for `on_tool_execute` alone."""


Handler: TypeAlias = Handle | HandlerObject


class EventHandlerRegistry(Mapping[str, Handler]):
    """Handlers by the name of their event; a mapping that runs take as their `custom_handlers`.

    Args:
        handlers: The first handlers.
    """

    def __init__(self, handlers: Mapping[str, Handler] | None = None) -> None:
        self._handlers: dict[str, Handler] = {}
        self._calls: dict[str, Handle] = {}
        self._watchers: list[Callable[[], None]] = []
        for event, handler in (handlers or {}).items():
            self.register(event, handler)

    def __getitem__(self, event: str) -> Handler:
        return self._handlers[event]

    def __iter__(self) -> Iterator[str]:
        return iter(self._handlers)

    def __len__(self) -> int:
        return len(self._handlers)

    def register(self, event: str, handler: Handler) -> None:
        """Let a handler handle an event, in place of the one before.

        Args:
            event: The event's name on the wire; also a name of your own, for custom events.
            handler: A function of (event, data, metadata, graph), or an object with such a method `handle`.

        Raises:
            TypeError: If the handler is neither.
        """
        self._calls[str(event)] = _call_of(event, handler)
        if event not in _KNOWN:
            _warn_of_typo(str(event))
        self._handlers[str(event)] = handler
        self._tell_watchers()

    def get_handler(self, event: str) -> Handler | None:
        """Return the handler of an event, or None."""
        return self._handlers.get(event)

    def get_handle(self, event: str) -> Handle | None:
        """Return the function that handles an event, or None."""
        return self._calls.get(event)

    def unregister(self, event: str) -> Handler | None:
        """Take the handler of an event away.

        Returns:
            The handler, or None if there was none.
        """
        self._calls.pop(str(event), None)
        handler = self._handlers.pop(str(event), None)
        self._tell_watchers()
        return handler

    def name_of(self, event: str) -> str:
        """Return the name of an event's handler, for messages; empty without one."""
        handle = self.get_handle(event)
        return "" if handle is None else _name_of(handle)

    def watch(self, watcher: Callable[[], None]) -> Callable[[], None]:
        """Be told of each change.

        Args:
            watcher: Called after a handler was registered or taken away.

        Returns:
            Call it to be told no longer.
        """
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def _tell_watchers(self) -> None:
        for watcher in self._watchers:
            watcher()

    @property
    def events(self) -> frozenset[str]:
        """The names of all events that have a handler."""
        return frozenset(self._handlers)


def compose_event_handlers(*several: Mapping[str, Handler]) -> dict[str, Handler]:
    """Merge mappings of handlers: several handlers of one event are called one after the other.

    Args:
        *several: Handlers by event.

    Returns:
        Handlers by event. Of what several return for `on_tool_execute`, the last that is not None counts.

    Raises:
        TypeError: One of them is no handler.
    """
    by_event: dict[str, list[Handler]] = {}
    for handlers in several:
        for event, handler in handlers.items():
            by_event.setdefault(str(event), []).append(handler)
    calls = {event: [_call_of(event, handler) for handler in each] for event, each in by_event.items()}
    return {event: each[0] if len(each) == 1 else HandlersInTurn(calls[event]) for event, each in by_event.items()}


def _call_of(event: str, handler: Handler) -> Handle:
    handle = getattr(handler, "handle", handler)
    if not callable(handle):
        raise TypeError(
            f"The handler of '{event}' is {type(handler).__name__}; expected a function of (event, data, metadata, "
            "graph), or an object with a method `handle` that takes them"
        )
    return cast("Handle", handle)


# A host registers the same handlers for every run: one warning for a name is enough.
@functools.lru_cache(maxsize=256)
def _warn_of_typo(event: str) -> None:
    for near in difflib.get_close_matches(event, _KNOWN, n=1, cutoff=0.85):
        _log.warning("A handler was registered for '%s', which no run emits by itself; did you mean '%s'?", event, near)


class HandlersInTurn:
    """Several handlers of one event as one: called one after the other, each waited for; the last answer counts.

    Attributes:
        calls: Their functions, in order. A run calls these itself, as an event of every token passes here.
    """

    def __init__(self, handles: list[Handle]) -> None:
        flat = (each.calls if isinstance(each, HandlersInTurn) else (each,) for each in handles)
        self.calls: tuple[Handle, ...] = tuple(call for calls in flat for call in calls)
        self.__qualname__ = ", ".join(map(_name_of, self.calls))

    async def __call__(self, event: str, data: object, metadata: Mapping[str, Any] | None, graph: Any) -> Any:
        """Handle an event.

        Raises:
            HandlerError: One of them failed.
        """
        last: Any = None
        for call in self.calls:
            try:
                answer = call(event, data, metadata, graph)
                if answer is not None and inspect.isawaitable(answer):
                    answer = await answer
            except Exception as error:
                raise failure(call, event, error) from error
            last = last if answer is None else answer
        return last


def failure(handle: Handle, event: str, error: Exception) -> HandlerError:
    """Build the error that names the handler that failed.

    Args:
        handle: The handler's function.
        event: The event that it was called for.
        error: Its error; of a handler made of several, this names the one of them already.
    """
    if isinstance(error, HandlerError):
        return error
    return HandlerError(f"The handler '{_name_of(handle)}' of '{event}' failed: {problems.named(error)}")


def _name_of(handle: Handle) -> str:
    return getattr(handle, "__qualname__", None) or type(handle).__name__
