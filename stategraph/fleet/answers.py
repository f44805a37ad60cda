"""The answer of an agent, as text and as what became of its task."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from a2a.types import Part, StreamResponse, Task, TaskStatusUpdateEvent

_PREFIX: Final = "TASK_STATE_"

#: Metadata of parts that tell of calls of tools and of thoughts, see `messages.a2a`: they are no text of an answer.
_KIND: Final = "stategraph.dev/part"


class Answer:
    """Reads the events of an answer.

    Attributes:
        state: The state of the task as A2A names it, `completed`, `input-required` or `failed` for example; empty: none
            yet.
        context_id: The conversation; empty: not known yet.
    """

    def __init__(self) -> None:
        self.state = ""
        self.context_id = ""

    def take(self, event: StreamResponse) -> str:
        """Take an event, and return the text that it adds; empty if it adds none."""
        if event.HasField("message"):
            self.state, self.context_id = "completed", event.message.context_id
            return _text(event.message.parts)
        if event.HasField("artifact_update"):
            return _text(event.artifact_update.artifact.parts)
        if event.HasField("task"):
            said = "".join(_text(artifact.parts) for artifact in event.task.artifacts)
            return said + self._note(event.task)
        return self._note(event.status_update)

    def _note(self, update: Task | TaskStatusUpdateEvent) -> str:
        from a2a.types import TaskState

        self.state = TaskState.Name(update.status.state).removeprefix(_PREFIX).lower().replace("_", "-")
        self.context_id = update.context_id
        return _text(update.status.message.parts)


def as_json(event: StreamResponse) -> Mapping[str, Any]:
    """Return an event as A2A writes it in JSON."""
    from google.protobuf.json_format import MessageToDict

    written: Mapping[str, Any] = MessageToDict(event)
    return written


def _text(parts: Iterable[Part]) -> str:
    return "".join(_of_part(part) for part in parts if _KIND not in part.metadata)


def _of_part(part: Part) -> str:
    from google.protobuf.json_format import MessageToJson

    if part.HasField("text"):
        return part.text
    if part.HasField("data"):
        return str(MessageToJson(part.data, indent=None))
    return f"[{part.filename or part.media_type or 'a file'}]"
