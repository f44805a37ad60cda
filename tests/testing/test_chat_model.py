"""The scripted chat model behaves as a provider's model does."""

import asyncio
import logging
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool

from stategraph import AgentInputs, AgentRuntime
from stategraph.testing import (
    Drop,
    Failure,
    FakeClock,
    Fault,
    Gate,
    Hold,
    ScriptedChatModel,
    ScriptedModelError,
    ScriptExhausted,
    Think,
    call,
    reply,
)


@tool
def weather(city: str) -> str:
    """Weather of a city."""
    return f"sunny in {city}"


def drive(model: ScriptedChatModel, how: str) -> AIMessage:
    """One request by each of the four ways."""
    if how == "invoke":
        return model.invoke("hi")
    if how == "ainvoke":
        return asyncio.run(model.ainvoke("hi"))
    if how == "stream":
        return added(list(model.stream("hi")))

    async def collect() -> list[Any]:
        return [chunk async for chunk in model.astream("hi")]

    return added(asyncio.run(collect()))


def added(chunks: list[Any]) -> AIMessageChunk:
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole = whole + chunk
    assert isinstance(whole, AIMessageChunk)
    return whole


WAYS = ["invoke", "ainvoke", "stream", "astream"]


@pytest.mark.parametrize("how", WAYS)
def test_every_way_of_asking_gives_the_same_message(how: str) -> None:
    answer = reply(Think("hm "), "Let me look.", call("weather", city="Paris"), usage=(7, 3))
    message = drive(ScriptedChatModel(replies=[answer]), how)
    assert message.content == "Let me look."
    assert message.tool_calls == [{"name": "weather", "args": {"city": "Paris"}, "id": "call_0_0", "type": "tool_call"}]
    assert message.additional_kwargs["reasoning_content"] == "hm "
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 10
    assert message.response_metadata["finish_reason"] == "tool_calls"


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize(
    ("entry", "error", "text"),
    [
        (Failure(429, "slow down"), ScriptedModelError, "slow down"),
        (ValueError("no"), ValueError, "no"),
        (reply("a b", Fault("broken")), ScriptedModelError, "broken"),
        (reply("a b", Drop()), ConnectionResetError, "dropped"),
    ],
)
def test_failures_come_out_whichever_way_one_asks(how: str, entry: Any, error: type[BaseException], text: str) -> None:
    with pytest.raises(error, match=text):
        drive(ScriptedChatModel(replies=[entry]), how)


def test_the_status_of_a_refusal_is_kept() -> None:
    with pytest.raises(ScriptedModelError) as caught:
        ScriptedChatModel(replies=Failure(503)).invoke("hi")
    assert caught.value.status == 503


def test_a_stream_is_one_chunk_for_each_word() -> None:
    chunks = list(ScriptedChatModel(replies="one two three").stream("hi"))
    assert [c.content for c in chunks if c.content] == ["one ", "two ", "three"]


def test_bound_tools_are_recorded_with_the_request() -> None:
    model = ScriptedChatModel(replies=["ok", "ok"])
    model.bind_tools([weather], tool_choice="auto").invoke([HumanMessage("hi")])
    model.invoke("again")
    first, second = model.requests
    assert first.tools == ("weather",)
    assert first.options["tool_choice"] == "auto"
    assert first.messages == (HumanMessage("hi"),)
    assert second.tools == ()
    assert second.number == 1


def test_arguments_that_are_not_json_are_an_invalid_tool_call() -> None:
    message = ScriptedChatModel(replies=[reply(call("weather", '{"city":'))]).invoke("hi")
    assert message.tool_calls == []
    assert message.invalid_tool_calls[0]["args"] == '{"city":'


def test_one_request_too_many_is_a_clear_error() -> None:
    model = ScriptedChatModel(replies=["only"])
    model.invoke("hi")
    with pytest.raises(ScriptExhausted, match="1 reply used"):
        model.invoke("more")


def test_a_gate_stops_a_stream_in_the_middle() -> None:
    gate = Gate()
    model = ScriptedChatModel(replies=[reply("before ", Hold(gate), "after")])
    seen: list[str] = []

    async def scenario() -> None:
        async def read() -> None:
            async for chunk in model.astream("hi"):
                seen.append(str(chunk.content))

        reader = asyncio.create_task(read())
        await gate.wait_reached_async()
        assert seen == ["before "]
        gate.open()
        await reader

    asyncio.run(scenario())
    assert "".join(seen) == "before after"


def test_slow_tokens_cost_no_time_on_a_fake_clock() -> None:
    clock = FakeClock()
    model = ScriptedChatModel(replies=[reply("a b c", delay_s=100, gap_s=50)])
    message = clock.run(collect_stream(model))
    assert message.content == "a b c"
    assert clock.now() == pytest.approx(250)


async def collect_stream(model: ScriptedChatModel) -> AIMessageChunk:
    return added([chunk async for chunk in model.astream("hi")])


@pytest.mark.anyio
async def test_nobody_is_warned_of_replies_without_usage(caplog: pytest.LogCaptureFixture) -> None:
    model = ScriptedChatModel(replies=[reply(call("weather", city="Paris")), "Cold."], model_name="without usage")
    agent = AgentInputs(agent_id="ada", model=model, tools=(weather,))
    async with AgentRuntime() as runtime:
        run = await runtime.create_run(run_id="r", agents=[agent])
        await run.process_stream({"messages": [("user", "Is it cold?")]})
    assert run.usage.total.unreported_calls == 2
    assert [each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING] == []
