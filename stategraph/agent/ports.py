"""Ports of agents: the listeners they report to, the hosts and gates they ask, where models and tools come from.

- An agent tells facts to one `Listener`, in order, and goes on when it has heard: a slow listener slows the agent.
- Tools that the agent knows only by their definition run with a `ToolHost`; a `ToolGate` decides whether a
  call may run. Their classes are not known here.
- A graph that is run by itself usually has no listener: then no fact is made.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from stategraph.agent.messages.compaction import FadingTier
from stategraph.agent.reporting import ToolReport


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an event: agent, node and task.

    Attributes:
        agent_id: The agent.
        agent_name: Its name for readers.
        node: The node's name in the agent's graph.
        metadata: Of the running task: thread, step, namespace, and what the caller gave.
        group_id: Number of the group of agents that run in parallel; None for an agent on its own.
    """

    agent_id: str
    agent_name: str
    node: str
    metadata: Mapping[str, Any]
    group_id: int | None = None


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


# Facts.


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


ModelFact: TypeAlias = ModelStarted | ModelStreamed | ModelEnded | ModelFailed
ToolFact: TypeAlias = ToolStarted | ToolEnded | ToolFailed | ToolAnswered | ToolRecalled
SummaryFact: TypeAlias = SummaryStarted | SummaryStreamed | SummaryEnded
ShownFact: TypeAlias = ToolReported | ContextUsed | Logged
"""Facts that are shown to front ends as they are, see `stategraph.run.events.event_types.shown`."""

Fact: TypeAlias = ModelFact | ToolFact | SummaryFact | ShownFact | Injected


class Listener(Protocol):
    """Hears what an agent does."""

    async def hear(self, fact: Fact, /) -> None:
        """Take note of a fact; the agent waits until this returns, and fails if it raises."""

    def memory(self) -> dict[str, Any] | None:
        """Return what must outlive this process so that a paused run can continue elsewhere, as JSON; None: nothing."""

    def recall(self, memory: Mapping[str, Any], /) -> None:
        """Restore what `memory` returned elsewhere. Called at every node; known contents change nothing."""


# Models and tools.


class ModelRegistry(Protocol):
    """Resolves what a host says about a model, making the model or returning one made before; contacts no network."""

    def resolve(
        self, provider: str, client_options: Mapping[str, Any] | None = None, reasoning_key: str | None = None
    ) -> BaseChatModel:
        """Return a chat model.

        Args:
            provider: A provider's name, or `provider:model`.
            client_options: Options of its client, in either spelling; None: no more options.
            reasoning_key: Key of reasoning in the model's messages, where its provider leaves a choice.

        Raises:
            ConfigurationError: The provider is unknown, or refuses the options.
            MissingPackageError: The provider's package is not installed.
        """

    def __len__(self) -> int:
        """Return how many models are kept to be used again."""


@runtime_checkable
class ToolSource(Protocol):
    """Supplies tools between `open` and `aclose`; both may be repeated, in another event loop too."""

    @property
    def names(self) -> tuple[str, ...]:
        """The names by which parts of the source are chosen: of servers, groups and the like.

        They are compared with those of other sources before `open`, and may be none: then the source is asked when all
        are, and cannot be chosen.
        """

    async def open(self) -> None:
        """Get ready; networks may be contacted when tools are asked for."""

    async def aclose(self) -> None:
        """End everything that was opened, and wait until nothing is left."""

    async def tools(self, *names: str) -> Sequence[BaseTool]:
        """Return the tools that there are now.

        Args:
            *names: The parts to ask; none: all.
        """


# Tools of the host.


@dataclass(frozen=True, slots=True)
class ToolBatch:
    """The calls of one answer that the host has to execute."""

    at: Place
    calls: Sequence[ToolCall]
    config: RunnableConfig


@dataclass(frozen=True, slots=True)
class HostResult:
    """A host's answer to a call.

    Attributes:
        tool_call_id: The call.
        content: The content for the model.
        status: Whether it worked.
        error_message: The error, in words.
        artifact: Data kept with the content and not sent to the model.
        outcome: How to show it.
        injected: Messages to add after the results.
    """

    tool_call_id: str
    content: str | list[Any]
    status: Literal["success", "error"] = "success"
    error_message: str | None = None
    artifact: Any = None
    outcome: str | None = None
    injected: Sequence[HumanMessage] = ()


class ToolHost(Protocol):
    """Executes tools that an agent knows only by their definition."""

    async def execute(
        self, batch: ToolBatch, early: Callable[[HostResult], Awaitable[None]], /
    ) -> Sequence[HostResult]:
        """Execute calls.

        Args:
            batch: The calls.
            early: May be told a result before the others are there.

        Returns:
            All results, in any order.
        """


# Decisions about calls.


@dataclass(frozen=True, slots=True)
class Allow:
    """The call may run, with these arguments."""

    call: ToolCall


@dataclass(frozen=True, slots=True)
class Answer:
    """The call does not run; this is its result."""

    call: ToolCall
    text: str
    status: Literal["success", "error"]


Verdict: TypeAlias = Allow | Answer


class StoredRemarks(TypedDict):
    """Remarks as they are kept with a waiting run."""

    contexts: list[str]
    injected: list[HumanMessage]
    halt: str | None


@dataclass(frozen=True, slots=True)
class Remarks:
    """A gate's requests beyond a result.

    Attributes:
        contexts: To be told to the model.
        injected: Messages to add after the results.
        halt: Why the turn ends after the batch; None if it goes on.
    """

    contexts: tuple[str, ...] = ()
    injected: tuple[HumanMessage, ...] = ()
    halt: str | None = None

    def stored(self) -> StoredRemarks:
        """Return them as they can be stored."""
        return StoredRemarks(contexts=list(self.contexts), injected=list(self.injected), halt=self.halt)

    @classmethod
    def restored(cls, stored: StoredRemarks | None) -> Remarks | None:
        """Return them from what `stored` returned; None stays None."""
        if stored is None:
            return None
        return cls(tuple(stored["contexts"]), tuple(stored["injected"]), stored["halt"])


@dataclass(frozen=True, slots=True)
class Reviewed:
    """The results of a batch after review.

    Attributes:
        messages: The results, changed or not, in the order of the calls.
        injected: Messages to add after them.
        halt: Why the turn ends here; None if it goes on.
    """

    messages: Sequence[ToolMessage]
    injected: Sequence[HumanMessage] = ()
    halt: str | None = None


@runtime_checkable
class ToolGate(Protocol):
    """Decides which calls run, and reviews what they return; several gates are each around the next."""

    async def before(self, at: Place, calls: Sequence[ToolCall], /) -> Sequence[Verdict]:
        """Decide about the calls of one answer, in their order. May wait for a person by interrupting the node.

        A gate is asked about the calls that all gates before it allow, with the arguments that these allow.

        A node that was interrupted runs again, and asks again: then this has to decide as before, for results of
        calls that had ended are found by their place among the allowed ones.
        """

    async def after(self, at: Place, call: ToolCall, message: ToolMessage, /) -> tuple[ToolMessage, Remarks | None]:
        """Review one result before it is reported; once each, also of calls that did not run.

        The last gate that saw the call reviews first. One that an earlier gate answered is not shown to later ones.

        Returns:
            The result, changed or not, and requests beyond it, passed to `finish`, possibly in another process.
        """

    async def finish(
        self,
        at: Place,
        calls: Sequence[ToolCall],
        messages: Sequence[ToolMessage],
        remarks: Sequence[Remarks],
        /,
    ) -> Reviewed:
        """Look at all results of a batch, in the order of its calls."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """The graph's context, which a run hands to the nodes of its agents.

    Attributes:
        run_id: The run; empty for a graph that is run by itself.
        listener: Hears the run.
        host: Executes tools of the host; None if there is none.
        gates: Decide about calls, each within the one before it, see `ToolGate`; none lets all of them run.
        token_counter: Counts the tokens of a message; None: nothing is counted, and so nothing trimmed.
        token_counts: Tokens of messages by id, as the host knows them.
        calibration_ratio: The calibration ratio of an earlier run.
        fading_tiers: How far earlier runs shortened tool results, by agent.
        context: For the host's own tools: what they get as the context of their `ToolRuntime`.
    """

    run_id: str = ""
    listener: Listener | None = None
    host: ToolHost | None = None
    gates: Sequence[ToolGate] = ()
    token_counter: Callable[[AnyMessage], int] | None = None
    token_counts: Mapping[str, int] = field(default_factory=dict)
    calibration_ratio: float = 1.0
    fading_tiers: Mapping[str, FadingTier] = field(default_factory=dict)
    context: Any = None


NO_CONTEXT = AgentContext()


def agent_context(context: Any) -> AgentContext:
    """Return the context of a graph as its agents need it.

    Args:
        context: The context that the caller of the graph gave. A graph that contains agents may have its own;
            then there is no listener.
    """
    return context if isinstance(context, AgentContext) else NO_CONTEXT
