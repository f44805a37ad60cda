"""Run steps, made from the reports of agents: the rules, without I/O.

- A step is a message being written or a tool call; its index is its place among the content parts and only grows.
- One call of a model writes its steps in a lane. The lane's next step closes the message before it, and so does the end
  of the call; a tool call's step stays open until the call has its result.
- A lane knows whether the model reasons: reasoning next to the content or in blocks of it, or text from a `<think>` on
  until the chunk after the one with `</think>`. A change opens a new message.
- An empty first chunk tells the provider's message id, which the first message of the lane takes.
- Text that arrives while a tool call is being written is part of no message.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal, cast

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall, ToolCallChunk

from stategraph.agent.facts import Delegation, ModelCall, Place, ToolAnswered
from stategraph.agent.messages import truncation
from stategraph.run.events import chunk_text
from stategraph.run.events.event_types import (
    CompletedToolCall,
    GraphEvents,
    MessageCreation,
    MessageCreationDetails,
    MessageDelta,
    Row,
    RunStep,
    RunStepDelta,
    StepToolCall,
    ToolCallFragment,
    ToolCallResult,
    ToolCallsDetails,
)
from stategraph.run.events.step_list import Status, StepList
from stategraph.run.events.summary_steps import SummarySteps

#: Looked up once per token: a member of an enum takes as long as a call.
_MESSAGE_DELTA: Final = GraphEvents.ON_MESSAGE_DELTA


@dataclass(slots=True)
class _Lane:
    """One call of a model.

    Attributes:
        call: The call.
        step: The step being written.
        written: How many steps the current phase has.
        provider_id: The provider's id for the message, until a message took it.
        reasoning: Whether the model reasons now.
        tagged: Whether it does so since an opening tag.
        named: Tool calls that have their steps.
    """

    call: ModelCall
    step: RunStep | None = None
    written: int = 0
    provider_id: str | None = None
    reasoning: bool = False
    tagged: bool = False
    named: set[str] = field(default_factory=set)


class StepTracker:
    """The steps of a run.

    Args:
        steps: The list that keeps them.

    Attributes:
        steps: All of them.
        summaries: Those of summaries.
    """

    def __init__(self, steps: StepList) -> None:
        self.steps = steps
        self.summaries = SummarySteps(steps)
        self._lanes: dict[int, _Lane] = {}
        self._calls: dict[tuple[str, str], str] = {}
        self._turns: dict[tuple[str, str], int] = {}
        self._turns_of_tool: Counter[str] = Counter()
        self.subagents: dict[str, tuple[Delegation, StepTracker]] = {}

    def of(self, at: Place) -> StepTracker:
        """Return the tracker of the steps of a place: this one, or that of the subagent that it is in."""
        return self if at.within is None else self.below(at.within)

    def below(self, subagent: Delegation) -> StepTracker:
        """Return the tracker of a subagent's steps."""
        known = self.subagents.get(subagent.id)
        if known is None:
            known = self.subagents[subagent.id] = (subagent, StepTracker(self.steps.below(subagent.id)))
        return known[1]

    def clear(self) -> None:
        """Forget everything; indices start at 0 again."""
        self.steps.clear()
        self.summaries.clear()
        for known in (self._lanes, self._calls, self._turns, self._turns_of_tool, self.subagents):
            known.clear()

    # A model's answer.

    def chunk(self, call: ModelCall, chunk: AIMessage) -> Iterable[Row]:
        """Yield the rows for a piece of an answer.

        Args:
            call: The call that it belongs to; identity matters.
            chunk: The piece.

        Returns:
            Events in their order.
        """
        lane = self._lanes.get(id(call))
        if lane is None:
            lane = self._lanes[id(call)] = _Lane(call)
        text = chunk_text.plain_text(chunk)
        if (
            text is not None
            and lane.step is not None
            and not lane.reasoning
            and lane.step["type"] == "message_creation"
        ):
            return ((_MESSAGE_DELTA, _delta(lane.step, {"type": "text", "text": text})),)
        return self._parts(lane, chunk)

    def _parts(self, lane: _Lane, chunk: AIMessage) -> Iterator[Row]:
        said = list(chunk_text.of(chunk))
        for reasoning, text in said:
            for kind, part in _split_tags(lane, reasoning, text):
                yield from self._write(lane, kind, part)
        if chunk.tool_calls or chunk.invalid_tool_calls:
            yield from self._tool_chunk(lane, chunk)
        elif not said and lane.provider_id is None and lane.step is None and chunk.id:
            lane.provider_id = chunk.id

    def _write(self, lane: _Lane, reasoning: bool, text: str) -> Iterator[Row]:
        if not text:
            return
        if reasoning != lane.reasoning:
            yield from self._change(lane, reasoning)
        if lane.step is None:
            yield from self._open_message(lane, "think" if reasoning else "text")
        step = cast("RunStep", lane.step)
        if step["type"] != "message_creation":
            return
        if reasoning:
            yield GraphEvents.ON_REASONING_DELTA, _delta(step, {"type": "think", "think": text})
        else:
            yield GraphEvents.ON_MESSAGE_DELTA, _delta(step, {"type": "text", "text": text})

    def _change(self, lane: _Lane, reasoning: bool) -> Iterator[Row]:
        """Begin or end a phase of reasoning: the next piece starts a new message."""
        lane.reasoning = reasoning
        lane.written = 0
        lane.provider_id = None
        if lane.step is not None and lane.step["type"] == "message_creation":
            yield from self.steps.close(lane.step, "completed")
            lane.step = None

    def _tool_chunk(self, lane: _Lane, chunk: AIMessage) -> Iterator[Row]:
        """Open a step for each call that is named for the first time, and pass its fragments on."""
        fragments = chunk.tool_call_chunks if isinstance(chunk, AIMessageChunk) else []
        parsed = {call["id"]: call for call in _calls_of(chunk) if call["name"] and call["id"]}
        for fragment in fragments:
            call_id, name = fragment["id"], fragment["name"]
            if name and call_id and call_id not in lane.named:
                call = parsed.get(call_id) or ToolCall(name=name, args={}, id=call_id)
                yield from self._open_tool(lane, call)
            if lane.step is not None and lane.step["type"] == "tool_calls":
                yield GraphEvents.ON_RUN_STEP_DELTA, _fragment(lane.step, fragment)
        for call_id, call in parsed.items():
            if call_id not in lane.named:
                yield from self._open_tool(lane, call)

    def _open_message(self, lane: _Lane, content_type: Literal["text", "think"] | None) -> Iterator[Row]:
        message = MessageCreation(message_id=lane.provider_id or self.steps.new_id("msg_"))
        lane.provider_id = None
        if content_type is not None:
            message["content_type"] = content_type
        details = MessageCreationDetails(type="message_creation", message_creation=message)
        yield from self._open(lane, "message_creation", details)

    def _open_tool(self, lane: _Lane, call: ToolCall) -> Iterator[Row]:
        if lane.reasoning:
            yield from self._change(lane, False)
        if lane.step is None:
            yield from self._open_message(lane, None)
        shown = StepToolCall(id=call["id"] or "", name=call["name"], args=call["args"], type="tool_call")
        yield from self._open(lane, "tool_calls", ToolCallsDetails(type="tool_calls", tool_calls=[shown]))
        step = cast("RunStep", lane.step)
        lane.named.add(shown["id"])
        self._calls[_key(lane.call.at, shown["id"])] = step["id"]

    def _open(
        self,
        lane: _Lane,
        kind: Literal["message_creation", "tool_calls"],
        details: MessageCreationDetails | ToolCallsDetails,
    ) -> Iterator[Row]:
        if lane.step is not None and lane.step["type"] == "message_creation":
            yield from self.steps.close(lane.step, "completed")
        step = self.steps.open(lane.call.at, kind, details, lane.written)
        lane.written += 1
        lane.step = step
        yield GraphEvents.ON_RUN_STEP, cast("RunStep", dict(step))

    def end(self, call: ModelCall, message: AIMessage) -> Iterator[Row]:
        """Yield the rows for the end of an answer: its message is closed.

        Args:
            call: The call.
            message: The answer.

        Yields:
            The opening of steps for calls that have none yet, and the closing of the message that was being written.
        """
        lane = self._lanes.pop(id(call), None) or _Lane(call)
        for each in _calls_of(message):
            if each["id"] not in lane.named:
                yield from self._open_tool(lane, each)
        if lane.step is not None and lane.step["type"] == "message_creation":
            yield from self.steps.close(lane.step, "completed")

    def whole(self, at: Place, message: AIMessage) -> Iterator[Row]:
        """Yield the rows for an answer that was not streamed.

        Args:
            at: Where.
            message: The answer.

        Yields:
            Its steps with their deltas, and the closing of its text.
        """
        call = ModelCall(at, "", "", (), 0)
        yield from self.chunk(call, message)
        yield from self.end(call, message)

    def fail(self, call: ModelCall) -> Iterator[Row]:
        """Yield the rows for a failed call, whose answer is given up: all its open steps are closed.

        Args:
            call: The call.

        Yields:
            The closings.
        """
        lane = self._lanes.pop(id(call), None)
        if lane is None:
            return
        if lane.step is not None:
            yield from self.steps.close(lane.step, "failed")
        for call_id in lane.named:
            yield from self.steps.close(self.steps.get(self.step_id(call.at, call_id)), "failed")

    # Tools.

    @property
    def tool_call_steps(self) -> dict[str, str]:
        """The step of each tool call; of calls of several agents with one id, that of the last."""
        return {call_id: step_id for (_, call_id), step_id in self._calls.items()}

    def step_id(self, at: Place, call_id: str | None) -> str:
        """Return the id of the step of an agent's tool call; empty if it has none."""
        return self._calls.get(_key(at, call_id), "")

    def number(self, at: Place, message: AIMessage) -> None:
        """Index the calls of a whole answer; ids that an earlier answer used mean new calls.

        Args:
            at: Where.
            message: The answer.
        """
        for call in _calls_of(message):
            self._number(at, call)

    def turn(self, at: Place, call: ToolCall) -> int:
        """Return how many calls of the same tool came before this one in the run.

        Args:
            at: Where.
            call: A call; asking again gives the same answer.
        """
        key = _key(at, call["id"])
        if key not in self._turns:
            self._number(at, call)
        return self._turns[key]

    def _number(self, at: Place, call: ToolCall) -> None:
        self._turns[_key(at, call["id"])] = self._turns_of_tool[call["name"]]
        self._turns_of_tool[call["name"]] += 1

    def answer(self, fact: ToolAnswered) -> Iterator[Row]:
        """Yield the rows for a tool call's result.

        Args:
            fact: The result.

        Yields:
            The completion, and the closing of its step.
        """
        at, call = fact.at, fact.call
        step_id = self.step_id(at, call["id"])
        shown = CompletedToolCall(
            id=call["id"] or "",
            name=call["name"],
            args=truncation.compact_json(call["args"]),
            output=fact.shown,
            progress=1,
        )
        if fact.outcome is not None:
            shown["outcome"] = fact.outcome
        result = ToolCallResult(
            id=step_id, index=self.turn(at, call), type="tool_call", tool_call=shown, completed_at=self.steps.now_ms()
        )
        yield GraphEvents.ON_RUN_STEP_COMPLETED, {"result": result}
        yield from self.steps.close(self.steps.get(step_id), "completed")

    def recalled(self, at: Place, call_id: str | None) -> None:
        """Take note that the completion of a tool call was told, perhaps in another process.

        Args:
            at: Where.
            call_id: The call.
        """
        for _ in self.steps.close(self.steps.get(self.step_id(at, call_id)), "completed"):
            pass

    # The end.

    def sweep(self, status: Status) -> Iterator[Row]:
        """Close all open steps.

        Args:
            status: How the run ended.

        Yields:
            The closings, in the order in which the steps were opened.
        """
        self._lanes.clear()
        self.summaries.clear()
        yield from self.steps.sweep(status)

    # Across processes.

    def follow(self, event: str, data: Mapping[str, Any], agent_id: str) -> None:
        """Take up a step that the agents' own process opened or closed.

        Args:
            event: What happened.
            data: The event's payload.
            agent_id: The agent.
        """
        step = self.steps.follow(event, data)
        if step is None or event != GraphEvents.ON_RUN_STEP or step["stepDetails"]["type"] != "tool_calls":
            return
        for call in step["stepDetails"].get("tool_calls") or ():
            self._calls[agent_id, call["id"]] = data["id"]

    def memory(self) -> dict[str, Any]:
        """Return the state that another process needs to continue with the same ids and indices, as JSON.

        Closed steps are left out.
        """
        waiting = {call: step_id for call, step_id in self._calls.items() if self.steps.is_open(step_id)}
        below = [[asdict(subagent), tracker.memory()] for subagent, tracker in self.subagents.values()]
        return {
            **({"subagents": below} if below else {}),
            **self.steps.memory(),
            "tool_calls": [[*call, step_id] for call, step_id in waiting.items()],
            "turns": [
                [*call, turn] for call, turn in self._turns.items() if call in waiting or call not in self._calls
            ],
            "turns_of_tool": dict(self._turns_of_tool),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Restore what `memory` returned; known entries stay.

        Args:
            memory: The JSON, perhaps from another process.
        """
        self.steps.recall(memory, memory.get("closed", ()))
        for agent_id, call_id, step_id in memory["tool_calls"]:
            self._calls.setdefault((agent_id, call_id), step_id)
        for agent_id, call_id, turn in memory["turns"]:
            self._turns.setdefault((agent_id, call_id), turn)
        self._turns_of_tool |= Counter(memory["turns_of_tool"])
        for subagent, its_memory in memory.get("subagents", ()):
            self.below(delegation_of(subagent)).recall(its_memory)

    def note_closed(self, memory: Mapping[str, Any]) -> None:
        """Take note of steps that are open here, and no more where `memory` was stored.

        Args:
            memory: The JSON of the process that went on.
        """
        still_open = {step["id"] for step in memory["steps"]}
        self.steps.note_closed([step["id"] for step in self.steps if step["id"] not in still_open])
        below = {subagent["id"]: its_memory for subagent, its_memory in memory.get("subagents", ())}
        for its_id, (_, tracker) in list(self.subagents.items()):
            if its_id in below:
                tracker.note_closed(below[its_id])
            else:
                del self.subagents[its_id]


def delegation_of(stored: Mapping[str, Any]) -> Delegation:
    """Return a delegation from its fields."""
    above = stored["above"]
    return Delegation(**{**stored, "above": None if above is None else delegation_of(above)})


def _key(at: Place, call_id: str | None) -> tuple[str, str]:
    """Return a key that is unique among agents: models of agents that run in parallel may use the same ids of calls."""
    return at.scope or at.agent_id, call_id or ""


def _calls_of(message: AIMessage) -> list[ToolCall]:
    """Return the calls of an answer or a piece of one; of those that cannot be read, the arguments are left out."""
    if not message.invalid_tool_calls:
        return message.tool_calls
    unreadable = [ToolCall(name=each["name"] or "", args={}, id=each["id"]) for each in message.invalid_tool_calls]
    return [*message.tool_calls, *unreadable]


def _delta(step: RunStep, part: dict[str, object]) -> MessageDelta:
    # Once per token: a literal takes less than half of the time of a call of the class.
    delta: MessageDelta = {"id": step["id"], "delta": {"content": [part]}}
    return delta


def _fragment(step: RunStep, chunk: ToolCallChunk) -> RunStepDelta:
    """Return a fragment of a call in the form for front ends: missing fields are left out."""
    fragment = ToolCallFragment(args=chunk["args"] or "", type="tool_call_chunk")
    if name := chunk.get("name"):
        fragment["name"] = name
    if call_id := chunk.get("id"):
        fragment["id"] = call_id
    if (index := chunk.get("index")) is not None:
        fragment["index"] = index
    return RunStepDelta(id=step["id"], delta={"type": "tool_calls", "tool_calls": [fragment]})


def _split_tags(lane: _Lane, reasoning: bool, text: str) -> Iterator[tuple[bool, str]]:
    """Split a text into reasoning and the rest by the tags in it."""
    if reasoning:
        yield True, text
    elif not lane.tagged and "<think>" in text:
        before, _, inner = text.partition("<think>")
        if "</think>" in inner:
            inner, _, after = inner.partition("</think>")
            yield from ((False, before), (True, inner), (False, after))
        else:
            lane.tagged = True
            yield True, text
    elif lane.tagged:
        if "</think>" in text:
            lane.tagged = False
        yield True, text
    else:
        yield False, text
