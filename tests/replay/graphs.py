"""Graphs for tests of recordings: models, tools, chance and clocks, steps beside each other, nested, with questions."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, MessagesState, RetryPolicy, Send, StateGraph, get_stream_writer, interrupt
from stategraph.prebuilt.tool_node import ToolNode, tools_condition
from stategraph.replay import now, random, recorded, uuid
from stategraph.testing import ScriptedChatModel, call, reply


class Notes(TypedDict, total=False):
    notes: Annotated[list[Any], operator.add]


class Counter:
    """Counts what is done outside of a graph."""

    def __init__(self) -> None:
        self.calls: list[Any] = []


def talking(*replies: Any) -> ScriptedChatModel:
    """Return a model that says these."""
    return ScriptedChatModel(replies=list(replies))


def agent(counter: Counter, *, question: str = "search") -> Any:
    """Return a graph in which a model calls a tool that writes to the stream."""

    @tool
    def search(q: str) -> str:
        """Search for something."""
        counter.calls.append(q)
        get_stream_writer()({"searched": q})
        return f"found {q}"

    model = recorded(talking(reply("Let me look. ", call("search", q="tides")), "The moon is why."))
    bound = model.bind_tools([search])

    def ask(state: MessagesState) -> dict[str, Any]:
        return {"messages": [bound.invoke([HumanMessage(question, id="q"), *state["messages"]])]}

    builder = StateGraph(MessagesState).add_node("ask", ask).add_node("tools", ToolNode([search]))
    builder.add_edge(START, "ask").add_conditional_edges("ask", tools_condition).add_edge("tools", "ask")
    return builder.compile(InMemorySaver())


def chance(*, doubles: bool = False) -> Any:
    """Return a graph whose nodes ask for the time, for ids and for chance."""

    def draw(state: Notes) -> Notes:
        drawn = [str(now()), str(uuid()), random()]
        return {"notes": drawn * 2 if doubles else drawn}

    builder = StateGraph(Notes).add_node("draw", draw).add_node("again", draw)
    return builder.add_edge(START, "draw").add_edge("draw", "again").compile(InMemorySaver())


def fanned(outside: Any, *, width: int = 4) -> Any:
    """Return a graph that fans out to tasks which each ask a function and write to the stream."""

    def work(state: Any) -> Notes:
        get_stream_writer()({"begins": state["number"]})
        return {"notes": [outside(state["number"])]}

    def spread(state: Notes) -> list[Send]:
        return [Send("work", {"number": number}) for number in range(width)]

    builder = StateGraph(Notes).add_node("work", work).add_node("join", lambda state: {"notes": [len(state["notes"])]})
    builder.add_conditional_edges(START, spread, ["work"]).add_edge("work", "join")
    return builder.compile(InMemorySaver())


def nested(outside: Any) -> Any:
    """Return a graph with a graph in it that asks a person, behind a node that is tried again."""
    tries = iter([ConnectionError("away"), None, None])

    def fetch(state: Notes) -> Notes:
        def attempt() -> str:
            error = next(tries)
            if error is not None:
                raise error
            return str(outside("fetched"))

        return {"notes": [recorded(attempt, name="attempt")()]}

    def ask(state: Notes) -> Notes:
        return {"notes": [interrupt({"question": "Go on?"})]}

    inner = StateGraph(Notes).add_node("ask", ask).add_edge(START, "ask").compile()
    retry = RetryPolicy(initial_interval=0.01, jitter=False)
    builder = StateGraph(Notes).add_node("fetch", fetch, retry_policy=retry).add_node("inner", inner)
    builder.add_edge(START, "fetch").add_edge("fetch", "inner").add_edge("inner", END)
    return builder.compile(InMemorySaver())


def thread(name: str = "1") -> dict[str, Any]:
    """Return the config of a thread."""
    return {"configurable": {"thread_id": name}}
