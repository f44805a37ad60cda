"""Record what a run streams, and compare recordings.

Rules: an event is recorded in the order in which the reader got it, in any
shape that the chosen modes give it. :func:`stable` turns anything that a stream
carries into plain data in which generated ids and times are replaced by names
in the order of their appearance, so that two runs of the same program, sync or
async, on this engine or another, compare with ``==``.
"""

from __future__ import annotations

import dataclasses
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from enum import Enum
from typing import Any, Protocol, TypeAlias, cast

from langchain_core.messages import BaseMessage
from pydantic import BaseModel

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_GENERATED = re.compile(
    rf"(?P<id>\b{_UUID}|\b[0-9a-f]{{32}}\b)|(?P<time>\b\d{{4}}-\d\d-\d\dT\d\d:\d\d:\d\d[0-9.:+Z-]*)"
)

Mode: TypeAlias = str


class Streams(Protocol):
    """The methods of a compiled graph that a recorder needs."""

    def stream(self, input: Any, config: Any = None, **options: Any) -> Iterator[Any]:
        """Run synchronously and yield events."""
        ...

    def astream(self, input: Any, config: Any = None, **options: Any) -> AsyncIterator[Any]:
        """Run asynchronously and yield events."""
        ...


@dataclass(frozen=True, slots=True)
class Recorded:
    """One event of a stream.

    Attributes:
        mode: The stream mode that it belongs to.
        payload: What the mode carries.
        namespace: The subgraph that it comes from; empty for the graph itself.
    """

    mode: Mode
    payload: Any
    namespace: tuple[str, ...] = ()


class StreamRecorder:
    """Runs a compiled graph and keeps what it streams.

    Args:
        graph: Anything with ``stream`` and ``astream``.
        stream_mode: One mode or several.
        subgraphs: Whether to record events of subgraphs as well.
        **options: Passed on with every run.

    Attributes:
        events: Everything recorded so far, over all runs.
        error: What ended the last run, if an exception did.
    """

    def __init__(
        self,
        graph: Streams,
        *,
        stream_mode: Mode | Sequence[Mode] = "values",
        subgraphs: bool = False,
        **options: object,
    ) -> None:
        self.events: list[Recorded] = []
        self.error: BaseException | None = None
        self._graph = graph
        self._modes = stream_mode if isinstance(stream_mode, str) else list(stream_mode)
        self._subgraphs = subgraphs
        self._options = options

    def run(self, input: object, config: object = None, *, raises: bool = True, **options: object) -> list[Recorded]:
        """Run to the end and return what this run streamed.

        Args:
            input: The graph's input, or a command.
            config: The run's configuration.
            raises: Whether an exception of the run is raised here as well as kept in :attr:`error`.
            **options: Passed on to ``stream``.
        """
        with self._recording(raises) as begin:
            for item in self._graph.stream(input, config, **self._stream_options(options)):
                self.events.append(self._recorded(item))
        return self.events[begin:]

    async def arun(
        self, input: object, config: object = None, *, raises: bool = True, **options: object
    ) -> list[Recorded]:
        """Like :meth:`run`, through ``astream``."""
        with self._recording(raises) as begin:
            async for item in self._graph.astream(input, config, **self._stream_options(options)):
                self.events.append(self._recorded(item))
        return self.events[begin:]

    @contextmanager
    def _recording(self, raises: bool) -> Iterator[int]:
        """Note what ends the run; yields how many events there are before it."""
        self.error = None
        try:
            yield len(self.events)
        except Exception as exc:
            self.error = exc
            if raises:
                raise

    def payloads(self, mode: Mode | None = None, *, namespace: tuple[str, ...] | None = None) -> list[Any]:
        """Return the payloads of one mode, of one namespace, or of all."""
        return [
            e.payload
            for e in self.events
            if (mode is None or e.mode == mode) and (namespace is None or e.namespace == namespace)
        ]

    def stable(self) -> list[Any]:
        """Return the whole recording in the form of :func:`stable`."""
        form: list[Any] = stable([{"mode": e.mode, "ns": e.namespace, "payload": e.payload} for e in self.events])
        return form

    def _stream_options(self, options: Mapping[str, object]) -> dict[str, object]:
        return {"stream_mode": self._modes, "subgraphs": self._subgraphs, **self._options, **options}

    def _recorded(self, item: Any) -> Recorded:
        if self._options.get("version") == "v2":
            payload = {k: v for k, v in item.items() if k not in ("type", "ns")}
            return Recorded(item["type"], payload["data"] if payload.keys() == {"data"} else payload, tuple(item["ns"]))
        several = not isinstance(self._modes, str)
        match (self._subgraphs, several):
            case (True, True):
                namespace, mode, payload = item
            case (True, False):
                (namespace, payload), mode = item, self._modes
            case (False, True):
                namespace, (mode, payload) = (), item
            case _:
                namespace, mode, payload = (), self._modes, item
        return Recorded(str(mode), payload, tuple(namespace))


def stable(value: object) -> Any:
    """Plain data that compares equal for two runs of the same program.

    Messages, dataclasses, pydantic models, named tuples, enumerations and
    exceptions become dicts, lists and strings. UUIDs and 32-digit hexadecimal
    ids become ``<id-1>``, ``<id-2>`` and so on, the same id the same name, also
    inside longer strings; points in time become ``<time>``.
    """
    return _Stabiliser().plain(value)


class _Stabiliser:
    """Names generated ids in the order in which they are met."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def plain(self, value: object) -> object:
        match value:
            case Enum():
                return self.plain(value.value)
            case None | bool() | int() | float():
                return value
            case str():
                return _GENERATED.sub(self._name, value)
            case bytes() | bytearray():
                return f"<{len(value)} bytes>"
            case datetime() | date():
                return "<time>"
            case BaseException():
                return {"!": type(value).__name__, "message": self.plain(str(value))}
            case Mapping():
                return {str(self.plain(k)): self.plain(v) for k, v in value.items()}
            case Set():
                return sorted((self.plain(v) for v in value), key=repr)
            case list() | tuple() | deque() if not hasattr(value, "_asdict"):
                return [self.plain(v) for v in value]
        if (fields := _fields(value)) is not None:
            return self._record(type(value).__name__, fields)
        return f"<{getattr(value, '__name__', type(value).__name__)}>"

    def _record(self, kind: str, fields: Mapping[str, object]) -> dict[str, object]:
        return {"!": kind, **{name: self.plain(v) for name, v in fields.items()}}

    def _name(self, match: re.Match[str]) -> str:
        if match.lastgroup == "time":
            return "<time>"
        return self._names.setdefault(match.group(), f"<id-{len(self._names) + 1}>")


def _fields(value: object) -> Mapping[str, object] | None:
    """Return the fields of an object that is a record; None for anything else."""
    match value:
        case type():
            return None
        case BaseMessage():
            # Fields that have their empty default say nothing.
            return {name: v for name, v in value.model_dump().items() if v not in (None, [], {}) and name != "type"}
        case BaseModel():
            return {name: getattr(value, name) for name in type(value).model_fields}
        case tuple() if hasattr(value, "_asdict"):
            return cast("Mapping[str, object]", value._asdict())
    if dataclasses.is_dataclass(value):
        return {f.name: getattr(value, f.name, None) for f in dataclasses.fields(value)}
    slots = getattr(type(value), "__slots__", ())
    names = (slots,) if isinstance(slots, str) else slots
    return {name: getattr(value, name, None) for name in names} if names else None
