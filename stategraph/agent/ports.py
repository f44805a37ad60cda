"""Ports of agents: the listeners they report to, the hosts and gates they ask, where models and tools come from.

- An agent tells facts (`stategraph.agent.facts`) to one `Listener`, in order, and goes on when it has heard: a slow
  listener slows the agent.
- Tools that the agent knows only by their definition run with a `ToolHost`; a `ToolGate` decides whether a
  call may run, and a `ModelGate` whether a model is called. Their classes are not known here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias, TypedDict, runtime_checkable

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import BaseTool

from stategraph.agent.facts import Delegation, Fact, Place
from stategraph.agent.limits.meter import Meter
from stategraph.agent.messages.fading_tier import FadingTier


class Listener(Protocol):
    """Hears what an agent does."""

    async def hear(self, fact: Fact, /) -> None:
        """Take note of a fact; the agent waits until this returns, and fails if it raises."""

    def memory(self) -> dict[str, Any] | None:
        """Return what must outlive this process so that a paused run can continue elsewhere, as JSON; None: nothing."""

    def recall(self, memory: Mapping[str, Any], /) -> None:
        """Restore what `memory` returned elsewhere. Called at every node; known contents change nothing."""


# Models and tools.


@runtime_checkable
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
class Executed:
    """A call that was executed, as the gates around it see it.

    Attributes:
        message: Its result; None: there is none.
        stored: All that came of it, in a form that can be stored. A gate that kept it may return it in another process.
        error: What the tool raised; None: it returned.
    """

    message: ToolMessage | None
    stored: Mapping[str, Any]
    error: BaseException | None = None


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


@runtime_checkable
class ExecutionGate(ToolGate, Protocol):
    """A gate that also stands around the execution of each call, as one does that has to know how it ended."""

    async def around(
        self, at: Place, call: ToolCall, execute: Callable[[ToolCall], Awaitable[Executed]], /
    ) -> Executed | Answer:
        """Execute a call that all gates have let pass, at most once; called where its result is stored.

        Not called for tools of the host. May wait for a person by interrupting the task of the call, which then runs
        again.

        Args:
            at: Where.
            call: The call.
            execute: Executes it. It raises only what ends or pauses the run: the error of a tool is part of its result.

        Returns:
            What `execute` returned, or an answer in its place.
        """


@runtime_checkable
class UnreadableGate(ToolGate, Protocol):
    """A gate that also hears of calls that cannot be read, about which no gate is asked."""

    async def unreadable(self, at: Place, call: ToolCall, why: str, /) -> None:
        """Hear of a call that is not made, once, before its result is reported.

        Args:
            at: Where.
            call: The call, without its arguments.
            why: Why it cannot be read.
        """


# Decisions about calls of models.


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """A call of a model that is about to be made; to change it, return `dataclasses.replace(request, ...)`.

    Attributes:
        at: Where.
        messages: The messages that are sent, the instructions first.
        provider: The provider of the first model that is tried, as the host spelled it.
        model: That model's name; empty if unknown.
        tokens: Tokens of all that is sent, tools included, as they were counted; None if tokens are not counted.
        options: Options bound to each model that is tried, such as `temperature` or `tool_choice`.
        off_record: Whether the answer is no part of the conversation, as that of a summary: `Halt` then refuses the
            call alone, and the turn goes on without a summary.
    """

    at: Place
    messages: Sequence[AnyMessage]
    provider: str = ""
    model: str = ""
    tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    off_record: bool = False


@dataclass(frozen=True, slots=True)
class Halt:
    """The turn ends here; its tools do not run.

    Attributes:
        reason: Why, as the run's halt reason.
        message: The answer that the turn ends with. None: of a call that was not made, none; of one that was, its
            answer, without the calls of tools.
    """

    reason: str
    message: AIMessage | None = None


ModelVerdict: TypeAlias = ModelRequest | AIMessage | Halt
"""Call the model, with what the request says; answer in its place; or end the turn."""

ModelReview: TypeAlias = AIMessage | Halt
"""The answer, changed or not; or the end of the turn."""


@runtime_checkable
class ModelGate(Protocol):
    """Decides about calls of an agent's model, and reviews the answers; several gates are each around the next.

    The methods may be sync or async. A sync run needs sync ones.

    One call may try several models, one after the other. A prompt that was refused as too long, shortened and sent
    again is another call.
    """

    def before(self, request: ModelRequest, /) -> ModelVerdict | Awaitable[ModelVerdict]:
        """Decide about a call. May wait for a person by interrupting the node, which then runs again and asks again.

        A gate is asked with what the gates before it let pass.
        """

    def after(self, request: ModelRequest, answer: AIMessage, /) -> ModelReview | Awaitable[ModelReview]:
        """Review an answer before it becomes part of the conversation; not called if every model failed.

        The last gate that saw the request reviews first: the one that answered or ended the turn, if one did, and then
        those before it. Where the answer is replaced, its id stays, and its usage if the other one has none. An
        interrupt here would repeat the call: interrupt in `before`.

        Args:
            request: The request as this gate let it pass: the same object.
            answer: The answer.
        """


Hold: TypeAlias = Literal["nothing", "sentence", "answer"]
"""How much of an answer a listener is told only once it is approved."""


@runtime_checkable
class StreamGate(ModelGate, Protocol):
    """A gate that also decides when a listener hears an answer; without a listener it is a `ModelGate`.

    If one of the gates holds back the answer, a listener hears it after all of them have reviewed it with `after`.
    """

    def hold(self, request: ModelRequest, /) -> Hold:
        """Return how much of the answer to hold back."""

    async def piece(self, request: ModelRequest, text: str, before: str, /) -> str | Halt:
        """Review one sentence before a listener hears it; called if no gate holds back more than sentences.

        Args:
            request: The request as this gate let it pass.
            text: The sentence, with the space or line break after it; a part of one longer than 4,000 characters.
            before: The answer's text before it, as the listener has heard it.

        Returns:
            The text to tell in its place, perhaps empty. `Halt` stops the model; the text of its message is told last.
        """


@dataclass(frozen=True, slots=True)
class AgentContext:
    """The graph's context, which a run hands to the nodes of its agents.

    Attributes:
        run_id: The run; empty for a graph that is run by itself.
        listener: Hears the run.
        host: Executes tools of the host; None if there is none.
        gates: Decide about calls, each within the one before it, see `ToolGate`; none lets all of them run.
        model_gates: Decide about calls of models, each within the one before it, see `ModelGate`.
        meter: Counts what the run takes, and keeps its limits where there is a listener; one for the whole tree of a
            run's agents. None: nothing is counted.
        token_counter: Counts the tokens of a message; None: nothing is counted, and so nothing trimmed.
        token_counts: Tokens of messages by id, as the host knows them.
        calibration_ratio: The calibration ratio of an earlier run.
        fading_tiers: How far earlier runs shortened tool results, by agent.
        context: For the host's own tools: what they get as the context of their `ToolRuntime`.
        within: The subagent whose graph it is; None: an agent of the run.
        max_turns: How often the model of this subagent may be called; None: as often as limits let it.
    """

    run_id: str = ""
    listener: Listener | None = None
    host: ToolHost | None = None
    gates: Sequence[ToolGate] = ()
    model_gates: Sequence[ModelGate] = ()
    meter: Meter | None = None
    token_counter: Callable[[AnyMessage], int] | None = None
    token_counts: Mapping[str, int] = field(default_factory=dict)
    calibration_ratio: float = 1.0
    fading_tiers: Mapping[str, FadingTier] = field(default_factory=dict)
    context: Any = None
    within: Delegation | None = None
    max_turns: int | None = None


NO_CONTEXT = AgentContext()


def agent_context(context: Any) -> AgentContext:
    """Return the context of a graph as its agents need it.

    Args:
        context: The context that the caller of the graph gave. A graph that contains agents may have its own;
            then there is no listener.
    """
    return context if isinstance(context, AgentContext) else NO_CONTEXT
