"""Runs of agents: one tree of spans for each execution, whatever happens in it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool
from opentelemetry import context as contexts

from stategraph import END, START, AbortController, HookRegistry, Run, StateGraph
from stategraph.agent.state import AgentState
from stategraph.errors import AbortError
from stategraph.run.runtime import AgentRuntime
from stategraph.telemetry import ambient
from stategraph.telemetry.recorder import enclosing
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import WEATHER, sunny
from tests.telemetry.spans_kit import Collected

pytestmark = pytest.mark.anyio

ASK = {"messages": [HumanMessage("hi", id="h1")]}
THREAD = {"configurable": {"thread_id": "t"}}


def model(*replies: Any) -> ScriptedChatModel:
    return ScriptedChatModel(replies=list(replies))


async def execute(collected: Collected, *agents: Any, edges: Any = (), config: Any = None, **more: Any) -> Run:
    """Execute a run of these agents, and return it."""
    settings, fields = more.pop("settings", {}), more
    kind = "multi-agent" if edges else "standard"
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"type": kind, "agents": list(agents), "edges": list(edges)},
            "telemetry": collected.telemetry(**settings),
            **fields,
        }
    )
    await run.process_stream(ASK, config)
    return run


def tools_of(collected: Collected) -> list[Any]:
    """Tools that make spans of their own: a sync one, an async one that fails, and one with a graph in it."""

    @tool
    def look(city: str) -> str:
        """Look."""
        with collected.tracer.start_as_current_span("own in look"):
            return "sunny"

    @tool
    async def fail(city: str) -> str:
        """Fail."""
        await asyncio.sleep(0)
        with collected.tracer.start_as_current_span("own in fail"):
            raise LookupError(f"no {city}")

    def leaf(state: AgentState) -> dict[str, Any]:
        with collected.tracer.start_as_current_span("own in leaf"):
            return {}

    inner = StateGraph(AgentState).add_node("leaf", leaf).add_edge(START, "leaf").add_edge("leaf", END)
    nested = inner.compile(name="nested")

    @tool
    async def research(city: str) -> str:
        """Research."""
        await nested.ainvoke({"messages": []})
        return "found"

    return [look, fail, research]


async def test_a_run_with_a_handoff_a_nested_graph_a_tool_and_an_error_is_one_tree(collected: Collected) -> None:
    asked = [script.call(name, {"city": "Rome"}, id=name) for name in ("look", "fail", "research")]
    desk = model(script.reply(*asked), script.reply(script.call("lc_transfer_to_hotels", {"instructions": "go"})))
    await execute(
        collected,
        {"agent_id": "desk", "name": "The desk", "model": desk, "tools": tools_of(collected)},
        {"agent_id": "hotels", "model": model("Near the Forum.")},
        edges=[{"from": "desk", "to": "hotels", "edge_type": "handoff", "prompt": "What to do."}],
        config=THREAD,
        settings={"workflow": "travel"},
    )

    assert collected.tree() == [
        "invoke_workflow travel",
        "  invoke_agent The desk",
        "    chat scripted",
        "    execute_tool look",
        "      own in look",
        "    execute_tool fail !LookupError",
        "      own in fail",
        "    execute_tool research",
        "      invoke_workflow nested",
        "        own in leaf",
        "    chat scripted",
        "    execute_tool lc_transfer_to_hotels",
        "  invoke_agent hotels",
        "    chat scripted",
    ]
    desk_span = collected.named("invoke_agent The desk").attributes or {}
    assert desk_span["gen_ai.agent.id"] == "desk"
    assert desk_span["gen_ai.agent.name"] == "The desk"
    run_span = collected.named("invoke_workflow travel").attributes or {}
    assert run_span["stategraph.run.status"] == "completed"
    operations = [span.attributes or {} for span in collected.spans if span.name.split()[0] in ("chat", "invoke_agent")]
    assert {about["gen_ai.conversation.id"] for about in operations} == {"t"}
    look = collected.named("execute_tool look").attributes or {}
    assert (look["gen_ai.tool.call.id"], look["gen_ai.tool.type"]) == ("look", "function")


async def test_nodes_are_spans_on_request(collected: Collected) -> None:
    await execute(collected, {"agent_id": "a", "model": model("Hi.")}, settings={"nodes": True})

    assert collected.tree()[:5] == [
        "invoke_workflow",
        "  node a",
        "    invoke_agent a",
        "      node agent=a",
        "        chat scripted",
    ]


async def test_tools_of_the_host_are_spans_of_its_calls(collected: Collected) -> None:
    calls = [script.call("get_weather", {"city": city}, id=city) for city in ("Rome", "Oslo")]

    def answer(event: str, data: Any, metadata: Any, graph: Any) -> None:
        with collected.tracer.start_as_current_span("own in host"):
            if len(data["toolCalls"]) == 1:
                sunny(data)
                return
            data.on_result({"toolCallId": "Oslo", "status": "error", "errorMessage": "closed"})
            data.resolve([{"toolCallId": "Rome", "content": "Sunny"}])

    one = model(script.reply(*calls), script.reply(script.call("get_weather", {"city": "Rome"})), "Fine.")
    agent = {"agent_id": "a", "model": one, "tool_definitions": [WEATHER]}
    await execute(collected, agent, custom_handlers={"on_tool_execute": answer})

    lines = collected.tree()
    assert "    execute_tool get_weather !tool_error" in lines
    assert lines.count("    execute_tool get_weather") == 2
    # With one call, what the host does for it is below it.
    assert lines[-3:] == ["    execute_tool get_weather", "      own in host", "    chat scripted"]


async def test_an_error_of_the_model_is_told_on_all_spans_around_it(collected: Collected) -> None:
    failing = model(ConnectionError("key sk-123456"))
    with pytest.raises(ConnectionError):
        await execute(collected, {"agent_id": "a", "model": failing})

    assert collected.tree() == [
        "invoke_workflow !ConnectionError",
        "  invoke_agent a !ConnectionError",
        "    chat scripted !ConnectionError",
    ]
    assert all("sk-123456" not in span.to_json() for span in collected.spans)
    assert (collected.named("invoke_workflow").attributes or {})["stategraph.run.status"] == "failed"


class Away(Exception):
    """As clients raise it where a service is away for a moment."""

    status_code = 503


async def test_each_attempt_of_a_model_and_each_fallback_is_a_span_beside_the_others(collected: Collected) -> None:
    first = ScriptedChatModel(replies=[Away("1"), Away("2")], name="first")
    second = ScriptedChatModel(replies=["Here I am."], name="second")
    retry = {"max_attempts": 2, "initial_interval_s": 0.0}
    agent = {"agent_id": "a", "model": first, "model_retry": retry, "fallbacks": [{"model": second}]}
    run = await execute(collected, agent, config=THREAD)
    assert run.get_run_messages()[-1].content == "Here I am."
    assert collected.tree() == [
        "invoke_workflow",
        "  invoke_agent a",
        "    chat scripted !Away",
        "    chat scripted !Away",
        "    chat scripted",
    ]
    *failed, answered = [span for span in collected.spans if span.name == "chat scripted"]
    assert all("gen_ai.response.id" not in (span.attributes or {}) for span in failed)
    assert answered.status.is_unset and collected.named("invoke_agent a").status.is_unset


async def test_an_aborted_run_is_no_error(collected: Collected) -> None:
    controller = AbortController()

    def stop(event: str, data: Any, metadata: Any, graph: Any) -> None:
        controller.abort("enough")

    with pytest.raises(AbortError):
        await execute(
            collected,
            {"agent_id": "a", "model": model("A long answer.")},
            custom_handlers={"on_message_delta": stop},
            config={"signal": controller.signal},
        )

    assert collected.tree() == ["invoke_workflow", "  invoke_agent a", "    chat scripted"]
    about = collected.named("invoke_workflow").attributes or {}
    assert (about["stategraph.run.status"], about["stategraph.ended_by"]) == ("cancelled", "cancellation")


async def test_each_execution_of_a_run_that_waits_is_a_tree(collected: Collected) -> None:
    hooks = HookRegistry()
    hooks.register("PreToolUse", {"hooks": [lambda happened: {"decision": "ask"}]})
    look = tools_of(collected)[0]
    run = await execute(
        collected,
        {
            "agent_id": "a",
            "model": model(script.reply(script.call("look", {"city": "Rome"})), "Fine."),
            "tools": [look],
        },
        hooks=hooks,
        human_in_the_loop={"enabled": True},
        config=THREAD,
    )
    assert (collected.named("invoke_workflow").attributes or {})["stategraph.run.status"] == "interrupted"
    collected.exporter.clear()

    await run.resume({"type": "approve"}, THREAD)

    assert collected.tree() == [
        "invoke_workflow",
        "  invoke_agent a",
        "    execute_tool look",
        "      own in look",
        "    chat scripted",
    ]


async def test_what_reads_a_run_is_not_in_it(collected: Collected) -> None:
    run = await Run.create(
        {
            "run_id": "r",
            "graph_config": {"agents": [{"agent_id": "a", "model": model("Hi.")}]},
            "telemetry": collected.telemetry(),
        }
    )
    with collected.tracer.start_as_current_span("host"):
        async for _ in run.stream(ASK):
            with collected.tracer.start_as_current_span("reading"):
                pass
    lines = collected.tree()
    assert lines[:2] == ["host", "  invoke_workflow"]
    assert {line for line in lines if "reading" in line} == {"  reading"}


async def test_runs_of_a_runtime_are_measured_and_runs_side_by_side_do_not_mix(collected: Collected) -> None:
    tools = tools_of(collected)[:1]

    def agent() -> dict[str, Any]:
        asked = script.reply(script.call("look", {"city": "Rome"}))
        return {"agent_id": "a", "model": model(asked, "Fine."), "tools": tools}

    async with AgentRuntime(telemetry=collected.telemetry()) as runtime:
        runs = [await runtime.create_run(run_id=f"r{number}", agents=[agent()]) for number in range(5)]
        await asyncio.gather(*(run.process_stream(ASK) for run in runs))

    one = ["invoke_workflow", "  invoke_agent a", "    chat scripted", "    execute_tool look", "      own in look"]
    assert collected.tree() == [*one, "    chat scripted"] * 5


async def test_what_listens_to_all_leaves_a_run_to_its_own_telemetry(collected: Collected) -> None:
    other = Collected()
    with other.telemetry().listening():
        await execute(collected, {"agent_id": "a", "model": model("Hi.")})
        await model("Hi.").ainvoke("x")

    assert collected.tree() == ["invoke_workflow", "  invoke_agent a", "    chat scripted"]
    assert other.tree() == ["chat scripted"]


def shopping(collected: Collected, *answers: Any) -> dict[str, Any]:
    """An agent with a subagent that has a tool."""
    subagent = {"agent_id": "s", "name": "The shopper", "model": model(*answers), "tools": tools_of(collected)[:1]}
    asked = script.call("subagent", {"subagent_type": "shopper", "description": "Look."}, id="c1")
    config = {"type": "shopper", "description": "Looks.", "agent_inputs": subagent}
    return {"agent_id": "a", "model": model(script.reply(asked), "Fine."), "subagent_configs": [config]}


async def test_subagents_are_below_the_tool_that_calls_them(collected: Collected) -> None:
    look = script.reply(script.call("look", {"city": "Rome"}, id="l1"), usage=(10, 5))
    await execute(collected, shopping(collected, look, "Sunny."))

    assert collected.tree() == [
        "invoke_workflow",
        "  invoke_agent a",
        "    chat scripted",
        "    execute_tool subagent",
        "      invoke_agent The shopper",
        "        chat scripted",
        "        execute_tool look",
        "          own in look",
        "        chat scripted",
        "    chat scripted",
    ]
    assert (collected.named("invoke_agent a").attributes or {})["gen_ai.usage.input_tokens"] == 10


async def test_a_subagent_that_waits_for_a_person_ends_its_spans(collected: Collected) -> None:
    hooks = HookRegistry()
    hooks.register("PreToolUse", {"hooks": [lambda happened: {"decision": "ask"}], "pattern": "^look$"})
    look = script.reply(script.call("look", {"city": "Rome"}, id="l1"))
    run = await execute(
        collected, shopping(collected, look, "Sunny."), hooks=hooks, human_in_the_loop={"enabled": True}, config=THREAD
    )
    waiting = collected.named("execute_tool subagent").attributes or {}
    assert waiting["stategraph.ended_by"] == "interrupt"
    collected.exporter.clear()

    await run.resume({"type": "approve"}, THREAD)

    assert [line.strip() for line in collected.tree()] == [
        "invoke_workflow",
        "invoke_agent a",
        "execute_tool subagent",
        "invoke_agent The shopper",
        "execute_tool look",
        "own in look",
        "chat scripted",
        "chat scripted",
    ]


async def test_a_graph_of_the_hosts_own_gives_its_run_its_name(collected: Collected) -> None:
    async def answer(state: AgentState) -> Any:
        return {"messages": [await model("Hi.").ainvoke(state["messages"])]}

    graph = StateGraph(AgentState).add_node("answer", answer).add_edge(START, "answer").compile(name="mine")
    run = await Run.create({"run_id": "r", "graph": graph, "telemetry": collected.telemetry()})
    await run.process_stream(ASK)

    assert collected.tree() == ["invoke_workflow mine", "  chat scripted"]
    assert (collected.named("invoke_workflow mine").attributes or {})["gen_ai.workflow.name"] == "mine"


async def test_many_calls_in_one_node_keep_no_chain_of_those_that_ended(collected: Collected) -> None:
    async def node(state: AgentState) -> Any:
        for _ in range(50):
            await model("Hi.").ainvoke("hi")
        here = enclosing(contexts.get_current())
        depth = 0
        while here is not None:
            here, depth = here.around, depth + 1
        assert depth == 1  # the graph
        return {}

    graph = StateGraph(AgentState).add_node("node", node).add_edge(START, "node").compile()
    await graph.ainvoke({"messages": []}, {"callbacks": [collected.telemetry().handler()]})
    assert collected.tree() == ["invoke_workflow", *["  chat scripted"] * 50]


async def test_a_run_leaves_the_context_of_its_caller_as_it_was(collected: Collected) -> None:
    before = contexts.get_current()
    with Collected().telemetry().listening() as handler:
        await execute(collected, {"agent_id": "a", "model": model("Hi.")})
        assert ambient.current.get() is handler
    assert contexts.get_current() == before
