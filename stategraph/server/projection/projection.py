"""Logged events of a run to facts.

Rules
-----
* Events come in the order of their numbers, from the first; each gives the facts that follow from it and from those
  before. A reader that begins in the middle has the events before it taken too, and leaves their facts out.
* A fact is told once: messages by the rules of `messages`; the update of a graph around another repeats its messages,
  and tells none.
* A message that `messages` does not show, as a node returned it as a dict or a tuple, is told when the state has it:
  with `values`, or, if the run logs none, with the update.
* Interrupts are told at the end, those of the last attempt: a step that runs again asks again.
* After a takeover, updates and custom events that repeat one of the step that was not stored are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage, convert_to_messages

from stategraph.server.projection import pauses
from stategraph.server.projection.facts import (
    Custom,
    Fact,
    Interrupted,
    Outcome,
    RunEnded,
    RunStarted,
    StateUpdated,
    StateValues,
    Status,
)
from stategraph.server.projection.messages import Messages
from stategraph.server.projection.places import Places
from stategraph.server.projection.usage import UsageCount

ATTEMPT: Final = "run.attempt"
END: Final = "run.end"

_INTERRUPT: Final = "__interrupt__"

#: How nested graphs end that run when the run ends.
_OUTCOMES: Final[Mapping[str, Outcome]] = {"success": "finished", "interrupted": "suspended"}


class Logged(Protocol):
    """An event of a run's log."""

    @property
    def seq(self) -> int:
        """Its number: 1 for the first."""

    @property
    def type(self) -> str:
        """`run.attempt`, `run.end`, or the stream mode; for a nested graph `mode|namespace|namespace`."""

    @property
    def data(self) -> Any:
        """Payload that the stream of the graph yielded."""


class Projection:
    """Turns the events of one run into facts, one by one."""

    def __init__(self) -> None:
        self._messages = Messages()
        self._places = Places(self._messages)
        self._usage = UsageCount()
        self._interrupts: dict[str, Any] = {}
        self._has_begun = False
        self._has_values = False
        self._has_worked = False
        self._in_state: set[str | None] = set()
        self._recent: list[tuple[str, str, Any]] = []
        self._repeated: list[tuple[str, str, Any]] = []

    def take(self, event: Logged) -> list[Fact]:
        """Return the facts that an event tells.

        Args:
            event: The next event of the log.
        """
        return list(self._take(event))

    def _take(self, event: Logged) -> Iterator[Fact]:
        if not self._has_begun:
            self._has_begun = True
            yield RunStarted()
        mode, _, scope = event.type.partition("|")
        match mode:
            case "messages":
                yield from self._message(event.seq, scope, *event.data)
            case "updates":
                yield from self._updates(event.seq, scope, event.data)
            case "values":
                yield from self._places.enter(scope)
                yield from self._values(event.seq, scope, event.data)
            case "custom":
                yield from self._places.enter(scope)
                if not self._is_repeated("custom", scope, event.data):
                    yield Custom(event.data, self._places.at(scope))
            case "tasks":
                yield from self._places.enter(scope)
                self._note_interrupts(event.data.get("interrupts"))
                yield from self._places.task(scope, event.data)
            case _ if event.type == ATTEMPT:
                self._take_over()
            case _ if event.type == END:
                yield from self._end(event.data)

    def _take_over(self) -> None:
        self._messages.take_over()
        self._interrupts.clear()
        self._repeated, self._recent = self._recent, []

    def _is_repeated(self, kind: str, scope: str, data: Any) -> bool:
        """Return whether an event repeats one of the attempt before, and take note of it."""
        told = kind, scope, data
        self._recent.append(told)
        if told in self._repeated:
            self._repeated.remove(told)
            return True
        return False

    # Messages.

    def _message(self, seq: int, scope: str, message: object, metadata: Mapping[str, Any] | None) -> Iterator[Fact]:
        if not isinstance(message, BaseMessage):  # a graph on a server may show something else
            return
        about = metadata or {}
        yield from self._places.enter(scope)
        yield from self._places.message(scope, about)
        at = self._places.at(scope, str(about.get("langgraph_node") or ""))
        match message:
            case AIMessageChunk():
                self._usage.add(message, about)
                yield from self._messages.piece(seq, scope, message, about, at)
            case AIMessage():
                if not self._messages.knows(message.id):
                    self._usage.add(message, about)
                yield from self._messages.whole(seq, scope, message, about, at)
            case ToolMessage():
                yield from self._messages.result(scope, message, at)
            case _:
                self._messages.note(message.id)

    # State.

    def _updates(self, seq: int, scope: str, updates: Any) -> Iterator[Fact]:
        yield from self._places.enter(scope)
        if not isinstance(updates, Mapping):
            return
        for node, update in updates.items():
            if node == _INTERRUPT:
                self._note_interrupts(update)
                continue
            if node.startswith("__"):
                continue
            if not scope:
                self._has_worked = True
            yield from self._said(seq, scope, node, update)
            if not self._is_repeated("updates", scope, (node, update)):
                yield StateUpdated(update, self._places.at(scope, node))
            yield from self._places.updated(scope, node, seq)
        if not scope and not self._has_values and _INTERRUPT not in updates:
            self._recent.clear()

    def _said(self, seq: int, scope: str, node: str, update: Any) -> Iterator[Fact]:
        """Tell what an update says of messages: those that were streamed are complete, and calls have results."""
        at = self._places.at(scope, node)
        for number, each in enumerate(_messages_in(update)):
            if isinstance(each, AIMessage):
                yield from self._messages.settle(each.id)
            elif isinstance(each, ToolMessage):
                yield from self._messages.result(scope, each, at, only_waiting=True)
            elif not isinstance(each, BaseMessage) and not self._has_values and not scope:
                message = _read(each)
                if isinstance(message, AIMessage):
                    message.id = message.id or f"msg_{seq}_{number}"
                    yield from self._messages.whole(seq, scope, message, {"langgraph_node": node}, at)

    def _values(self, seq: int, scope: str, values: Any) -> Iterator[Fact]:
        shown = values
        if isinstance(values, Mapping) and _INTERRUPT in values:
            self._note_interrupts(values[_INTERRUPT])
            shown = {key: each for key, each in values.items() if key != _INTERRUPT}
        if not scope:
            self._has_values = True
            yield from self._conversation(seq, shown)
            self._recent.clear()
        yield StateValues(shown, self._places.at(scope))

    def _conversation(self, seq: int, values: Any) -> Iterator[Fact]:
        """Tell messages that only the state has; before the first step it has those of the turns before."""
        said = values.get("messages") if isinstance(values, Mapping) else None
        if not isinstance(said, list):
            return
        if not self._has_worked:
            for each in said:
                if isinstance(each, BaseMessage) and each.id not in self._in_state:
                    self._in_state.add(each.id)
                    self._messages.note(each.id)
            return
        new: list[BaseMessage] = []
        for each in reversed(said):
            if not isinstance(each, BaseMessage) or each.id in self._in_state:
                break
            new.append(each)
        at = self._places.at("")
        for each in reversed(new):
            self._in_state.add(each.id)
            if isinstance(each, ToolMessage):
                yield from self._messages.result("", each, at)
            elif isinstance(each, AIMessage):
                yield from self._messages.whole(seq, "", each, {}, at)

    # The end.

    def _note_interrupts(self, given: Any) -> None:
        if not isinstance(given, Sequence) or isinstance(given, str):
            return
        for each in given:
            identifier = each.get("id") if isinstance(each, Mapping) else each.id
            value = each.get("value") if isinstance(each, Mapping) else each.value
            self._interrupts.setdefault(str(identifier), value)

    def _end(self, data: Mapping[str, Any]) -> Iterator[Fact]:
        status = cast("Status", str(data.get("status") or "error"))
        waits = status == "interrupted"
        yield from self._messages.end()
        yield from self._places.end(_OUTCOMES.get(status, "cut off"))
        if waits:
            waiting = self._messages.arguments()
            for identifier, payload in self._interrupts.items():
                about = pauses.approvals(payload, waiting)
                for each in about:
                    waiting.pop(each.call_id, None)
                yield Interrupted(identifier, payload, about)
            if not self._interrupts:
                yield Interrupted("", None)
        yield RunEnded(status, str(data.get("error") or ""), self._usage.totals())


def _messages_in(update: Any) -> list[Any]:
    """Return the messages in an update of a node, in whatever form it returned them."""
    if not isinstance(update, Mapping):
        return []
    found: list[Any] = []
    for key, value in update.items():
        several = value if isinstance(value, list) else [value]
        found += [each for each in several if isinstance(each, BaseMessage) or key == "messages"]
    return found


def _read(given: Any) -> BaseMessage | None:
    """Read a message in any form that LangChain takes; None if it is none."""
    try:
        return convert_to_messages([given])[0]
    except (ValueError, TypeError, NotImplementedError, IndexError):
        return None
