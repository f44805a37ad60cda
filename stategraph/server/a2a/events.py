"""Facts of a run to events of the protocol.

Rules
-----
* Each message of the assistant is an artifact with the message's id: its text as it comes, then its files and data.
  Messages of graphs that a tool runs are none.
* What the graph returns beside `messages` is one more artifact, `output`, with data.
* A node may write `{"a2a": {"artifact": {...}, "append": bool, "last_chunk": bool}}` and `{"a2a": {"status": {...}}}`
  to its stream, in the protocol's JSON: an artifact of its own, what it does right now, or `TASK_STATE_REJECTED`. And
  `{"a2a": {"message": {...}}}`: the answer is that message, and no task.
* The same events give the same artifacts, whoever reads them: a task that is looked at is made of its log.
* A message that the worker's death took back is replaced by an empty artifact, as the protocol cannot delete one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TypeAlias

from a2a.types import (
    Artifact,
    Message,
    Part,
    Task,
    TaskArtifactUpdateEvent,
    TaskState,
    TaskStatus,
    TaskStatusUpdateEvent,
)
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.timestamp_pb2 import Timestamp

from stategraph.server.a2a.messages import agent_message, block_parts, data_part, plain
from stategraph.server.projection import (
    Custom,
    Fact,
    Interrupted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    RunEnded,
    StateUpdated,
    StateValues,
    TextDelta,
)
from stategraph.server.service.port import RunRecord
from stategraph.server.tasks.questions import question_text

Event: TypeAlias = Task | Message | TaskStatusUpdateEvent | TaskArtifactUpdateEvent

#: The key of what nodes write for this protocol.
OWN: Final = "a2a"

_ENDS: Final[Mapping[str, TaskState]] = {
    "success": TaskState.TASK_STATE_COMPLETED,
    "error": TaskState.TASK_STATE_FAILED,
    "timeout": TaskState.TASK_STATE_FAILED,
    "dead": TaskState.TASK_STATE_FAILED,
    "cancelled": TaskState.TASK_STATE_CANCELED,
    "interrupted": TaskState.TASK_STATE_INPUT_REQUIRED,
}

#: States that a node may give the end of a run.
_OF_NODES: Final = {
    TaskState.TASK_STATE_REJECTED,
    TaskState.TASK_STATE_AUTH_REQUIRED,
    TaskState.TASK_STATE_FAILED,
}


def status(state: TaskState, at: datetime, message: Message | None = None) -> TaskStatus:
    """Make a status with its time."""
    stamp = Timestamp()
    stamp.FromDatetime(at)
    return TaskStatus(state=state, timestamp=stamp, message=message)


class RunEvents:
    """The events of one run of a task.

    Args:
        task_id: The task.
        context_id: Its context.
        run: The run.

    Attributes:
        reply: The message that the graph answers with in place of a task; None: it does not.
    """

    def __init__(self, task_id: str, context_id: str, run: RunRecord) -> None:
        self._task_id = task_id
        self._context_id = context_id
        self._run = run
        self._open: set[str] = set()
        self._told: set[str] = set()
        self._files: dict[str, list[Part]] = {}
        self._questions: list[Interrupted] = []
        self._values: Any = None
        self._said: TaskStatus | None = None
        self.reply: Message | None = None

    def add(self, fact: Fact) -> list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent]:
        """Return the events for the next fact."""
        match fact:
            case MessageStarted(message_id=message_id, at=at):
                if not at.in_tool:
                    self._open.add(message_id)
            case TextDelta(message_id=message_id, text=text) if message_id in self._open:
                return [self._artifact(message_id, [Part(text=text)])]
            case MessageEnded(message_id=message_id) if message_id in self._open:
                self._open.discard(message_id)
                if message_id in self._told:
                    return [self._artifact(message_id, [], last=True)]
            case MessageDiscarded(message_id=message_id) if message_id in self._told:
                self._told.discard(message_id)
                return [self._artifact(message_id, [Part(text="")], last=True)]
            case StateUpdated(update=update, at=at) if not at.in_tool:
                return self._files_of(update)
            case StateValues(values=values, at=at) if not at.graph_id:
                self._values = values
            case Custom(data=data):
                return self._own(data)
            case Interrupted():
                self._questions.append(fact)
            case RunEnded():
                return self._output() if fact.status == "success" else []
        return []

    def end(self, end: str, at: datetime) -> TaskStatus:
        """Return the status at the end of the run.

        Args:
            end: How the registry ended it.
            at: When.
        """
        state = _ENDS[end]
        if self._said is not None and self._said.state in _OF_NODES and end in ("success", "interrupted", "error"):
            return status(self._said.state, at, self._said.message if self._said.HasField("message") else None)
        if state == TaskState.TASK_STATE_INPUT_REQUIRED:
            return status(self._asking(), at, self._question())
        if state == TaskState.TASK_STATE_FAILED:
            parts = [Part(text="The agent failed")]
            return status(state, at, self._message("error", parts))
        return status(state, at)

    def _asking(self) -> TaskState:
        """Return the state of a task that waits: for somebody who signs in, or for an answer."""
        for each in self._questions:
            asked = each.payload
            if isinstance(asked, Mapping) and (
                asked.get("type") == "auth_required"
                or (asked.get("type") == "mcp_elicitation" and asked.get("mode") == "url")
            ):
                return TaskState.TASK_STATE_AUTH_REQUIRED
        return TaskState.TASK_STATE_INPUT_REQUIRED

    def _question(self) -> Message:
        texts = [text for each in self._questions if (text := question_text(each.payload))]
        asked = [{"id": each.interrupt_id, "value": each.payload} for each in self._questions]
        return self._message("question", [Part(text="\n".join(texts) or "Go on?"), data_part({"questions": asked})])

    def _message(self, name: str, parts: list[Part]) -> Message:
        return agent_message(f"{self._run.run_id}:{name}", self._task_id, self._context_id, parts)

    def _artifact(self, artifact_id: str, parts: list[Part], *, last: bool = False) -> TaskArtifactUpdateEvent:
        known = artifact_id in self._told
        self._told.add(artifact_id)
        return TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=Artifact(artifact_id=artifact_id, name="response", parts=parts or [Part(text="")]),
            append=known,
            last_chunk=last,
        )

    def _files_of(self, update: Any) -> list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent]:
        """Return artifacts for files and data in messages of the assistant that a node wrote."""
        given = update.get("messages") if isinstance(update, Mapping) else None
        messages = given if isinstance(given, list) else [given]
        found: list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent] = []
        for each in messages:
            if _is_of_assistant(each) and (parts := block_parts(_field(each, "content"))):
                found.append(self._artifact(f"{_field(each, 'id')}:files", parts, last=True))
        return found

    def _output(self) -> list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent]:
        values = self._values
        if isinstance(values, Mapping):
            values = {key: value for key, value in values.items() if key != "messages"}
        if values is None or values == {}:
            return []
        event = self._artifact(f"{self._run.run_id}:output", [data_part(values)], last=True)
        event.artifact.name = "output"
        return [event]

    def _own(self, data: Any) -> list[TaskArtifactUpdateEvent | TaskStatusUpdateEvent]:
        own = data.get(OWN) if isinstance(data, Mapping) else None
        if not isinstance(own, Mapping):
            return []
        try:
            if "message" in own:
                self.reply = ParseDict(plain(own["message"]), Message(role="ROLE_AGENT"))
                self.reply.context_id = self._context_id
                self.reply.message_id = self.reply.message_id or f"{self._run.run_id}:reply"
            if "status" in own:
                said = ParseDict(plain(own["status"]), TaskStatus())
                said.timestamp.FromDatetime(self._run.created_at)
                self._said = said
                if said.state in (TaskState.TASK_STATE_WORKING, TaskState.TASK_STATE_UNSPECIFIED):
                    said.state = TaskState.TASK_STATE_WORKING
                    return [TaskStatusUpdateEvent(task_id=self._task_id, context_id=self._context_id, status=said)]
            if "artifact" in own:
                return [self._own_artifact(own)]
        except ParseError:
            return []  # what a node wrote is none of the protocol's
        return []

    def _own_artifact(self, own: Mapping[str, Any]) -> TaskArtifactUpdateEvent:
        artifact = ParseDict(plain(own["artifact"]), Artifact())
        artifact.artifact_id = artifact.artifact_id or f"{self._run.run_id}:artifact"
        known = artifact.artifact_id in self._told
        self._told.add(artifact.artifact_id)
        return TaskArtifactUpdateEvent(
            task_id=self._task_id,
            context_id=self._context_id,
            artifact=artifact,
            append=known and bool(own.get("append")),
            last_chunk=bool(own.get("last_chunk")),
        )


def collect(artifacts: dict[str, Artifact], events: Iterable[Event]) -> None:
    """Add events to the artifacts of a task, as a reader of the stream would; adjoining texts become one."""
    for event in events:
        if not isinstance(event, TaskArtifactUpdateEvent):
            continue
        given = event.artifact
        kept = artifacts.get(given.artifact_id)
        if kept is None or not event.append:
            artifacts[given.artifact_id] = kept = Artifact()
            kept.CopyFrom(given)
            continue
        for part in given.parts:
            if part.WhichOneof("content") == "text" and kept.parts and kept.parts[-1].WhichOneof("content") == "text":
                kept.parts[-1].text += part.text
            else:
                kept.parts.append(part)


def _is_of_assistant(message: Any) -> bool:
    kind = _field(message, "type")
    return isinstance(kind, str) and kind.removesuffix("MessageChunk").lower() == "ai"


def _field(message: Any, name: str) -> Any:
    return message.get(name) if isinstance(message, Mapping) else getattr(message, name, None)
