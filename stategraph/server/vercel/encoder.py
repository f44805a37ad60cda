"""Facts about a run to chunks of the UI message stream.

Rules
-----
* A run is one message of the user interface; its steps are the answers of models. A step ends when the next begins, and
  none begins while another message is open, as the end of a step closes all texts.
* Answers of agents that tools run are not told: their tool's result is.
* A call that waits for a person is an approval request; any other question is a part `data-interrupt`.
* Custom data is a part `data-custom`, or `data-NAME` if it is `{"name": NAME, "value": ...}`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, TypeAlias

from stategraph.run.json_safe import to_json
from stategraph.server.projection import (
    Custom,
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
    ToolResult,
)
from stategraph.server.projection.projection import Logged
from stategraph.server.turns.forms import Fields
from stategraph.server.turns.questions import questions_of

Chunk: TypeAlias = Fields

_SENTENCES: Final[Mapping[str, str]] = {
    "error": "The run failed.",
    "timeout": "The run took longer than it may.",
    "dead": "The run was given up: its workers ended again and again.",
}


class Encoder:
    """Turns the log of a run into chunks.

    Args:
        message_id: The id of the message in the user interface.
        is_continued: Whether the message is gone on with, after approvals or results of the client's tools.
        denied: The ids of the calls that the user has rejected.
    """

    def __init__(self, message_id: str, *, is_continued: bool = False, denied: Collection[str] = ()) -> None:
        self._message_id = message_id
        self._is_continued = is_continued
        self._denied = frozenset(denied)
        self._projection = Projection()
        self._open: set[str] = set()
        self._hidden: set[str] = set()
        self._texts: set[str] = set()
        self._thinking: dict[str, str] = {}
        self._thoughts = 0
        self._in_step = False
        self._calls: set[str] = set()
        self._waiting: set[str] = set()
        self._asks = False

    def take(self, event: Logged) -> list[Chunk]:
        """Return the chunks that an event of the log gives."""
        return [each for fact in self._projection.take(event) for each in self._encode(fact)]

    def _encode(self, fact: Fact) -> Iterator[Chunk]:
        match fact:
            case TextDelta() | ReasoningDelta() | MessageStarted() | MessageEnded() | MessageDiscarded():
                yield from self._message(fact)
            case ToolCallStarted() | ToolCallDelta() | ToolCallEnded() | ToolResult():
                yield from self._tool(fact)
            case Custom(data, at):
                if not at.in_tool:
                    yield _custom(data)
            case Interrupted(interrupt_id, payload, approvals):
                self._asks = True
                for each in questions_of(interrupt_id, payload, approvals):
                    if each.approval is not None and each.approval.call_id:
                        about = {"approvalId": each.question_id, "toolCallId": each.approval.call_id}
                        yield {"type": "tool-approval-request", **about}
                    else:
                        asked = {"id": each.question_id, "payload": plain(payload)}
                        yield {"type": "data-interrupt", "id": each.question_id or "breakpoint", "data": asked}
            case RunStarted():
                yield {"type": "start", "messageId": self._message_id}
            case RunEnded():
                yield from self._end(fact)

    # Messages.

    def _message(
        self, fact: TextDelta | ReasoningDelta | MessageStarted | MessageEnded | MessageDiscarded
    ) -> Iterator[Chunk]:
        message_id = fact.message_id
        if isinstance(fact, MessageStarted):
            if fact.at.in_tool:
                self._hidden.add(message_id)
            else:
                yield from self._step()
                self._open.add(message_id)
            return
        if message_id in self._hidden:
            return
        match fact:
            case TextDelta(_, text):
                yield from self._end_reasoning(message_id)
                if message_id not in self._texts:
                    self._texts.add(message_id)
                    yield {"type": "text-start", "id": message_id}
                yield {"type": "text-delta", "id": message_id, "delta": text}
            case ReasoningDelta(_, text):
                if message_id not in self._thinking:
                    self._thoughts += 1
                    self._thinking[message_id] = f"{message_id}-reasoning-{self._thoughts}"
                    yield {"type": "reasoning-start", "id": self._thinking[message_id]}
                yield {"type": "reasoning-delta", "id": self._thinking[message_id], "delta": text}
            case MessageEnded():
                yield from self._end_reasoning(message_id)
                if message_id in self._texts:
                    yield {"type": "text-end", "id": message_id}
                self._open.discard(message_id)
            case MessageDiscarded():
                about = {"messageId": message_id}
                yield {"type": "data-discarded", "id": f"{message_id}-discarded", "data": about}

    def _step(self) -> Iterator[Chunk]:
        """Begin a step, unless another message is open."""
        if self._open:
            return
        yield from self._end_step()
        self._in_step = True
        yield {"type": "start-step"}

    def _end_step(self) -> Iterator[Chunk]:
        if self._in_step:
            self._in_step = False
            yield {"type": "finish-step"}

    def _end_reasoning(self, message_id: str) -> Iterator[Chunk]:
        thought = self._thinking.pop(message_id, None)
        if thought is not None:
            yield {"type": "reasoning-end", "id": thought}

    # Tools.

    def _tool(self, fact: ToolCallStarted | ToolCallDelta | ToolCallEnded | ToolResult) -> Iterator[Chunk]:
        match fact:
            case ToolCallStarted(message_id, call_id, name):
                if message_id in self._hidden:
                    self._hidden.add(call_id)
                    return
                yield from self._end_reasoning(message_id)
                self._calls.add(call_id)
                self._waiting.add(call_id)
                yield {"type": "tool-input-start", "toolCallId": call_id, "toolName": name}
            case ToolCallDelta(call_id, text):
                if call_id not in self._hidden:
                    yield {"type": "tool-input-delta", "toolCallId": call_id, "inputTextDelta": text}
            case ToolCallEnded(_, call_id, name, arguments):
                if call_id not in self._hidden:
                    yield _input(call_id, name, arguments)
            case ToolResult():
                if fact.call_id not in self._hidden and not fact.at.in_tool:
                    yield from self._result(fact)

    def _result(self, fact: ToolResult) -> Iterator[Chunk]:
        call_id = fact.call_id
        self._waiting.discard(call_id)
        if call_id not in self._calls and not self._is_continued:  # a call that this message does not show
            yield {"type": "tool-input-available", "toolCallId": call_id, "toolName": fact.name or "tool", "input": {}}
        if call_id in self._denied:
            yield {"type": "tool-output-denied", "toolCallId": call_id}
        elif fact.is_error:
            yield {"type": "tool-output-error", "toolCallId": call_id, "errorText": fact.text or "The tool failed."}
        else:
            yield {"type": "tool-output-available", "toolCallId": call_id, "output": output(fact.content)}

    # The end.

    def _end(self, fact: RunEnded) -> Iterator[Chunk]:
        yield from self._end_step()
        usage = {
            "inputTokens": sum(each.input_tokens for each in fact.usage),
            "outputTokens": sum(each.output_tokens for each in fact.usage),
            "cachedInputTokens": sum(each.cached_tokens for each in fact.usage),
            "reasoningTokens": sum(each.reasoning_tokens for each in fact.usage),
        }
        metadata = {"messageMetadata": {"usage": usage}} if fact.usage else {}
        match fact.status:
            case "success" | "interrupted":
                reason = "tool-calls" if self._asks or self._waiting else "stop"
                yield {"type": "finish", "finishReason": reason, **metadata}
            case "cancelled":
                yield {"type": "abort", "reason": "The run was cancelled."}
            case _:
                yield {"type": "error", "errorText": _SENTENCES[fact.status]}
                yield {"type": "finish", "finishReason": "error", **metadata}


def _input(call_id: str, name: str, arguments: str) -> Chunk:
    """Return the arguments of a call as a whole; as an error if they are no JSON."""
    about = {"toolCallId": call_id, "toolName": name}
    try:
        return {"type": "tool-input-available", **about, "input": json.loads(arguments)}
    except ValueError:
        return {"type": "tool-input-error", **about, "input": arguments, "errorText": "The arguments are no JSON."}


def output(content: Any) -> Any:
    """Return a tool's result as the user interface has it: JSON if it is an object or a list."""
    if isinstance(content, str) and content[:1] in ("{", "["):
        try:
            return json.loads(content)
        except ValueError:
            return content
    return plain(content)


def _custom(data: Any) -> Chunk:
    if isinstance(data, Mapping) and data.keys() == {"name", "value"} and isinstance(data["name"], str):
        return {"type": f"data-{data['name']}", "data": plain(data["value"])}
    return {"type": "data-custom", "data": plain(data)}


def plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return json.loads(to_json(value))
