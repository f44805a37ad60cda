"""A host ported from TypeScript finds the names that it knows."""

from __future__ import annotations

from typing import Any

import librechat_agents as agents
import pytest
from langchain_core.messages import HumanMessage

from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import get_weather

pytestmark = pytest.mark.anyio


async def test_a_ported_host_runs_a_turn() -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "Rome"})), "Fine."])
    content = agents.createContentAggregator()
    started: list[Any] = []

    def handle(event: str, data: Any, metadata: Any, graph: Any) -> None:
        content.aggregateContent({"event": event, "data": data})

    run = await agents.Run.create(
        {
            "runId": "r",
            "graphConfig": {"type": "standard", "agents": [{"agentId": "a", "model": model, "tools": [get_weather]}]},
            "customHandlers": dict.fromkeys(agents.GraphEvents, handle),
            "returnContent": True,
            "skipCleanup": True,
        }
    )
    options = {"callbacks": {"handleToolStart": lambda graph, call: started.append(call["name"])}, "keepContent": False}
    parts = await run.processStream({"messages": [HumanMessage("hi")]}, {"recursionLimit": 20}, options)
    assert [part["type"] for part in parts] == ["text", "tool_call", "text"]
    assert started == ["get_weather"]
    assert [part["type"] for part in content.contentParts if part] == ["tool_call", "text"]
    assert len(run.Graph.getRunMessages()) == 3
    assert [step["index"] for step in run.Graph.getRunSteps()] == [0, 1, 2]
    assert run.getHaltReason() is None
    assert run.getInterrupt() is None
    assert run.Graph.handlerRegistry.get_handler("on_run_step") is handle


def test_every_method_of_a_run_has_its_camel_case_name() -> None:
    names = {name for name in dir(agents.Run) if not name.startswith("_")}
    for name in [each for each in names if "_" in each]:
        head, *rest = name.split("_")
        assert head + "".join(part.title() for part in rest) in names


def test_history_is_formatted_as_a_mapping() -> None:
    made = agents.formatAgentMessages([{"role": "user", "content": "hi"}], {0: 7})
    assert [message.type for message in made["messages"]] == ["human"]
    assert made["indexTokenCountMap"] == {0: 7}
    assert "summary" not in made


def test_handlers_are_registered_under_either_name() -> None:
    registry = agents.HandlerRegistry()
    registry.register("on_run_step", print)
    assert registry.getHandler("on_run_step") is print
    assert registry.get_handler("on_run_step") is print


async def test_a_ported_host_asks_for_approval_and_reads_what_waits() -> None:
    model = ScriptedChatModel(replies=[script.reply(script.call("get_weather", {"city": "Rome"}, id="c1")), "Fine."])
    hooks = agents.HookRegistry()
    hooks.register("PreToolUse", {"hooks": [lambda happened: {"decision": "ask"}], "timeout": 5000})
    run = await agents.Run.create(
        {
            "runId": "r",
            "graphConfig": {"agents": [{"agentId": "a", "model": model, "tools": [get_weather]}]},
            "hooks": hooks,
            "humanInTheLoop": {"enabled": True},
        }
    )
    await run.processStream({"messages": [HumanMessage("hi")]})
    waiting = run.getInterrupt()
    assert waiting["payload"]["action_requests"][0]["tool_call_id"] == "c1"
    assert [each["interruptId"] for each in run.getInterrupts()] == [waiting["interruptId"]]
    await run.resume([{"type": "edit", "updatedInput": {"city": "Oslo"}}])
    assert run.getInterrupt() is None
    assert run.getRunMessages()[1].content == "Sunny in Oslo"


@pytest.mark.parametrize("questions", [None, "Really?", {"question": "Really?"}, 5])
def test_questions_that_are_no_list_are_refused_in_a_sentence(questions: object) -> None:
    with pytest.raises(ValueError, match=r"askUserQuestions was given a value of type .*; expected a list"):
        agents.askUserQuestions(questions)
