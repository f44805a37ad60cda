"""Tools of an MCP server through the gate of an agent: approved, claimed, and executed once."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage

from stategraph.agent.mcp import McpSessions
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.governance.capabilities.mcp import McpCapabilities
from stategraph.governance.gates.agents import ActionGate
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.governance.view import CapabilityGraph
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.mcp.conftest import program
from tests.governance.executing.kit import ANN, BOB, session, world

pytestmark = pytest.mark.anyio

THREAD: Any = {"configurable": {"thread_id": "t"}}


async def test_tools_of_a_server_pass_the_pipeline_once_though_two_ways_in_see_them(tmp_path: Path) -> None:
    with ExitStack() as stack:
        made = stack.enter_context(world(tmp_path))
        async with McpSessions({"one": program()}) as sessions:
            registry = Registry()
            # A slow machine starts the server later than a planning step waits by default.
            registry.connect(McpCapabilities(sessions, risks={"one/add": "read", "one/*": "external"}, wait_s=60.0))
            await registry.refresh()
            executor = made.executor(registry=registry)
            view = CapabilityGraph.build(registry, session())
            saver = in_memory_saver()

            async def run(*replies: Any, **approver: Any) -> Run:
                agent = {
                    "agent_id": "a",
                    "model": ScriptedChatModel(replies=list(replies)),
                    "tools": view.tools(executor),
                }
                return await Run.create(
                    {
                        "run_id": "r",
                        "graph_config": {"agents": [agent], "compile_options": {"checkpointer": saver}},
                        "human_in_the_loop": {"enabled": True},
                        "tool_gates": [ActionGate(executor, view_digest=view.digest)],
                        "session": Session(session(ANN, **approver)),
                    }
                )

            calls = [script.call("add", {"a": 1, "b": 2}, id="1"), script.call("fail", {"city": "Rome"}, id="2")]
            first = await run(script.reply("", *calls))
            await first.process_stream({"messages": [("user", "go")]}, THREAD)
            (asked,) = first.get_interrupts()
            assert [each["name"] for each in asked.payload["action_requests"]] == ["fail"]
            second = await run("Done.", approver=BOB)
            await second.resume([{"type": "approve"}], THREAD)
            results = [each.content for each in second.get_run_messages() if isinstance(each, ToolMessage)]
            assert "3" in str(results[0])
            assert "no such city: Rome" in str(results[1])
            started = made.log.of("action.started")
            assert sorted((each.call_id, each.capability_id.partition("@")[0]) for each in started) == [
                ("1", "mcp:one/add"),
                ("2", "mcp:one/fail"),
            ]
            assert made.log.types.count("approval.consumed") == 1
            assert made.log.types.count("action.completed") == 1
            assert made.log.types.count("action.failed") == 1
