"""The graphs that the server serves: written for LangGraph, and the same for both engines."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph, add_messages
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.types import Command, Overwrite, RetryPolicy, Send, interrupt
from typing_extensions import TypedDict


class Parrot(BaseChatModel):
    """Says the same words, one chunk each."""

    words: tuple[str, ...] = ("All", " is", " well.")

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage("".join(self.words), id="answer"))])

    def _stream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        for index, word in enumerate(self.words):
            last = "last" if index == len(self.words) - 1 else None
            yield ChatGenerationChunk(message=AIMessageChunk(word, id="answer", chunk_position=last))

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for chunk in self._stream(messages):
            yield chunk


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[str], operator.add]


class Settings(TypedDict, total=False):
    tone: str


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    return f"{word} means {word}"


async def answer(state: Talk, config: RunnableConfig, runtime: Runtime[Settings]) -> Any:
    get_stream_writer()({"tone": (runtime.context or {}).get("tone", "plain")})
    said = await Parrot().ainvoke(state.get("messages", []), config)
    return {"messages": [said], "log": [await look_up.ainvoke({"word": "well"}, config)]}


talk = StateGraph(Talk, context_schema=Settings).add_node("answer", answer).add_edge(START, "answer").compile()


class Inner(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


def dig(state: Inner) -> Any:
    return {"log": ["dig"]}


def doubt(state: Inner) -> Any:
    return {"log": [f"inner:{interrupt({'question': 'inside?'})}"]}


inner = StateGraph(Inner).add_node("dig", dig).add_node("doubt", doubt).add_edge(START, "dig").add_edge("dig", "doubt")


class Work(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    count: int
    jobs: list[int]


def plan(state: Work) -> Any:
    return Command(update={"log": ["plan"], "count": state.get("count", 0) + 1}, goto=["share"])


def share(state: Work) -> Any:
    return {"log": ["share"]}


def packets(state: Work) -> Any:
    return [Send("job", {"number": number}) for number in state.get("jobs", [])] or "ask"


def job(state: Any) -> Any:
    return {"log": [f"job {state['number']}"]}


def ask(state: Work) -> Any:
    return {"log": [f"asked:{interrupt('go on?')}"]}


def last(state: Work) -> Any:
    return {"log": ["last"], "count": state.get("count", 0) + 10}


work = (
    StateGraph(Work)
    .add_node("plan", plan, destinations=("share",))
    .add_node("share", share)
    .add_node("job", job)
    .add_node("ask", ask)
    .add_node("below", inner.compile())
    .add_node("last", last)
    .add_edge(START, "plan")
    .add_conditional_edges("share", packets, ["job", "ask"])
    .add_edge("job", "ask")
    .add_edge("ask", "below")
    .add_edge("below", "last")
    .add_edge("last", END)
    .compile()
)


class Wait(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    wait: bool


async def idle(state: Wait) -> Any:
    get_stream_writer()("waiting")
    if state.get("wait"):
        await asyncio.Event().wait()
    return {"log": ["idle"]}


def begin(state: Wait) -> Any:
    return {"log": ["begin"]}


slow = (
    StateGraph(Wait)
    .add_node("begin", begin)
    .add_node("idle", idle)
    .add_edge(START, "begin")
    .add_edge("begin", "idle")
    .compile()
)


class Fragile(TypedDict, total=False):
    kind: str
    log: Annotated[list[str], operator.add]


def check(state: Fragile) -> Any:
    kind = state.get("kind")
    if kind == "update":
        return [1]
    if kind == "loop":
        return Command(goto="check")
    if kind == "overwrite":
        return {"log": Overwrite(["only this"])}
    raise ValueError(f"failed as {kind}")


fragile = (
    StateGraph(Fragile)
    .add_node("first", lambda state: {"log": ["first"]})
    .add_node("check", check, retry_policy=RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False))
    .add_edge(START, "first")
    .add_edge("first", "check")
    .compile()
)


@task
async def double(number: int) -> int:
    return number * 2


@entrypoint()
async def functional(inputs: dict[str, Any], *, previous: Any = None, store: BaseStore) -> Any:
    numbers = [await double(number) for number in inputs["numbers"]]
    await store.aput(("numbers",), "last", {"numbers": numbers})
    word = interrupt({"numbers": numbers}) if inputs.get("ask") else "nothing"
    return entrypoint.final(value={"numbers": numbers, "word": word, "previous": previous}, save=numbers)


def several(state: Inner) -> Any:
    first, second = interrupt("first?"), interrupt("second?")
    return {"log": [f"{first} and {second}"]}


def beside(state: Inner) -> Any:
    return {"log": [f"beside:{interrupt('beside?')}"]}


questions = (
    StateGraph(Inner)
    .add_node("several", several)
    .add_node("beside", beside)
    .add_edge(START, "several")
    .add_edge(START, "beside")
    .compile()
)


def make(config: RunnableConfig) -> Any:
    """Make a graph for each request, as the server allows."""
    name = config.get("configurable", {}).get("word", "made")
    return StateGraph(Inner).add_node("made", lambda state: {"log": [name]}).add_edge(START, "made").compile()


__all__ = ["fragile", "functional", "make", "questions", "slow", "talk", "work"]
