"""Tools of MCP servers that ask a person, in graphs of any kind: plain nodes, sync runs, ledgers, no graph at all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from anyio.from_thread import start_blocking_portal
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import END, START, Command, StateGraph
from stategraph.agent.mcp import Elicitation, ElicitationAnswer, McpSessions
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.mcp.conftest import HttpProcess

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).resolve().parents[1] / "agent" / "mcp" / "asking.py"
THREAD: Any = {"configurable": {"thread_id": "t"}}
ACCEPT = {"action": "accept", "content": {"size": "large"}}


@pytest.fixture(scope="module", params=([], ["2025"]), ids=("http", "http-2025"))
def shop(request: pytest.FixtureRequest) -> Iterator[dict[str, Any]]:
    process = HttpProcess(*request.param, program=SERVER, env={"COUNTER": "/nowhere"})
    yield {"shop": {"url": process.url}}
    process.kill()


class Said(TypedDict, total=False):
    said: list[str]


def graph_of(node: Any, saver: Any = None) -> Any:
    builder = StateGraph(Said)
    builder.add_node("buy", node)
    builder.add_edge(START, "buy")
    builder.add_edge("buy", END)
    return builder.compile(checkpointer=saver)


async def test_a_node_that_calls_twice_pauses_twice_and_each_call_gets_its_answer(shop: dict[str, Any]) -> None:
    async with McpSessions(shop) as sessions:
        (order,) = [tool for tool in await sessions.tools() if tool.name == "order"]

        async def buy(state: Said) -> Said:
            return {"said": [await order.ainvoke({"item": "tea"}), await order.ainvoke({"item": "tea"})]}

        graph = graph_of(buy, InMemorySaver())
        for number in (1, 2):
            (question,) = (await graph.ainvoke({} if number == 1 else Command(resume=ACCEPT), THREAD))["__interrupt__"]
            assert question.value["message"] == "Which tea?"
            assert question.response_schema is not None
        last = {"action": "accept", "content": {"size": "small", "number": 4}}
        assert (await graph.ainvoke(Command(resume=last), THREAD))["said"] == ["1 large tea", "4 small tea"]


def test_a_sync_run_pauses_and_goes_on_too(shop: dict[str, Any]) -> None:
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(McpSessions(shop)) as sessions:
        (order,) = [tool for tool in portal.call(sessions.tools) if tool.name == "order"]
        graph = graph_of(lambda state: {"said": [order.invoke({"item": "tea"})]}, InMemorySaver())
        (question,) = graph.invoke({}, THREAD)["__interrupt__"]
        assert question.value["message"] == "Which tea?"
        assert graph.invoke(Command(resume=ACCEPT), THREAD)["said"] == ["1 large tea"]


async def test_where_nothing_can_pause_the_server_hears_cancel(shop: dict[str, Any]) -> None:
    async with McpSessions(shop) as sessions:
        assert (await sessions.call_tool("shop", "order", {"item": "tea"}))[0] == "not ordered: cancel"
        (order,) = [tool for tool in await sessions.tools() if tool.name == "order"]

        async def buy(state: Said) -> Said:
            return {"said": [await order.ainvoke({"item": "tea"})]}

        assert (await graph_of(buy).ainvoke({}))["said"] == ["not ordered: cancel"]


async def test_a_function_of_the_host_answers_and_no_run_pauses(shop: dict[str, Any]) -> None:
    asked: list[Elicitation] = []

    async def answer(elicitation: Elicitation) -> ElicitationAnswer:
        asked.append(elicitation)
        await asyncio.sleep(0)
        return ElicitationAnswer("accept", {"size": "small"})

    sessions = McpSessions(shop, on_elicitation=answer)
    async with AgentRuntime(checkpointer=InMemorySaver(), mcp_servers=sessions) as runtime:
        assert runtime.mcp is sessions
        model = ScriptedChatModel(replies=[script.reply(script.call("order", {"item": "tea"}, id="c1")), "Done."])
        agent = {"agent_id": "a", "model": model, "tools": await runtime.tools()}
        run = await runtime.create_run(run_id="r", agents=[agent])
        await run.process_stream({"messages": [("user", "go")]}, THREAD)
        assert [each.content for each in run.get_run_messages()][-2:] == ["1 small tea", "Done."]
    assert [(each.server, each.message) for each in asked] == [("shop", "Which tea?")]


async def test_the_sessions_of_a_thread_keep_its_state_and_end_with_it() -> None:
    described = {"command": sys.executable, "args": [str(SERVER), "stdio", "0"], "session": "thread"}
    async with AgentRuntime(checkpointer=InMemorySaver(), mcp_servers={"shop": described}) as runtime:
        tools = await runtime.tools()

        async def turn(thread: str, *calls: Any) -> list[str]:
            model = ScriptedChatModel(replies=[*(script.reply(each) for each in calls), "Done."])
            run = await runtime.create_run(run_id=thread, agents=[{"agent_id": "a", "model": model, "tools": tools}])
            await run.process_stream({"messages": [("user", "go")]}, {"configurable": {"thread_id": thread}})
            return [str(each.content) for each in run.get_run_messages() if each.type == "tool"]

        recall = script.call("recall", {"name": "color"})
        (_, mine) = await turn("a", script.call("remember", {"name": "color", "value": "red"}), recall)
        assert mine.startswith("red in ")
        assert await turn("a", recall) == [mine]
        ((other),) = await turn("b", recall)
        assert other.startswith("None in ") and other.split()[-1] != mine.split()[-1]
        await runtime.threads.erase("a")
        ((again),) = await turn("a", recall)
        assert again.startswith("None in ") and again.split()[-1] not in (mine.split()[-1], other.split()[-1])
