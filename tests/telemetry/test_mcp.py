"""Calls of tools of MCP servers: one span each, as the conventions for MCP say, and the trace goes to the server."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

pytest.importorskip("mcp")

from opentelemetry.semconv._incubating.attributes import mcp_attributes, network_attributes
from opentelemetry.semconv.attributes import server_attributes
from opentelemetry.trace import SpanKind, StatusCode

from stategraph.agent.mcp import HttpServer, McpSessions, StdioServer
from stategraph.run.runtime import AgentRuntime
from stategraph.telemetry import mcp_calls, names
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.telemetry.spans_kit import Collected

pytestmark = pytest.mark.anyio

SERVER = StdioServer(command=sys.executable, args=(str(Path(__file__).with_name("mcp_server.py")),))


async def test_a_call_has_one_span_and_the_server_gets_its_context(collected: Collected) -> None:
    calls = [script.call(name, {}, id=name) for name in ("trace", "fail", "refuse")]
    model = ScriptedChatModel(replies=[script.reply(*calls), "Done."])
    sessions = McpSessions({"told": SERVER})
    async with AgentRuntime(mcp_servers=sessions, telemetry=collected.telemetry(workflow="w")) as runtime:
        agent = {"agent_id": "a", "model": model, "tools": await runtime.tools()}
        run = await runtime.create_run(run_id="r", agents=[agent])
        await run.process_stream({"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": "t"}})

    assert sorted(collected.tree(), key=lambda line: "execute_tool" in line) == [
        "invoke_workflow w",
        "  invoke_agent a",
        "    chat scripted",
        "    chat scripted",
        "    execute_tool trace",
        "    execute_tool fail !tool_error",
        "    execute_tool refuse !-32050",
    ]
    of_protocol: Any = {
        "mcp.method.name": "tools/call",
        "mcp.protocol.version": "2026-07-28",
        "network.transport": "pipe",
    }
    for name in ("trace", "fail", "refuse"):
        span = collected.named(f"execute_tool {name}")
        about = dict(span.attributes or {})
        assert of_protocol.items() <= about.items()
        assert span.kind is SpanKind.INTERNAL
        assert (span.status.status_code is StatusCode.ERROR) is (name != "trace")
        assert about.get("rpc.response.status_code") == ("-32050" if name == "refuse" else None)
    (told,) = [each for each in run.get_run_messages() if isinstance(each, ToolMessage) and each.name == "trace"]
    context = collected.named("execute_tool trace").context
    assert str(told.content).startswith(f"00-{context.trace_id:032x}-{context.span_id:016x}-")


def test_the_names_are_published_and_an_address_is_host_and_port_alone() -> None:
    modules = (mcp_attributes, network_attributes, server_attributes)
    published = {value for each in modules for value in vars(each).values() if isinstance(value, str)}
    about = {"server": "s", "endpoint": HttpServer(url="https://u:p@mcp.example.com/mcp?key=k").endpoint()}
    told = mcp_calls.attributes({"mcp": about | {"endpoint": about["endpoint"] | {"protocol": "2025-11-25"}}})  # type: ignore[operator]
    assert told == {
        "mcp.method.name": mcp_attributes.McpMethodNameValues.TOOLS_CALL.value,
        "mcp.protocol.version": "2025-11-25",
        "network.transport": "tcp",
        "server.address": "mcp.example.com",
        "server.port": 443,
    }
    assert set(told) <= published
    assert names.RPC_STATUS == "rpc.response.status_code"
    assert HttpServer(url="http://127.0.0.1:8080/mcp").endpoint()["port"] == 8080


@pytest.mark.parametrize("metadata", [None, {}, {"mcp": "x"}, {"mcp": {"other": 1}}])
def test_other_tools_have_none_of_it(metadata: Any) -> None:
    assert mcp_calls.attributes(metadata) == {}
