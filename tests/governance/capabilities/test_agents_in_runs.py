"""Agents that are capabilities, called by the agents of a run: told as subagents are, paused and resumed with it."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import create_run, interrupt
from stategraph.governance.capabilities import agents
from stategraph.governance.capabilities.traits import Traits
from stategraph.governance.executor import ActionExecutor
from stategraph.governance.registry import Registry
from stategraph.governance.session import Session
from stategraph.governance.view import CapabilityGraph
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.governance.capabilities.given import context

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("go", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}


def confirm(what: str) -> str:
    """Have a person confirm something."""
    return f"{what}: {interrupt(what)}"


def desk(*replies: Any, **inner: Any) -> dict[str, Any]:
    """Return settings of a run whose agent may ask a writer, which is a capability."""
    writer = {"agent_id": "writer", "model": ScriptedChatModel(replies=list(replies)), **inner}
    registry = Registry(agents.offer(writer, Traits(description="Writes.", risk="read")))
    tools = CapabilityGraph.build(registry, context()).tools(ActionExecutor(registry))
    calls = [script.reply(script.call("writer", description="A poem.", id="call-1")), "Here it is."]
    return {
        "agents": [{"agent_id": "desk", "model": ScriptedChatModel(replies=calls), "tools": tools}],
        "session": Session(context()),
    }


def results(run: Any) -> list[str]:
    return [str(each.content) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


async def test_an_agent_is_called_in_a_run_and_what_it_does_is_told() -> None:
    told: list[tuple[str, str]] = []

    def hear(event: str, data: Any, *_: Any) -> None:
        told.append((data["subagentAgentId"], data["phase"]))

    run = await create_run(run_id="r", **desk("Rain."), custom_handlers={"on_subagent_update": hear})
    await run.process_stream(ASK, THREAD)
    assert results(run) == ["Rain."] and run.get_run_messages()[-1].content == "Here it is."
    assert told[0] == ("writer", "start") and told[-1] == ("writer", "stop")


async def test_it_waits_for_a_person_with_the_run_that_calls_it() -> None:
    saver = InMemorySaver()
    replies = (script.reply(script.call("confirm", what="rain?", id="c1")), "It rains.")
    settings = desk(*replies, tools=[confirm])
    run = await create_run(run_id="r", **settings, checkpointer=saver)
    await run.process_stream(ASK, THREAD)
    assert [each.payload for each in run.get_interrupts()] == ["rain?"]
    await run.resume("yes", THREAD)
    assert results(run) == ["It rains."]
