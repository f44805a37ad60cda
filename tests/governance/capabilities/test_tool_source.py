"""Agents that are given the capabilities of a session as tools, run after run."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage

from stategraph.governance.capabilities.functions import capability, offer
from stategraph.governance.context import RuntimeSessionContext
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.governance.session import NoSessionError, Session
from stategraph.governance.tool_source import CapabilityTools
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.capabilities.given import Acting, Source, context, offered

pytestmark = pytest.mark.anyio


@capability(risk="read", source="shop")
def find_order(number: str) -> str:
    """Find an order."""
    return f"order {number}"


def model(tool: str, **arguments: Any) -> ScriptedChatModel:
    return ScriptedChatModel(replies=[script.reply(script.call(tool, arguments, id="call-1")), "Done."])


async def results(
    runtime: AgentRuntime, run_id: str, said: RuntimeSessionContext, tools: Any, **call: Any
) -> list[str]:
    agents = [{"agent_id": "desk", "model": model(**call), "tools": tools}]
    run = await runtime.create_run(run_id=run_id, agents=agents, session=Session(said))
    await run.process_stream({"messages": [HumanMessage("go")]}, {"configurable": {"thread_id": run_id}})
    messages = run.get_run_messages()
    return [f"{each.status}: {each.content}" for each in messages if isinstance(each, ToolMessage)]


async def test_an_agent_uses_what_its_session_sees_until_it_goes_away() -> None:
    mail = Source("mail")
    mail.offers = [offered("mcp:mail/send", "0")]
    registry = Registry(offer(find_order), offered("function:shop/delete_all", risk="destructive"))
    registry.connect(mail)
    said = context(max_risk="external")
    source = CapabilityTools(registry, ActionExecutor(registry))
    async with AgentRuntime(tool_sources=[source]) as runtime:
        with pytest.raises(NoSessionError):
            await runtime.tools()
        async with Session(said).active("r0"):
            tools = await runtime.tools()
        assert [tool.name for tool in tools] == ["find_order", "send"]
        assert await results(runtime, "r1", said, tools, tool="find_order", number="A1") == ["success: order A1"]
        assert await results(runtime, "r2", said, tools, tool="send", n=3) == ['success: {"n": 3}']

        mail.away = {"mail": "connection refused"}
        async with Session(said).active("r3"):
            left = await runtime.tools()
        assert [tool.name for tool in left] == ["find_order"]
        # An agent that was made before has the old tools: the call is refused, in words for the model.
        (refused,) = await results(runtime, "r4", said, tools, tool="send", n=3)
        assert refused.startswith("error:") and "'mail' is not connected: connection refused" in refused
        assert await results(runtime, "r5", said, tools, tool="find_order", number="A2") == ["success: order A2"]


async def test_the_tools_of_one_caller_act_for_no_other() -> None:
    registry = Registry(offer(find_order))
    acting = Acting(registry)
    callers = [context(tenant="acme"), context(tenant="other")]
    source = CapabilityTools(registry, acting, context=lambda: callers[0])
    (first,) = await source.tools()
    callers.reverse()
    (second,) = await source.tools()
    await first.ainvoke({"number": "1"})
    await second.ainvoke({"number": "2"})
    assert [each.context.tenant for each in acting.requests] == ["acme", "other"]
    shared = CapabilityTools(registry, acting)
    async with Session(context(tenant="acme")).active("r1"):
        (kept,) = await shared.tools()
    async with Session(context(tenant="other")).active("r2"):
        assert await shared.tools() == [kept]  # it asks who acts when it is called
        await kept.ainvoke({"number": "3"})
    assert acting.requests[-1].context.tenant == "other"
