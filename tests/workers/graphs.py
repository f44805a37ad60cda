"""Graphs that workers run in the tests, found by their import paths."""

from __future__ import annotations

import asyncio
from typing import Any

from langchain_core.messages import AIMessage
from pydantic import BaseModel

from stategraph.constants import END, START
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.graph.message import MessagesState
from stategraph.graph.state import StateGraph
from stategraph.run.graphs.model_guards import run_model
from tests.workers.agents import scripted


class Report(BaseModel):
    """A class that only workers need to know."""

    answer: str


class ReportState(MessagesState):
    """A conversation, and a report."""

    report: Report


_model = scripted(["Before.", "After."])


async def speak(state: ReportState) -> dict[str, Any]:
    return {"messages": [await _model.ainvoke(state["messages"])]}


def ask(state: ReportState) -> dict[str, Any]:
    return {"report": Report(answer=interrupt({"question": "Go on?"}))}


def _built() -> StateGraph[Any, Any, Any, Any]:
    builder = StateGraph(ReportState)
    builder.add_node("first", speak)
    builder.add_node("ask", ask)
    builder.add_node("second", speak)
    builder.add_edge(START, "first")
    builder.add_edge("first", "ask")
    builder.add_edge("ask", "second")
    return builder


GRAPH = _built().compile()


async def wait(state: MessagesState) -> dict[str, Any]:
    await _model.ainvoke(state["messages"])
    await asyncio.Event().wait()
    return {}


def halting() -> Any:
    """A graph that says something and waits for ever."""
    builder = StateGraph(MessagesState)
    builder.add_node("wait", wait)
    builder.add_edge(START, "wait")
    builder.add_edge("wait", END)
    return builder.compile()


async def guarded(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await run_model(scripted(["It rains. I am Ada."] * 2), state["messages"])]}


def guarded_graph() -> Any:
    """A graph whose model passes the hooks and gates of its run."""
    builder = StateGraph(MessagesState)
    builder.add_node("guarded", guarded)
    builder.add_edge(START, "guarded")
    return builder.compile()


class Shouting:
    """A gate that every answer passes."""

    def before(self, request: Any) -> Any:
        return request

    def after(self, request: Any, answer: AIMessage) -> AIMessage:
        return answer.model_copy(update={"content": f"{answer.text}!"})


SHOUTING = Shouting()
