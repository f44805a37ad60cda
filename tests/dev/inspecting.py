"""Graphs, threads and steps for tests of the inspector."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import httpx
from langchain_core.messages import AIMessage, AnyMessage

from stategraph import END, START, StateGraph
from stategraph.graph.message import add_messages
from tests.dev.serving import new_thread, reading, send


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    count: Annotated[int, operator.add]
    note: str
    log: Annotated[list[str], operator.add]


def plan(state: State) -> dict[str, Any]:
    return {"count": 1, "note": "planned", "log": ["plan"]}


def work(state: State) -> dict[str, Any]:
    usage = {"input_tokens": 7, "output_tokens": 3, "total_tokens": 10}
    said = AIMessage(f"done with {state['note']}", id=f"ai-{state['count']}", usage_metadata=usage)
    return {"count": 10, "messages": [said], "log": ["work"]}


def route(state: State) -> str:
    return "work" if state["count"] < 20 else END


def a_graph() -> Any:
    """plan, then work until the count is 20 or more."""
    builder = StateGraph(State)
    builder.add_node("plan", plan)
    builder.add_node("work", work)
    builder.add_edge(START, "plan")
    builder.add_edge("plan", "work")
    builder.add_conditional_edges("work", route, ["work", END])
    return builder.compile(name="worker")


async def talked(client: httpx.AsyncClient, text: str = "Hello", run: str = "r1") -> str:
    """Have a turn in a new thread, and return the thread."""
    thread = await new_thread(client)
    await turn(client, thread, text, run)
    return thread


async def turn(client: httpx.AsyncClient, thread: str, text: str, run: str) -> None:
    assert (await send(client, thread, text, run)).status_code == 201
    async with reading(client, thread) as reader:
        while (await reader.until("paused"))[-1][1]["run"]["id"] != run:
            pass


async def told(client: httpx.AsyncClient, path: str, **query: Any) -> Any:
    answer = await client.get(f"/api/inspector{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def steps_of(client: httpx.AsyncClient, thread: str, **query: Any) -> list[dict[str, Any]]:
    return list((await told(client, f"/threads/{thread}/steps", **query))["steps"])


def ran(step: dict[str, Any]) -> list[str]:
    return [each["name"] for each in step["ran"]]
