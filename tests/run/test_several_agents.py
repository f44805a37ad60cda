"""A run of several agents: what its host is told, and how it ends."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool

from stategraph import interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, ConfigurationError
from stategraph.run.abort import AbortController
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.test_run import Host, ask

pytestmark = pytest.mark.anyio


async def make(
    agents: dict[str, Any],
    edges: list[dict[str, Any]],
    host: Host | None = None,
    saver: Any = None,
    run_id: str = "r",
    **tools: Any,
) -> Run:
    """A run of agents that answer as given, by id."""
    described = [
        {
            "agentId": name,
            "model": given if isinstance(given, ScriptedChatModel) else ScriptedChatModel(replies=given),
            "tools": tools.get(name, []),
        }
        for name, given in agents.items()
    ]
    graph = {"type": "multi-agent", "agents": described, "edges": edges, "compileOptions": {"checkpointer": saver}}
    handlers = {} if host is None else host.handlers()
    return await Run.create({"runId": run_id, "graphConfig": graph, "customHandlers": handlers, "returnContent": True})


def steps(host: Host) -> list[tuple[str, Any]]:
    """The steps that were opened: who writes them, and in which group."""
    return [(data["agentId"], data.get("groupId")) for event, data in host.rows if event == "on_run_step"]


TRANSFER = script.reply(script.call("lc_transfer_to_two", id="t", instructions="Do it."))
HANDOFF = {"from": "one", "to": "two", "edgeType": "handoff", "prompt": "What?"}
FAN_OUT = [
    {"from": "start", "to": ["left", "right"], "edgeType": "direct"},
    {"from": ["left", "right"], "to": "join", "edgeType": "direct"},
]


async def test_a_handoff_is_a_tool_call_that_completes_before_the_receiver_speaks() -> None:
    host = Host()
    run = await make({"one": [TRANSFER], "two": ["Done."]}, [HANDOFF], host)
    parts = await run.process_stream(ask())
    assert host.steps() == [
        ("on_run_step", (0, "message_creation")),
        ("on_run_step_closed", "completed"),
        ("on_run_step", (1, "tool_calls")),
        ("on_run_step_completed", "Successfully transferred to two\n\nInstructions: Do it."),
        ("on_run_step_closed", "completed"),
        ("on_run_step", (2, "message_creation")),
        ("on_message_delta", "Done."),
        ("on_run_step_closed", "completed"),
    ]
    assert steps(host) == [("one", None), ("one", None), ("two", None)]
    called = (parts or [])[1]["tool_call"]
    assert (called["name"], called["args"]) == ("lc_transfer_to_two", {"instructions": "Do it."})
    shown = host.content.content_parts[1]
    assert shown is not None
    assert shown["tool_call"]["args"] == '{"instructions":"Do it."}'
    assert [type(message) for message in run.get_run_messages()] == [AIMessage, ToolMessage, HumanMessage, AIMessage]


async def test_agents_side_by_side_share_a_group_and_the_indices() -> None:
    host = Host()
    run = await make({"start": ["S."], "left": ["L."], "right": ["R."], "join": ["J."]}, FAN_OUT, host)
    await run.process_stream(ask())
    assert sorted(steps(host)[1:3]) == [("left", 1), ("right", 1)]
    assert (steps(host)[0], steps(host)[3]) == (("start", None), ("join", None))
    assert [data["index"] for event, data in host.rows if event == "on_run_step"] == [0, 1, 2, 3]
    assert [message.content for message in run.get_run_messages()] == ["S.", "L.", "R.", "J."]


async def test_agents_that_were_handed_over_to_together_share_a_random_group() -> None:
    host = Host()
    split = script.reply(script.call("lc_transfer_to_two", id="1"), script.call("lc_transfer_to_three", id="2"))
    edge = {"from": "one", "to": ["two", "three"], "edgeType": "handoff"}
    run = await make({"one": [split], "two": ["2."], "three": ["3."]}, [edge], host)
    await run.process_stream(ask())
    groups = dict(steps(host))
    assert groups["one"] is None
    assert groups["two"] == groups["three"] != 1


async def test_one_failing_agent_of_a_fan_out_fails_the_run_and_stops_the_other() -> None:
    right = script.Reply((script.Text("R"), script.Hold(script.Gate())))
    left = script.Failure(message="no quota", status=429)
    host = Host()
    agents = {"start": ["S."], "left": [left], "right": [right], "join": []}
    run = await make(agents, FAN_OUT, host)
    before = asyncio.all_tasks()
    with pytest.raises(script.ScriptedModelError, match="no quota"):
        await asyncio.wait_for(run.process_stream(ask()), 5)
    assert {data["status"] for event, data in host.rows if event == "on_run_step_closed"} <= {"completed", "failed"}
    opened = [data["id"] for event, data in host.rows if event == "on_run_step"]
    assert opened == [data["id"] for event, data in host.rows if event == "on_run_step_closed"]
    assert run.get_run_messages()[0].content == "S."
    assert asyncio.all_tasks() == before


async def test_an_abort_stops_all_agents_and_the_thread_stays_fit_to_go_on() -> None:
    controller, saver = AbortController(), in_memory_saver()
    held = script.Reply((script.Text("so "), script.Text("far"), script.Hold(script.Gate())))

    @tool
    def note() -> str:
        """Notes."""
        return "noted"

    agents = {"start": ["S."], "left": [script.reply(script.call("note", id="n")), held], "right": [held], "join": []}
    host = Host(on_message_delta=lambda data: controller.abort() if written(host) == {"left", "right"} else None)

    def written(host: Host) -> set[str]:
        by_id = {data["id"]: data["agentId"] for event, data in host.rows if event == "on_run_step"}
        texts = [(by_id[data["id"]], str(data)) for event, data in host.rows if event == "on_message_delta"]
        return {name for name, text in texts if "far" in text}

    config = {"configurable": {"thread_id": "t"}}
    run = await make(agents, FAN_OUT, host, saver, left=[note])
    before = asyncio.all_tasks()
    with pytest.raises(AbortError):
        await asyncio.wait_for(run.process_stream(ask(), {**config, "signal": controller.signal}), 5)
    assert asyncio.all_tasks() == before
    assert host.steps()[-1] == ("on_run_step_closed", "cancelled")
    kept = [message.content for message in run.get_run_messages()]
    assert kept[:3] == ["S.", "", "noted"]
    assert kept[3:] == ["so far", "so far"]

    model = ScriptedChatModel(replies=["Back."])
    agents = {"start": model, "left": ["L."], "right": ["R."], "join": ["J."]}
    again = await make(agents, FAN_OUT, None, saver, "next", start=[note])
    await again.process_stream(ask("again"), config)
    sent = [message.content for message in model.requests[0].messages]
    assert sent == ["hi", *kept, "again"]
    assert [message.content for message in again.get_run_messages()] == ["Back.", "L.", "R.", "J."]


async def test_results_of_agents_side_by_side_stay_with_their_calls_when_the_run_is_cut_off() -> None:
    called, answered = asyncio.Event(), asyncio.Event()

    @tool
    async def slow() -> str:
        """Ends after the other agent has answered."""
        called.set()
        await answered.wait()
        return "slow result"

    gate = script.Gate()
    hold = script.Reply((script.Hold(gate),))
    host = Host(on_run_step_completed=lambda data: controller.abort(), on_chat_model_end=lambda data: note_answer(data))

    def note_answer(data: Any) -> None:
        if data["output"].content == "R.":
            answered.set()

    controller = AbortController()
    agents = {"left": [script.reply(script.call("slow", id="s")), hold], "right": ["R."]}
    run = await make(agents, [], host, None, left=[slow])
    with pytest.raises(AbortError):
        await asyncio.wait_for(run.process_stream(ask(), {"signal": controller.signal}), 5)
    messages = run.get_run_messages()
    position = next(index for index, message in enumerate(messages) if isinstance(message, ToolMessage))
    assert messages[position].content == "slow result"
    before = messages[position - 1]
    assert isinstance(before, AIMessage)
    assert before.tool_calls


async def test_a_run_that_waits_in_the_receiver_goes_on_in_another_process_as_the_same_agent() -> None:
    @tool
    def confirm() -> str:
        """Asks a person."""
        return f"they said {interrupt('sure?')}"

    saver, config = in_memory_saver(), {"configurable": {"thread_id": "t"}}
    first = Host()
    run = await make(
        {"one": [TRANSFER], "two": [script.reply(script.call("confirm", id="c"))]},
        [HANDOFF],
        first,
        saver,
        two=[confirm],
    )
    assert await run.process_stream(ask(), config) == []
    second = Host()
    model = ScriptedChatModel(replies=["Done."])
    other = await make({"one": [], "two": model}, [HANDOFF], second, saver, two=[confirm])
    await other.resume("yes", config)
    opened = {data["id"] for event, data in first.rows if event == "on_run_step"}
    completed = next(data["result"] for event, data in second.rows if event == "on_run_step_completed")
    assert completed["id"] in opened
    assert steps(second) == [("two", None)]
    assert [data["index"] for event, data in second.rows if event == "on_run_step"] == [4]
    assert 'You are "two", transferred from "one".' in str(model.requests[0].messages[0].content)
    assert [message.type for message in other.get_run_messages()] == ["ai", "tool", "human", "ai", "tool", "ai"]


async def test_a_graph_of_one_agent_without_edges_is_one_of_several_agents_to_its_host() -> None:
    host = Host()
    run = await make({"a": ["Hi."]}, [], host)
    await run.process_stream(ask())
    assert steps(host) == [("a", None)]


async def test_edges_to_nobody_are_refused_when_the_run_is_made() -> None:
    with pytest.raises(ConfigurationError, match=r'reference agent\(s\) not present in agents: \["missing"\]'):
        await make({"x": []}, [{"from": "x", "to": "missing", "edgeType": "direct"}])


async def test_what_hooks_say_stays_with_the_agent_where_calls_have_the_same_ids() -> None:
    begun = asyncio.Barrier(2)

    @tool
    async def look() -> str:
        """Looks."""
        await begun.wait()
        return "seen"

    hooks = HookRegistry()
    hooks.register("PreToolUse", lambda happened: {"additional_context": f"for {happened['agentId']}"})
    model = {name: ScriptedChatModel(replies=[script.reply(script.call("look", id="0")), "Done."]) for name in "lr"}
    agents = [{"agentId": name, "model": model[name], "tools": [look]} for name in "lr"]
    graph = {"type": "multi-agent", "agents": agents, "edges": []}
    run = await Run.create({"runId": "r", "graphConfig": graph, "hooks": hooks})
    await run.process_stream(ask())
    told = {name: [each.content for each in model[name].requests[-1].messages] for name in "lr"}
    assert {name: [text for text in told[name] if str(text).startswith("for")] for name in "lr"} == {
        "l": ["for l"],
        "r": ["for r"],
    }
