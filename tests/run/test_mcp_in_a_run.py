"""A run whose agent has the tools of an MCP server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

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
