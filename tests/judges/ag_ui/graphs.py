"""Graphs for each feature of AG-UI, written for LangGraph, and the same for our server and the reference."""

from __future__ import annotations

import json
import operator
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any

from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import interrupt
from pydantic import Field
from typing_extensions import TypedDict


class Actor(BaseChatModel):
    """Says a text word by word, then calls a tool if there is one to call."""

    text: str = ""
    tool: str = ""
    args: dict[str, Any] = Field(default_factory=dict)
    call_id: str = ""

    @property
    def _llm_type(self) -> str:
        return "actor"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        calls = [{"name": self.tool, "args": self.args, "id": self.call_id}] if self.tool else []
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.text, tool_calls=calls))])

    def _chunks(self) -> Iterator[AIMessageChunk]:
        for word in self.text.split():
            yield AIMessageChunk(f"{word} ")
        if self.tool:
            written = json.dumps(self.args)
            head = {"name": self.tool, "args": "", "id": self.call_id, "index": 0}
            yield AIMessageChunk("", tool_call_chunks=[head])
            for start in range(0, len(written), 8):
                piece = {"name": None, "args": written[start : start + 8], "id": None, "index": 0}
                yield AIMessageChunk("", tool_call_chunks=[piece])
        usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
        yield AIMessageChunk("", usage_metadata=usage, chunk_position="last")

    async def _astream(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        for each in self._chunks():
            yield ChatGenerationChunk(message=each)


class Talk(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    tools: list[Any]
    steps: list[dict[str, str]]
    log: Annotated[list[str], operator.add]
    recipe: dict[str, Any]
    document: str


def said(state: Talk) -> Sequence[AnyMessage]:
    return state.get("messages", [])


def is_answered(state: Talk) -> bool:
    return bool(said(state)) and isinstance(said(state)[-1], ToolMessage)


def line(*nodes: Any) -> Any:
    builder: Any = StateGraph(Talk)
    for before, node in zip((START, *(each.__name__ for each in nodes)), nodes, strict=False):
        builder.add_node(node.__name__, node).add_edge(before, node.__name__)
    return builder


async def speak(state: Talk, config: RunnableConfig) -> Any:
    return {"messages": [await Actor(text="Hello there, how are you?").ainvoke(said(state), config)]}


async def call_backend(state: Talk, config: RunnableConfig) -> Any:
    model = Actor(text="I look.", tool="weather", args={"place": "Oslo"}, call_id="call-weather")
    return {"messages": [await model.ainvoke(said(state), config)]}


def run_backend(state: Talk) -> Any:
    call = said(state)[-1].tool_calls[0]  # type: ignore[union-attr]
    return {"messages": [ToolMessage("-3 degrees", tool_call_id=call["id"], name="weather")]}


async def call_frontend(state: Talk, config: RunnableConfig) -> Any:
    if is_answered(state):
        return {"messages": [await Actor(text="A fine haiku.").ainvoke(said(state), config)]}
    model = Actor(text="", tool="show_haiku", args={"lines": ["a", "b", "c"]}, call_id="call-haiku")
    return {"messages": [await model.ainvoke(said(state), config)]}


async def propose(state: Talk, config: RunnableConfig) -> Any:
    model = Actor(text="I would.", tool="delete", args={"name": "a.txt"}, call_id="call-delete")
    return {"messages": [await model.ainvoke(said(state), config)]}


def review(state: Talk) -> Any:
    call = said(state)[-1].tool_calls[0]  # type: ignore[union-attr]
    asked = {"action_requests": [{"name": call["name"], "args": call["args"]}], "review_configs": []}
    answer = interrupt(asked)
    return {"messages": [ToolMessage(json.dumps(answer), tool_call_id=call["id"], name="delete")]}


def plan(state: Talk) -> Any:
    return {"steps": [{"description": each, "status": "pending"} for each in ("dig", "plant", "water")]}


def work(state: Talk) -> Any:
    return {"steps": [{**each, "status": "completed"} for each in state["steps"]]}


def cook(state: Talk) -> Any:
    recipe = state.get("recipe") or {"title": "Soup", "ingredients": []}
    return {"recipe": {**recipe, "ingredients": [*recipe["ingredients"], "salt"]}}


async def write(state: Talk, config: RunnableConfig) -> Any:
    predicts = [{"state_key": "document", "tool": "write_document", "tool_argument": "document"}]
    own: Any = {**config, "metadata": {**config.get("metadata", {}), "predict_state": predicts}}
    text = "Once upon a time there was a graph."
    model = Actor(text="", tool="write_document", args={"document": text}, call_id="call-write")
    answer = await model.ainvoke(said(state), own)
    result = ToolMessage("written", tool_call_id="call-write", name="write_document")
    return {"messages": [answer, result], "document": text}


def _agent(words: str) -> Any:
    async def think(state: Talk, config: RunnableConfig) -> Any:
        return {"messages": [await Actor(text=words).ainvoke(said(state), config)]}

    return StateGraph(Talk).add_node("think", think).add_edge(START, "think").compile()


saver = InMemorySaver()

chat = line(speak).compile(checkpointer=saver)
backend = line(call_backend, run_backend, speak).compile(checkpointer=saver)
frontend = line(call_frontend).compile(checkpointer=saver)
human = line(propose, review, speak).compile(checkpointer=saver)
generative = line(plan, work, speak).compile(checkpointer=saver)
shared = line(cook, speak).compile(checkpointer=saver)
predictive = line(write, speak).compile(checkpointer=saver)
subgraphs = (
    StateGraph(Talk)
    .add_node("flights", _agent("There is a flight."))
    .add_node("hotels", _agent("There is a hotel."))
    .add_edge(START, "flights")
    .add_edge("flights", "hotels")
    .compile(checkpointer=saver)
)

ALL = {
    "chat": chat,
    "backend": backend,
    "frontend": frontend,
    "human": human,
    "generative": generative,
    "shared": shared,
    "predictive": predictive,
    "subgraphs": subgraphs,
}
