"""An answer that a listener hears only when it is approved: sentence by sentence, or as a whole.

- Held as a whole, its pieces are told as they came once the answer has passed all gates, or the answer that counts as
  one piece. Pieces of a call that fails are told to nobody.
- Held by sentences, each one is told as one piece. Reasoning and calls of tools pass once the text before them has.
- Text of `LONGEST` characters without the end of a sentence is reviewed up to its last space, so that it is not held
  forever. Only what is new is searched: the work for a piece does not grow with what is held.
- What is not told is known to nobody: an answer that was cut off has, for its readers, what was approved of it.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from langchain_core.messages import AIMessage, AIMessageChunk

from stategraph.agent.facts import Fact, ModelCall, ModelEnded, ModelStarted, ModelStreamed
from stategraph.agent.llm import time_limits
from stategraph.agent.messages import reasoning, truncation
from stategraph.agent.ports import Halt, Listener
from stategraph.engine.config import environment

#: The end of a sentence: its mark, what closes it and the space behind; a mark of scripts without spaces; a line's end.
_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]*_]*\s+|[\u3002\uff01\uff1f]+|\n+")

#: The beginning of such an end, at the end of a text: the space may come with the next piece.
_OPEN_END = re.compile(r"[.!?\u2026][\"'\u201d\u2019)\]*_]*\Z")

#: So many characters are held at most while a sentence does not end.
LONGEST: Final = 4_000

Approve: TypeAlias = Callable[[str, str], Awaitable[str | Halt]]
"""Reviews a sentence, knowing the text before it; returns what to tell, or the end of the turn."""


class StoppedAnswer(Exception):
    """A sentence was refused, and the model is stopped.

    Attributes:
        call: The call.
        halt: Why, with what was told of the answer as its message; None if nothing was.
        elapsed_s: Seconds since the call began.
    """

    def __init__(self, call: ModelCall, halt: Halt, elapsed_s: float) -> None:
        super().__init__(halt.reason)
        self.call = call
        self.halt = halt
        self.elapsed_s = elapsed_s


class HeldListener:
    """Passes facts on to a listener, and an answer when it is approved.

    Args:
        listener: The listener.
        approve: Reviews each sentence; None: the answer is held as a whole.

    Attributes:
        replaced: Whether gates replaced the answer; to be set before its end is told.
        has_told: Whether the listener has heard anything of the answer that is being given.
    """

    def __init__(self, listener: Listener, approve: Approve | None) -> None:
        self._listener = listener
        self._approve = approve
        self._pieces: list[ModelStreamed] = []
        self._held: list[str] = []
        self._open = self._told = ""
        self._length = 0
        self._edited = False
        self.memory = listener.memory
        self.recall = listener.recall
        self.replaced = self.has_told = False
        self._began = environment.current().clock.monotonic()

    @property
    def is_whole(self) -> bool:
        """True if the answer is held as a whole."""
        return self._approve is None

    async def hear(self, fact: Fact, /) -> None:
        """Pass a fact on, or hold it back.

        Raises:
            StoppedAnswer: A sentence was refused.
        """
        match fact:
            case ModelStreamed() if self._approve is None:
                self._pieces.append(fact)
                return
            case ModelStreamed():
                self._pieces = [fact]
                await self._take(fact)
                return
            case ModelStarted():
                self._pieces, self._told, self._edited, self.has_told = [], "", False, False
                self._drop()
                self._began = environment.current().clock.monotonic()
            case ModelEnded(call, message) if self._approve is None:
                for piece in [ModelStreamed(call, message)] if self.replaced else self._pieces:
                    await self._listener.hear(piece)
        await self._listener.hear(fact)

    async def finished(self, answer: AIMessage) -> AIMessage:
        """Review the rest of an answer that has ended, and return the answer as it was told.

        Args:
            answer: The answer as the model gave it.

        Raises:
            StoppedAnswer: The rest was refused.
        """
        if self._pieces:
            await self._release(self._pieces[-1])
        return with_text(answer, self._told) if self._edited else answer

    async def _take(self, fact: ModelStreamed) -> None:
        """Tell the sentences that a piece completes."""
        chunk, text = fact.chunk, truncation.text_of(fact.chunk.content)
        if text and _is_text_alone(chunk):
            await self._add(fact, text)
            return
        if not _is_text_alone(chunk):
            await self._release(fact)
        if text and (told := await self._reviewed(fact, text)) != text:
            fact = ModelStreamed(fact.call, chunk.model_copy(update={"content": told}))
        await self._pass_on(fact)

    async def _add(self, fact: ModelStreamed, text: str) -> None:
        """Hold text, and release what it ends.

        Only the new text is searched, and before it the part of the held text in which an end may have begun.
        """
        text, begin = self._open + text, 0
        self._length -= len(self._open)
        self._open = ""
        for found in _END.finditer(text):
            self._hold(text[begin : found.end()])
            begin = found.end()
            await self._release(fact)
        self._hold(text[begin:])
        if self._length >= LONGEST:
            held = "".join(self._held) + self._open
            space = max(held.rfind(" "), held.rfind("\t")) + 1 or len(held)
            self._drop()
            self._hold(held[:space])
            await self._release(fact)
            self._hold(held[space:])

    def _hold(self, text: str) -> None:
        opened = _OPEN_END.search(text)
        at = len(text) if opened is None else opened.start()
        self._held.append(text[:at])
        self._open = text[at:]
        self._length += len(text)

    def _drop(self) -> None:
        self._held, self._open, self._length = [], "", 0

    async def _release(self, fact: ModelStreamed) -> None:
        """Review held text, and tell what is left of it."""
        text = "".join(self._held) + self._open
        self._drop()
        if text:
            await self._tell(fact, await self._reviewed(fact, text))

    async def _tell(self, fact: ModelStreamed, text: str) -> None:
        if text:
            await self._pass_on(ModelStreamed(fact.call, AIMessageChunk(content=text, id=fact.chunk.id)))

    async def _pass_on(self, fact: ModelStreamed) -> None:
        self.has_told = self.has_told or time_limits.says_something(fact.chunk)
        await self._listener.hear(fact)

    async def _reviewed(self, fact: ModelStreamed, text: str) -> str:
        assert self._approve is not None
        said = await self._approve(text, self._told)
        if isinstance(said, Halt):
            last = "" if said.message is None else truncation.text_of(said.message.content)
            await self._tell(fact, last)
            left = self._told + last
            halt = Halt(said.reason, AIMessage(content=left) if left else None)
            raise StoppedAnswer(fact.call, halt, environment.current().clock.monotonic() - self._began)
        self._told += said
        self._edited = self._edited or said != text
        return said


def has_told(listener: Listener) -> bool:
    """Return whether a listener that was told of an answer has let anybody hear of it; False if it holds all of it."""
    return listener.has_told if isinstance(listener, HeldListener) else True


def with_text(answer: AIMessage, text: str) -> AIMessage:
    """Return an answer with another text; blocks of other kinds stay.

    Args:
        answer: The answer.
        text: The text, which takes the place of all text of the answer.
    """
    content: str | list[str | dict[str, Any]] = text
    if isinstance(answer.content, list):
        others = [block for block in answer.content if not _is_text(block)]
        first = next((place for place, block in enumerate(answer.content) if _is_text(block)), len(others))
        content = [*others[:first], {"type": "text", "text": text}, *others[first:]] if text else others
    return answer.model_copy(update={"content": content})


def _is_text_alone(chunk: AIMessage) -> bool:
    """Return whether a piece of an answer has nothing in it but text, or nothing at all."""
    if chunk.tool_calls or chunk.invalid_tool_calls or getattr(chunk, "tool_call_chunks", None):
        return False
    if reasoning.text_of(chunk.additional_kwargs):
        return False
    return isinstance(chunk.content, str) or all(map(_is_text, chunk.content))


def _is_text(block: object) -> bool:
    return isinstance(block, str) or (isinstance(block, dict) and block.get("type") == "text")
