"""Events of runs as lines: who told what, and when."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final

from stategraph.cli.output import since
from stategraph.cli.style import Style
from stategraph.cli.values import in_a_line, plain
from stategraph.workers.registry.operations import ATTEMPT_EVENT, END_EVENT

if TYPE_CHECKING:
    from stategraph.cli.observing.selecting import Selection
    from stategraph.governance.redaction import Redactor
    from stategraph.resources.model import ResourceKey
    from stategraph.workers.eventlog import LoggedEvent
    from stategraph.workers.registry.values import RunInfo

_INTERRUPT: Final = "__interrupt__"

#: The field of agents' states that counts tokens, which messages show too.
_USAGE: Final = "usage"

#: Characters of a value, where the terminal does not decide.
_LONGEST: Final = 2_000

#: Characters of a run's id that tell it from others: ids begin with the time.
ID: Final = 6

#: The time of an event, of today and of another day.
_TIME: Final = "%H:%M:%S"
_LONG_AGO: Final = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True, slots=True)
class Told:
    """An event of a run.

    Attributes:
        run: The run, as it was when its events were read.
        resource: The resource whose graph it executes.
        event: The event.
        at: When it was stored, in seconds since 1970.
    """

    run: RunInfo
    resource: ResourceKey
    event: LoggedEvent
    at: float


@dataclass(frozen=True, slots=True)
class _Line:
    """A line before it is dressed.

    Attributes:
        who: The node, or what happened.
        text: What is said.
        mood: How it is dressed.
        message: The message that it shows; None: it shows none.
    """

    who: str
    text: str
    mood: str = ""
    message: Any = None


@dataclass(slots=True)
class Lines:
    """Makes lines of events.

    Args:
        selection: What the events have to be about.
        redactor: Hides secrets.
        style: Colours texts, or does not.
        room: Columns of a line; None: as many as it takes.
        names: Whether each line names its resource.
        today: The day whose events have no date before their time.
    """

    selection: Selection
    redactor: Redactor
    style: Style
    room: int | None = None
    names: bool = False
    today: date = field(default_factory=date.today)
    _updated: set[str] = field(default_factory=set)
    _values: dict[str, Any] = field(default_factory=dict)
    _begun: dict[str, float] = field(default_factory=dict)

    def of(self, told: Told) -> Iterator[str]:
        """Yield the lines of an event; none for one that others say too, or that is not about the selection."""
        for each in self._said(told):
            if not self.selection.tools or self._is_about(each):
                yield self._line(told, each)

    def _said(self, told: Told) -> Iterator[_Line]:
        """Yield what an event says."""
        event, run = told.event, told.run.run_id
        match event.type:
            case _ if event.type == ATTEMPT_EVENT:
                self._begun[run] = told.at
                again = "" if event.data.get("reason") == "first" else f", {event.data.get('reason')}"
                place = f"run {run}, thread {told.run.thread_id}"
                yield _Line("begins", f"{place}, attempt {event.data.get('attempt')}{again}", "bold")
            case _ if event.type == END_EVENT:
                if run not in self._updated and run in self._values:
                    yield from _of_update("state", self._values[run])
                yield self._end(told)
            case "updates":
                self._updated.add(run)
                for node, update in event.data.items() if isinstance(event.data, Mapping) else ():
                    if node == _INTERRUPT:
                        yield from (_Line("asks", in_a_line(_question(each), _LONGEST), "asked") for each in update)
                    elif not node.startswith("__"):
                        yield from _of_update(node, update)
            case "values":
                self._values[run] = event.data
            case "custom":
                yield _Line("custom", in_a_line(event.data, _LONGEST))
            case "run.oversize":
                yield _Line(event.type, f"an event of {event.data.get('bytes', 0):,} bytes was not stored", "dim")

    def _end(self, told: Told) -> _Line:
        status = str(told.event.data.get("status"))
        began = self._begun.get(told.run.run_id)
        text = status if began is None else f"{status} after {_lasted(told.at - began)}"
        if told.run.error is not None and status in ("error", "dead", "timeout"):
            text += f": {told.run.error}"
        return _Line("ends", text, {"success": "added", "interrupted": "asked"}.get(status, "removed"))

    def _is_about(self, line: _Line) -> bool:
        """Return whether a line is about the tools of the selection."""
        return line.who in self.selection.nodes or _is_call(line.message, self.selection.tools)

    def _line(self, told: Told, line: _Line) -> str:
        dressed = {"bold": self.style.bold, "added": self.style.added, "removed": self.style.removed}
        dressed |= {"asked": self.style.asked, "dim": self.style.dim}
        at = datetime.fromtimestamp(told.at)
        when = at.strftime(_TIME if at.date() == self.today else _LONG_AGO)
        name = f"{told.resource.kind}/{told.resource.name}  " if self.names else ""
        start, head = f"{when}  {told.run.run_id[-ID:]}  {name}", f"{line.who}  "
        text = self.redactor.text(line.text)
        if self.room is not None:
            text = in_a_line(text, max(20, self.room - len(start) - len(head)))
        return f"{self.style.dim(start)}{self.style.bold(head)}{dressed.get(line.mood, str)(text)}"

    def as_json(self, told: Told) -> dict[str, Any]:
        """Return an event as JSON, without secrets."""
        event = told.event
        return {
            "at": told.at,
            "resource": str(told.resource),
            "run_id": event.run_id,
            "thread_id": told.run.thread_id,
            "seq": event.seq,
            "attempt": event.attempt,
            "type": event.type,
            "data": self.redactor.clean(plain(event.data)),
        }

    def is_about(self, told: Told) -> bool:
        """Return whether an event is about the selection, for programs: any line of it is."""
        return not self.selection.tools or any(True for _ in self.of(told))


def _of_update(node: str, update: Any) -> Iterator[_Line]:
    """Yield what a node wrote: each message, and each field of the state."""
    for each in update if isinstance(update, list) else [update]:
        if not isinstance(each, Mapping):
            yield _Line(node, in_a_line(each, _LONGEST))
            continue
        for key, value in each.items():
            if key == "messages" and isinstance(value, list):
                yield from (_Line(node, text, message=message) for message in value if (text := _said(message)))
            elif value not in ({}, [], None) and key != _USAGE:
                yield _Line(node, f"{key}: {in_a_line(value, _LONGEST)}")
        if not each:
            yield _Line(node, "wrote nothing", "dim")


def _said(message: Any) -> str:
    """Return a message for people."""
    if not hasattr(message, "type"):
        return in_a_line(message, _LONGEST)
    calls = [f"{each['name']}({in_a_line(each['args'], 400)})" for each in getattr(message, "tool_calls", ())]
    text = in_a_line(str(message.text), _LONGEST)
    if message.type == "tool":
        failed = " (error)" if getattr(message, "status", "") == "error" else ""
        return f"{message.name or 'tool'} -> {text}{failed}"
    used = getattr(message, "usage_metadata", None) or {}
    tokens = f"  ({used['total_tokens']} tokens)" if used.get("total_tokens") else ""
    told = "  ".join(each for each in (text, *calls) if each)
    return f"{message.type}: {told}{tokens}" if told else ""


def _is_call(message: Any, tools: frozenset[str]) -> bool:
    if getattr(message, "type", "") == "tool":
        return getattr(message, "name", None) in tools
    return any(each["name"] in tools for each in getattr(message, "tool_calls", ()))


def _question(interrupt: Any) -> Any:
    value = getattr(interrupt, "value", interrupt)
    asked = value.get("question") if isinstance(value, Mapping) else None
    if isinstance(asked, Mapping) and isinstance(asked.get("question"), str):
        return asked["question"]
    return asked if isinstance(asked, str) else value


def _lasted(seconds: float) -> str:
    return f"{max(0.0, seconds):.1f} s" if seconds < 60 else since(seconds)


def dumped(value: object) -> str:
    """Return JSON in a line."""
    return json.dumps(value, ensure_ascii=False, default=str)
