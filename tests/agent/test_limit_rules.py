"""The rules of limits, and the most that a call may take."""

from __future__ import annotations

import asyncio
import math
import sys
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from stategraph.agent.facts import ModelCall, Place
from stategraph.agent.limits import bounds, ledger
from stategraph.agent.limits.amounts import UsageTotals
from stategraph.agent.limits.errors import LimitReachedError
from stategraph.agent.limits.ledger import Hold, Reached, Verdict
from stategraph.agent.limits.meter import Meter
from stategraph.agent.settings.limits import LimitName, RunLimits
from stategraph.testing.chat_model import ScriptedChatModel

AT = Place("a", "a", "agent=a", {})
ZERO = Decimal(0)


def call(text: str = "hi") -> ModelCall:
    return ModelCall(AT, "p", "m", [HumanMessage(text)], 1)


def answer(read: int, written: int) -> AIMessage:
    usage: Any = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
    return AIMessage("x", usage_metadata=usage)


@pytest.mark.parametrize(
    ("taken", "held", "expected"),
    [
        (99, (), Verdict.BEGIN),
        (100, (), Reached(LimitName.TOTAL_TOKENS, 100, 100)),
        (60, (39,), Verdict.BEGIN),
        (60, (40,), Verdict.WAIT),
        (0, (math.inf,), Verdict.WAIT),
        (100, (0,), Reached(LimitName.TOTAL_TOKENS, 100, 100)),
    ],
)
def test_a_call_begins_while_what_is_taken_and_held_is_below_the_limit(taken: int, held: Any, expected: object) -> None:
    holds = [Hold(each, 0, ZERO) for each in held]
    limits = {LimitName.TOTAL_TOKENS: 100}
    assert ledger.model_call(limits, UsageTotals(input_tokens=taken), 0, holds) == expected


def test_a_tenth_of_a_dollar_is_a_tenth() -> None:
    taken = UsageTotals(cost=Decimal("0.1") + Decimal("0.2"))
    found = ledger.model_call({LimitName.COST: 0.3}, taken, 0)
    assert found == Reached(LimitName.COST, 0.3, 0.3)


def test_the_first_calls_of_tools_are_let_through_and_none_when_the_time_is_over() -> None:
    taken = UsageTotals(tool_calls=3)
    assert ledger.tool_calls({LimitName.TOOL_CALLS: 5}, taken, 0, 2) == (2, None)
    assert ledger.tool_calls({LimitName.TOOL_CALLS: 5}, taken, 0, 4) == (2, Reached(LimitName.TOOL_CALLS, 5, 3))
    time = {LimitName.WALL_TIME: 60.0}
    assert ledger.tool_calls(time, taken, 60, 1) == (0, Reached(LimitName.WALL_TIME, 60.0, 60))


def test_a_text_has_at_most_as_many_tokens_as_bytes_and_an_image_any_number() -> None:
    model = ScriptedChatModel()
    text = "für alle " * 100
    assert len(text.encode()) <= bounds.most_read(model, [HumanMessage(text)]) < len(text.encode()) + 100
    called = AIMessage("", tool_calls=[{"name": "look", "args": {"at": "x" * 500}, "id": "c"}])
    assert bounds.most_read(model, [called, ToolMessage("y" * 500, tool_call_id="c")]) > 1000
    image = HumanMessage([{"type": "image_url", "image_url": {"url": "data:..."}}])
    assert bounds.most_read(model, [image]) == math.inf
    assert bounds.most_read(model.bind(tools=[{"name": "t" * 3000}]), [HumanMessage("")]) > 3000


def test_the_most_that_a_model_writes_is_what_its_settings_or_its_profile_say() -> None:
    model = ScriptedChatModel()
    assert bounds.most_written(model) == math.inf
    assert bounds.most_written(model.bind(max_tokens=-1)) == math.inf
    assert bounds.most_written(model.bind(max_tokens=70)) == 70
    profiled = ScriptedChatModel(profile={"max_output_tokens": 50, "max_input_tokens": 200})
    assert bounds.most_written(profiled) == 50
    image = HumanMessage([{"type": "image", "url": "https://example.org/x.png"}])
    assert bounds.most_read(profiled, [image]) == 200


def test_a_call_waits_until_another_has_ended_and_is_then_decided_about_anew() -> None:
    async def main() -> None:
        meter = Meter(RunLimits(total_tokens=100))
        model = ScriptedChatModel()
        first = await meter.admit(call(), model)
        second = asyncio.ensure_future(meter.admit(call(), model))
        third = asyncio.ensure_future(meter.admit(call(), model))
        await asyncio.sleep(0)
        assert not second.done()
        meter.settle(first, answer(60, 10))
        meter.settle(await second, answer(20, 10))
        with pytest.raises(LimitReachedError) as raised:
            await third
        assert (raised.value.allowed, raised.value.used) == (100, 100)
        assert meter.usage.total.model_calls == 2

    asyncio.run(main())


def test_calls_whose_most_fits_run_side_by_side() -> None:
    async def main() -> None:
        meter = Meter(RunLimits(output_tokens=100))
        model = ScriptedChatModel().bind(max_tokens=40)
        tickets = [await meter.admit(call(), model) for _ in range(3)]  # 40 + 40 < 100: the third may exceed alone
        fourth = asyncio.ensure_future(meter.admit(call(), model))
        await asyncio.sleep(0)
        assert not fourth.done()
        meter.settle(tickets[0])
        meter.settle(tickets[0], answer(1, 100))  # settled already
        assert (await fourth) in meter._tickets

    asyncio.run(main())


def test_a_waiting_call_that_is_cancelled_leaves_nothing_behind() -> None:
    async def main() -> None:
        meter = Meter(RunLimits(total_tokens=100))
        first = await meter.admit(call(), ScriptedChatModel())
        second = asyncio.ensure_future(meter.admit(call(), ScriptedChatModel()))
        await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)
        meter.settle(first, answer(1, 1))
        assert meter.usage.total.model_calls == 1
        await meter.admit(call(), ScriptedChatModel())

    asyncio.run(main())


def test_what_a_meter_remembers_is_json_that_another_goes_on_with() -> None:
    async def main() -> None:
        meter = Meter(RunLimits(model_calls=1, tool_calls=5))
        meter.settle(await meter.admit(call(), ScriptedChatModel()), answer(7, 3))
        assert meter.begin_tools(AT, ["c1", "c2"]) is None
        meter.raise_to(LimitName.MODEL_CALLS, 3)
        other = Meter(RunLimits(model_calls=1, tool_calls=5))
        other.recall(meter.memory())
        assert other.usage == meter.usage
        assert other.begin_tools(AT, ["c1", "c2"]) is None  # counted already, in the node that runs again
        assert other.usage.total.tool_calls == 2
        await other.admit(call(), ScriptedChatModel())

    asyncio.run(main())


def test_counts_are_whole_when_calls_come_from_threads_and_the_event_loop() -> None:
    meter = Meter(RunLimits(model_calls=10**6, tool_calls=10**6, total_tokens=10**9), None, lambda _: 1)
    model = ScriptedChatModel(profile={"max_input_tokens": 100, "max_output_tokens": 100})
    rounds, threads = 150, 3

    def of(number: int) -> ModelCall:
        # Each of an agent of its own, so that the counts by agent grow while they are read.
        return replace(call(), at=Place(f"a{number}", "a", "n", {}))

    def in_a_thread(number: int) -> None:
        for each in range(rounds):
            meter.begin_alone("p", "m")
            meter.begin_tools(AT, [f"{number}.{each}"])
            meter.took(of(number * rounds + each), answer(1, 1))

    async def main() -> None:
        others = [asyncio.ensure_future(asyncio.to_thread(in_a_thread, number)) for number in range(threads)]
        for each in range(rounds):
            meter.settle(await meter.admit(of(threads * rounds + each), model), answer(1, 1))
            if each % 10 == 0:
                assert len(meter.memory()["models"]) <= len(meter.usage.by_agent)
        await asyncio.gather(*others)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        asyncio.run(main())
    finally:
        sys.setswitchinterval(before)
    total = meter.usage.total
    assert (total.model_calls, total.input_tokens) == ((threads + 1) * rounds,) * 2
    assert total.tool_calls == threads * rounds
