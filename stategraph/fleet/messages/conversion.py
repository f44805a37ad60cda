"""Conversion between formats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from stategraph.fleet.messages import (
    a2a,
    adk,
    autogen,
    crewai,
    langchain,
    mastra,
    openai_chat,
    openai_responses,
    semantic_kernel,
)
from stategraph.fleet.messages.common import Losses, Message, MessageError, Notes, several


@dataclass(frozen=True, slots=True)
class Format:
    """A format.

    Attributes:
        read: Reads messages.
        write: Writes messages, and notes what could not be said.
        losses: What cannot be said, with what becomes of it.
    """

    read: Callable[[Sequence[Any]], list[Message]]
    write: Callable[[Sequence[Message], Notes], list[Any]]
    losses: Losses


#: The formats, by their names.
FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        name: Format(module.read, module.write, MappingProxyType(dict(module.LOSSES)))
        for name, module in {
            "a2a": a2a,
            "adk": adk,
            "autogen": autogen,
            "crewai": crewai,
            "langchain": langchain,
            "mastra": mastra,
            "openai_agents": openai_responses,
            "openai_chat": openai_chat,
            "openai_responses": openai_responses,
            "semantic_kernel": semantic_kernel,
        }.items()
    }
)


@dataclass(frozen=True, slots=True)
class Converted:
    """Messages in another format.

    Attributes:
        messages: The messages.
        losses: What the format could not say, by its name in the format's `losses`, with how often that was.
    """

    messages: list[Any]
    losses: Mapping[str, int] = field(default_factory=dict)


def read(messages: Sequence[Any], format: str) -> list[Message]:
    """Read messages of a format.

    Raises:
        MessageError: They are not in that format, or there is none of that name.
    """
    return _format(format).read(several(messages, "What is to be read"))


def write(messages: Sequence[Message], format: str) -> Converted:
    """Write messages in a format.

    Raises:
        MessageError: There is no format of that name.
    """
    chosen = _format(format)
    notes = Notes(chosen.losses)
    return Converted(chosen.write(messages, notes), notes.noted)


def convert(messages: Sequence[Any], source: str, target: str) -> Converted:
    """Convert messages from one format to another.

    Args:
        messages: The messages.
        source: Their format, see `FORMATS`.
        target: The format that is wanted.

    Raises:
        MessageError: They are not in that format, or there is none of that name.
    """
    return write(read(messages, source), target)


def _format(name: str) -> Format:
    try:
        return FORMATS[name]
    except KeyError:
        raise MessageError(f"There is no format '{name}'; expected one of {', '.join(FORMATS)}") from None
