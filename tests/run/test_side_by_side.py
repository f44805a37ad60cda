"""Agents side by side and models in turn: whose events come when, and what stays behind of a run."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.errors import AbortError
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.openai_server import FakeOpenAIServer
from tests.run.hosting import THREAD, Host, ask, calls, get_weather, run_of

pytestmark = pytest.mark.anyio


async def side_by_side(host: Host, *, tool: Any = get_weather, **replies: Any) -> Run:
    agents = [
        {"agent_id": name, "model": ScriptedChatModel(replies=said), "tools": [tool]} for name, said in replies.items()
    ]
    graph = {"type": "multi-agent", "agents": agents}
    return await Run.create({"run_id": "r", "graph_config": graph, "custom_handlers": host.handlers()})


async def test_events_of_agents_side_by_side_are_in_order_for_each_and_share_no_index() -> None:
    host = Host()
    rounds = {name: [calls(("get_weather", {"city": name}, f"{name}_1")), f"Fine in {name}."] for name in "abc"}
    run = await side_by_side(host, **rounds)
    await run.process_stream(ask())
    opened = [data for event, data in host.rows if event == "on_run_step"]
    assert [step["index"] for step in opened] == list(range(9))
    ids = {name: [step["id"] for step in opened if step["agentId"] == name] for name in "abc"}
    for name in "abc":
        own = [
            (event.removeprefix("on_"), ids[name].index(step))
            for event, data in host.rows
            if event.startswith(("on_run_step", "on_message"))
            and (step := data.get("id") or data.get("result", {}).get("id")) in ids[name]
        ]
        distinct = list(dict.fromkeys(own))
        assert distinct == [
            ("run_step", 0),
            ("run_step_closed", 0),
            ("run_step", 1),
            ("run_step_delta", 1),
            ("run_step_completed", 1),
            ("run_step_closed", 1),
            ("run_step", 2),
            ("message_delta", 2),
            ("run_step_closed", 2),
        ]
    assert len({step["groupId"] for step in opened}) == 1


async def test_calls_of_agents_side_by_side_with_the_same_id_are_told_apart() -> None:
    called: list[str] = []
    both = asyncio.Event()

    @tool
    async def where(city: str) -> str:
        """Where a city is, once both are asked for."""
        called.append(city)
        if len(called) == 2:
            both.set()
        await both.wait()
        return f"In {city}"

    host = Host()
    rounds = {name: [calls(("where", {"city": name}, "call_0")), f"Fine in {name}."] for name in "ab"}
    run = await side_by_side(host, tool=where, **rounds)
    await asyncio.wait_for(run.process_stream(ask()), 10)
    steps = {data["id"]: data for event, data in host.rows if event == "on_run_step" and data["type"] == "tool_calls"}
    results = [data["result"] for event, data in host.rows if event == "on_run_step_completed"]
    told = {steps[each["id"]]["agentId"]: each["tool_call"]["output"] for each in results}
    assert told == {"a": "In a", "b": "In b"}
    assert sorted(each["index"] for each in results) == [0, 1]
    closed = [data["id"] for event, data in host.rows if event == "on_run_step_closed" and data["id"] in steps]
    assert closed == [each["id"] for each in results]


async def test_a_failure_of_one_agent_ends_those_beside_it_and_closes_all_steps() -> None:
    gate = script.Gate()
    host = Host()
    slow = script.Reply((script.Text("one "), script.Hold(gate), script.Text("two")))
    broken = script.Reply((script.Text("half "), script.Fault("the provider broke")))
    run = await side_by_side(host, a=[slow], b=[broken])
    with pytest.raises(Exception, match="the provider broke"):
        await run.process_stream(ask())
    closed = [data["status"] for event, data in host.rows if event == "on_run_step_closed"]
    assert closed == ["failed"] * sum(event == "on_run_step" for event, _ in host.rows)
    assert {str(message.content) for message in run.get_run_messages()} <= {"one ", "half "}


async def test_a_fallback_after_half_an_answer_is_told_in_steps_of_its_own() -> None:
    broken = script.Reply((script.Text("half "), script.CallPart(0, "{", name="get_weather", id="c"), script.Fault()))
    host = Host()
    async with FakeOpenAIServer() as server:
        server.script("m", [broken])
        server.script("f", ["Whole."])
        options = {"apiKey": "key", "configuration": {"baseURL": server.base_url}, "maxRetries": 0}
        described = {
            "model": None,
            "provider": "openAI",
            "client_options": {
                **options,
                "model": "m",
                "fallbacks": [{"provider": "openAI", "clientOptions": {**options, "model": "f"}}],
            },
        }
        saver = InMemorySaver()
        run = await run_of(
            host=host, agent={**described, "tools": [get_weather]}, compile_options={"checkpointer": saver}
        )
        await run.process_stream(ask(), THREAD)
    kinds = [(data["index"], data["status"]) for event, data in host.rows if event == "on_run_step_closed"]
    assert kinds == [(0, "completed"), (1, "failed"), (2, "completed")]
    assert [message.content for message in run.get_run_messages()] == ["Whole."]
    state = await run.graph.compiled.aget_state(THREAD)
    assert [message.content for message in state.values["messages"]] == ["hi", "Whole."]


async def test_nothing_of_a_run_is_left_in_its_tracker_and_listener_when_it_has_ended() -> None:
    gate = script.Gate()
    hang = script.Reply((script.Text("one "), script.Hold(gate)))
    for replies, error in (
        ([calls(("get_weather", {"city": "Rome"})), "Fine."], None),
        ([script.Reply((script.Text("half "), script.Fault()))], Exception),
        ([hang], asyncio.CancelledError),
    ):
        run = await run_of(*replies, agent={"tools": [get_weather]})
        work = asyncio.create_task(run.process_stream(ask()))
        if error is asyncio.CancelledError:
            await gate.wait_reached_async()
            work.cancel()
        await asyncio.wait((work,))
        assert run.graph.get_run_steps() == []
        assert run.graph.tool_call_step_ids == {}
        assert run.graph.tracker._lanes == {}
        assert run._listener.partial == {}
        if error is not None and not work.cancelled():
            assert isinstance(work.exception(), error)


async def test_content_indices_go_on_if_steps_and_content_are_kept() -> None:
    host = Host()
    run = await run_of("One.", "Two.", "Three.", host=host, skip_cleanup=True)
    await run.process_stream(ask())
    await run.process_stream(ask(), {}, {"keep_content": True})
    await run.process_stream(ask())
    assert [data["index"] for event, data in host.rows if event == "on_run_step"] == [0, 1, 0]


async def test_what_a_run_stores_of_its_steps_is_json_without_the_conversation() -> None:
    run = await run_of(
        calls(("get_weather", {"city": "Rome"})),
        "Fine.",
        agent={"tools": [get_weather]},
        compile_options={"checkpointer": InMemorySaver()},
    )
    await run.process_stream(ask("something private"), THREAD)
    memory = (await run.graph.compiled.aget_state(THREAD)).values["memory"]
    assert "something private" not in json.dumps(memory)
    assert memory["run"] == "r"


async def test_what_an_agent_logs_names_the_run_and_the_agent() -> None:
    host = Host()
    run = await side_by_side(host, a=["One."], b=["Two."])
    await run.process_stream(ask())
    logged = [data for event, data in host.rows if event == "on_agent_log"]
    assert {(data["runId"], data["agentId"]) for data in logged} == {("r", "a"), ("r", "b")}
    calls_of = [data["agentId"] for data in logged if data["message"].startswith("LLM call complete")]
    assert sorted(calls_of) == ["a", "b"]


@pytest.mark.parametrize("saver", [InMemorySaver(), None], ids=["stored", "not stored"])
async def test_tools_that_run_side_by_side_stop_when_their_run_is_aborted(saver: Any) -> None:
    started: list[str] = []
    ended: list[str] = []
    both, release = asyncio.Event(), asyncio.Event()

    @tool
    async def work(name: str) -> str:
        """Does something twice."""
        started.append(name)
        if len(started) == 2:
            both.set()
        try:
            await release.wait()
            started.append(f"{name} again")
        finally:
            ended.append(name)
        return name

    answer = calls(("work", {"name": "one"}), ("work", {"name": "two"}))
    run = await run_of(answer, agent={"tools": [work]}, compile_options={"checkpointer": saver})
    execution = asyncio.create_task(run.process_stream(ask(), THREAD))
    await asyncio.wait_for(both.wait(), 10)
    run.abort()
    with pytest.raises(AbortError):
        await asyncio.wait_for(execution, 10)
    assert sorted(ended) == ["one", "two"]
    release.set()
    await asyncio.sleep(0)
    assert sorted(started) == ["one", "two"]


async def test_the_steps_of_an_answer_are_counted_anew_after_its_reasoning() -> None:
    host = Host()
    answer = script.reply("<think>Hm.</think>Let me see.", script.call("get_weather", {"city": "Rome"}, id="c"))
    run = await run_of(answer, "Fine.", host=host, agent={"tools": [get_weather]})
    await run.process_stream(ask())
    opened = [(data["type"], data["stepIndex"]) for event, data in host.rows if event == "on_run_step"]
    assert opened == [("message_creation", 0), ("message_creation", 0), ("tool_calls", 1), ("message_creation", 0)]
