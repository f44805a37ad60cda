"""Runs whose agent has the tools of a server."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from stategraph.agent.mcp import McpSessions
from stategraph.errors import HandlerError
from stategraph.run.events import GraphEvents
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.mcp.conftest import program

pytestmark = pytest.mark.anyio


async def run_with(sessions: McpSessions, calls: list[script.ToolCall], handler: Any = None) -> Run:
    """Run an agent that makes these calls, one after the other."""
    model = ScriptedChatModel(replies=[*(script.reply(call) for call in calls), "Done."])
    agent = {"agent_id": "a", "model": model, "tools": await sessions.tools()}
    handlers = {} if handler is None else dict.fromkeys(GraphEvents, handler)
    run = await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, "custom_handlers": handlers})
    await run.process_stream({"messages": [HumanMessage("go")]})
    return run


def results(run: Run) -> list[tuple[str, str]]:
    return [(str(one.content), one.status) for one in run.get_run_messages() if isinstance(one, ToolMessage)]


async def test_progress_and_logs_of_a_server_are_events_between_call_and_result() -> None:
    seen: list[tuple[str, Any]] = []

    async def handle(event: str, data: Any, metadata: Any, graph: Any) -> None:
        if event in ("on_tool_start", "on_tool_progress", "on_tool_log", "on_tool_end"):
            seen.append((event, data.get("progress") or data.get("data")))

    async with McpSessions({"one": program()}) as sessions:
        run = await run_with(sessions, [script.call("count", {"to": 2})], handle)
    assert seen == [
        ("on_tool_start", None),
        ("on_tool_progress", 1.0),
        ("on_tool_log", {"step": 1}),
        ("on_tool_progress", 2.0),
        ("on_tool_log", {"step": 2}),
        ("on_tool_end", None),
    ]
    assert results(run) == [("done", "success")]


async def test_a_server_that_dies_is_an_error_for_the_model_and_the_run_goes_on() -> None:
    calls = [script.call("fail", {"city": "Atlantis"}), script.call("die"), script.call("add", {"a": 1, "b": 2})]
    async with McpSessions({"one": program()}) as sessions:
        run = await run_with(sessions, calls)
    failed, died, added = results(run)
    assert "no such city: Atlantis" in failed[0]
    assert "'one' went away while it worked on tool 'die'" in died[0]
    assert (failed[1], died[1], added) == ("error", "error", ("3", "success"))


async def test_a_handler_that_fails_on_progress_fails_the_run_and_not_the_tool() -> None:
    async def handle(event: str, data: Any, metadata: Any, graph: Any) -> None:
        if event == "on_tool_progress":
            raise LookupError("broken")

    async with McpSessions({"one": program()}) as sessions:
        with pytest.raises(HandlerError, match=r"on_tool_progress.*LookupError: broken"):
            await run_with(sessions, [script.call("count", {"to": 2})], handle)
