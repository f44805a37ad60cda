"""Facts about a run to events of AG-UI.

Rules
-----
* A message of the assistant begins with its first text; one that only calls tools has no text events.
* Its reasoning is a message of its own, with the id of the message and `-reasoning`.
* A step is known by its name: of several tasks of one node at the same time, the first begins it and the last ends it.
* The first state is a snapshot, then come patches. The conversation is a snapshot before the first step and at the end.
* Clients of the time before 1.0 do not know nested agents: they are told as the agent's own work, those that a tool
  runs not at all, and interrupts also as the custom event `on_interrupt`.
* Custom data that is an `ACTIVITY_SNAPSHOT` or `ACTIVITY_DELTA` of the protocol is told as that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ag_ui import core
from ag_ui.core import BaseEvent
from pydantic import ValidationError

from stategraph.server.agui import messages, state
from stategraph.server.agui.interrupts import interrupt_of
from stategraph.server.projection import (
    Custom,
    Fact,
    GraphFinished,
    GraphStarted,
    Interrupted,
    MessageEnded,
    MessageStarted,
    Place,
    Projection,
    ReasoningDelta,
    RunEnded,
    RunStarted,
    StateValues,
    StepFinished,
    StepStarted,
    TextDelta,
    ToolCallDelta,
    ToolCallEnded,
    ToolCallStarted,
    ToolResult,
    Usage,
)
from stategraph.server.projection.facts import Outcome
from stategraph.server.projection.projection import Logged
from stategraph.server.turns.conversation import messages_of
from stategraph.server.turns.questions import questions_of

_CUSTOM: Final = "stategraph.custom"

_ACTIVITIES: Final[Mapping[str, type[BaseEvent]]] = {
    "ACTIVITY_SNAPSHOT": core.ActivitySnapshotEvent,
    "ACTIVITY_DELTA": core.ActivityDeltaEvent,
}


class Encoder:
    """Turns the log of a run into events of the protocol.

    Args:
        thread_id: The thread, as the client calls it.
        run_id: The run, as the client calls it.
        parent_run_id: The run that began this one.
        is_old: Whether the client is of the time before 1.0.
    """

    def __init__(self, thread_id: str, run_id: str, parent_run_id: str | None = None, *, is_old: bool = False) -> None:
        self._thread_id = thread_id
        self._run_id = run_id
        self._parent_run_id = parent_run_id
        self._is_old = is_old
        self._projection = Projection()
        self._started: dict[str, MessageStarted] = {}
        self._texts: set[str] = set()
        self._reasoning: dict[str, list[str]] = {}
        self._thinking: set[str] = set()
        self._hidden: set[str] = set()
        self._steps: Counter[tuple[str, str]] = Counter()
        self._values: Any = None
        self._shown: Any = None
        self._has_state = False
        self._waiting: dict[str, None] = {}
        self._interrupts: list[core.Interrupt] = []
        self._asked: list[Any] = []

    def take(self, event: Logged) -> list[BaseEvent]:
        """Return the events that an event of the log gives."""
        return [each for fact in self._projection.take(event) for each in self._encode(fact)]

    def _encode(self, fact: Fact) -> Iterator[BaseEvent]:
        match fact:
            case TextDelta() | ReasoningDelta() | MessageStarted() | MessageEnded():
                yield from self._message(fact)
            case ToolCallStarted() | ToolCallDelta() | ToolCallEnded() | ToolResult():
                yield from self._tool(fact)
            case StepStarted() | StepFinished() | GraphStarted() | GraphFinished():
                yield from self._place(fact)
            case StateValues(values, at):
                if not at.graph_id:
                    yield from self._state(values)
            case Custom(data, at):
                yield self._custom(data, at)
            case Interrupted(interrupt_id, payload, approvals):
                self._interrupts += map(interrupt_of, questions_of(interrupt_id, payload, approvals))
                self._asked.append(payload)
            case RunStarted():
                yield core.RunStartedEvent(
                    thread_id=self._thread_id,
                    run_id=self._run_id,
                    parent_run_id=self._parent_run_id,
                    protocol_version=core.PROTOCOL_VERSION,
                )
            case RunEnded():
                yield from self._end(fact)

    def _owner(self, at: Place) -> str | None:
        """Return the nested agent that an event is attributed to."""
        return None if self._is_old or not at.graph_id else at.graph_id

    # Messages.

    def _message(self, fact: TextDelta | ReasoningDelta | MessageStarted | MessageEnded) -> Iterator[BaseEvent]:
        message_id = fact.message_id
        if isinstance(fact, MessageStarted):
            self._started[message_id] = fact
            if self._is_old and fact.at.in_tool:
                self._hidden.add(message_id)
            return
        if message_id in self._hidden:
            return
        owner = self._owner(self._started[message_id].at)
        match fact:
            case TextDelta(_, text):
                yield from self._end_reasoning(message_id, owner)
                if message_id not in self._texts:
                    self._texts.add(message_id)
                    yield core.TextMessageStartEvent(message_id=message_id, role="assistant", subagent_run_id=owner)
                yield core.TextMessageContentEvent(message_id=message_id, delta=text, subagent_run_id=owner)
            case ReasoningDelta(_, text):
                yield from self._reason(message_id, owner, text)
            case MessageEnded():
                yield from self._end_reasoning(message_id, owner)
                if message_id in self._texts:
                    yield core.TextMessageEndEvent(message_id=message_id, subagent_run_id=owner)

    def _reason(self, message_id: str, owner: str | None, text: str) -> Iterator[BaseEvent]:
        span = self._span(message_id)
        if message_id not in self._thinking:
            self._thinking.add(message_id)
            self._reasoning.setdefault(message_id, []).append("")
            span = self._span(message_id)
            yield core.ReasoningStartEvent(message_id=span, subagent_run_id=owner)
            yield core.ReasoningMessageStartEvent(message_id=span, role="reasoning", subagent_run_id=owner)
        self._reasoning[message_id][-1] += text
        yield core.ReasoningMessageContentEvent(message_id=span, delta=text, subagent_run_id=owner)

    def _end_reasoning(self, message_id: str, owner: str | None) -> Iterator[BaseEvent]:
        if message_id in self._thinking:
            self._thinking.discard(message_id)
            span = self._span(message_id)
            yield core.ReasoningMessageEndEvent(message_id=span, subagent_run_id=owner)
            yield core.ReasoningEndEvent(message_id=span, subagent_run_id=owner)

    def _span(self, message_id: str) -> str:
        """Return the id of the newest reasoning of a message, which may think again after some text."""
        number = len(self._reasoning.get(message_id, ()))
        return f"{message_id}-reasoning" + (f"-{number}" if number > 1 else "")

    # Tools.

    def _tool(self, fact: ToolCallStarted | ToolCallDelta | ToolCallEnded | ToolResult) -> Iterator[BaseEvent]:
        match fact:
            case ToolCallStarted(message_id, call_id, name):
                if message_id in self._hidden:
                    self._hidden.add(call_id)
                    return
                started = self._started[message_id]
                owner = self._owner(started.at)
                yield from self._end_reasoning(message_id, owner)
                yield from self._predicted(started, name)
                self._waiting[call_id] = None
                yield core.ToolCallStartEvent(
                    tool_call_id=call_id, tool_call_name=name, parent_message_id=message_id, subagent_run_id=owner
                )
            case ToolCallDelta(call_id, text):
                if call_id not in self._hidden:
                    yield core.ToolCallArgsEvent(tool_call_id=call_id, delta=text)
            case ToolCallEnded(call_id=call_id):
                if call_id not in self._hidden:
                    yield core.ToolCallEndEvent(tool_call_id=call_id)
            case ToolResult():
                self._waiting.pop(fact.call_id, None)
                if fact.call_id not in self._hidden and not (self._is_old and fact.at.in_tool):
                    yield core.ToolCallResultEvent(
                        message_id=fact.message_id,
                        tool_call_id=fact.call_id,
                        content=messages.result_text(fact.content),
                        role="tool",
                        subagent_run_id=self._owner(fact.at),
                        metadata={"status": "error"} if fact.is_error else None,
                    )

    def _predicted(self, started: MessageStarted, tool: str) -> Iterator[BaseEvent]:
        """Tell which part of the state the arguments of a call will be, if the metadata of the run says so."""
        about = started.metadata.get("predict_state")
        if not isinstance(about, list):
            return
        found = [each for each in about if isinstance(each, Mapping) and each.get("tool") == tool]
        if found:
            value = [{key: each.get(key) for key in ("state_key", "tool", "tool_argument")} for each in found]
            yield core.CustomEvent(name="PredictState", value=value)

    # Steps and nested agents.

    def _place(self, fact: StepStarted | StepFinished | GraphStarted | GraphFinished) -> Iterator[BaseEvent]:
        match fact:
            case StepStarted(_, at) | StepFinished(_, at):
                if not (self._is_old and at.in_tool):
                    yield from self._step(at, begins=isinstance(fact, StepStarted))
            case GraphStarted() if not self._is_old:
                yield core.SubagentStartedEvent(
                    subagent_run_id=fact.graph_id,
                    name=fact.name,
                    parent_subagent_run_id=fact.parent_id or None,
                    parent_tool_call_id=fact.call_id or None,
                )
            case GraphFinished(graph_id, outcome) if not self._is_old:
                yield _subagent_end(graph_id, outcome)

    def _step(self, at: Place, *, begins: bool) -> Iterator[BaseEvent]:
        owner = self._owner(at)
        key = owner or "", at.node
        self._steps[key] += 1 if begins else -1
        if begins and self._steps[key] == 1:
            yield core.StepStartedEvent(step_name=at.node, subagent_run_id=owner)
        elif not self._steps[key]:
            yield core.StepFinishedEvent(step_name=at.node, subagent_run_id=owner)

    # State.

    def _state(self, values: Any) -> Iterator[BaseEvent]:
        self._values = values
        now = state.shared(values)
        if not self._has_state:
            self._has_state = True
            yield from self._conversation()
            yield core.StateSnapshotEvent(snapshot=now)
        elif changed := state.patch(self._shown, now):
            yield core.StateDeltaEvent.model_validate({"delta": changed})
        self._shown = now

    def _conversation(self) -> Iterator[BaseEvent]:
        """Tell the whole conversation, if the state has one."""
        said = messages_of(self._values) if isinstance(self._values, Mapping) else []
        shown = []
        for each in said:
            thoughts = self._reasoning.get(each.id or "", [])
            shown += messages.write(each, "".join(thoughts))
        if shown:
            yield core.MessagesSnapshotEvent(messages=shown)

    def _custom(self, data: Any, at: Place) -> BaseEvent:
        if isinstance(data, Mapping):
            activity = _ACTIVITIES.get(str(data.get("type")))
            if activity is not None:
                try:
                    return activity.model_validate({**data, "subagentRunId": self._owner(at)})
                except ValidationError:
                    pass
            name = data.get("name")
            if isinstance(name, str) and name and data.keys() == {"name", "value"}:
                return core.CustomEvent(name=name, value=state.plain(data["value"]), subagent_run_id=self._owner(at))
        return core.CustomEvent(name=_CUSTOM, value=state.plain(data), subagent_run_id=self._owner(at))

    # The end.

    def _end(self, fact: RunEnded) -> Iterator[BaseEvent]:
        if self._has_state:
            yield from self._conversation()
        usage = [_usage(each) for each in fact.usage] or None
        match fact.status:
            case "success":
                outcome: Any = core.RunFinishedSuccessOutcome(pending_tool_call_ids=list(self._waiting) or None)
            case "interrupted":
                outcome = core.RunFinishedInterruptOutcome(interrupts=self._interrupts)
                if self._is_old:
                    for payload in self._asked:
                        yield core.CustomEvent(name="on_interrupt", value=state.plain(payload))
            case "cancelled":
                outcome = core.RunFinishedCancelledOutcome()
            case _:
                yield core.RunErrorEvent(message=_SENTENCES[fact.status], code=fact.error or fact.status, usage=usage)
                return
        yield core.RunFinishedEvent(thread_id=self._thread_id, run_id=self._run_id, outcome=outcome, usage=usage)


_SENTENCES: Final[Mapping[str, str]] = {
    "error": "The run failed.",
    "timeout": "The run took longer than it may.",
    "dead": "The run was given up: its workers ended again and again.",
}


def _subagent_end(graph_id: str, outcome: Outcome) -> BaseEvent:
    match outcome:
        case "finished":
            return core.SubagentFinishedEvent(subagent_run_id=graph_id, outcome=core.SubagentFinishedSuccessOutcome())
        case "suspended":
            return core.SubagentFinishedEvent(subagent_run_id=graph_id, outcome=core.SubagentFinishedSuspendedOutcome())
        case _:
            return core.SubagentErrorEvent(subagent_run_id=graph_id, message="The run ended before it did.")


def _usage(given: Usage) -> core.TokenUsage:
    return core.TokenUsage(
        provider=given.provider or None,
        model=given.model or None,
        input_tokens=given.input_tokens,
        output_tokens=given.output_tokens,
        total_tokens=given.input_tokens + given.output_tokens,
        reasoning_tokens=given.reasoning_tokens or None,
        cached_input_tokens=given.cached_tokens or None,
    )
