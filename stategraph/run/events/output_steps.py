"""The outputs of agents as events: what has come of one while it is written, and the step of one that is whole.

What has come is told with each piece of an answer up to a length, and from then on when it has grown by a part of it:
each is read from its beginning, so a long one would cost the square of its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from langchain_core.messages import AIMessage, AIMessageChunk

from stategraph.agent.facts import ModelCall, OutputFact, OutputGiven
from stategraph.agent.output import texts
from stategraph.agent.output.output_type import OutputType
from stategraph.run.events import chunk_text
from stategraph.run.events.event_types import (
    GraphEvents,
    MessageCreation,
    MessageCreationDetails,
    Output,
    OutputDelta,
    OutputRefused,
    Row,
)
from stategraph.run.events.step_list import StepList

_SHORT_CHARS: Final = 4_096
_PART: Final = 64


@dataclass(slots=True)
class _Written:
    """A text, or the arguments of a call, while it is written.

    Attributes:
        tool: The tool that is called; None for a text.
        pieces: What has come.
        chars: How much that is.
        read_chars: How much it was when it was read.
    """

    tool: str | None
    pieces: list[str] = field(default_factory=list)
    chars: int = 0
    read_chars: int = 0

    def add(self, piece: str) -> bool:
        """Take a piece; return whether it is time to read what has come."""
        self.pieces.append(piece)
        self.chars += len(piece)
        due = self.chars <= _SHORT_CHARS or (self.chars - self.read_chars) * _PART >= self.chars
        if due:
            self.read_chars = self.chars
        return due


@dataclass(slots=True)
class _Answer:
    """An answer that is being written: its text, and its calls by their place."""

    text: _Written = field(default_factory=lambda: _Written(None))
    calls: dict[Any, _Written] = field(default_factory=dict)
    told: object = texts.NO_JSON


class OutputSteps:
    """The outputs of a run's agents.

    Args:
        steps: The steps of the run.
        types: The output types of agents by their ids.

    Attributes:
        latest: As much of the output that is being written as was told last; None if there is none, or it is whole.
    """

    def __init__(self, steps: StepList, types: Mapping[str, OutputType]) -> None:
        self._steps = steps
        self._types = types
        self._answers: dict[int, _Answer] = {}
        self.latest: object = None

    def chunk(self, call: ModelCall, chunk: AIMessage) -> Iterator[Row]:
        """Yield the row for what has come of an output, if it is another value than before.

        Args:
            call: The call that the piece belongs to; identity matters.
            chunk: The piece.
        """
        kind = self._types.get(call.at.agent_id)
        if kind is None or call.off_record:
            return
        answer = self._answers.setdefault(id(call), _Answer())
        for written in _grown(answer, chunk, kind):
            data = texts.beginning("".join(written.pieces))
            if data is texts.NO_JSON:
                continue
            name, value = kind.partial(written.tool, data)
            if value is texts.NO_JSON or value == answer.told:
                continue
            answer.told = self.latest = value
            yield GraphEvents.ON_OUTPUT_DELTA, OutputDelta(agentId=call.at.agent_id, type=name, value=value)

    def end(self, call: ModelCall) -> None:
        """Forget an answer that is whole, or failed."""
        self._answers.pop(id(call), None)

    def clear(self) -> None:
        """Forget everything, before an execution."""
        self._answers.clear()
        self.latest = None

    def hear(self, fact: OutputFact) -> Iterator[Row]:
        """Yield the rows for what came of an answer: the step of an output, or why it is none."""
        self.latest = None
        agent_id = fact.at.agent_id
        if not isinstance(fact, OutputGiven):
            yield GraphEvents.ON_OUTPUT_REFUSED, OutputRefused(agentId=agent_id, problems=list(fact.problems))
            return
        details = MessageCreationDetails(type="message_creation", message_creation=MessageCreation(message_id=""))
        step = self._steps.open(fact.at, "message_creation", details, 0)
        details["message_creation"]["message_id"] = step["id"]
        yield GraphEvents.ON_RUN_STEP, {**step}
        output = Output(
            id=step["id"],
            index=step["index"],
            agentId=agent_id,
            type=fact.name,
            value=fact.value,
            messageId=fact.message_id,
        )
        yield GraphEvents.ON_OUTPUT, output
        yield from self._steps.close(step, "completed")

    def follow(self, event: str, data: Mapping[str, Any]) -> None:
        """Take note of what another process told of an output."""
        self.latest = data["value"] if event == GraphEvents.ON_OUTPUT_DELTA else None


FOLLOWED: Final = frozenset((GraphEvents.ON_OUTPUT_DELTA, GraphEvents.ON_OUTPUT_REFUSED, GraphEvents.ON_OUTPUT))
"""The events that `OutputSteps.follow` takes."""


def _grown(answer: _Answer, chunk: AIMessage, kind: OutputType) -> Iterator[_Written]:
    """Yield what has grown of an answer, and is to be read again."""
    text = "".join(piece for is_thought, piece in chunk_text.of(chunk) if not is_thought)
    if text and not answer.calls and answer.text.add(text):
        yield answer.text
    for fragment in chunk.tool_call_chunks if isinstance(chunk, AIMessageChunk) else ():
        place, name = fragment.get("index"), fragment.get("name")
        if name in kind.by_tool and place not in answer.calls:
            answer.calls[place] = _Written(name)
        written, arguments = answer.calls.get(place), fragment.get("args")
        if written is not None and arguments and written.add(arguments):
            yield written
