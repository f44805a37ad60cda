"""Agents whose conversations do not fit their models' contexts, as graphs that are run by themselves."""

from __future__ import annotations

import json
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool

from stategraph.agent.graphs import assemble
from stategraph.agent.ports import AgentContext
from stategraph.agent.settings.inputs import AgentInputs
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import EmptyContextError
from stategraph.testing import Usage, script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.counting import count, history
from tests.conftest import Driver

COUNTING = AgentContext(token_counter=count)
THREAD = {"configurable": {"thread_id": "t"}}
SUMMARISING = {"summarization_enabled": True, "max_context_tokens": 320}


@tool
def read(name: str) -> str:
    """Read a file."""
    return name * 2000


def agent(*replies: Any, saver: Any = None, **inputs: Any) -> tuple[Any, ScriptedChatModel]:
    """A graph of one agent, and its model."""
    model = inputs.pop("model", None) or ScriptedChatModel(replies=list(replies))
    described = AgentInputs.of({"agent_id": "a", "model": model, "instructions": "You are a.", **inputs})
    _, builder = assemble.build([described])
    return builder.compile(checkpointer=saver), model


def sent(model: ScriptedChatModel, number: int = -1) -> list[str]:
    """What the model was sent, in short."""
    return [f"{each.type} {str(each.content)[:10]}".strip() for each in model.requests[number].messages]


def test_only_the_newest_messages_are_sent_and_the_state_keeps_all(driver: Driver) -> None:
    graph, model = agent("Fine.", max_context_tokens=200)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert sent(model) == [
        "system You are a.",
        "human question 6",
        "ai answer 6 y",
        "human question 7",
        "ai answer 7 y",
        "human latest que",
    ]
    assert len(ended["messages"]) == len(history()) + 1


def test_nothing_is_left_out_where_nobody_counts(driver: Driver) -> None:
    graph, model = agent("Fine.", max_context_tokens=200)
    ended = driver.invoke(graph, {"messages": history()})
    assert len(sent(model)) == 1 + len(history())
    assert "windows" not in ended


def test_nothing_is_left_out_where_the_size_of_the_context_is_not_known(driver: Driver) -> None:
    graph, model = agent("Fine.")
    driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert len(sent(model)) == 1 + len(history())


def test_what_the_host_counted_is_believed(driver: Driver) -> None:
    graph, model = agent("Fine.", max_context_tokens=200)
    messages = [message.model_copy(update={"id": str(place)}) for place, message in enumerate(history())]
    known = {str(place): 100 for place in range(len(messages))}
    driver.invoke(graph, {"messages": messages}, context=AgentContext(token_counter=count, token_counts=known))
    assert sent(model) == ["system You are a.", "human latest que"]


def test_a_single_message_that_does_not_fit_is_an_error_that_says_what_takes_how_much(driver: Driver) -> None:
    graph, model = agent("Fine.", max_context_tokens=100)
    with pytest.raises(EmptyContextError) as raised:
        driver.invoke(graph, {"messages": [HumanMessage("z" * 4000)]}, context=COUNTING)
    told = json.loads(str(raised.value))
    assert told["type"] == "empty_messages"
    assert "make your message shorter" in told["info"]
    assert "messageTokens:       1003 (1 messages)" in told["info"]
    assert model.requests == []


def test_instructions_or_tools_that_fill_the_context_are_named_as_the_reason(driver: Driver) -> None:
    graph, _ = agent("Fine.", max_context_tokens=60, instructions="i" * 2000)
    with pytest.raises(EmptyContextError, match=r"Instructions \(503 tokens\) exceed maxContextTokens \(60\)"):
        driver.invoke(graph, {"messages": [HumanMessage("hi")]}, context=COUNTING)
    graph, _ = agent("Fine.", max_context_tokens=40, tools=[read])
    with pytest.raises(EmptyContextError, match=r"Tool definitions \(\d+ tokens, 1 tools\) exceed maxContextTokens"):
        driver.invoke(graph, {"messages": [HumanMessage("hi")]}, context=COUNTING)


def test_a_long_result_is_shortened_for_the_model_and_whole_in_the_state(driver: Driver) -> None:
    reply = script.reply(script.call("read", {"name": "0123456789"}))
    graph, model = agent(reply, "Fine.", max_context_tokens=600, tools=[read], max_tool_result_chars=30_000)
    ended = driver.invoke(graph, {"messages": [HumanMessage("hi")]}, context=COUNTING)
    (whole,) = (message for message in ended["messages"] if isinstance(message, ToolMessage))
    (shown,) = (message for message in model.requests[-1].messages if isinstance(message, ToolMessage))
    assert len(whole.content) == 20_000
    assert len(shown.content) < 2_000


def test_the_thread_s_next_turn_starts_from_what_usage_said(driver: Driver) -> None:
    saver = in_memory_saver()
    graph, _ = agent(script.reply("One.", usage=Usage(500, 4)), saver=saver, max_context_tokens=2000)
    driver.invoke(graph, {"messages": history(4)}, THREAD, context=COUNTING)
    again, model = agent("Two.", saver=saver, max_context_tokens=2000)
    ended = driver.invoke(again, {"messages": [HumanMessage("more")]}, THREAD, context=COUNTING)
    # 295 tokens were counted and 494 reported beside the instructions.
    assert ended["windows"]["a"]["calibration"]["ratio"] == pytest.approx(494 / 295)
    assert len(sent(model)) == 1 + 9 + 2


def test_reasoning_stays_with_the_calls_that_it_led_to(driver: Driver) -> None:
    class Thinking(ScriptedChatModel):
        thinking: dict[str, Any]

    block = {"type": "thinking", "thinking": "hm", "signature": "s"}
    calls = [{"name": "read", "args": {"name": str(each)}, "id": str(each), "type": "tool_call"} for each in range(3)]
    run: list[AnyMessage] = [HumanMessage("go")]
    for each, call in enumerate(calls):
        content: Any = [block] if each == 0 else [{"type": "text", "text": "so " * 60}]
        run += [AIMessage(content, tool_calls=[call]), ToolMessage("r" * 120, tool_call_id=str(each))]
    model = Thinking(replies=["Fine."], thinking={"type": "enabled", "budget_tokens": 1024})
    graph, _ = agent(model=model, max_context_tokens=250, tools=[read], tool_schema_tokens=10)
    driver.invoke(graph, {"messages": run}, context=COUNTING)
    first = model.requests[0].messages[1]
    assert isinstance(first, AIMessage)
    assert first.tool_calls[0]["id"] != "0"
    assert first.content[0] == block


# Summaries.


def test_what_does_not_fit_is_summarised_and_the_summary_leads_from_then_on(driver: Driver) -> None:
    graph, model = agent("Short.", "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert sent(model, 0)[0] == "human question 0"
    assert len(model.requests[0].messages) == 14 + 1
    assert sent(model) == [
        "system You are a.",
        "human <summary>",
        "human question 7",
        "ai answer 7 y",
        "human latest que",
    ]
    assert [str(message.content)[:10] for message in ended["messages"]] == [
        "question 7",
        "answer 7 y",
        "latest que",
        "Fine.",
    ]


def test_a_summary_survives_in_its_thread_and_the_next_one_goes_on_from_it(driver: Driver) -> None:
    saver = in_memory_saver()
    graph, _ = agent("Short.", "Fine.", saver=saver, **SUMMARISING)
    driver.invoke(graph, {"messages": history()}, THREAD, context=COUNTING)
    again, model = agent("Good.", "Shorter.", "Done.", saver=saver, **SUMMARISING)
    driver.invoke(again, {"messages": [HumanMessage("and now?")]}, THREAD, context=COUNTING)
    assert sent(model)[1:] == [
        "human <summary>",
        "human question 7",
        "ai answer 7 y",
        "human latest que",
        "ai Fine.",
        "human and now?",
    ]
    driver.invoke(again, {"messages": [HumanMessage("w" * 600)]}, THREAD, context=COUNTING)
    asked = str(model.requests[1].messages[-1].content)
    assert "<previous-summary>\nShort.\n</previous-summary>" in asked
    assert "Shorter." in str(model.requests[2].messages[1].content)
    state = driver.get_state(again, THREAD).values
    assert state["windows"]["a"]["summary"]["version"] == 2


def test_an_initial_summary_is_part_of_the_instructions_until_another_replaces_it(driver: Driver) -> None:
    initial = {"text": "They met.", "token_count": 6}
    graph, model = agent("Short.", "Fine.", initial_summary=initial, **SUMMARISING)
    driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert "They met." in str(model.requests[0].messages[-1].content)
    assert str(model.requests[1].messages[0].content) == "You are a."
    graph, model = agent("Fine.", initial_summary=initial, **SUMMARISING)
    driver.invoke(graph, {"messages": [HumanMessage("hi")]}, context=COUNTING)
    assert "They met." in str(model.requests[0].messages[0].content)


def test_a_summary_that_fails_is_no_failure_and_is_not_tried_again_in_the_turn(driver: Driver) -> None:
    call = script.reply(script.call("read", {"name": "x"}))
    graph, model = agent(ValueError("no"), call, "Fine.", tools=[read], tool_schema_tokens=20, **SUMMARISING)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    assert len(model.requests) == 3
    assert len(ended["messages"]) == len(history()) + 3


def test_messages_that_are_too_long_for_the_summarising_model_are_summarised_part_by_part(driver: Driver) -> None:
    refusal = ValueError("prompt is too long: 900 tokens > 400 maximum")
    graph, model = agent(refusal, "Half.", "Whole.", "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    # The second part begins with an answer, before which something has to be said.
    assert [len(request.messages) for request in model.requests[:3]] == [15, 8, 9]
    assert "Half." in str(model.requests[2].messages[-1].content)
    assert "Whole." in str(model.requests[3].messages[1].content)


def test_messages_are_parted_a_few_times_before_a_summary_is_given_up(driver: Driver) -> None:
    refusal = ValueError("prompt is too long: 900 tokens > 400 maximum")
    graph, model = agent(refusal, "1.", refusal, "2.", refusal, "3.", refusal, "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    assert len(model.requests) == 8
    assert "summary" not in ended["windows"]["a"]
    assert ended["windows"]["a"]["failed_after"]


def test_a_part_that_fails_for_another_reason_ends_the_summary(driver: Driver) -> None:
    refusal = ValueError("prompt is too long: 900 tokens > 400 maximum")
    graph, model = agent(refusal, ValueError("out of order"), "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    assert len(model.requests) == 3


def test_a_summary_that_was_wanted_in_an_aborted_run_is_decided_on_anew(driver: Driver) -> None:
    saver = in_memory_saver()
    graph, model = agent("Fine.", saver=saver, **SUMMARISING)
    stale = {"windows": {"a": {"wanted": True, "writes": 1}}, "messages": [HumanMessage("hi")]}
    ended = driver.invoke(graph, stale, THREAD, context=COUNTING)
    assert len(model.requests) == 1
    assert "wanted" not in ended["windows"]["a"]


def test_a_trigger_that_does_not_fire_leaves_messages_out_instead(driver: Driver) -> None:
    trigger = {"trigger": {"type": "messages_to_refine", "value": 50}}
    graph, model = agent("Fine.", summarization_config=trigger, **SUMMARISING)
    driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert len(model.requests) == 1
    assert sent(model)[0] == "system You are a."
    assert len(sent(model)) < len(history())


def test_a_lone_message_that_is_too_long_is_an_error_with_summaries_as_well(driver: Driver) -> None:
    graph, _ = agent("Fine.", **SUMMARISING)
    with pytest.raises(EmptyContextError):
        driver.invoke(graph, {"messages": [HumanMessage("z" * 4000)]}, context=COUNTING)


def test_a_host_s_system_message_stays_before_what_a_summary_leaves(driver: Driver) -> None:
    graph, model = agent("Short.", "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": [SystemMessage("Rule."), *history()]}, context=COUNTING)
    assert "system Rule." in sent(model)
    assert ended["messages"][0].content == "Rule."


# Refusals of providers.


def test_a_refused_prompt_is_shortened_and_sent_again(driver: Driver) -> None:
    refusal = ValueError("prompt is too long: 700 tokens > 400 maximum")
    graph, model = agent(refusal, "Fine.", max_context_tokens=1000)
    ended = driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    first, second = (len(request.messages) for request in model.requests)
    assert second < first
    # By the provider's count: what is left has to be less than its limit.
    assert sum(map(count, model.requests[1].messages)) * 700 / 590 < 400


def test_what_a_refusal_taught_holds_for_the_thread_until_the_host_says_another_size(driver: Driver) -> None:
    saver = in_memory_saver()
    graph, _ = agent(ValueError("maximum context length is 300 tokens"), "Fine.", saver=saver, max_context_tokens=1000)
    driver.invoke(graph, {"messages": history()}, THREAD, context=COUNTING)
    again, model = agent("Good.", saver=saver, max_context_tokens=1000)
    driver.invoke(again, {"messages": [HumanMessage("more")]}, THREAD, context=COUNTING)
    assert sum(map(count, model.requests[0].messages)) < 300
    larger, model = agent("Good.", saver=saver, max_context_tokens=2000)
    driver.invoke(larger, {"messages": [HumanMessage("more")]}, THREAD, context=COUNTING)
    assert sum(map(count, model.requests[0].messages)) > 300


def test_a_prompt_that_is_refused_again_and_again_is_the_provider_s_error(driver: Driver) -> None:
    refusals = [ValueError(f"your prompt is too long ({number})") for number in range(4)]
    graph, model = agent(*refusals, max_context_tokens=1000)
    with pytest.raises(ValueError, match=r"too long \(2\)"):
        driver.invoke(graph, {"messages": history()}, context=COUNTING)
    assert len(model.requests) == 3


@pytest.mark.parametrize("usage", [Usage(100, 4), None], ids=["with usage", "without"])
def test_an_answer_ends_what_was_tried_so_that_later_refusals_are_recovered_as_well(
    driver: Driver, usage: Usage | None
) -> None:
    saver = in_memory_saver()
    rounds = [each for _ in range(4) for each in (ValueError("prompt is too long"), script.reply("Fine.", usage=usage))]
    graph, model = agent(*rounds, saver=saver, max_context_tokens=100_000)
    for number in range(4):
        turn = history(100) if number == 0 else [HumanMessage("more")]
        ended = driver.invoke(graph, {"messages": turn}, THREAD, context=COUNTING)
        assert ended["messages"][-1].content == "Fine."
    assert len(model.requests) == 8


def test_what_a_run_stored_of_its_steps_is_left_alone_where_nobody_listens(driver: Driver) -> None:
    graph, _ = agent("Fine.")
    memory = {"format": 1, "run": "r", "count": 1}
    ended = driver.invoke(graph, {"messages": [HumanMessage("hi")], "memory": memory})
    assert ended["messages"][-1].content == "Fine."
    assert ended["memory"] == memory


def test_a_refusal_is_raised_as_it_is_where_nobody_counts(driver: Driver) -> None:
    refusal = ValueError("your prompt is too long")
    graph, _ = agent(refusal, "Fine.", max_context_tokens=1000)
    with pytest.raises(ValueError, match="too long") as raised:
        driver.invoke(graph, {"messages": history()})
    assert raised.value is refusal


def test_a_summary_that_fails_where_no_person_wrote_is_not_tried_for_ever(driver: Driver) -> None:
    marked = [
        each.model_copy(update={"additional_kwargs": {"isMeta": True}}) if isinstance(each, HumanMessage) else each
        for each in history()
    ]
    graph, model = agent(RuntimeError("overloaded"), "Fine.", **SUMMARISING)
    ended = driver.invoke(graph, {"messages": marked}, context=COUNTING)
    assert ended["messages"][-1].content == "Fine."
    assert len(model.requests) == 2


def test_what_is_summarised_begins_as_providers_want_it(driver: Driver) -> None:
    """A second summary goes on between two rounds of tools, where the model was speaking."""
    calls = [script.reply("x" * 300, script.call("read", {"name": "0"})) for _ in range(4)]
    graph, model = agent(
        calls[0], calls[1], "Notes one.", calls[2], "Notes two.", "Fine.",
        **SUMMARISING, tools=[read], tool_schema_tokens=0, max_tool_result_chars=200,
    )  # fmt: skip
    driver.invoke(graph, {"messages": [HumanMessage("go")]}, context=COUNTING)
    asked = [each.messages for each in model.requests if "notes" in str(each.messages[-1].content)]
    assert len(asked) > 1
    for messages in asked:
        assert isinstance(messages[0], HumanMessage)
        assert [each.type for each in messages[:2]] == ["human", "ai"]


def test_instructions_are_counted_once_for_all_calls(driver: Driver) -> None:
    counted: list[AnyMessage] = []

    def counter(message: AnyMessage) -> int:
        counted.append(message)
        return count(message)

    reply = script.reply(script.call("read", {"name": "0"}))
    graph, _ = agent(reply, reply, "Fine.", max_context_tokens=4000, tools=[read], tool_schema_tokens=0)
    context = AgentContext(token_counter=counter)
    driver.invoke(graph, {"messages": [HumanMessage("hi")]}, context=context)
    assert [each.content for each in counted if isinstance(each, SystemMessage)] == ["You are a."]
