"""Limits of a run: the three ways in which one ends, over resumes and processes, and what is told of it."""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.settings.limits import RunLimits
from stategraph.errors import ConfigurationError, GraphRecursionError, InvalidAnswerError
from stategraph.run.questions import ask_user_question
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock
from stategraph.testing.openai_server import FakeOpenAIServer
from tests.run.hosting import THREAD, Host, ask, get_weather

pytestmark = pytest.mark.anyio


@tool
def wonder() -> str:
    """Ask a person."""
    return str(ask_user_question("Really?")["answer"])


def looks(count: int = 1, usage: tuple[int, int] | None = (10, 5), name: str = "get_weather") -> script.Reply:
    """An answer that calls a tool so many times."""
    args = {"city": "Rome"} if name == "get_weather" else {}
    return script.reply(*(script.call(name, args, id=f"c{each}") for each in range(count)), usage=usage)


async def make(*replies: Any, saver: Any = None, **config: Any) -> Run:
    model = ScriptedChatModel(replies=list(replies))
    agent = {"agent_id": "a", "model": model, "tools": [get_weather, wonder]}
    graph = {"agents": [agent], "compile_options": {"checkpointer": saver}}
    return await Run.create({"run_id": "r", "graph_config": graph, **config})


async def last_event(run: Run) -> Any:
    return [event async for event in run.attach()][-1].data


# The turn ends with what there is.


async def test_a_turn_ends_at_the_limit_with_its_reason_and_a_thread_that_providers_accept() -> None:
    host = Host()
    run = await make(looks(), looks(), "Never.", limits={"model_calls": 2}, custom_handlers=host.handlers())
    await run.process_stream(ask(), THREAD)
    assert run.get_halt_reason() == "model_calls_limit"
    assert [type(each) for each in run.get_run_messages()] == [AIMessage, ToolMessage] * 2
    (log,) = [data for event, data in host.rows if event == "on_agent_log" and data["scope"] == "limits"]
    assert log == {
        "level": "warn",
        "scope": "limits",
        "message": "No more calls of models: the limit model_calls=2 is reached",
        "runId": "r",
        "agentId": "a",
        "data": {"limit": "model_calls", "allowed": 2, "used": 2},
    }
    end = await last_event(run)
    assert (end["status"], end["reason"]) == ("cancelled", "model_calls_limit")
    assert end["usage"] == {
        "modelCalls": 2,
        "toolCalls": 2,
        "inputTokens": 20,
        "outputTokens": 10,
        "totalTokens": 30,
    }


@pytest.mark.parametrize(
    ("limit", "value", "reason"),
    [
        ("input_tokens", 20, "input_tokens_limit"),
        ("output_tokens", 10, "output_tokens_limit"),
        ("total_tokens", 30, "total_tokens_limit"),
        ("cost", 0.3, "cost_limit"),
    ],
)
async def test_the_call_that_would_begin_at_a_limit_is_not_made(limit: str, value: float, reason: str) -> None:
    prices = {"models": [{"model": "scripted", "input": 10_000, "output": 10_000}]}
    run = await make(looks(), looks(), "Never.", limits={limit: value}, prices=prices)
    await run.process_stream(ask())
    assert (run.get_halt_reason(), run.usage.total.model_calls) == (reason, 2)
    run = await make(looks(), looks(), "Done.", limits={limit: value * 1.5}, prices=prices)
    await run.process_stream(ask())
    assert (run.get_halt_reason(), run.usage.total.model_calls) == (None, 3)


async def test_calls_of_tools_over_the_limit_are_answered_and_not_run() -> None:
    run = await make(looks(3), "Never.", limits={"tool_calls": 2})
    await run.process_stream(ask())
    assert [each.content for each in run.get_run_messages()[1:]] == [
        "Sunny in Rome",
        "Sunny in Rome",
        "Not executed: the run has reached its limit (tool_calls_limit)",
    ]
    assert (run.get_halt_reason(), run.usage.total.tool_calls) == ("tool_calls_limit", 2)


async def test_a_run_has_a_limit_of_calls_without_being_told_and_steps_only_if_it_is() -> None:
    replies = [looks() for _ in range(101)]
    run = await make(*replies)
    await run.process_stream(ask())
    assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 100)
    run = await make(*replies)
    with pytest.raises(GraphRecursionError):
        await run.process_stream(ask(), {"recursion_limit": 5})
    run = await make(*replies[:99], "Done.", limits={"model_calls": 1000})
    await run.process_stream(ask())
    assert run.get_halt_reason() is None


async def test_a_new_turn_of_a_run_begins_at_nothing() -> None:
    run = await make(looks(), looks(), limits={"model_calls": 1})
    for _ in range(2):
        await run.process_stream(ask())
        assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 1)


async def test_agents_that_follow_do_not_go_on_after_a_limit() -> None:
    models = [ScriptedChatModel(replies=["One.", "Two."]) for _ in range(2)]
    agents = [{"agent_id": name, "model": model} for name, model in zip("ab", models, strict=True)]
    graph = {
        "type": "multi-agent",
        "agents": agents,
        "edges": [{"from": ["a"], "to": ["b"], "edgeType": "direct"}],
    }
    run = await Run.create({"run_id": "r", "graph_config": graph, "limits": {"model_calls": 1}})
    await run.process_stream(ask())
    assert [len(model.requests) for model in models] == [1, 0]
    assert run.get_halt_reason() == "model_calls_limit"


# It raises.


async def test_a_limit_may_raise_and_says_which_and_what_to_do() -> None:
    run = await make(looks(), "Never.", limits={"model_calls": 1, "on_limit": "raise"})
    with pytest.raises(LimitReachedError, match=r"limit model_calls=1: it has used 1.*on_limit") as raised:
        await run.process_stream(ask())
    assert (raised.value.limit, raised.value.allowed, raised.value.used) == ("model_calls", 1, 1)
    assert vars(pickle.loads(pickle.dumps(raised.value))) == vars(raised.value)
    assert (await last_event(run))["error"] == {"type": "LimitReachedError"}
    run = await make(looks(2), "Never.", limits={"tool_calls": 1, "on_limit": "raise"})
    with pytest.raises(LimitReachedError, match="tool_calls=1: it has used 0, and what comes next would exceed it"):
        await run.process_stream(ask())
    assert run.usage.total.tool_calls == 0


# A person is asked.

ASKS = {"model_calls": 1, "on_limit": "ask"}


async def test_a_person_may_raise_a_limit_again_and_again_or_end_the_turn() -> None:
    run = await make(looks(), looks(), looks(), "Never.", limits=ASKS)
    await run.process_stream(ask(), THREAD)
    waiting = run.get_interrupt()
    assert waiting is not None and waiting.payload == {
        "type": "limit_reached",
        "limit": "model_calls",
        "allowed": 1,
        "used": 1,
        "agentId": "a",
    }
    for wrong, why in (
        ({"type": "raise", "to": 1}, "allows 1, which is no more than before"),
        ({"type": "raise", "to": float("inf")}, "expected a finite number"),
        ({"type": "raise"}, "is incomplete: 'to' is missing"),
        ({"type": "yes"}, "is 'yes'; expected"),
        ("yes", "of type str without a 'type'"),
    ):
        with pytest.raises(InvalidAnswerError, match=why):
            await run.resume(wrong, THREAD)
    await run.resume({"type": "raise", "to": 2.0}, THREAD)
    again = run.get_interrupt()
    assert again is not None and again.payload == {**waiting.payload, "allowed": 2, "used": 2}
    assert type(again.payload["allowed"]) is int
    await run.resume({"type": "end"}, THREAD)
    assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 2)
    assert run.get_interrupts() == []


async def test_calls_of_tools_wait_for_an_answer_and_then_run_once() -> None:
    run = await make(looks(3), "Done.", limits={"tool_calls": 2, "on_limit": "ask"})
    await run.process_stream(ask(), THREAD)
    assert run.usage.total.tool_calls == 0
    (waiting,) = run.get_interrupts()
    assert (waiting.payload["allowed"], waiting.payload["used"]) == (2, 0)  # type: ignore[index]
    await run.resume({"type": "raise", "to": 3}, THREAD)
    assert run.get_run_messages()[-1].content == "Done."
    assert run.usage.total.tool_calls == 3
    run = await make(looks(3), "Never.", limits={"tool_calls": 2, "on_limit": "ask"})
    await run.process_stream(ask(), THREAD)
    await run.resume({"type": "end"}, THREAD)
    assert (run.get_halt_reason(), run.usage.total.tool_calls) == ("tool_calls_limit", 2)


@pytest.mark.parametrize("answer", [{"type": "end"}, {"type": "raise", "to": 9}])
@pytest.mark.parametrize("limits", [None, {"model_calls": 2}, {"model_calls": 50, "on_limit": "ask"}])
async def test_an_answer_about_a_limit_that_would_be_lost_is_refused_and_can_be_given_again(
    answer: Any, limits: Any
) -> None:
    saver = InMemorySaver()
    first = await make(looks(), looks(), saver=saver, limits={"model_calls": 2, "on_limit": "ask"})
    await first.process_stream(ask(), THREAD)
    other = await make("Never.", saver=saver, limits=limits)
    with pytest.raises(
        ConfigurationError, match=r"waits for an answer about its limit model_calls=2.*on_limit='ask'\)"
    ):
        await other.resume(answer, THREAD)
    stranger = await make("Never.", saver=saver, limits={"model_calls": 2, "on_limit": "ask"}, run_id="other")
    with pytest.raises(ConfigurationError, match=r"to answer for run 'r', .* create it with run_id='r'"):
        await stranger.resume(answer, THREAD)
    lower = await make("Done.", saver=saver, limits={"model_calls": 1, "on_limit": "ask"})
    await lower.resume(answer, THREAD)
    ended = answer["type"] == "end"
    assert lower.get_halt_reason() == ("model_calls_limit" if ended else None)
    assert lower.usage.total.model_calls == (2 if ended else 3)


@pytest.mark.parametrize("same", [True, False])
async def test_the_answer_about_a_limit_is_not_given_to_the_tool_that_asks_next(same: bool) -> None:
    saver = InMemorySaver()
    limits = {"tool_calls": 1, "on_limit": "ask"}
    run = await make(looks(), looks(name="wonder"), "Done.", saver=saver, limits=limits)

    async def here() -> Run:
        return run if same else await make("Done.", saver=saver, limits=limits)

    await run.process_stream(ask(), THREAD)
    run = await here()
    await run.resume({"type": "raise", "to": 5}, THREAD)
    waiting = run.get_interrupt()
    assert waiting is not None and waiting.payload["question"] == {"question": "Really?"}  # type: ignore[index]
    run = await here()
    await run.resume("yes", THREAD)
    assert [each.content for each in run.get_run_messages()[-2:]] == ["yes", "Done."]
    assert run.usage.total.tool_calls == 2


async def test_what_was_taken_and_what_a_person_allowed_is_known_in_another_process() -> None:
    saver = InMemorySaver()
    limits = {"model_calls": 2, "total_tokens": 1000, "on_limit": "ask"}
    first = await make(looks(usage=(10, 5)), looks(), saver=saver, limits=limits)
    await first.process_stream(ask(), THREAD)
    second = await make(looks(2), saver=saver, limits=limits)
    await second.resume({"type": "raise", "to": 3}, THREAD)
    assert second.usage.total.model_calls == 3
    third = await make(script.reply("Done.", usage=(1, 2)), saver=saver, limits=limits)
    await third.resume({"type": "raise", "to": 4}, THREAD)
    total = third.usage.total
    assert (total.model_calls, total.tool_calls, total.total_tokens) == (4, 4, 48)
    assert third.usage.by_agent["a"] == total
    assert third.get_halt_reason() is None


# Time.


def in_virtual_time(*replies: Any, **limits: Any) -> tuple[Run, BaseException | None]:
    """Execute a turn in virtual time; return the run and what it raised."""
    clock = FakeClock()

    async def turn() -> tuple[Run, BaseException | None]:
        run = await make(*replies, saver=InMemorySaver(), limits=limits)
        try:
            await run.process_stream(ask(), THREAD)
        except LimitReachedError as error:
            return run, error
        return run, None

    with clock.for_runs():
        return clock.run(turn())


SLOW = script.Reply((script.Text("one "), script.Pause(100), script.Text("two")))


def test_a_call_that_goes_on_at_the_end_of_the_time_is_ended_and_its_text_kept() -> None:
    run, error = in_virtual_time(SLOW, wall_time_s=60)
    assert (run.get_halt_reason(), error) == ("wall_time_limit", None)
    (cut,) = run.get_run_messages()
    assert (cut.content, cut.additional_kwargs) == ("one ", {"incomplete": "wall_time_limit"})
    end = asyncio.run(last_event(run))
    assert (end["status"], end["reason"], "error" in end) == ("cancelled", "wall_time_limit", False)
    state = run.graph.compiled.get_state(THREAD)
    assert [each.content for each in state.values["messages"]] == ["hi", "one "]
    assert not state.next


def test_time_may_raise_as_other_limits_do() -> None:
    run, error = in_virtual_time(SLOW, wall_time_s=60, on_limit="raise")
    assert isinstance(error, LimitReachedError) and error.limit == "wall_time_s"
    assert run.get_run_messages()[-1].content == "one "


def test_a_person_is_asked_about_time_before_the_next_call_and_the_one_that_goes_on_may_end() -> None:
    slow = script.Reply((script.Pause(100), *looks().parts))
    run, error = in_virtual_time(slow, "Never.", wall_time_s=60, on_limit="ask")
    waiting = run.get_interrupt()
    assert error is None and waiting is not None
    assert waiting.payload["limit"] == "wall_time_s"  # type: ignore[index]


# What is told of it.


async def test_usage_is_told_by_agent_and_model_with_cached_and_reasoning_tokens_apart() -> None:
    used = script.Usage(100, 50, reasoning_tokens=20, cached_tokens=60)
    prices = {"models": [{"model": "script*", "input": 1, "cached_input": 0.1, "output": 4, "call": 0.5}]}
    run = await make(script.reply(script.call("get_weather", city="Rome"), usage=used), "Done.", prices=prices)
    await run.process_stream(ask())
    total = run.usage.total
    assert (total.cached_tokens, total.reasoning_tokens, total.unreported_calls) == (60, 20, 1)
    assert total.cost == Decimal("0.5") + (40 * 1 + 60 * Decimal("0.1") + 50 * 4) / Decimal(1_000_000)
    assert run.usage.by_agent == {"a": total}
    (of_model,) = run.usage.by_model.values()
    assert of_model == replace(total, tool_calls=0)
    assert run.usage.as_json()["byAgent"]["a"] == total.as_json()


async def test_a_model_without_a_known_price_is_told_of_once_and_has_no_cost() -> None:
    host = Host()
    prices = {"known": False, "models": [{"model": "other", "input": 1, "output": 1}]}
    looking = script.reply(script.call("get_weather", city="Rome"), usage=(10, 2))
    done = script.reply("Done.", usage=(10, 2))
    run = await make(looking, done, prices=prices, custom_handlers=host.handlers())
    await run.process_stream(ask())
    (said,) = [data for event, data in host.rows if event == "on_agent_log" and data["scope"] == "usage"]
    assert said["level"] == "warn"
    assert said["message"].startswith("The price of the model 'scripted' (scriptedchatmodel) is not known: its calls")
    assert (run.usage.total.cost, run.usage.total.model_calls, run.usage.total.total_tokens) == (None, 2, 24)


async def test_a_model_that_reports_no_usage_is_told_of_once_and_estimated_where_tokens_are_limited() -> None:
    host = Host()
    run = await make(looks(usage=None), "Done.", custom_handlers=host.handlers())
    await run.process_stream(ask())
    said = [data["message"] for event, data in host.rows if event == "on_agent_log" and data["scope"] == "usage"]
    assert said == ["The model 'scripted' (scriptedchatmodel) reports no usage: its tokens are in no total"]
    assert (run.usage.total.unreported_calls, run.usage.total.total_tokens) == (2, 0)
    run = await make(looks(usage=None), "Never.", limits={"total_tokens": 5})
    await run.process_stream(ask())
    assert run.get_halt_reason() == "total_tokens_limit"
    assert run.usage.total.total_tokens >= 5


async def test_a_cost_limit_without_a_known_price_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="price of the model 'scripted' of scriptedchatmodel is not known"):
        await make("Never.", limits={"cost": 1})


async def test_limits_that_make_no_sense_are_refused_in_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match="modelCall"):
        await make("Never.", limits={"modelCall": 1})
    with pytest.raises(ConfigurationError, match="cost"):
        await make("Never.", limits={"cost": -1})
    for wrong in (
        {"model_calls": "5"},
        {"model_calls": True},
        {"tool_calls": "5"},
        {"cost": "1"},
        {"wall_time_s": True},
    ):
        (name,) = wrong
        with pytest.raises(ConfigurationError, match=f"'{name}' is .*, expected a (whole )?number"):
            RunLimits(**wrong)


@pytest.mark.parametrize(("asked", "calls"), [({}, 0), ({"stream_usage": False}, 1)])
async def test_a_model_that_came_ready_is_asked_for_usage_also_at_another_address(asked: Any, calls: int) -> None:
    openai = pytest.importorskip("langchain_openai")
    async with FakeOpenAIServer([script.reply("Hello.", usage=(7, 3))]) as server:
        model = openai.ChatOpenAI(model="m", base_url=server.base_url, api_key="k", max_retries=0, **asked)
        graph = {"agents": [{"agent_id": "a", "model": model}]}
        run = await Run.create({"run_id": "r", "graph_config": graph})
        await run.process_stream(ask())
        total = run.usage.total
        assert (total.unreported_calls, total.total_tokens) == (calls, 0 if calls else 10)
        assert model.stream_usage is asked.get("stream_usage")  # the program's own stays as it was
        await model.root_async_client.close()


async def test_limits_and_usage_are_those_of_agents_and_the_agents_that_they_use_as_tools() -> None:
    def agent_with(*inner: Any) -> dict[str, Any]:
        helper = {"agent_id": "helper", "model": ScriptedChatModel(replies=list(inner)), "tools": [get_weather]}
        ask_helper = {"type": "helper", "description": "Helps.", "agent_inputs": helper, "tool_name": "ask_helper"}
        replies = [
            script.reply(script.call("ask_helper", description="look"), usage=(10, 5)),
            script.reply("Done.", usage=(1, 1)),
        ]
        return {"agent_id": "a", "model": ScriptedChatModel(replies=replies), "subagent_configs": [ask_helper]}

    async def run_with(*inner: Any, **limits: Any) -> Run:
        graph = {"agents": [agent_with(*inner)]}
        run = await Run.create({"run_id": "r", "graph_config": graph, "limits": limits})
        await run.process_stream(ask())
        return run

    run = await run_with(looks(), script.reply("Here.", usage=(2, 2)))
    assert {name: used.model_calls for name, used in run.usage.by_agent.items()} == {"a": 2, "helper": 2}
    assert (run.usage.total.total_tokens, run.usage.total.tool_calls) == (15 + 15 + 4 + 2, 2)
    run = await run_with(looks(), looks(), looks(), model_calls=3)
    assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 3)
