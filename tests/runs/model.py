"""A chat model that answers by a rule, so that it gives the same answers in whichever process it is asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any, TypeAlias

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, ToolMessage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable

Call: TypeAlias = tuple[str, dict[str, Any], str]
Answer: TypeAlias = str | tuple[str, list[Call]]
"""A text, or a text and tool calls: name, arguments, id. A text may begin with what the model thinks, up to `||`."""

LATER = "again"
"""What a person says in a later turn; every model answers it with `AGAIN`."""
AGAIN = "Once more."


class RuleModel(BaseChatModel):
    """Streams, word by word, what its rule says about the messages."""

    rule: Callable[[list[BaseMessage]], Answer]
    fails: str = ""

    @property
    def _llm_type(self) -> str:
        return "rule"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        return self

    def _pieces(self, messages: list[BaseMessage]) -> Iterator[AIMessageChunk]:
        said: Answer = self.rule(messages)
        if any(isinstance(each, HumanMessage) and each.content == LATER for each in messages):
            said = AGAIN
        text, calls = (said, []) if isinstance(said, str) else said
        thought, _, text = text.rpartition("||")
        if thought:
            for word in thought.split(" "):
                yield AIMessageChunk(content="", additional_kwargs={"reasoning_content": f"{word} "})
        for word in text.split(" ") if text else ():
            yield AIMessageChunk(content=f"{word} ")
            if self.fails and word == self.fails:
                raise ConnectionError("the provider hung up")
        for index, (name, args, call_id) in enumerate(calls):
            written = json.dumps(args)
            parts = (written[: len(written) // 2], written[len(written) // 2 :])
            yield AIMessageChunk(
                content="", tool_call_chunks=[tool_call_chunk(name=name, args=parts[0], id=call_id, index=index)]
            )
            yield AIMessageChunk(content="", tool_call_chunks=[tool_call_chunk(args=parts[1], index=index)])
        usage = {"input_tokens": len(messages), "output_tokens": 3, "total_tokens": len(messages) + 3}
        yield AIMessageChunk(content="", usage_metadata=usage)  # type: ignore[arg-type]

    def _stream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> Iterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            yield ChatGenerationChunk(message=piece)

    async def _astream(self, messages: list[BaseMessage], *_: Any, **__: Any) -> AsyncIterator[ChatGenerationChunk]:
        for piece in self._pieces(messages):
            await asyncio.sleep(0)
            yield ChatGenerationChunk(message=piece)

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        whole: Any = None
        for piece in self._pieces(messages):
            whole = piece if whole is None else whole + piece
        kept = ("content", "tool_calls", "usage_metadata", "additional_kwargs")
        return ChatResult(generations=[ChatGeneration(message=AIMessage(**{k: getattr(whole, k) for k in kept}))])


def results(messages: list[BaseMessage], *names: str) -> int:
    """How many results of tools there are since the last message of a person, of all tools or of some."""
    count = 0
    for message in reversed(messages):
        if isinstance(message, HumanMessage):
            break
        count += isinstance(message, ToolMessage) and (not names or message.name in names)
    return count
