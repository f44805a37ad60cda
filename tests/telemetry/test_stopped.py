"""Models and tools that are stopped: langchain-core tells nobody, and their spans end all the same."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda
from langchain_core.tools import tool

from stategraph.constants import START
from stategraph.errors import AbortError
from stategraph.graph.message import MessagesState
from stategraph.graph.state import StateGraph
from stategraph.run.run import Run
from stategraph.testing import Gate, Hold, reply
from stategraph.testing.chat_model import ScriptedChatModel
from tests.telemetry.spans_kit import Collected

ASK: dict[str, Any] = {"messages": [("user", "hi")]}

pytestmark = pytest.mark.anyio


def graph_of(how: str, begun: asyncio.Event) -> Any:
    model = ScriptedChatModel(replies=[reply("Hello. ", Hold(Gate()), "And more.")])

    @tool
    async def wait() -> str:
        """Waits."""
        begun.set()
        await asyncio.Event().wait()
        return ""

    async def node(state: MessagesState) -> dict[str, Any]:
        if how == "tool":
            await wait.ainvoke({})
        asked = asyncio.ensure_future(model.ainvoke(state["messages"]))
        if how != "handled":
            return {"messages": [await asked]}
        async for _ in _until(lambda: bool(model.requests)):
            pass
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("node", node)
    builder.add_edge(START, "node")
    return builder.compile()


async def _until(condition: Any) -> Any:
    while not condition():
        await asyncio.sleep(0)
        yield


def ends(collected: Collected) -> dict[str, Any]:
    return {span.name: (span.attributes or {}).get("stategraph.ended_by") for span in collected.spans}


@pytest.mark.parametrize("nodes", [True, False])
async def test_a_run_of_a_graph_that_is_aborted_ends_the_span_of_its_model(nodes: bool) -> None:
    collected = Collected()
    graph = graph_of("model", asyncio.Event())
    run = await Run.create({"run_id": "r", "graph": graph, "telemetry": collected.telemetry(nodes=nodes)})
    with pytest.raises(AbortError):
        async for event in run.stream(ASK):
            if event.event == "on_message_delta":
                run.abort("enough")
    found = ends(collected)
    assert found["chat scripted"] == found["invoke_workflow"] == "cancellation"
    assert ("node node" in found) == nodes


async def test_a_reader_of_a_graph_that_leaves_ends_the_span_of_its_model() -> None:
    collected = Collected()
    handler: Any = collected.telemetry().handler()
    stream = graph_of("model", asyncio.Event()).astream(ASK, {"callbacks": [handler]}, stream_mode="messages")
    async with aclosing(stream) as pieces:
        async for _ in pieces:
            break
    assert ends(collected) == {"invoke_workflow": "cancellation", "chat scripted": "cancellation"}
    assert not handler._runs


async def test_a_tool_that_is_cancelled_ends_with_its_graph() -> None:
    collected, begun = Collected(), asyncio.Event()
    handler: Any = collected.telemetry(nodes=True).handler()
    task = asyncio.create_task(graph_of("tool", begun).ainvoke(ASK, {"callbacks": [handler]}))
    await asyncio.wait_for(begun.wait(), 20)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert ends(collected)["execute_tool wait"] == "cancellation"
    assert not handler._runs


async def test_a_model_that_a_node_stops_ends_with_the_graph_and_is_forgotten() -> None:
    collected = Collected()
    handler: Any = collected.telemetry(nodes=True).handler()
    await asyncio.wait_for(graph_of("handled", asyncio.Event()).ainvoke(ASK, {"callbacks": [handler]}), 20)
    assert ends(collected) == {"invoke_workflow": None, "node node": None, "chat scripted": "cancellation"}
    assert not handler._runs


@pytest.mark.parametrize("nodes", [True, False])
async def test_a_model_in_a_chain_that_goes_on_after_its_node_is_not_stopped_with_the_chain(nodes: bool) -> None:
    collected, ending, gate, begun = Collected(), asyncio.Event(), Gate(), list[asyncio.Future[Any]]()
    handler: Any = collected.telemetry(nodes=nodes).handler()
    model = ScriptedChatModel(replies=[reply("Hello. ", Hold(gate), "And more.")])

    async def chain(_: Any) -> None:
        begun.append(asyncio.ensure_future(model.ainvoke("hi")))
        await ending.wait()

    async def first(state: MessagesState) -> dict[str, Any]:
        begun.append(asyncio.ensure_future(RunnableLambda(chain).ainvoke(None)))
        async for _ in _until(lambda: bool(model.requests)):
            pass
        return {}

    async def second(state: MessagesState) -> dict[str, Any]:
        ending.set()
        await begun[0]
        gate.open()
        await begun[1]
        return {}

    builder = StateGraph(MessagesState)
    builder.add_node("first", first)
    builder.add_node("second", second)
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    await asyncio.wait_for(builder.compile().ainvoke(ASK, {"callbacks": [handler]}), 20)
    found = ends(collected)
    assert found["chat scripted"] is None
    assert ("node first" in found) == nodes
    assert not handler._runs
