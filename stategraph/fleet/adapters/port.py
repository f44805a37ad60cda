"""The interface between a framework and the host that serves its agents over A2A.

An `Adapter` wraps one agent of a framework; a `Conversation` is the framework's own session for one `contextId`. A turn
yields facts in the order in which they happen. Returning ends the task as completed, raising ends it as failed, and
after a `Question` it waits for the next message.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias, runtime_checkable

from stategraph.fleet.messages.common import Data, File, Message, Reasoning, ToolCall, ToolResult


class AdapterError(Exception):
    """An agent that cannot be served, or a turn that its framework cannot do; the text says what to change."""


@dataclass(frozen=True, slots=True)
class Said:
    """A piece of the answer's text.

    Attributes:
        text: The piece; pieces that follow one another are one text.
    """

    text: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens that a call of a model took.

    Attributes:
        input_tokens: Of the prompt.
        output_tokens: Of the answer.
    """

    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Question:
    """A question: the task is `input-required`, and the next message of the conversation answers it.

    Attributes:
        text: For a person.
        value: The same as JSON; None: the text is all.
    """

    text: str
    value: Any = None


@dataclass(frozen=True, slots=True)
class Losses:
    """Parts of a message that the framework's format could not say.

    Attributes:
        counts: How often each thing was left out, by its name in the format's table.
    """

    counts: Mapping[str, int]


Fact: TypeAlias = Said | Reasoning | ToolCall | ToolResult | File | Data | Usage | Question | Losses


class Conversation(Protocol):
    """A conversation with an agent: one turn at a time."""

    def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message. Closing the generator cancels the turn."""

    async def close(self) -> None:
        """Let go of what the conversation holds. A conversation with the same id may be opened again later."""


@runtime_checkable
class Adapter(Protocol):
    """An agent of a framework.

    Attributes:
        framework: The framework's name.
        version: Its version.
        description: What the agent does, for its card; empty: not known.
        skills: What the agent can do, by name, with a sentence on each.
    """

    framework: str
    version: str
    description: str
    skills: Mapping[str, str]

    async def open(self, context_id: str) -> Conversation:
        """Open a conversation, or take it up again if the framework stores it."""

    async def close(self) -> None:
        """Let go of what the agent holds, at the end of the process."""


@dataclass(frozen=True, slots=True)
class About:
    """Description of an agent by its adapter.

    Attributes:
        framework: The framework's name.
        version: Its version.
        description: What the agent does.
        skills: What it can do, by name.
    """

    framework: str
    version: str
    description: str = ""
    skills: Mapping[str, str] = field(default_factory=dict)


class Sessions:
    """An adapter made of a function that opens conversations.

    Args:
        about: What it says about the agent.
        opening: Opens a conversation by its id.
    """

    def __init__(self, about: About, opening: Callable[[str], Conversation]) -> None:
        self.framework = about.framework
        self.version = about.version
        self.description = about.description
        self.skills = about.skills
        self._opening = opening

    async def open(self, context_id: str) -> Conversation:
        """Open a conversation."""
        return self._opening(context_id)

    async def close(self) -> None:
        """Do nothing: conversations hold what there is."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn, as a function is given it that answers for a framework without an adapter.

    Attributes:
        context_id: The conversation.
        message: What is said.
        history: What was said before, the oldest first.
    """

    context_id: str
    message: Message
    history: tuple[Message, ...] = ()


Answering: TypeAlias = Callable[[Turn], AsyncGenerator[Fact | str]]
