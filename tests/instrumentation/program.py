"""A program for LangGraph, with everything that instrumentations make spans of.

It imports nothing of this project: the same lines run on either engine.
"""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

own_span: Callable[[str], AbstractContextManager[Any]] = nullcontext
"""Opens a span by the program itself, where an instrumentation has a way to."""


class State(TypedDict, total=False):
    steps: Annotated[list[Any], operator.add]


class Model(BaseChatModel):
    """Asks for the weather once, then answers."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[Any], stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if messages[-1].type == "tool":
            message = AIMessage(f"It is {messages[-1].content}.", id="answer")
        else:
            call = {"name": "weather", "args": {"city": "Oslo"}, "id": "call_1"}
            message = AIMessage("", tool_calls=[call], id="question")
        return ChatResult(generations=[ChatGeneration(message=message)])


@tool
def weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"sunny in {city}"


def leaf() -> Any:
    graph = StateGraph(State).add_node("work", lambda state: {"steps": ["leaf"]}).add_edge(START, "work")
    return graph.compile(name="leaf")


def nested() -> Any:
    """Graphs as nodes, a graph that a node calls, a router, parallel tasks."""
    inner = leaf()
    middle = StateGraph(State).add_node("leaf", inner).add_node("after", lambda state: {"steps": ["after"]})
    middle.add_edge(START, "leaf").add_edge("leaf", "after")

    def call(state: State) -> State:
        return {"steps": inner.invoke({"steps": []})["steps"]}

    graph = StateGraph(State).add_node("middle", middle.compile(name="middle")).add_node("call", call)
    graph.add_node("fan", lambda state: {"steps": ["fan"]}).add_node("end", lambda state: {"steps": ["end"]})
    graph.add_edge(START, "middle").add_edge("middle", "call").add_edge("fan", "end").add_edge("end", END)
    graph.add_conditional_edges("call", lambda state: [Send("fan", {}), Send("fan", {})], ["fan"])
    return graph.compile(name="outer")


def failing() -> Any:
    def fail(state: State) -> State:
        raise ValueError("no such thing")

    inner = StateGraph(State).add_node("fail", fail).add_edge(START, "fail").compile(name="inner")
    return StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(name="failing")


def marking(*, is_async: bool) -> Any:
    """Nodes that open spans themselves: beside each other, around a graph, around a function in a thread."""

    def work(state: State) -> State:
        with own_span("own work"):
            return {"steps": ["work"]}

    async def awork(state: State) -> State:
        with own_span("own work"):
            await asyncio.sleep(0)
            return {"steps": ["work"]}

    inner = (
        StateGraph(State).add_node("work", awork if is_async else work).add_edge(START, "work").compile(name="inner")
    )

    def call(state: State) -> State:
        with own_span("own call"):
            return {"steps": inner.invoke({"steps": []})["steps"]}

    async def acall(state: State) -> State:
        with own_span("own call"):
            return {"steps": (await inner.ainvoke({"steps": []}))["steps"]}

    graph = StateGraph(State).add_node("call", acall if is_async else call).add_edge(START, "call")
    for name in ("left", "right"):
        graph.add_node(name, work).add_edge("call", name)
    return graph.compile(name="marking")


class Listener(GraphCallbackHandler):
    """Hears that a graph pauses and goes on, beside the instrumentation."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        self.heard.append(event.status)

    def on_resume(self, event: GraphResumeEvent) -> None:
        self.heard.append(event.status)


def asking() -> Any:
    def ask(state: State) -> Command[Any]:
        return Command(update={"steps": [interrupt("name?")]}, goto="greet")

    graph = StateGraph(State).add_node("ask", ask, destinations=("greet",)).add_edge(START, "ask")
    graph.add_node("greet", lambda state: {"steps": ["hello"]})
    return graph.compile(name="asking", checkpointer=InMemorySaver())


def agent() -> Any:
    from langchain.agents import create_agent

    return create_agent(Model(), [weather], name="agent")


def functional() -> Any:
    @task
    def double(number: int) -> int:
        return number * 2

    @entrypoint()
    def flow(number: int) -> int:
        return double(number).result() + double(number + 1).result()

    return flow


def _attempt(run: Callable[[], Any]) -> Any:
    try:
        return run()
    except ValueError as error:
        return repr(error)


def _paused(graph: Any, **options: Any) -> Any:
    config = {"configurable": {"thread_id": "thread"}, **options}
    graph.invoke({"steps": []}, config)
    return graph.invoke(Command(resume="Ada"), config)


async def _apaused(graph: Any, **options: Any) -> Any:
    config = {"configurable": {"thread_id": "thread"}, **options}
    await graph.ainvoke({"steps": []}, config)
    return await graph.ainvoke(Command(resume="Ada"), config)


def _heard(pause: Callable[..., Any]) -> None:
    """Pause and go on with a listener, who must have heard of both whatever else is attached."""
    listener = Listener()
    pause(asking(), callbacks=[listener])
    if listener.heard != ["pending", "pending"]:
        raise AssertionError(f"the listener heard {listener.heard}")


async def _listed(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


async def _listed_later(chunks: Any) -> list[Any]:
    return await _listed(await chunks)


EMPTY: Any = {"steps": []}
QUESTION = {"messages": [("user", "How is the weather?")]}

SCENES: dict[str, Callable[[], Any]] = {
    "nested": lambda: nested().invoke(EMPTY),
    "nested, async": lambda: asyncio.run(nested().ainvoke(EMPTY)),
    "nested, streamed": lambda: list(nested().stream(EMPTY, stream_mode=["updates", "values"], subgraphs=True)),
    "nested, streamed, async": lambda: asyncio.run(_listed(nested().astream(EMPTY, stream_mode="updates"))),
    "nested, events": lambda: asyncio.run(_listed(nested().astream_events(EMPTY, version="v2"))),
    "failing": lambda: _attempt(lambda: failing().invoke(EMPTY)),
    "failing, async": lambda: _attempt(lambda: asyncio.run(failing().ainvoke(EMPTY))),
    "asking": lambda: _paused(asking()),
    "asking, async": lambda: asyncio.run(_apaused(asking())),
    "asking, heard": lambda: _heard(_paused),
    "asking, heard, async": lambda: _heard(lambda *args, **options: asyncio.run(_apaused(*args, **options))),
    "own spans": lambda: marking(is_async=False).invoke(EMPTY),
    "own spans, async": lambda: asyncio.run(marking(is_async=True).ainvoke(EMPTY)),
    "own spans, sync nodes": lambda: asyncio.run(marking(is_async=False).ainvoke(EMPTY)),
    "agent": lambda: agent().invoke(QUESTION),
    "agent, async": lambda: asyncio.run(agent().ainvoke(QUESTION)),
    "agent, tokens": lambda: list(agent().stream(QUESTION, stream_mode="messages")),
    "agent, event stream": lambda: list(agent().stream_events(QUESTION, version="v3")),
    "agent, event stream, async": lambda: asyncio.run(_listed_later(agent().astream_events(QUESTION, version="v3"))),
    "functional": lambda: functional().invoke(1),
}
