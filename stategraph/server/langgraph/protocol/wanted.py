"""The events that a reader asks for: channels, places, and the last one that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from stategraph.server.langgraph.protocol.events import Event, Namespace
from stategraph.server.service.values import MalformedError

CHANNELS: Final = ("values", "updates", "messages", "tools", "custom", "lifecycle", "input", "tasks")

#: Clients that want everything name it too; nothing is told on it, here as on LangGraph's server.
_SILENT: Final = "checkpoints"

#: Begins the name of a channel of custom events with a name.
_NAMED: Final = "custom:"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The events that a reader asks for.

    Attributes:
        channels: The channels.
        places: Where: in these namespaces and below.
        depth: How far below; None: anywhere.
        since: Only those with a greater number.
    """

    channels: frozenset[str]
    places: Sequence[Namespace] = ((),)
    depth: int | None = None
    since: int = 0

    @classmethod
    def of(cls, body: Any) -> Self:
        """Return what a request asks for.

        Raises:
            MalformedError: It makes no sense.
        """
        if not isinstance(body, Mapping):
            raise MalformedError("The body has to be an object")
        return cls(
            _channels(body.get("channels")),
            _places(body.get("namespaces")),
            _number("depth", body.get("depth")),
            _number("since", body.get("since")) or 0,
        )

    def has(self, event: Event) -> bool:
        """Return whether an event is asked for."""
        if event.channel not in self.channels and not self._has_named(event):
            return False
        return any(self._is_at(place, event.namespace) for place in self.places)

    def _is_at(self, place: Namespace, namespace: Namespace) -> bool:
        below = len(namespace) - len(place)
        if below < 0 or (self.depth is not None and below > self.depth):
            return False
        return all(map(_same, place, namespace))

    def _has_named(self, event: Event) -> bool:
        name = event.data.get("name") if event.method == "custom" and isinstance(event.data, Mapping) else None
        return isinstance(name, str) and f"{_NAMED}{name}" in self.channels


def _channels(given: Any) -> frozenset[str]:
    if not isinstance(given, list) or not given or not all(isinstance(each, str) for each in given):
        raise MalformedError("channels is required and must be a non-empty array")
    if unknown := [each for each in given if each not in (*CHANNELS, _SILENT) and not _is_named(each)]:
        allowed = ", ".join(CHANNELS)
        raise MalformedError(
            f"channels contains unsupported entries: {', '.join(unknown)}. Allowed: {allowed}, or any `custom:<name>`."
        )
    return frozenset(given)


def _places(given: Any) -> Sequence[Namespace]:
    if given is None:
        return ((),)
    if not isinstance(given, list) or not all(map(_is_namespace, given)):
        raise MalformedError("namespaces must be an array of string arrays")
    return tuple(tuple(each) for each in given) or ((),)


def _number(name: str, given: Any) -> int | None:
    if given is not None and (isinstance(given, bool) or not isinstance(given, int) or given < 0):
        raise MalformedError(f"{name} must be a non-negative integer")
    return given


def _is_named(channel: str) -> bool:
    return channel.startswith(_NAMED) and channel != _NAMED


def _is_namespace(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _same(wanted: str, found: str) -> bool:
    """Compare parts of namespaces; one without the id of a call stands for all calls."""
    return wanted == found or (":" not in wanted and found.partition(":")[0] == wanted)
