"""Facts about a run to chunks of a chat completion.

Rules
-----
* The content is the text of all answers of the run that no tool's agent gave, an empty line between two of them. Of
  messages that are streamed at the same time the first is told as it comes, and the others after it.
* Calls of the client's tools are told; tools of the server run unseen.
* A question is a call of the function `approve` or `interrupt`, see `answers`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from stategraph.server.openai import answers
from stategraph.server.projection import (
    Fact,
    Interrupted,
    MessageDiscarded,
    MessageEnded,
    MessageStarted,
    Projection,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
)
from stategraph.server.projection.projection import Logged
from stategraph.server.turns.forms import Json
from stategraph.server.turns.questions import questions_of

_BETWEEN = "\n\n"


@dataclass(slots=True)
class _Lane:
    """A message that is open: its deltas that have not been told, and whether it has ended."""

    deltas: list[Json] = field(default_factory=list)
    has_ended: bool = False


class Encoder:
    """Turns the log of a run into the deltas of a chat completion.

    Args:
        thread_id: The thread.
        client_tools: The names of the client's tools.

    Attributes:
        finish_reason: None: the run goes on.
        end: How it ended; None: it goes on.
        asks: Whether it waits for an answer.
    """

    def __init__(self, thread_id: str, client_tools: Collection[str] = ()) -> None:
        self.finish_reason: str | None = None
        self.end: RunEnded | None = None
        self.asks = False
        self._thread_id = thread_id
        self._client_tools = frozenset(client_tools)
        self._projection = Projection()
        self._lanes: dict[str, _Lane] = {}
        self._calls: dict[str, int] = {}
        self._of_lane: dict[str, str] = {}
        self._speaker = ""

    def take(self, event: Logged) -> list[Json]:
        """Return the deltas that an event of the log gives."""
        return [each for fact in self._projection.take(event) for each in self._encode(fact)]

    def _encode(self, fact: Fact) -> Iterator[Json]:
        match fact:
            case RunStarted():
                yield {"role": "assistant", "content": ""}
            case MessageStarted(message_id, at):
                if not at.in_tool:
                    self._lanes[message_id] = _Lane()
            case TextDelta(message_id, text):
                yield from self._put(message_id, {"content": text})
            case ReasoningDelta(message_id, text):
                yield from self._put(message_id, {"reasoning_content": text})
            case ToolCallStarted() | ToolCallDelta() | ToolCallEnded():
                yield from self._call(fact)
            case MessageEnded(message_id):
                if message_id in self._lanes:
                    self._lanes[message_id].has_ended = True
                    yield from self._told()
            case MessageDiscarded():
                pass
            case Interrupted(interrupt_id, payload, approvals):
                self.asks = True
                for question in questions_of(interrupt_id, payload, approvals):
                    yield _started(len(self._calls), *answers.call_of(question, self._thread_id))
                    self._calls[question.question_id] = len(self._calls)
            case RunEnded():
                self.end = fact
                self.finish_reason = "tool_calls" if self._calls else "stop"

    def _call(self, fact: ToolCallStarted | ToolCallDelta | ToolCallEnded) -> Iterator[Json]:
        match fact:
            case ToolCallStarted(message_id, call_id, name):
                if name in self._client_tools and message_id in self._lanes:
                    index = self._calls[call_id] = len(self._calls)
                    self._of_lane[call_id] = message_id
                    yield from self._put(message_id, _started(index, call_id, name, ""))
            case ToolCallDelta(call_id, text):
                if call_id in self._of_lane:
                    call = {"index": self._calls[call_id], "function": {"arguments": text}}
                    yield from self._put(self._of_lane[call_id], {"tool_calls": [call]})

    def _put(self, message_id: str, delta: Json) -> Iterator[Json]:
        lane = self._lanes.get(message_id)
        if lane is not None:
            lane.deltas.append(delta)
            yield from self._told()

    def _told(self) -> Iterator[Json]:
        """Tell what is due: all of the first message that is open, and of those after it that have come to be first."""
        while self._lanes:
            message_id, lane = next(iter(self._lanes.items()))
            for delta in lane.deltas:
                if "content" in delta:
                    if self._speaker not in ("", message_id):
                        yield {"content": _BETWEEN}
                    self._speaker = message_id
                yield delta
            lane.deltas.clear()
            if not lane.has_ended:
                return
            del self._lanes[message_id]


def _started(index: int, call_id: str, name: str, arguments: str) -> Json:
    """Return the delta with which a call begins."""
    call = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [call]}
