"""What the model of each run says: a text that is known beforehand, and a graph whose model says it word by word."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from typing import Annotated, Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from typing_extensions import TypedDict

from stategraph import START, StateGraph
from stategraph.graph.message import add_messages

#: How often a run asks its model, one node after the other.
STEPS = 3

#: Words of an answer, and seconds between two of them.
WORDS = 30
PAUSE_S = 0.03

_PIECES = ("sun", "été ", "\n", "data: x", " ", "id: 7\n\n", "雨", "🙂 ", '{"a": 1}', "stone ", "\u2028", ":")


def script(name: str, step: int) -> list[str]:
    """Return the words that the model of a run says in a step; each names its place, so that none is like another."""
    chosen = random.Random(f"{name}/{step}")
    return [f"{step}.{number} {chosen.choice(_PIECES)}" for number in range(WORDS)]


class Saying(BaseChatModel):
    """A model that says given words with pauses."""

    words: list[str]

    @property
    def _llm_type(self) -> str:
        return "saying"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.words)))])

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **options: Any
    ) -> AsyncIterator[ChatGenerationChunk]:
        for word in self.words:
            await asyncio.sleep(PAUSE_S)
            chunk = ChatGenerationChunk(message=AIMessageChunk(content=word))
            if run_manager is not None:
                await run_manager.on_llm_new_token(word, chunk=chunk)
            yield chunk


class State(TypedDict, total=False):
    name: str
    messages: Annotated[list[AnyMessage], add_messages]


def _answer(step: int) -> Any:
    async def node(state: State) -> Any:
        return {"messages": [await Saying(words=script(state["name"], step)).ainvoke(state.get("messages", []))]}

    return node


def _graph() -> Any:
    builder: Any = StateGraph(State)
    before = START
    for step in range(STEPS):
        name = f"step_{step}"
        builder.add_node(name, _answer(step)).add_edge(before, name)
        before = name
    return builder.compile()


graph = _graph()
