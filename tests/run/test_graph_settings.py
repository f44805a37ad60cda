"""A run of a graph refuses what has an effect on agents only."""

from __future__ import annotations

from typing import Any

import pytest

from stategraph import END, START, MessagesState, StateGraph
from stategraph.errors import ConfigurationError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import ask

pytestmark = pytest.mark.anyio


def speaking() -> Any:
    llm = ScriptedChatModel(replies=["Fine."])

    async def speak(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await llm.ainvoke(state["messages"])]}

    builder = StateGraph(MessagesState)
    builder.add_node("speak", speak)
    builder.add_edge(START, "speak")
    builder.add_edge("speak", END)
    return builder.compile()


def hooks(*events: str) -> HookRegistry:
    registry = HookRegistry()
    for event in events:
        registry.register(event, lambda _: {"decision": "deny"})
    return registry


OF_AGENTS = ["SubagentStart", "SubagentStop", "PreCompact", "PostCompact"]


@pytest.mark.parametrize("event", OF_AGENTS)
async def test_a_guardrail_that_a_graph_does_not_call_is_refused(event: str) -> None:
    with pytest.raises(ConfigurationError, match=f"hooks of {event}, which nothing in a graph calls"):
        await create_run(run_id="r", graph=speaking(), hooks=hooks("Stop", event))


@pytest.mark.parametrize("event", OF_AGENTS)
async def test_a_guardrail_that_is_registered_after_the_run_was_made_is_refused_when_it_is_executed(event: str) -> None:
    registry = hooks("Stop")
    run = await create_run(run_id="r", graph=speaking(), hooks=registry)
    take_back = registry.register(event, lambda _: {"decision": "deny"})
    with pytest.raises(ConfigurationError, match=f"hooks of {event}, which nothing in a graph calls"):
        await run.process_stream(ask())
    with pytest.raises(ConfigurationError, match=f"hooks of {event}, which nothing in a graph calls"):
        run.start(ask())
    take_back()
    await run.process_stream(ask())


async def test_guardrails_of_a_runtime_are_refused_unless_the_run_of_a_graph_has_hooks_of_its_own() -> None:
    async with AgentRuntime(hooks=hooks("PostCompact")) as runtime:
        with pytest.raises(ConfigurationError, match="give this run hooks="):
            await runtime.create_run(run_id="r", graph=speaking())
        run = await runtime.create_run(run_id="r", graph=speaking(), hooks=hooks("PreToolUse"))
        await run.process_stream(ask())
        assert [each.content for each in run.get_run_messages()] == ["Fine."]


@pytest.mark.parametrize(
    ("name", "value"), [("token_counter", lambda message: 1), ("sticky_agents", True), ("active_agent", "a")]
)
async def test_settings_of_agents_are_refused_for_a_graph(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}', which has an effect on agents only"):
        await create_run(run_id="r", graph=speaking(), **{name: value})


async def test_tokens_of_a_graph_s_models_that_report_none_are_counted_where_they_are_limited() -> None:
    run = await create_run(run_id="r", graph=speaking(), token_counter=lambda message: 7, limits={"total_tokens": 1000})
    await run.process_stream(ask())
    assert run.usage.total.total_tokens == 14
