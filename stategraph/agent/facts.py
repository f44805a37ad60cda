"""Facts: what agents report to their listener while they work, and the place and the call that a fact is about.

- A fact holds what happened, not what it looks like: `stategraph.run` makes events, steps and content parts of it.
- A graph that is run by itself usually has no listener: then no fact is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from stategraph.agent.messages.fading_tier import FadingTier
from stategraph.agent.reporting import ToolReport

if TYPE_CHECKING:  # 0.2 s, which a process without runs does not pay
    from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage


@dataclass(frozen=True, slots=True)
class Delegation:
    """A subagent at work, for the call of another agent.

    Attributes:
        id: Its name, the same when a paused run continues.
        type: Its type, by which the caller chose it.
        agent_id: The agent that it is.
        caller_id: The agent that called it.
        call_id: The call.
        above: The subagent that the caller is; None: it is an agent of the run.
    """

    id: str
    type: str
    agent_id: str
    caller_id: str
    call_id: str
    above: Delegation | None = None

    @property
    def lineage(self) -> tuple[Delegation, ...]:
        """The subagents from that which an agent of the run called down to this one."""
        return (*(() if self.above is None else self.above.lineage), self)


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an event: agent, node and task.

    Attributes:
        agent_id: The agent.
        agent_name: Its name for readers.
        node: The node's name in the agent's graph.
        metadata: Of the running task: thread, step, namespace, and what the caller gave.
        group_id: Number of the group of agents that run in parallel; None for an agent on its own.
        within: The subagent that it is in; None: an agent of the run.
        scope: Whose ids of tool calls differ from each other; empty: the agent's.
        messages: The conversation that the node was given; empty where it is not known.
    """

    agent_id: str
    agent_name: str
    node: str
    metadata: Mapping[str, Any]
    group_id: int | None = None
    within: Delegation | None = None
    scope: str = ""
    messages: Sequence[AnyMessage] = field(default=(), compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model.

    Attributes:
        at: Where.
        provider: The provider's name as the host spelled it.
        model: The model's name; empty if unknown.
        messages: The messages that are sent.
        history: How many messages of it are history, and not the agent's instructions.
        instruction_tokens: Tokens in addition to the messages; 0 if tokens are not counted.
        tool_schema_tokens: Those of them that describe tools.
        off_record: Whether the answer is no part of the conversation, as that of a summary.
        traced_as: The provider's name as tracing has it; empty if unknown.
    """

    at: Place
    provider: str
    model: str
    messages: Sequence[AnyMessage]
    history: int
    instruction_tokens: int = 0
    tool_schema_tokens: int = 0
    off_record: bool = False
    traced_as: str = ""

    def of_model(self, provider: str, model: str, traced_as: str) -> ModelCall:
        """Return the same call of another model."""
        tokens = (self.instruction_tokens, self.tool_schema_tokens)
        return ModelCall(self.at, provider, model, self.messages, self.history, *tokens, self.off_record, traced_as)


@dataclass(frozen=True, slots=True)
class ModelStarted:
    """A model is about to be called."""

    call: ModelCall


@dataclass(frozen=True, slots=True)
class ModelStreamed:
    """A piece of the answer came; of a model that does not stream, all of it."""

    call: ModelCall
    chunk: AIMessage


@dataclass(frozen=True, slots=True)
class ModelEnded:
    """The answer is whole.

    Attributes:
        call: The call.
        message: The answer.
        elapsed_s: Seconds since the call began.
    """

    call: ModelCall
    message: AIMessage
    elapsed_s: float


@dataclass(frozen=True, slots=True)
class MessageReturned:
    """A node returned an answer that no model was heard to give.

    Attributes:
        at: Where.
        message: The answer.
    """

    at: Place
    message: AIMessage


@dataclass(frozen=True, slots=True)
class ModelFailed:
    """The call failed and another model is tried."""

    call: ModelCall
    error: Exception


@dataclass(frozen=True, slots=True)
class ToolStarted:
    """A tool of this process is about to run."""

    at: Place
    call: ToolCall


@dataclass(frozen=True, slots=True)
class ToolEnded:
    """A tool of this process returned.

    Attributes:
        at: Where.
        call: The call.
        output: The result for the model, or the tool's command; of a tool that returns several, their list.
    """

    at: Place
    call: ToolCall
    output: object


@dataclass(frozen=True, slots=True)
class ToolFailed:
    """A tool raised; the model will be told, the run goes on."""

    at: Place
    call: ToolCall
    error: Exception


@dataclass(frozen=True, slots=True)
class ToolAnswered:
    """A call has its result.

    Attributes:
        at: Where.
        call: The call, with the arguments that were used.
        message: The result as the model will read it.
        shown: The result as a person should read it.
        outcome: How the host described it; None for nothing beyond the message's status.
    """

    at: Place
    call: ToolCall
    message: ToolMessage
    shown: str
    outcome: str | None = None


@dataclass(frozen=True, slots=True)
class ToolKept:
    """A call has a result, and its run was stopped before that was told: it is part of the conversation, and no event.

    Attributes:
        at: Where.
        call: The call.
        message: The result.
    """

    at: Place
    call: ToolCall
    message: ToolMessage


@dataclass(frozen=True, slots=True)
class ToolRecalled:
    """A call has a result that was told before the run paused, in this process or in another one.

    Attributes:
        at: Where.
        call: The call.
        message: The result.
    """

    at: Place
    call: ToolCall
    message: ToolMessage


@dataclass(frozen=True, slots=True)
class SubagentStarted:
    """A subagent is about to work, for the first time or again after a pause.

    Attributes:
        at: The place of the call.
        subagent: The subagent.
        task: What it is told.
    """

    at: Place
    subagent: Delegation
    task: str


@dataclass(frozen=True, slots=True)
class SubagentEnded:
    """A subagent has ended.

    Attributes:
        at: The place of the call.
        subagent: The subagent.
        messages: Its conversation; empty if it failed.
        error: Why it failed; None if it did not.
    """

    at: Place
    subagent: Delegation
    messages: Sequence[AnyMessage] = ()
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Injected:
    """Messages of the host, or of hooks, were added to the conversation.

    Attributes:
        at: Where.
        messages: They, with the ids that they keep.
    """

    at: Place
    messages: Sequence[HumanMessage]


@dataclass(frozen=True, slots=True)
class ToolReported:
    """A running tool tells of its progress, or logs."""

    at: Place
    call: ToolCall
    report: ToolReport


@dataclass(frozen=True, slots=True)
class Logged:
    """Something worth telling about a decision.

    Attributes:
        at: Where.
        level: How important.
        scope: The part of the agent that it is about.
        message: A short sentence.
        data: Figures.
        detail: Details for debugging.
    """

    at: Place
    level: Literal["debug", "info", "warn", "error"]
    scope: str
    message: str
    data: Mapping[str, Any] | None = None
    detail: bool = True


@dataclass(frozen=True, slots=True)
class Judged:
    """A guard has judged what a model is sent, or what it answered.

    Attributes:
        at: Where.
        point: The point at which it was asked.
        judgement: Its name, its outcome, and its reason and details if it gives any, by their names in JSON.
    """

    at: Place
    point: str
    judgement: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContextUsed:
    """Usage of the model's context, reported before each call of an agent that trims.

    Attributes:
        at: Where.
        figures: Counts by their names in JSON.
        instruction_overhead: True tokens of instructions and tools, by reported usage; None: not known.
        tier: How far tool results are shortened.
    """

    at: Place
    figures: Mapping[str, Any]
    instruction_overhead: int | None = None
    tier: FadingTier = field(default_factory=FadingTier)


@dataclass(frozen=True, slots=True)
class SummaryStarted:
    """Messages that do not fit are about to be summarised.

    Attributes:
        at: Where.
        figures: The model and its provider, how many messages, and the summary's number, by their names in JSON.
        trigger: The kind of the trigger that said so; `default` where everything that does not fit is summarised.
    """

    at: Place
    figures: Mapping[str, Any]
    trigger: str = "default"


@dataclass(frozen=True, slots=True)
class SummaryStreamed:
    """A piece of the summary came."""

    at: Place
    text: str


@dataclass(frozen=True, slots=True)
class SummaryEnded:
    """The summary is whole, or could not be made.

    Attributes:
        at: Where.
        summary: The content part that it is, but for its place; None: there is none.
        error: Why not, without what a provider said.
        left: How many messages of the conversation stay as they are.
    """

    at: Place
    summary: Mapping[str, Any] | None
    error: str | None = None
    left: int = 0


@dataclass(frozen=True, slots=True)
class OutputGiven:
    """An answer is the output that the agent has to give.

    Attributes:
        at: Where.
        name: The member of the agent's output type.
        value: The value as JSON, with defaults filled in.
        message_id: The answer.
    """

    at: Place
    name: str
    value: Any
    message_id: str | None


@dataclass(frozen=True, slots=True)
class OutputRefused:
    """An answer is no valid output, which the model is told.

    Attributes:
        at: Where.
        problems: What is wrong with it, a sentence each.
    """

    at: Place
    problems: Sequence[str]


ModelFact: TypeAlias = ModelStarted | ModelStreamed | ModelEnded | ModelFailed
ToolFact: TypeAlias = ToolStarted | ToolEnded | ToolFailed | ToolAnswered | ToolKept | ToolRecalled
SubagentFact: TypeAlias = SubagentStarted | SubagentEnded
SummaryFact: TypeAlias = SummaryStarted | SummaryStreamed | SummaryEnded
OutputFact: TypeAlias = OutputGiven | OutputRefused
ShownFact: TypeAlias = ToolReported | ContextUsed | Logged | Judged
"""Facts that are shown to front ends as they are, see `stategraph.run.events.event_types.shown`."""

Fact: TypeAlias = (
    ModelFact | ToolFact | SummaryFact | SubagentFact | OutputFact | ShownFact | Injected | MessageReturned
)
