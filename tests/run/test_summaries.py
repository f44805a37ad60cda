"""Trimming and summaries as a host sees them."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, EmptyContextError
from stategraph.run.abort import AbortController
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.run import Run
from stategraph.testing import Usage, script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.counting import count, history
from tests.run.hosting import THREAD, Host, ask, calls, get_weather, requests_of, run_of

pytestmark = pytest.mark.anyio

SUMMARISING = {"max_context_tokens": 320, "summarization_enabled": True}


async def summarising(*replies: Any, host: Host | None = None, **config: Any) -> Run:
    agent = {"instructions": "You are a.", **SUMMARISING, **config.pop("agent", {})}
    return await run_of(*replies, host=host, agent=agent, token_counter=count, **config)


def events(host: Host, *left_out: str) -> list[str]:
    ignored = {"on_chat_model_stream", "on_chat_model_start", "on_agent_log", *left_out}
    return [event for event, _ in host.rows if event not in ignored]


def data_of(host: Host, event: str) -> list[Any]:
    return [data for name, data in host.rows if name == event]


# Trimming.


async def test_a_host_is_told_before_each_call_what_fills_the_context() -> None:
    host = Host()
    agent = {"max_context_tokens": 4000, "tools": [get_weather], "instructions": "You are a."}
    reply = calls(("get_weather", {"city": "Rome"}))
    run = await run_of(reply, "Fine.", host=host, agent=agent, token_counter=count)
    await run.process_stream(ask("weather please"))
    first, second = data_of(host, "on_context_usage")
    assert first["runId"] == "r"
    assert first["agentId"] == "a"
    assert first["contextBudget"] == 3800
    breakdown = second["breakdown"]
    assert breakdown["messageCount"] == 3
    assert breakdown["toolCount"] == 1
    assert breakdown["toolTokenCounts"] == {"get_weather": breakdown["toolSchemaTokens"]}
    assert breakdown["instructionTokens"] == breakdown["systemMessageTokens"] + breakdown["toolSchemaTokens"]
    assert breakdown["availableForMessages"] == 3800 - breakdown["instructionTokens"]
    assert breakdown["messageTokens"] == second["prePruneContextTokens"] + 3
    assert second["remainingContextTokens"] == breakdown["availableForMessages"] - breakdown["messageTokens"]
    result = run.get_run_messages()[1]
    assert breakdown["toolMessageTokenCounts"] == {"get_weather": count(result)}
    names = [event for event, _ in host.rows]
    assert names.index("on_context_usage") < names.index("on_chat_model_start")


@pytest.mark.parametrize("said", ["", "Let me see."])
async def test_calls_without_words_count_as_what_tools_take_and_words_do_not(said: str) -> None:
    host = Host()
    reply = script.reply(*([said] if said else []), script.call("get_weather", {"city": "Rome"}, id="c"))
    agent = {"max_context_tokens": 4000, "tools": [get_weather]}
    run = await run_of(reply, "Fine.", host=host, agent=agent, token_counter=count)
    await run.process_stream(ask("weather please"))
    breakdown = data_of(host, "on_context_usage")[1]["breakdown"]
    answer, result = run.get_run_messages()[:2]
    assert breakdown["toolMessageTokens"] == count(result) + (0 if said else count(answer))
    assert breakdown["toolMessageTokenCounts"] == {"get_weather": count(result)}


async def test_nothing_is_told_where_no_context_is_limited() -> None:
    host = Host()
    run = await run_of("Fine.", host=host)
    await run.process_stream(ask())
    assert data_of(host, "on_context_usage") == []


async def test_what_a_run_learned_from_usage_can_be_handed_to_the_next() -> None:
    host = Host()
    agent = {"max_context_tokens": 4000, "tools": [get_weather]}
    replies = [
        script.reply(script.call("get_weather", {"city": city}), usage=Usage(read, 10))
        for city, read in (("Rome", 400), ("Paris", 500))
    ]
    run = await run_of(*replies, "Done.", host=host, agent=agent, token_counter=count)
    assert run.get_calibration_ratio() == 1
    assert run.get_resolved_instruction_overhead() is None
    await run.process_stream(ask("weather please"))
    assert run.get_calibration_ratio() == 5
    assert run.get_resolved_instruction_overhead() == 500 - 5 * (3 + 4 + 10 + 3 + 4)
    tiers = run.get_fading_tiers()
    assert list(tiers) == ["a"]
    after = await run_of("Hm.", agent=agent, token_counter=count, calibration_ratio=5, fading_tiers=tiers)
    assert after.get_calibration_ratio() == 5
    await after.process_stream(ask("more"))
    assert after.get_calibration_ratio() == 5
    assert after.get_fading_tiers() == tiers


async def test_counts_of_the_host_belong_to_the_input_also_where_a_thread_comes_before_it() -> None:
    saver = in_memory_saver()
    agent = {"max_context_tokens": 300}
    options = {"agent": agent, "token_counter": count, "compile_options": {"checkpointer": saver}}
    first = await run_of("One.", **options, index_token_count_map={0: 10})
    await first.process_stream(ask("a"), THREAD)
    host = Host()
    second = await run_of("Two.", run_id="r2", host=host, **options, index_token_count_map={0: 270})
    await second.process_stream(ask("b"), THREAD)
    (used,) = data_of(host, "on_context_usage")
    # The first message no longer fits beside the new one, by the host's count.
    assert used["breakdown"]["messageCount"] == 2
    assert used["prePruneContextTokens"] == 10 + count(AIMessage("One.")) + 270


async def test_a_counter_is_made_where_a_host_only_gives_counts() -> None:
    host = Host()
    run = await run_of("Fine.", host=host, agent={"max_context_tokens": 300}, index_token_count_map={0: 200})
    await run.process_stream(ask())
    (used,) = data_of(host, "on_context_usage")
    assert used["prePruneContextTokens"] == 200


async def test_a_run_of_which_nothing_fits_fails_before_any_call_and_says_why() -> None:
    host = Host()
    run = await run_of("Fine.", host=host, agent={"max_context_tokens": 100}, token_counter=count)
    with pytest.raises(EmptyContextError, match='"type":"empty_messages"'):
        await run.process_stream(ask("z" * 4000))
    assert [row["level"] for row in data_of(host, "on_agent_log")] == ["warn", "info", "error"]
    assert requests_of(run) == []


async def test_a_prompt_that_a_provider_refuses_is_sent_again_and_its_steps_are_closed() -> None:
    host = Host()
    refusal = ValueError("prompt is too long: 700 tokens > 400 maximum")
    run = await run_of(refusal, "Fine.", host=host, agent={"max_context_tokens": 1000}, token_counter=count)
    parts = await run.process_stream({"messages": history()})
    assert parts == [{"type": "text", "text": "Fine."}]
    (warned,) = [row for row in data_of(host, "on_agent_log") if (row["level"], row["scope"]) == ("warn", "graph")]
    assert warned["data"]["recoveredBudget"] == 400
    assert [used["breakdown"]["maxContextTokens"] for used in data_of(host, "on_context_usage")] == [1000, 400]
    assert {row["status"] for row in data_of(host, "on_run_step_closed")} == {"completed"}


# Summaries.


async def test_a_summary_is_a_step_and_a_content_part_of_its_own() -> None:
    host = Host()
    run = await summarising("A short summary.", "Fine.", host=host)
    parts = await run.process_stream({"messages": history()})
    assert events(host) == [
        "on_run_step",
        "on_summarize_start",
        "on_summarize_delta",
        "on_summarize_delta",
        "on_summarize_delta",
        "on_chat_model_end",
        "on_run_step_completed",
        "on_run_step_closed",
        "on_summarize_complete",
        "on_context_usage",
        "on_run_step",
        "on_message_delta",
        "on_chat_model_end",
        "on_run_step_closed",
    ]
    step, answer = data_of(host, "on_run_step")
    assert step["stepDetails"]["message_creation"]["message_id"] == step["id"]
    assert step["summary"] == {"type": "summary", "model": "scripted", "provider": "scriptedchatmodel"}
    assert answer["index"] == 1
    (started,) = data_of(host, "on_summarize_start")
    assert (started["messagesToRefineCount"], started["summaryVersion"]) == (14, 1)
    (ended,) = data_of(host, "on_summarize_complete")
    summary = ended["summary"]
    assert summary["boundary"] == {"messageId": step["id"], "contentIndex": 0}
    assert summary["coverage"]["retainedFromMessageId"] == str(requests_of(run)[1].messages[2].id)
    assert data_of(host, "on_run_step_completed")[0]["result"]["summary"] == summary
    assert host.content.content_parts == [summary, {"type": "text", "text": "Fine."}]
    assert parts == [{"type": "text", "text": "Fine."}]
    assert [message.content for message in run.get_run_messages()] == ["Fine."]


async def test_hooks_are_told_before_and_after_messages_are_summarised() -> None:
    seen: list[Any] = []
    hooks = HookRegistry()
    for event in ("PreCompact", "PostCompact"):
        hooks.register(event, seen.append)
    run = await summarising("A short summary.", "Fine.", hooks=hooks)
    await run.process_stream({"messages": history()})
    before, after = seen
    assert (before["hook_event_name"], before["messagesBeforeCount"], before["trigger"]) == (
        "PreCompact",
        14,
        "default",
    )
    assert (after["hook_event_name"], after["summary"]) == ("PostCompact", "A short summary.")
    assert after["messagesAfterCount"] == len(history()) - 14
    assert (after["agentId"], after["executingAgentId"]) == ("a", "a")


async def test_another_model_can_be_asked_for_summaries() -> None:
    host = Host()
    agent = {"summarization_config": {"provider": "openai", "model": "m", "parameters": {"api_key": "sk-none"}}}
    run = await summarising("Fine.", host=host, agent=agent)
    (route,) = run.graph.agents[0].summarising.routes  # type: ignore[union-attr]
    assert (route.provider, route.name) == ("openai", "m")


async def test_a_summary_that_fails_is_told_and_the_run_goes_on() -> None:
    host = Host()
    run = await summarising(RuntimeError("overloaded"), "Fine.", host=host)
    parts = await run.process_stream({"messages": history()})
    assert parts == [{"type": "text", "text": "Fine."}]
    (ended,) = data_of(host, "on_summarize_complete")
    # Front ends are told what it was, and the host what it said: it may name prompts, addresses and keys.
    assert "RuntimeError" in ended["error"]
    assert "overloaded" not in ended["error"]
    rows = [row for row in data_of(host, "on_agent_log") if row["level"] == "warn"]
    (warning,) = [row["message"] for row in rows if row["scope"] == "summarize"]
    assert "RuntimeError: overloaded" in warning
    assert "summary" not in ended
    assert [row["status"] for row in data_of(host, "on_run_step_closed")] == ["failed", "completed"]
    assert host.content.content_parts == [None, {"type": "text", "text": "Fine."}]


async def test_an_empty_summary_is_none() -> None:
    host = Host()
    run = await summarising(script.Reply(()), "Fine.", host=host)
    assert await run.process_stream({"messages": history()}) == [{"type": "text", "text": "Fine."}]
    (ended,) = data_of(host, "on_summarize_complete")
    assert "empty" in ended["error"]


async def test_a_run_can_be_aborted_while_it_summarises_and_its_thread_goes_on() -> None:
    controller = AbortController()
    gate = script.Gate()
    reply = script.Reply((script.Text("A "), script.Hold(gate), script.Text("summary.")))
    saver = in_memory_saver()
    host = Host(on_summarize_delta=lambda _: controller.abort())
    run = await summarising(reply, host=host, compile_options={"checkpointer": saver})
    with pytest.raises(AbortError):
        await run.process_stream({"messages": history()}, {**THREAD, "signal": controller.signal})
    assert [row["status"] for row in data_of(host, "on_run_step_closed")] == ["cancelled"]
    assert run.get_run_messages() == []
    after = await summarising("Short.", "Fine.", run_id="r2", compile_options={"checkpointer": saver})
    assert await after.process_stream(ask("again"), THREAD) == [{"type": "text", "text": "Fine."}]


async def test_a_run_s_messages_are_whole_although_its_summary_replaces_the_beginning_of_its_turn() -> None:
    host = Host()
    rounds = [calls(("get_weather", {"city": f"{number} {'x' * 200}"}, f"call_{number}")) for number in range(4)]
    agent = {"tools": [get_weather], "tool_schema_tokens": 20, "max_context_tokens": 500}
    run = await summarising(*rounds, "Short.", "Fine.", host=host, agent=agent)
    await run.process_stream(ask("go"))
    assert len(data_of(host, "on_summarize_complete")) == 1
    assert len(run.get_run_messages()) == 9
    last = requests_of(run)[-1].messages
    assert [type(message) for message in last[:3]][2] is AIMessage
    assert "Short." in str(last[1].content)
    assert not any(isinstance(message, HumanMessage) and message.content == "go" for message in last)


async def test_an_agent_that_shares_the_conversation_keeps_what_another_has_a_summary_of() -> None:
    first, second = ScriptedChatModel(replies=["Short.", "One."]), ScriptedChatModel(replies=["Two."])
    agents = [{"agent_id": "one", "model": first, **SUMMARISING}, {"agent_id": "two", "model": second}]
    edges = [{"from": "one", "to": "two", "edge_type": "direct"}]
    graph = {"type": "multi-agent", "agents": agents, "edges": edges}
    run = await Run.create({"run_id": "r", "graph_config": graph, "token_counter": count})
    await run.process_stream({"messages": history()})
    assert "Short." in str(first.requests[1].messages[0].content)
    assert len(second.requests[0].messages) >= len(history()) + 1
