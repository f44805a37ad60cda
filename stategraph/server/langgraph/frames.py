"""Events of a run as the frames of its stream, by the names and in the forms of LangGraph's server.

Rules
-----
* A frame's id is `milliseconds-number`: when the run was asked for, and the number of its event, which is the same from
  every process. Of several frames for one event, the last has the id: a reader that comes back misses none.
* The first frame is `metadata`, with the id of the run and of the attempt; another attempt has one more.
* The end of a stream is its end; an error is told before it.
* A run on a thread of its own, which is not kept, tells no checkpoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final

from langchain_core.messages import BaseMessage, BaseMessageChunk, message_chunk_to_message

from stategraph.server.langgraph import wire
from stategraph.server.service.port import LoggedEvent, RunRecord
from stategraph.server.service.runs.following import place_of
from stategraph.workers.leases import RunStatus
from stategraph.workers.registry.operations import ATTEMPT_EVENT, END_EVENT

#: The last id of a reader that has nothing yet.
FROM_START: Final = -1


def last_seq(given: str | None) -> int | None:
    """Return the number of the last event that a reader has, from the id of its last frame; None: it has said none."""
    if given is None or not (text := given.strip()):
        return None
    number = text.rpartition("-")[2] if text.count("-") == 1 and not text.startswith("-") else text
    try:
        return max(0, int(number))
    except ValueError:
        return None


def last_place(given: str | None) -> tuple[int, int] | None:
    """Return when the run of a reader's last frame was asked for, and the number of its event; None: it has none."""
    began, dash, seq = (given or "").strip().rpartition("-")
    if given is not None and given.strip() == str(FROM_START):
        return 0, 0
    return (int(began), int(seq)) if dash and began.isdigit() and seq.isdigit() else None


class Frames:
    """Makes the frames of a stream.

    Args:
        run: The run.
        modes: The modes that the reader wants, by the names of this API.
        ids: Whether frames have ids.
        begins: Whether the beginning of each attempt is told.
        ends: Whether the end of the run is told.
    """

    def __init__(
        self, run: RunRecord, modes: Collection[str], *, ids: bool, begins: bool = True, ends: bool = False
    ) -> None:
        self.run_id = run.run_id
        self._ends = ends
        self._began = place_of(run.run_id, run.created_at.timestamp())
        self._ids = ids
        self._begins = begins
        self._is_kept = not run.kwargs["temporary"]
        self._wanted = {mode for mode in modes if mode != "messages-tuple"}
        self._tuples = "messages-tuple" in modes
        if self._tuples:
            self._wanted.add("messages")
        self._said: dict[str, BaseMessageChunk] = {}
        self._known: set[str] = set()

    def of(self, event: LoggedEvent) -> bytes:
        """Return the frames of an event; empty if the reader does not want it."""
        frames = list(self._frames(event))
        if not frames:
            return b""
        told = b"".join(b"event: %s\ndata: %s\n\n" % (name.encode(), wire.encode(data)) for name, data in frames)
        return told[:-1] + b"id: %d-%d\n\n" % (self._began, event.seq) if self._ids else told

    def failed(self, run: RunRecord) -> bytes:
        """Return the frame that tells why a run failed."""
        return b"event: error\ndata: %s\n\n" % wire.encode(error_of(run))

    def _frames(self, event: LoggedEvent) -> Iterator[tuple[str, Any]]:
        mode, bar, namespace = event.type.partition("|")
        if mode == ATTEMPT_EVENT:
            if self._begins:
                yield "metadata", {"run_id": self.run_id, "attempt": event.attempt}
        elif mode == END_EVENT and self._ends:
            yield "metadata", {"status": "run_done", "run_id": self.run_id}
        elif mode not in self._wanted or mode == END_EVENT:
            return
        elif mode == "checkpoints" or (mode == "debug" and event.data["type"] == "checkpoint"):
            if self._is_kept:
                yield event.type, event.data if mode == "checkpoints" else _placed(event.data)
        elif mode == "messages" and not self._tuples:
            for name, data in self._grown(*event.data):
                yield f"{name}{bar}{namespace}", data
        else:
            yield event.type, event.data

    def _grown(self, message: Any, metadata: Any) -> Iterator[tuple[str, Any]]:
        """Return the frames of a message that grows with each."""
        if not isinstance(message, BaseMessage):
            return
        key = message.id or ""
        if key not in self._known:
            self._known.add(key)
            yield "messages/metadata", {key: {"metadata": metadata}}
        if isinstance(message, BaseMessageChunk):
            before = self._said.get(key)
            whole = self._said[key] = message if before is None else before + message
            yield "messages/partial", [message_chunk_to_message(whole)]
        else:
            yield "messages/complete", [message]


def _placed(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what debugging tells of a checkpoint, with its place and that of the one before it."""
    payload = checkpoint["payload"]
    places = {name: _place(payload.get(key)) for name, key in _PLACES.items()}
    tasks = [_task(each) for each in payload.get("tasks", ())]
    return {**checkpoint, "payload": {**payload, **places, "tasks": tasks}}


def _task(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a task with the place of the graph that it runs, if it runs one."""
    state = task.get("state")
    if not isinstance(state, Mapping) or "configurable" not in state:
        return task
    return {**{name: value for name, value in task.items() if name != "state"}, "checkpoint": _place(state)}


def _place(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return where a checkpoint is, from its config."""
    if not config:
        return None
    named = config["configurable"]
    return {name: named[name] for name in _OF_PLACE if name in named}


_OF_PLACE: Final = ("thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map")
_PLACES: Final = {"checkpoint": "config", "parent_checkpoint": "parent_config"}


def error_of(run: RunRecord) -> dict[str, str]:
    """Return why a run failed, as kind and message."""
    kind, _, message = (run.error or "Error: ").partition(": ")
    return {"error": kind, "message": message}


def is_failed(event: LoggedEvent) -> bool:
    """Return whether an event is the end of a run that failed."""
    return event.type == END_EVENT and event.data["status"] in (RunStatus.ERROR, RunStatus.TIMEOUT, RunStatus.DEAD)
