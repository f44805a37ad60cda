"""Events of a run, made of what it has logged.

Rules
-----
* The first event says that the run goes on, the last one how it ended; between them each graph inside of the graph
  begins with its first event and ends with the run, at the latest.
* What the run asks is told once, where it was asked.
* The same log gives the same events, whoever reads it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from stategraph.server.langgraph.protocol.messages import Messages
from stategraph.server.service.plain import plain
from stategraph.server.service.port import LoggedEvent
from stategraph.types import Interrupt
from stategraph.workers.registry.operations import ATTEMPT_EVENT, END_EVENT

Namespace: TypeAlias = tuple[str, ...]

#: Modes that a run logs for this protocol.
MODES: Final = ("values", "updates", "messages", "tools", "custom", "tasks")

#: Ends of runs, by the statuses of the registry.
_ENDS: Final[Mapping[str, str]] = {"success": "completed", "interrupted": "interrupted"}

#: The key of updates under which a graph tells what it asks.
ASKED: Final = "__interrupt__"


@dataclass(frozen=True, slots=True)
class Event:
    """An event.

    Attributes:
        method: What happened: the name of a channel, or `input.requested`.
        namespace: Where: the graphs around, the outermost first.
        data: JSON.
    """

    method: str
    namespace: Namespace
    data: Any

    @property
    def channel(self) -> str:
        """The channel that readers subscribe to."""
        return "input" if self.method == "input.requested" else self.method


class RunEvents:
    """Makes the events of one run.

    Args:
        graph_name: The name of its graph.
        error: Returns why the run failed, once it has.
    """

    def __init__(self, graph_name: str) -> None:
        self._graph_name = graph_name
        self._running: dict[Namespace, None] = {}
        self._messages: dict[Namespace, Messages] = {}
        self._asked: set[str] = set()
        self._ends: dict[Namespace, str] = {}

    @property
    def tree(self) -> dict[Namespace, str]:
        """The graphs that have begun, and their status, the outermost first."""
        return {(): "running", **dict.fromkeys(self._running, "running"), **self._ends}

    def of(self, logged: LoggedEvent, error: str | None = None) -> Iterator[Event]:
        """Return the events of a logged one.

        Args:
            logged: The logged event.
            error: Why the run failed, if this is its end and it did.
        """
        mode, _, names = logged.type.partition("|")
        namespace: Namespace = tuple(names.split("|")) if names else ()
        if mode == ATTEMPT_EVENT:
            if logged.attempt == 1:
                yield Event("lifecycle", (), {"event": "running", "graph_name": self._graph_name})
            return
        if mode == END_EVENT:
            yield from self._ended(str(logged.data["status"]), error)
            return
        if mode in MODES:
            yield from self._begun(namespace)
            yield from self._of_mode(mode, namespace, logged.data)

    def _begun(self, namespace: Namespace) -> Iterator[Event]:
        """Return the beginnings of graphs that have not begun."""
        for depth in range(1, len(namespace) + 1):
            part = namespace[:depth]
            if part not in self._running and part not in self._ends:
                self._running[part] = None
                name, _, call = part[-1].partition(":")
                begun = {"event": "started", "namespace": list(part), "graph_name": name}
                yield Event("lifecycle", part, {**begun, "trigger_call_id": call} if call else begun)

    def _of_mode(self, mode: str, namespace: Namespace, data: Any) -> Iterator[Event]:
        if mode == "messages":
            told = self._messages.setdefault(namespace, Messages())
            message, metadata = data
            for each in told.told(message, metadata):
                yield Event("messages", namespace, each)
            return
        if mode == "updates" and isinstance(data, Mapping):
            yield from self._said(namespace)
            for node, values in data.items():
                if node == ASKED:
                    yield from self._questions(namespace, values)
                else:
                    yield Event("updates", namespace, {"node": node, "values": compact(values)})
            return
        if mode == "values" and isinstance(data, Mapping):  # what it asks is told by itself
            data = {name: value for name, value in data.items() if name != ASKED}
        yield Event(mode, namespace, compact(data))

    def _said(self, namespace: Namespace) -> Iterator[Event]:
        """Return the ends of messages in a graph whose node has ended."""
        if (told := self._messages.get(namespace)) is not None:
            for each in told.ended():
                yield Event("messages", namespace, each)

    def _questions(self, namespace: Namespace, asked: Any) -> Iterator[Event]:
        for each in asked:
            if isinstance(each, Interrupt) and each.id not in self._asked:
                self._asked.add(each.id)
                yield Event("input.requested", namespace, {"interrupt_id": each.id, "payload": compact(each.value)})

    def _ended(self, status: str, error: str | None) -> Iterator[Event]:
        end = _ENDS.get(status, "failed")
        for namespace in list(self._messages):
            yield from self._said(namespace)
        for namespace in sorted(self._running, key=len, reverse=True):
            name = namespace[-1].partition(":")[0]
            yield Event("lifecycle", namespace, {"event": end, "graph_name": name})
        self._ends = dict.fromkeys([(), *self._running], end)
        self._running.clear()
        data = {"event": end, "graph_name": self._graph_name}
        if end == "failed":
            data["error"] = "cancelled" if status == "cancelled" else error or status
        yield Event("lifecycle", (), data)


def compact(value: Any) -> Any:
    """Return a value as JSON, with messages that leave out what is empty."""
    return _compacted(plain(value))


def _compacted(value: Any) -> Any:
    if isinstance(value, list):
        return [_compacted(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "content" in value and "additional_kwargs" in value and "type" in value:
        kept = ("type", "content")
        value = {name: each for name, each in value.items() if name in kept or each not in (None, [], {})}
    return {name: _compacted(each) for name, each in value.items()}
