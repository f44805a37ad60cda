"""Facts about a run, as values that no protocol owns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

#: How a run ended.
Status: TypeAlias = Literal["success", "error", "interrupted", "timeout", "cancelled", "dead"]

#: How a nested graph ended.
Outcome: TypeAlias = Literal["finished", "suspended", "cut off"]


@dataclass(frozen=True, slots=True)
class Place:
    """Place in the graph where something happened.

    Attributes:
        graph_id: The nested graph, as in `GraphStarted`; empty for the outermost.
        node: The node.
        in_tool: Whether a tool runs the graph, so that its messages are no answers to the user.
    """

    graph_id: str = ""
    node: str = ""
    in_tool: bool = False


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The first event of a run was read. There is one, whatever the number of attempts."""


@dataclass(frozen=True, slots=True)
class MessageStarted:
    """A message of the assistant begins.

    Attributes:
        message_id: Its id: that of the message in the state, unless another message of the run had it.
        at: Where.
        metadata: That of the first piece: node, model, keys of the run's config.
    """

    message_id: str
    at: Place
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of a message; never empty."""

    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """More reasoning of a message; never empty."""

    message_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallStarted:
    """A message begins to call a tool."""

    message_id: str
    call_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """More of the JSON of a call's arguments; never empty."""

    call_id: str
    text: str


@dataclass(frozen=True, slots=True)
class ToolCallEnded:
    """The arguments of a call are complete: `arguments` is all of their JSON, `{}` if there are none."""

    message_id: str
    call_id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one model, summed over its calls.

    Attributes:
        provider: Empty if it is not known.
        model: Empty if it is not known.
        input_tokens: Of the prompts, with `cached_tokens`.
        output_tokens: Of the answers, with `reasoning_tokens`.
        cached_tokens: Read from the provider's cache.
        reasoning_tokens: Spent on reasoning.
    """

    provider: str = ""
    model: str = ""
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


@dataclass(frozen=True, slots=True)
class MessageEnded:
    """A message is complete, or was cut off by the run's end.

    Attributes:
        message_id: The message.
        text: All of its text.
        is_complete: False if the run ended, or was taken over, while it was streamed.
    """

    message_id: str
    text: str
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class MessageDiscarded:
    """A message that was told, and ended, is not in the conversation.

    The worker died before it was stored, and the next one got another answer from the model.
    """

    message_id: str


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A call has a result.

    Attributes:
        message_id: The message that carries it.
        call_id: The call.
        name: The tool; empty if it is not known.
        content: The content of the message: a text, or a list of blocks.
        text: The text in it.
        is_error: Whether the tool failed.
        at: Where.
    """

    message_id: str
    call_id: str
    name: str
    content: Any
    text: str
    is_error: bool
    at: Place


@dataclass(frozen=True, slots=True)
class StepStarted:
    """A node begins. Unless the run logs `tasks`, it is noticed with its first message, or at its end."""

    step_id: str
    at: Place


@dataclass(frozen=True, slots=True)
class StepFinished:
    """A node has ended, or the run has."""

    step_id: str
    at: Place


@dataclass(frozen=True, slots=True)
class GraphStarted:
    """A graph inside of a node or tool begins.

    Attributes:
        graph_id: Names this execution of it.
        name: The tool that runs it, or the node.
        parent_id: The graph around it; empty for the outermost.
        call_id: The tool call that runs it; empty if none does, or one of several.
        in_tool: Whether a tool runs it.
    """

    graph_id: str
    name: str
    parent_id: str
    call_id: str
    in_tool: bool


@dataclass(frozen=True, slots=True)
class GraphFinished:
    """A nested graph has ended.

    Attributes:
        graph_id: The graph.
        outcome: `suspended`: the run waits, perhaps within it. `cut off`: the run ended before it did.
    """

    graph_id: str
    outcome: Outcome = "finished"


@dataclass(frozen=True, slots=True)
class StateUpdated:
    """A node wrote to the state."""

    update: Any
    at: Place


@dataclass(frozen=True, slots=True)
class StateValues:
    """The whole state after a step; at first, before the first step."""

    values: Any
    at: Place


@dataclass(frozen=True, slots=True)
class Custom:
    """A node handed something to its stream writer."""

    data: Any
    at: Place


@dataclass(frozen=True, slots=True)
class ToolApproval:
    """A tool call waits for a person's decision.

    Attributes:
        call_id: The call; empty if it cannot be told which of the run's.
        name: The tool.
        args: The arguments.
        description: What the person is shown; empty if there is nothing.
        decisions: Those allowed, of `approve`, `reject`, `edit` and `respond`.
    """

    call_id: str
    name: str
    args: Mapping[str, Any]
    description: str
    decisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The run waits for an answer.

    Attributes:
        interrupt_id: By which it is answered; empty for a breakpoint, which is just gone on from.
        payload: What the graph asks.
        approvals: The tool calls it asks about; empty for other questions.
    """

    interrupt_id: str
    payload: Any
    approvals: tuple[ToolApproval, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEnded:
    """The run has ended.

    Attributes:
        status: How.
        error: The kind of the error, such as a class name; empty if there was none.
        usage: Of the models whose answers were told, one for each model.
    """

    status: Status
    error: str
    usage: tuple[Usage, ...]


Fact: TypeAlias = (
    RunStarted
    | MessageStarted
    | TextDelta
    | ReasoningDelta
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallEnded
    | MessageEnded
    | MessageDiscarded
    | ToolResult
    | StepStarted
    | StepFinished
    | GraphStarted
    | GraphFinished
    | StateUpdated
    | StateValues
    | Custom
    | Interrupted
    | RunEnded
)
