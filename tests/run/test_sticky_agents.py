"""Runs of sticky agents: on a thread in other runs, for hosts that keep the history, after aborts and pauses."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from stategraph import interrupt
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError
from stategraph.run.run import Run
from stategraph.run.runtime import create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.run.hosting import THREAD, ask

pytestmark = pytest.mark.anyio

EDGES = [
    {"from": "desk", "to": "sales", "edge_type": "handoff"},
    {"from": "sales", "to": "desk", "edge_type": "handoff"},
]
TRANSFER = script.reply(script.call("lc_transfer_to_sales", id="t"))


async def run_of(saver: Any, desk: list[Any], sales: list[Any], tools: Any = (), **settings: Any) -> Run:
    models = {"desk": ScriptedChatModel(replies=desk), "sales": ScriptedChatModel(replies=sales)}
    agents = [
        {"agent_id": name, "model": model, "tools": tools if name == "desk" else []} for name, model in models.items()
    ]
    fixed: Any = {"run_id": "r", "agents": agents, "edges": EDGES, "sticky_agents": True, "checkpointer": saver}
    return await create_run(**{**fixed, **settings})


async def test_a_turn_in_another_run_begins_with_the_agent_that_spoke_last() -> None:
    saver = in_memory_saver()
    run = await run_of(saver, [TRANSFER], ["Hello."])
    await run.process_stream(ask(), THREAD)
    assert run.get_active_agent() == "sales"
    run = await run_of(saver, [], ["Still here."])
    await run.process_stream(ask("more"), THREAD)
    assert [each.content for each in run.get_run_messages()] == ["Still here."]
    run = await run_of(saver, ["Desk."], [], sticky_agents=False)
    await run.process_stream(ask("more"), THREAD)
    assert [each.content for each in run.get_run_messages()] == ["Desk."]


async def test_a_host_that_keeps_the_history_says_who_spoke_last() -> None:
    run = await run_of(None, [], ["Sales."], active_agent="sales")
    await run.process_stream(ask(), THREAD)
    assert ([each.content for each in run.get_run_messages()], run.get_active_agent()) == (["Sales."], "sales")
    run = await run_of(None, ["Desk."], [], active_agent="nobody")
    await run.process_stream(ask(), THREAD)
    assert run.get_active_agent() == "desk"


@pytest.mark.parametrize("paused", [False, True])
async def test_a_turn_that_was_cut_off_is_taken_up_by_the_agent_that_spoke(paused: bool) -> None:
    saver, begun = in_memory_saver(), asyncio.Event()

    async def work() -> str:
        """Work."""
        begun.set()
        if paused:
            return str(interrupt("sure?"))
        await asyncio.Event().wait()
        return ""

    run = await run_of(saver, [TRANSFER], ["Hello."])
    await run.process_stream(ask(), THREAD)
    back = script.reply(script.call("lc_transfer_to_desk", id="b"))
    run = await run_of(saver, [script.reply("Let me.", script.call("work", id="w"))], [back], [work])
    if paused:
        await run.process_stream(ask(), THREAD)
    else:
        going = run.start(ask(), THREAD)
        async with asyncio.timeout(10):
            await begun.wait()
        run.abort()
        with pytest.raises(AbortError):
            await going
    assert run.get_active_agent() == "desk"
    run = await run_of(saver, ["Where were we?"], [], [work])
    await run.process_stream({"messages": [HumanMessage("again")]}, THREAD)
    assert [each.content for each in run.get_run_messages()] == ["Where were we?"]
