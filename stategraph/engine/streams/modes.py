"""The stream modes: where each gets what it shows, and how it shows it.

This table is the only place that lists them. A mode that shows facts which are told already is added by a row here,
with the functions that make its payloads in a module of its own beside `messages` and `tools`; type checkers know it by
its name and its part in `stategraph.stream_parts`. `stream_events` shows it without more: see
`stategraph.engine.streams.events.modes.transformer_of`.

A new fact comes first: in `core.effects`, in `core.settings.Watch`, where the machine tells it, in `Mode` and `Display`
here, and in `projection`.

Rules
-----
* What one fact shows in several modes leaves in the order of the table.
* The facts that a machine reports follow from what the wanted modes show: see `display_of`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal, NamedTuple, Protocol

from stategraph.constants import INTERRUPT, START
from stategraph.core.settings import Watch
from stategraph.core.task import Task
from stategraph.engine.streams import payloads
from stategraph.engine.streams.messages import StreamMessagesHandler, StreamMessagesHandlerV2
from stategraph.engine.streams.payloads import End, Subject
from stategraph.engine.streams.tools import StreamToolCallHandler
from stategraph.engine.tracing.stream_handler import Put, StreamFeed

Part = dict[str, Any]
"""A chunk as version 2 of the stream has it."""


class Mappers(Protocol):
    """Functions that coerce states to the graph's types in version 2 of the stream; None leaves them as they are."""

    @property
    def output_mapper(self) -> Callable[[Any], Any] | None:
        """Coerces outputs."""

    @property
    def state_mapper(self) -> Callable[[Any], Any] | None:
        """Coerces states."""


def plain_part(mode: str, ns: tuple[str, ...], payload: Any, _: Mappers) -> Part:
    """Say what a payload is."""
    return {"type": mode, "ns": ns, "data": payload}


def values_part(mode: str, ns: tuple[str, ...], payload: Any, mappers: Mappers) -> Part:
    """Separate the values from what is asked."""
    interrupts: Sequence[Any] = ()
    if isinstance(payload, dict):
        interrupts = payload.pop(INTERRUPT, ())
        if mappers.output_mapper is not None:
            payload = mappers.output_mapper(payload)
    return {"type": mode, "ns": ns, "data": payload, "interrupts": interrupts}


def state_part(mode: str, ns: tuple[str, ...], payload: Any, mappers: Mappers) -> Part:
    """Coerce the state in a checkpoint."""
    if mappers.state_mapper is not None:
        payload = _with_mapped_values(payload, mappers.state_mapper)
    return {"type": mode, "ns": ns, "data": payload}


def _with_mapped_values(payload: Any, mapper: Callable[[Any], Any]) -> Any:
    """Coerce the state in a checkpoint, except before the input was applied: it is not whole then."""
    if not isinstance(payload, Mapping):
        return payload
    inner = payload.get("payload")
    if payload.get("type") == "checkpoint" and isinstance(inner, dict):
        return {**payload, "payload": _with_mapped_values(inner, mapper)}
    if isinstance(payload.get("values"), dict) and START not in payload.get("next", ()):
        return {**payload, "values": mapper(payload["values"])}
    return payload


def _messages_feed(put: Put, subgraphs: bool, content_blocks: bool) -> StreamFeed:
    return (StreamMessagesHandlerV2 if content_blocks else StreamMessagesHandler)(put, subgraphs)


def _tools_feed(put: Put, subgraphs: bool, _: bool) -> StreamFeed:
    return StreamToolCallHandler(put, subgraphs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A stream mode.

    Functions that show a fact return the payload of a chunk, or `payloads.NOTHING`; one that is None shows nothing.

    Attributes:
        name: What callers ask for.
        source: Where it comes from: facts of the machine, callbacks of LangChain, or the nodes themselves.
        values: Shows that the output channels changed.
        asked: Shows what a task asks.
        paused: Shows that the run stops at a breakpoint, as questions without any.
        started: Shows a task that is about to run.
        ended: Shows how a task ended.
        checkpoint: Shows that a checkpoint was made, after which these tasks come.
        feed: Makes the callback handler that puts its chunks: of where to put them, whether of nested graphs as well,
            and whether messages are shown by content block.
        part: Makes the part of version 2.
        sent_as: What a server calls it; None for one that no server has.
        decoded: Whether `stream_events` of a remote graph shows what the server sends under its name.
    """

    name: str
    source: Literal["machine", "callbacks", "nodes"] = "machine"
    values: Callable[[Subject], Any] | None = None
    asked: Callable[[Subject, tuple[Any, ...]], Any] | None = None
    paused: Callable[[Subject, tuple[Any, ...]], Any] | None = None
    started: Callable[[Subject, Task], Any] | None = None
    ended: Callable[[Subject, End], Any] | None = None
    checkpoint: Callable[[Subject, Sequence[Task]], Any] | None = None
    feed: Callable[[Put, bool, bool], StreamFeed] | None = None
    part: Callable[[str, tuple[str, ...], Any, Mappers], Part] = plain_part
    sent_as: str | None = None
    decoded: bool = False


_ROWS = (
    Mode(
        name="updates",
        asked=payloads.questions,
        paused=payloads.questions,
        ended=payloads.update,
        sent_as="updates",
        decoded=True,
    ),
    Mode(
        name="values",
        values=payloads.output_values,
        asked=payloads.values_with_questions,
        part=values_part,
        sent_as="values",
    ),
    Mode(
        name="checkpoints",
        checkpoint=payloads.checkpoint,
        part=state_part,
        sent_as="checkpoints",
        decoded=True,
    ),
    Mode(
        name="tasks",
        started=payloads.task_started,
        ended=payloads.task_result,
        sent_as="tasks",
        decoded=True,
    ),
    Mode(
        name="debug",
        started=payloads.started_at,
        ended=payloads.result_at,
        checkpoint=payloads.checkpoint_at,
        part=state_part,
        sent_as="debug",
    ),
    Mode(
        name="custom",
        source="nodes",
        sent_as="custom",
        decoded=True,
    ),
    Mode(
        name="messages",
        source="callbacks",
        feed=_messages_feed,
        sent_as="messages-tuple",
    ),
    Mode(name="tools", source="callbacks", feed=_tools_feed, sent_as="tools"),
)

MODES: Final[dict[str, Mode]] = {mode.name: mode for mode in _ROWS}
"""All stream modes by name, in the order in which they show the same fact."""


class Display(NamedTuple):
    """The functions by which some modes show each fact, by the name of the mode, and what these need.

    Attributes:
        watch: The facts that the machine has to report.
        in_nodes: Whether there is something to show while nodes run.
        feeds: What makes the callback handlers.
    """

    watch: Watch
    in_nodes: bool
    feeds: tuple[Callable[[Put, bool, bool], StreamFeed], ...]
    values: tuple[tuple[str, Callable[[Subject], Any]], ...]
    asked: tuple[tuple[str, Callable[[Subject, tuple[Any, ...]], Any]], ...]
    paused: tuple[tuple[str, Callable[[Subject, tuple[Any, ...]], Any]], ...]
    started: tuple[tuple[str, Callable[[Subject, Task], Any]], ...]
    ended: tuple[tuple[str, Callable[[Subject, End], Any]], ...]
    checkpoint: tuple[tuple[str, Callable[[Subject, Sequence[Task]], Any]], ...]


_FACTS: Final = ("values", "asked", "paused", "started", "ended", "checkpoint")


@cache
def display_of(wanted: frozenset[str]) -> Display:
    """Collect what some modes show; names that are no mode show nothing."""
    modes = [mode for name, mode in MODES.items() if name in wanted]
    feeds = tuple(mode.feed for mode in modes if mode.feed is not None)
    shows = {fact: _that_show(modes, fact) for fact in _FACTS}
    watch = Watch(
        values=bool(shows["values"]),
        ended=bool(shows["asked"] or shows["ended"]),
        planned=bool(shows["started"]),
        checkpoints=bool(shows["checkpoint"]),
    )
    return Display(watch, any(mode.source != "machine" for mode in modes), feeds, **shows)


def _that_show(modes: Sequence[Mode], fact: str) -> tuple[Any, ...]:
    found = ((mode.name, getattr(mode, fact)) for mode in modes)
    return tuple((name, show) for name, show in found if show is not None)
