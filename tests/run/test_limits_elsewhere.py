"""Counts and limits of a turn that goes on elsewhere: in another run object, after a pause and after a crash."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from stategraph import interrupt
from stategraph.constants import RETURN
from stategraph.engine.config import environment
from stategraph.run.run import Run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock
from tests.run.hosting import THREAD, Host, ask, calls
from tests.run.test_subagents import delegate, helper, requests, run_with

pytestmark = pytest.mark.anyio

WHERE = pytest.mark.parametrize("same", [True, False], ids=["here", "elsewhere"])


def noop() -> str:
    """Do nothing."""
    return "1"


def confirm(what: str) -> str:
    """Ask a person."""
    return f"{what}: {interrupt(what)}"


def works(count: int) -> list[script.Reply]:
    """So many answers that call a tool."""
    return [script.reply(script.call("noop", {}, id=f"n{each}"), usage=(10, 5)) for each in range(count)]


class Pair:
    """A run with two subagents side by side: `left` asks a person, and `right` ends after that.

    Args:
        left: Answers of `left` after the person's.
        right: The number of calls of tools of `right`.
        limits: The run's limits.
    """

    def __init__(self, left: list[Any], right: int, **limits: Any) -> None:
        self.saver = InMemorySaver()
        self._limits = limits
        asked = asyncio.Event()

        async def asks() -> str:
            """Ask a person."""
            asked.set()
            return str(interrupt("really?"))

        async def waits() -> str:
            """Wait until the other has asked."""
            await asked.wait()
            return "1"

        mine, others = {"tools": [asks, noop]}, {"tools": [waits, noop]}
        first = script.reply(script.call("asks", {}, id="a1"), usage=(10, 5))
        self.left = helper(first, *left, kind="left", how={"max_turns": 50}, **mine)
        first = script.reply(script.call("waits", {}, id="w1"), usage=(10, 5))
        self.right = helper(first, *works(right - 1), script.reply("R.", usage=(10, 5)), kind="right", **others)
        both = script.reply(delegate("left", call_id="c1"), delegate("right", call_id="c2"), usage=(10, 5))
        self.boss = ScriptedChatModel(replies=[both, script.reply("Done.", usage=(10, 5))])

    async def run(self) -> Run:
        agent, options = {"model": self.boss}, {"checkpointer": self.saver}
        return await run_with([], self.left, self.right, agent=agent, compile_options=options, limits=self._limits)

    @property
    def model_calls(self) -> int:
        """The number of calls that were really made."""
        return len(self.boss.requests) + len(requests(self.left)) + len(requests(self.right))


@WHERE
async def test_what_an_agent_took_while_another_waited_is_counted_where_the_turn_goes_on(same: bool) -> None:
    pair = Pair([script.reply("L.", usage=(10, 5))], 3)
    run = await pair.run()
    await run.process_stream(ask(), THREAD)
    assert (run.usage.total.model_calls, len(run.get_interrupts())) == (6, 1)
    run = run if same else await pair.run()
    await run.resume("yes", THREAD)
    total = run.usage.total
    assert (total.model_calls, total.tool_calls, total.total_tokens) == (8, 6, 8 * 15)
    assert {name: used.model_calls for name, used in run.usage.by_agent.items()} == {
        "boss": 2,
        "left_agent": 2,
        "right_agent": 4,
    }
    assert run.get_run_messages()[-1].content == "Done."


@WHERE
async def test_a_limit_holds_over_agents_that_ended_while_another_waited(same: bool) -> None:
    pair = Pair(works(9), 4, model_calls=10)
    run = await pair.run()
    await run.process_stream(ask(), THREAD)
    run = run if same else await pair.run()
    await run.resume("yes", THREAD)
    assert (run.get_halt_reason(), run.usage.total.model_calls) == ("model_calls_limit", 10)
    assert pair.model_calls == 10


async def test_a_turn_that_comes_back_goes_on_from_what_was_done_elsewhere() -> None:
    saver, hosts = InMemorySaver(), (Host(), Host())
    left = helper(calls(("confirm", {"what": "sub"})), "L.", kind="left", tools=[confirm])
    asks = [calls(("confirm", {"what": each})) for each in "ab"]
    model = ScriptedChatModel(replies=[asks[0], script.reply(delegate("left")), asks[1], "Done."])

    async def make(host: Host) -> Run:
        agent = {"model": model, "tools": [confirm]}
        return await run_with([], left, agent=agent, host=host, compile_options={"checkpointer": saver})

    first, second = [await make(host) for host in hosts]
    await first.process_stream(ask(), THREAD)
    await second.resume("1", THREAD)
    await first.resume("2", THREAD)
    assert [each.payload for each in first.get_interrupts()] == ["b"]
    total = first.usage.total
    assert (total.model_calls, total.tool_calls) == (5, 4)
    await second.resume("3", THREAD)
    total = second.usage.total
    assert (total.model_calls, total.tool_calls) == (6, 4)
    opened, closed = [
        [data["id"] for host in hosts for event, data in host.rows if event == name]
        for name in ("on_run_step", "on_run_step_closed")
    ]
    assert len(set(opened)) == len(opened)
    assert sorted(closed) == sorted(opened)
    stops = [data for host in hosts for event, data in host.rows if event == "on_subagent_update"]
    assert [each["phase"] for each in stops].count("stop") == 1


async def test_what_an_agent_took_that_ended_before_a_crash_is_counted_after_it() -> None:
    stored_result = asyncio.Event()

    class Saver(InMemorySaver):
        async def aput_writes(self, config: Any, writes: Any, task_id: str, task_path: str = "") -> None:
            await super().aput_writes(config, writes, task_id, task_path)
            if any(channel == RETURN and "'R.'" in repr(value) for channel, value in writes):
                stored_result.set()

    async def late() -> str:
        """Wait until the result of the other agent is stored, and note what is stored by then."""
        await stored_result.wait()
        copies.append(deepcopy((saver.storage, saver.writes, saver.blobs)))
        return "1"

    saver, copies = Saver(), []
    left = helper(calls(("late", {})), "L.", kind="left", tools=[late])
    right = helper(*works(4), "R.", kind="right", tools=[noop])
    boss = ScriptedChatModel(
        replies=[script.reply(delegate("left", call_id="c1"), delegate("right", call_id="c2")), "."]
    )
    run = await run_with([], left, right, agent={"model": boss}, compile_options={"checkpointer": saver})
    await asyncio.wait_for(run.process_stream(ask(), {**THREAD, "durability": "sync"}), 30)
    assert run.usage.total.model_calls == 9
    stored = InMemorySaver()
    stored.storage, stored.writes, stored.blobs = copies[0]
    left["agent_inputs"]["model"] = ScriptedChatModel(replies=["L."])
    right["agent_inputs"]["model"] = ScriptedChatModel(replies=[])
    boss = ScriptedChatModel(replies=["Done."])
    run = await run_with([], left, right, agent={"model": boss}, compile_options={"checkpointer": stored})
    await run.resume(None, THREAD)
    assert {name: used.model_calls for name, used in run.usage.by_agent.items()} == {
        "boss": 2,
        "left_agent": 2,
        "right_agent": 5,
    }
    assert run.usage.total.tool_calls == 2 + 1 + 4


@WHERE
def test_time_of_tools_before_a_pause_counts_where_the_turn_goes_on(same: bool) -> None:
    clock = FakeClock()
    saver = InMemorySaver()

    async def slow() -> str:
        """Take a while."""
        await environment.current().clock.asleep(40)
        return "1"

    last = script.Reply((script.Text("one "), script.Pause(30), script.Text("two")))
    model = ScriptedChatModel(replies=[calls(("slow", {}), ("confirm", {"what": "x"})), last])

    async def make() -> Run:
        agent = {"model": model, "tools": [slow, confirm]}
        return await run_with([], agent=agent, compile_options={"checkpointer": saver}, limits={"wall_time_s": 60})

    async def turn() -> Run:
        run = await make()
        await run.process_stream(ask(), THREAD)
        assert len(run.get_interrupts()) == 1
        run = run if same else await make()
        await run.resume("yes", THREAD)
        return run

    with clock.for_runs():
        run = clock.run(turn())
    assert run.get_halt_reason() == "wall_time_limit"
    assert run.get_run_messages()[-1].content == "one "


@WHERE
async def test_agents_side_by_side_are_not_asked_about_a_limit_after_one_was_told_to_end(same: bool) -> None:
    pair = Pair([script.reply("L.", usage=(10, 5))], 9, model_calls=5, on_limit="ask")
    run = await pair.run()
    await run.process_stream(ask(), THREAD)
    waiting = {str(each.payload): each.interrupt_id for each in run.get_interrupts()}
    limit = next(each for asked, each in waiting.items() if "limit_reached" in asked)
    run = run if same else await pair.run()
    await run.resume({limit: {"type": "end"}}, THREAD)
    assert [each.payload for each in run.get_interrupts()] == ["really?"]
    run = run if same else await pair.run()
    await run.resume("yes", THREAD)
    assert run.get_interrupts() == []
    assert (run.get_halt_reason(), run.usage.total.model_calls, pair.model_calls) == ("model_calls_limit", 5, 5)
