"""Conversations that the host remembers, for frameworks whose agents hold none."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Sequence
from typing import Final

from stategraph.fleet.adapters.port import Answering, Fact, Question, Said, Turn
from stategraph.fleet.messages.common import Data, File, Message, Part, Reasoning, Text, ToolCall, ToolResult

#: Messages that a conversation remembers.
MOST_MESSAGES: Final = 200


class Remembered:
    """A conversation of a function that is given what was said before.

    A turn that fails or is cancelled is forgotten as a whole: the next one begins where the last good one ended.

    Args:
        context_id: The conversation.
        answering: Answers a turn.
        most: Messages that are remembered, the newest ones; the first of them is always a user's.
    """

    def __init__(self, context_id: str, answering: Answering, most: int = MOST_MESSAGES) -> None:
        self._context_id = context_id
        self._answering = answering
        self._most = most
        self._history: list[Message] = []

    async def ask(self, message: Message) -> AsyncGenerator[Fact]:
        """Answer a message, and remember both."""
        turn = Turn(self._context_id, message, tuple(self._history))
        facts: list[Fact] = []
        async with contextlib.aclosing(self._answering(turn)) as answers:
            async for each in answers:
                fact = Said(each) if isinstance(each, str) else each
                facts.append(fact)
                yield fact
        self._history += [message, *messages_of(facts)]
        self._forget()

    async def close(self) -> None:
        """Forget the conversation."""
        self._history.clear()

    def _forget(self) -> None:
        if len(self._history) <= self._most:
            return
        users = [at for at, each in enumerate(self._history) if each.role == "user"]
        kept = next((at for at in users if len(self._history) - at <= self._most), users[-1])
        del self._history[:kept]


def messages_of(facts: Sequence[Fact]) -> list[Message]:
    """Return the messages that an agent said and had in a turn."""
    found: list[Message] = []
    parts: list[Part] = []
    text = ""

    def end_text() -> None:
        nonlocal text
        if text:
            parts.append(Text(text))
            text = ""

    def end_message() -> None:
        end_text()
        if parts:
            found.append(Message("assistant", tuple(parts)))
            parts.clear()

    for fact in facts:
        if isinstance(fact, Said):
            if any(isinstance(each, ToolCall) for each in parts):
                end_message()
            text += fact.text
        elif isinstance(fact, (Reasoning, File, Data, ToolCall)):
            end_text()
            parts.append(fact)
        elif isinstance(fact, ToolResult):
            end_message()
            found.append(Message("tool", (fact,)))
        elif isinstance(fact, Question):
            text += fact.text
    end_message()
    return found
