"""A run whose agent has the tools of an MCP server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.agent.mcp import McpSessions
from stategraph.errors import HandlerError
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel

pytest.importorskip("mcp")
pytestmark = pytest.mark.anyio

SERVER = Path(__file__).resolve().parents[1] / "agent" / "mcp" / "server.py"
COUNTING = {"command": sys.executable, "args": [str(SERVER), "stdio", "0"]}


async def test_progress_is_an_event_and_a_server_that_dies_is_a_tool_error() -> None:
    model = ScriptedChatModel(
        replies=[
            script.reply(script.call("count", {"to": 3}, id="c1")),
            script.reply(script.call("die", {}, id="c2")),
            script.reply(script.call("add", {"a": 1, "b": 2}, id="c3")),
            "Done.",
        ]
    )
    rows: list[tuple[str, Any]] = []
    kept = ("on_tool_progress", "on_tool_log", "on_run_step_completed")
    handlers = dict.fromkeys(kept, lambda event, data, metadata, graph: rows.append((event, data)))
    async with AgentRuntime(mcp_servers={"one": COUNTING}, custom_handlers=handlers) as runtime:
        agent = {"agent_id": "a", "model": model, "tools": await runtime.tools("one")}
        run = await runtime.create_run(run_id="r", agents=[agent])
        await run.process_stream({"messages": [HumanMessage("count")]})

    assert [event for event, _ in rows] == ["on_tool_progress", "on_tool_log"] * 3 + ["on_run_step_completed"] * 3
    first = rows[0][1]
    assert (first["toolCallId"], first["name"], first["progress"], first["total"]) == ("c1", "count", 1, 3)
    assert first["id"] == rows[6][1]["result"]["id"]
    results = [message for message in run.get_run_messages() if isinstance(message, ToolMessage)]
    assert [result.status for result in results] == ["success", "error", "success"]
    assert "one" in str(results[1].content)
    assert results[2].content == "3"


async def test_a_handler_that_fails_on_progress_fails_the_run_and_not_the_tool() -> None:
    def fail(event: str, data: Any, metadata: Any, graph: Any) -> None:
        raise LookupError("broken")

    model = ScriptedChatModel(replies=[script.reply(script.call("count", {"to": 3}))])
    async with AgentRuntime(mcp_servers={"one": COUNTING}, custom_handlers={"on_tool_progress": fail}) as runtime:
        agent = {"agent_id": "a", "model": model, "tools": await runtime.tools()}
        run = await runtime.create_run(run_id="r", agents=[agent])
        with pytest.raises(HandlerError, match=r"on_tool_progress.*LookupError: broken"):
            await run.process_stream({"messages": [HumanMessage("count")]})


async def test_a_result_is_text_for_the_model_and_whole_in_the_artifact_the_state_and_the_events() -> None:
    saver = InMemorySaver()
    model = ScriptedChatModel(
        replies=[
            script.reply(script.call("show", {}, id="c1"), script.call("structure", {}, id="c2")),
            script.reply(script.call("read_resource", {"uri": "note://today"}, id="c3")),
            script.reply(script.call("read_resource", {"uri": "note://raw"}, id="c4")),
            script.reply(script.call("read_resource", {"uri": "note://nowhere"}, id="c5")),
            "Done.",
        ]
    )
    ended: dict[str, Any] = {}

    def note(event: str, data: Any, metadata: Any, graph: Any) -> None:
        ended[data["output"].tool_call_id] = data["output"]

    async with AgentRuntime(
        checkpointer=saver, mcp_servers={"one": COUNTING}, custom_handlers={"on_tool_end": note}
    ) as runtime:
        tools = [*await runtime.tools(), runtime.mcp.resource_tool()]
        run = await runtime.create_run(run_id="r", agents=[{"agent_id": "a", "model": model, "tools": tools}])
        await run.process_stream({"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": "t"}})

    stored = await saver.aget({"configurable": {"thread_id": "t"}})
    assert stored is not None
    kept = {each.tool_call_id: each for each in stored["channel_values"]["messages"] if isinstance(each, ToolMessage)}
    for results in (kept, ended):
        shown, structured, read, raw = (results[f"c{number}"] for number in range(1, 5))
        assert {"type": "text", "text": "[far (text/plain)](note://far): far away"} in shown.content
        link = {"type": "resource_link", "uri": "note://far", "name": "far", "mimeType": "text/plain"}
        assert link | {"description": "far away"} in shown.artifact["content"]
        assert structured.artifact == {"structuredContent": {"deg": 21, "where": "K\u00f6ln"}}
        assert (read.content, read.artifact) == (
            "water the plants",
            {"contents": [{"uri": "note://today", "mimeType": "text/plain"}]},
        )
        assert raw.content == [{"type": "file", "base64": "AP8=", "mime_type": "application/octet-stream"}]
    assert (kept["c5"].status, "note://nowhere" in kept["c5"].content) == ("error", True)


def test_a_tool_that_reads_resources_is_of_servers_that_there_are() -> None:
    sessions = McpSessions({"one": COUNTING, "two": COUNTING})
    schema: Any = sessions.resource_tool().args_schema
    assert schema["properties"]["server"]["enum"] == ["one", "two"]
    assert schema["required"] == ["uri", "server"]
    one: Any = sessions.resource_tool("one", "one").args_schema
    assert list(one["properties"]) == ["uri"]
    with pytest.raises(ValueError, match="There is no MCP server 'three'; there are: one, two"):
        sessions.resource_tool("three")


async def test_a_model_that_names_no_server_is_told_which_there_are() -> None:
    tool = McpSessions({"one": COUNTING, "two": COUNTING}).resource_tool()
    for given in ({}, {"server": "three"}):
        with pytest.raises(ToolException, match="expected one of 'one', 'two'"):
            await tool.ainvoke({"uri": "note://today", **given})
