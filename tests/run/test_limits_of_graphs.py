"""Models and graphs that a tool calls by itself are counted in its run, and graphs need prices, too."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from langchain_core.tools import tool

from stategraph import END, START, MessagesState, StateGraph
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.tools.counted import counted
from stategraph.errors import ConfigurationError
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import Host, ask, get_weather

pytestmark = pytest.mark.anyio


def looks() -> script.Reply:
    return script.reply(script.call("get_weather", city="Rome"), usage=(10, 5))


def looping(*replies: Any, saver: Any = None) -> Any:
    """An agent by hand: a model node and a tool node."""
    llm = ScriptedChatModel(replies=list(replies))
    bound = llm.bind_tools([get_weather])

    async def model(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await bound.ainvoke(state["messages"])]}

    def tools(state: MessagesState) -> dict[str, Any]:
        calls = state["messages"][-1].tool_calls  # type: ignore[union-attr]
        return {"messages": [get_weather.invoke({**each, "type": "tool_call"}) for each in calls]}

    builder = StateGraph(MessagesState)
    builder.add_node("model", model)
    builder.add_node("tools", tools)
    builder.add_edge(START, "model")
    builder.add_conditional_edges(
        "model", lambda state: "tools" if state["messages"][-1].tool_calls else END, ["tools", END]
    )
    builder.add_edge("tools", "model")
    return builder.compile(checkpointer=saver)


async def test_a_cost_limit_of_a_graph_needs_a_price_at_the_first_call() -> None:
    run = await Run.create(
        {"run_id": "r", "graph": looping("Never."), "limits": {"cost": 1}, "prices": {"known": False}}
    )
    with pytest.raises(ConfigurationError, match="price of the model 'scripted'"):
        await run.process_stream(ask())


async def test_a_model_of_a_graph_without_a_known_price_is_told_of_once() -> None:
    host = Host()
    graph = looping(looks(), script.reply("Done.", usage=(10, 5)))
    run = await Run.create(
        {"run_id": "r", "graph": graph, "prices": {"known": False}, "custom_handlers": host.handlers()}
    )
    await run.process_stream(ask())
    (said,) = [data["message"] for event, data in host.rows if event == "on_agent_log" and data["scope"] == "usage"]
    assert said.startswith("The price of the model 'scripted'")
    assert (run.usage.total.cost, run.usage.total.model_calls) == (None, 2)


def searcher(*replies: Any) -> Any:
    """A tool that runs a graph of its own."""
    graph = looping(*replies)

    @tool
    async def search(topic: str) -> str:
        """Search for a topic."""
        values = await graph.ainvoke(ask(topic), counted())
        return str(values["messages"][-1].content)

    return search


async def with_tool(search: Any, **limits: Any) -> Run:
    replies = [script.reply(script.call("search", topic="tides"), usage=(10, 5)), script.reply("Done.", usage=(1, 1))]
    agent = {"agent_id": "a", "model": ScriptedChatModel(replies=replies), "tools": [search]}
    return await Run.create({"run_id": "r", "graph_config": {"agents": [agent]}, "limits": limits})


@pytest.mark.parametrize("on_limit", ["end", "raise"])
async def test_the_warning_of_a_call_that_a_limit_refuses_names_the_check(
    on_limit: str, caplog: pytest.LogCaptureFixture
) -> None:
    limits = {"model_calls": 1, "on_limit": on_limit}
    run = await Run.create({"run_id": "r", "graph": looping(looks(), "Never."), "limits": limits})
    with contextlib.suppress(LimitReachedError):
        await run.process_stream(ask())
    assert run.usage.total.model_calls == 1
    (warned,) = caplog.records  # by LangChain, of its callbacks
    assert warned.getMessage().startswith("Error in LimitCheck.on_chat_model_start callback: LimitReachedError(")


async def test_a_graph_that_a_tool_runs_is_counted_and_limited_if_the_tool_says_so() -> None:
    run = await with_tool(searcher(looks(), script.reply("Here.", usage=(2, 2))))
    await run.process_stream(ask())
    total = run.usage.total
    assert (total.model_calls, total.tool_calls, total.total_tokens) == (4, 2, 15 + 15 + 4 + 2)
    assert {name: used.model_calls for name, used in run.usage.by_agent.items()} == {"a": 2, "model": 2, "tools": 0}
    run = await with_tool(searcher(*(looks() for _ in range(5))), model_calls=3)
    await run.process_stream(ask())
    assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 3)
    assert run.get_run_messages()[-1].status == "error"  # type: ignore[union-attr]


def test_outside_of_a_run_a_config_stays_as_it_is() -> None:
    assert counted() == {}
    assert counted({"tags": ["t"]}) == {"tags": ["t"]}
