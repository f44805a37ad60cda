"""From what agents do to run steps: the rules, without I/O.

- A step is a message being written or a tool call; its index is its place among the content parts and only grows.
- One call of a model writes its steps in a lane. The lane's next step closes the message before it, and so does the end
  of the call; a tool call's step stays open until the call has its result.
- A lane knows whether the model reasons: `reasoning_content` (or reasoning blocks), or text from a `<think>` on until
  the chunk after the one with `</think>`. A change opens a new message.
- An empty first chunk tells the provider's message id, which the first message of the lane takes.
- Text that arrives while a tool call is being written is part of no message.
- A summary is a step of its own: what its model writes is part of no message.
- Every step is closed exactly once; the first close wins.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias, cast

from langchain_core.messages import AIMessage, AIMessageChunk, ToolCall

from stategraph.agent import truncation
from stategraph.agent.ports import ModelCall, Place, ToolAnswered
from stategraph.run.events import (
    CompletedToolCall,
    GraphEvents,
    MessageCreation,
    MessageCreationDetails,
    RunStep,
    StepToolCall,
    Summary,
    SummaryBoundary,
    SummaryResult,
    ToolCallFragment,
    ToolCallResult,
    ToolCallsDetails,
)

#: An event and its payload.
Row: TypeAlias = tuple[GraphEvents, Any]
Status: TypeAlias = Literal["completed", "cancelled", "failed"]

_STAMP: dict[Status, str] = {"completed": "completed_at", "cancelled": "cancelled_at", "failed": "failed_at"}
_REASONING_BLOCKS = ("thinking", "reasoning", "reasoning_content")


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
        run_id: The run.
        new_id: Makes an id with the given prefix.
        now_ms: The time as epoch milliseconds.
        several_agents: Whether steps say which agent they are of.
    """

    def __init__(
        self, run_id: str, *, new_id: Callable[[str], str], now_ms: Callable[[], int], several_agents: bool = False
    ) -> None:
        self._run_id = run_id
        self._new_id = new_id
        self._now_ms = now_ms
        self._several_agents = several_agents
        self.clear()

    def clear(self) -> None:
        """Forget everything; indices start at 0 again."""
        self.steps: list[RunStep] = []
        self.tool_call_steps: dict[str, str] = {}
        self._by_id: dict[str, RunStep] = {}
        self._lanes: dict[int, _Lane] = {}
        self._open_calls: dict[str, set[str]] = {}
        self._turns: dict[str, int] = {}
        self._turns_of_tool: Counter[str] = Counter()
        self._summaries: dict[str, RunStep] = {}

    def get(self, step_id: str) -> RunStep | None:
        """A step by its id."""
        return self._by_id.get(step_id)

    # A model's answer.

    def chunk(self, call: ModelCall, chunk: AIMessage) -> Iterable[Row]:
        """What a piece of an answer comes to.

        Args:
            call: The call that it belongs to; identity matters.
            chunk: The piece.

        Returns:
            Events in their order.
        """
        lane = self._lanes.get(id(call))
        if lane is None:
            lane = self._lanes[id(call)] = _Lane(call)
        text = _plain_text(chunk)
        if (
            text is not None
            and lane.step is not None
            and not lane.reasoning
            and lane.step["type"] == "message_creation"
        ):
            return ((GraphEvents.ON_MESSAGE_DELTA, _delta(lane.step, {"type": "text", "text": text})),)
        return self._parts(lane, chunk)

    def _parts(self, lane: _Lane, chunk: AIMessage) -> Iterator[Row]:
        pieces = list(_pieces(chunk))
        for reasoning, text in pieces:
            for kind, part in _split_tags(lane, reasoning, text):
                yield from self._write(lane, kind, part)
        if chunk.tool_calls or (isinstance(chunk, AIMessageChunk) and chunk.tool_call_chunks):
            yield from self._tool_chunk(lane, chunk)
        elif not pieces and lane.provider_id is None and lane.step is None and chunk.id:
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
        """Begin or end a phase of reasoning: what comes next has a message of its own."""
        lane.reasoning = reasoning
        lane.written = 0
        lane.provider_id = None
        if lane.step is not None and lane.step["type"] == "message_creation":
            yield from self._close(lane.step, "completed")
            lane.step = None

    def _tool_chunk(self, lane: _Lane, chunk: AIMessage) -> Iterator[Row]:
        """Open a step for each call that is named for the first time, and pass its fragments on."""
        fragments = chunk.tool_call_chunks if isinstance(chunk, AIMessageChunk) else []
        parsed = {call["id"]: call for call in chunk.tool_calls if call["name"] and call["id"]}
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
        message = MessageCreation(message_id=lane.provider_id or self._new_id("msg_"))
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
        self.tool_call_steps[shown["id"]] = step["id"]
        self._open_calls[step["id"]] = {shown["id"]}

    def _open(
        self,
        lane: _Lane,
        kind: Literal["message_creation", "tool_calls"],
        details: MessageCreationDetails | ToolCallsDetails,
    ) -> Iterator[Row]:
        if lane.step is not None and lane.step["type"] == "message_creation":
            yield from self._close(lane.step, "completed")
        step = self._new_step(lane.call.at, kind, details, lane.written)
        lane.written += 1
        lane.step = step
        yield GraphEvents.ON_RUN_STEP, cast("RunStep", dict(step))

    # Summaries.

    def open_summary(self, at: Place, figures: Mapping[str, Any]) -> Iterator[Row]:
        """A summary is about to be written.

        Args:
            at: Where.
            figures: The model and its provider, how many messages, and the summary's number.

        Yields:
            The step, and that it starts.
        """
        by = {key: figures[key] for key in ("model", "provider")}
        details = MessageCreationDetails(type="message_creation", message_creation=MessageCreation(message_id=""))
        step = self._new_step(at, "message_creation", details, 0)
        details["message_creation"]["message_id"] = step["id"]
        step["summary"] = cast("Summary", {"type": "summary", **by})
        self._summaries[at.agent_id] = step
        yield GraphEvents.ON_RUN_STEP, cast("RunStep", dict(step))
        yield GraphEvents.ON_SUMMARIZE_START, {"agentId": at.agent_id, **figures}

    def summary_text(self, at: Place, text: str) -> Iterator[Row]:
        """A piece of a summary came.

        Args:
            at: Where.
            text: The piece.

        Yields:
            The delta.
        """
        step = self._summaries[at.agent_id]
        piece = {**step.get("summary", {}), "content": [{"type": "text", "text": text}]}
        yield GraphEvents.ON_SUMMARIZE_DELTA, {"id": step["id"], "delta": {"summary": piece}}

    def close_summary(self, at: Place, summary: Mapping[str, Any] | None, error: str | None) -> Iterator[Row]:
        """A summary is whole, or could not be made.

        Args:
            at: Where.
            summary: The content part that it is, but for its place; None: there is none.
            error: Why not.

        Yields:
            The completion, the closing of the step, and that it is over.
        """
        step = self._summaries.pop(at.agent_id)
        over: dict[str, Any] = {"id": step["id"], "agentId": at.agent_id}
        if summary is None:
            yield from self._close(step, "failed")
            yield GraphEvents.ON_SUMMARIZE_COMPLETE, {**over, "error": error}
            return
        now = self._now_ms()
        whole = cast(
            "Summary",
            {
                **summary,
                "boundary": SummaryBoundary(messageId=step["id"], contentIndex=step["index"]),
                "createdAt": _iso(now),
            },
        )
        step["summary"] = whole
        result = SummaryResult(id=step["id"], index=step["index"], type="summary", summary=whole, completed_at=now)
        yield GraphEvents.ON_RUN_STEP_COMPLETED, {"result": result}
        yield from self._close(step, "completed")
        yield GraphEvents.ON_SUMMARIZE_COMPLETE, {**over, "summary": whole}

    def _new_step(
        self,
        at: Place,
        kind: Literal["message_creation", "tool_calls"],
        details: MessageCreationDetails | ToolCallsDetails,
        position: int,
    ) -> RunStep:
        step = RunStep(
            stepIndex=position,
            id=self._new_id("step_"),
            type=kind,
            index=len(self.steps),
            stepDetails=details,
            usage=None,
            status="in_progress",
            runId=self._run_id,
            created_at=self._now_ms(),
        )
        if self._several_agents:
            step["agentId"] = at.agent_id
        if at.group_id is not None:
            step["groupId"] = at.group_id
        self.steps.append(step)
        self._by_id[step["id"]] = step
        return step

    def end(self, call: ModelCall) -> Iterator[Row]:
        """The answer of a call is whole: its message is closed.

        Args:
            call: The call.

        Yields:
            The closing of the message that was being written.
        """
        lane = self._lanes.pop(id(call), None)
        if lane is not None and lane.step is not None and lane.step["type"] == "message_creation":
            yield from self._close(lane.step, "completed")

    def fail(self, call: ModelCall) -> Iterator[Row]:
        """A call failed and its answer is given up: all its open steps are closed.

        Args:
            call: The call.

        Yields:
            The closings.
        """
        lane = self._lanes.pop(id(call), None)
        if lane is None:
            return
        if lane.step is not None:
            yield from self._close(lane.step, "failed")
        for call_id in lane.named:
            yield from self._close(self._by_id[self.tool_call_steps[call_id]], "failed")

    # Tools.

    def number(self, calls: Iterable[ToolCall]) -> None:
        """Number the calls of a whole answer; ids that an earlier answer used mean new calls.

        Args:
            calls: The calls, in order.
        """
        for call in {call["id"]: call for call in calls}.values():
            self._number(call)

    def turn(self, call: ToolCall) -> int:
        """How many calls of the same tool came before this one in the run.

        Args:
            call: A call; asking again gives the same answer.
        """
        call_id = call["id"] or ""
        if call_id not in self._turns:
            self._number(call)
        return self._turns[call_id]

    def _number(self, call: ToolCall) -> None:
        self._turns[call["id"] or ""] = self._turns_of_tool[call["name"]]
        self._turns_of_tool[call["name"]] += 1

    def answer(self, fact: ToolAnswered) -> Iterator[Row]:
        """A tool call has its result.

        Args:
            fact: The result.

        Yields:
            The completion, and the closing of its step if no other call of it is open.
        """
        call_id = fact.call["id"] or ""
        step_id = self.tool_call_steps.get(call_id, "")
        shown = CompletedToolCall(
            id=call_id,
            name=fact.call["name"],
            args=truncation.compact_json(fact.call["args"]),
            output=fact.shown,
            progress=1,
        )
        if fact.outcome is not None:
            shown["outcome"] = fact.outcome
        result = ToolCallResult(
            id=step_id, index=self.turn(fact.call), type="tool_call", tool_call=shown, completed_at=self._now_ms()
        )
        yield GraphEvents.ON_RUN_STEP_COMPLETED, {"result": result}
        step = self._by_id.get(step_id)
        if step is not None:
            still_open = self._open_calls.get(step_id, set())
            still_open.discard(call_id)
            if not still_open:
                yield from self._close(step, "completed")

    # The end.

    def sweep(self, status: Status) -> Iterator[Row]:
        """Close whatever is open.

        Args:
            status: How the run ended.

        Yields:
            The closings, in the order in which the steps were opened.
        """
        self._lanes.clear()
        self._summaries.clear()
        for step in self.steps:
            yield from self._close(step, status)

    def _close(self, step: RunStep, status: Status) -> Iterator[Row]:
        if step.get("status") != "in_progress":
            return
        now = self._now_ms()
        step["status"] = status
        cast("dict[str, Any]", step)[_STAMP[status]] = now
        closed: dict[str, Any] = {
            "id": step["id"],
            "index": step["index"],
            "type": step["type"],
            "status": status,
            "closed_at": now,
            "created_at": step.get("created_at"),
            "runId": self._run_id,
            "stepIndex": step.get("stepIndex"),
        }
        for key in ("agentId", "groupId"):
            if key in step:
                closed[key] = step[key]
        yield GraphEvents.ON_RUN_STEP_CLOSED, closed

    # Across processes.

    def memory(self) -> dict[str, Any]:
        """What another process needs to go on with the same ids and places, as JSON."""
        return {
            "steps": [dict(step) for step in self.steps],
            "tool_calls": dict(self.tool_call_steps),
            "open_calls": {step_id: sorted(calls) for step_id, calls in self._open_calls.items() if calls},
            "turns": dict(self._turns),
            "turns_of_tool": dict(self._turns_of_tool),
        }

    def recall(self, memory: Mapping[str, Any]) -> None:
        """Go on from what `memory` returned; steps that are known already stay.

        Args:
            memory: The JSON, perhaps from another process.
        """
        for step in memory["steps"]:
            if step["id"] not in self._by_id:
                self.steps.append(cast("RunStep", dict(step)))
                self._by_id[step["id"]] = self.steps[-1]
        self.tool_call_steps = {**memory["tool_calls"], **self.tool_call_steps}
        for step_id, calls in memory["open_calls"].items():
            self._open_calls.setdefault(step_id, set(calls))
        self._turns = {**memory["turns"], **self._turns}
        self._turns_of_tool = Counter(Counter(memory["turns_of_tool"]) | self._turns_of_tool)


def _iso(time_ms: int) -> str:
    """A time as front ends read it."""
    time = datetime.fromtimestamp(time_ms / 1000, UTC)
    return time.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _delta(step: RunStep, part: dict[str, object]) -> dict[str, Any]:
    return {"id": step["id"], "delta": {"content": [part]}}


def _fragment(step: RunStep, chunk: Mapping[str, Any]) -> dict[str, Any]:
    """A fragment of a call as front ends read it: what it does not have is left out."""
    fragment = ToolCallFragment(args=chunk["args"] or "", type="tool_call_chunk")
    if chunk.get("name"):
        fragment["name"] = chunk["name"]
    if chunk.get("id"):
        fragment["id"] = chunk["id"]
    if chunk.get("index") is not None:
        fragment["index"] = chunk["index"]
    return {"id": step["id"], "delta": {"type": "tool_calls", "tool_calls": [fragment]}}


def _plain_text(chunk: AIMessage) -> str | None:
    """The text of a chunk that has nothing else and no tag: most chunks of an answer."""
    text = chunk.content
    if not isinstance(text, str) or not text or chunk.additional_kwargs or chunk.tool_calls or "<think>" in text:
        return None
    return None if isinstance(chunk, AIMessageChunk) and chunk.tool_call_chunks else text


def _pieces(chunk: AIMessage) -> Iterator[tuple[bool, str]]:
    """The text of a chunk in its order: whether it is reasoning, and the text."""
    reasoning = chunk.additional_kwargs.get("reasoning_content")
    if isinstance(reasoning, str) and reasoning:
        yield True, reasoning
    if isinstance(chunk.content, str):
        if chunk.content:
            yield False, chunk.content
        return
    for block in chunk.content:
        if isinstance(block, str):
            yield False, block
        elif block.get("type") == "text":
            yield False, str(block.get("text") or "")
        elif block.get("type") in _REASONING_BLOCKS:
            yield True, _reasoning_text(block)


def _reasoning_text(block: Mapping[str, Any]) -> str:
    for key in ("thinking", "reasoning", "text"):
        if isinstance(block.get(key), str):
            return cast("str", block[key])
    inner = block.get("reasoning_content")
    if isinstance(inner, Mapping):
        return str(inner.get("text") or "")
    summary = block.get("summary")
    if isinstance(summary, list):
        return "".join(str(each.get("text") or "") for each in summary if isinstance(each, Mapping))
    return ""


def _split_tags(lane: _Lane, reasoning: bool, text: str) -> Iterator[tuple[bool, str]]:
    """What of a text is reasoning because of tags in it."""
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
