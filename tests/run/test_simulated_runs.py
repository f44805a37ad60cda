"""A run with a clock and ids of its own comes out the same each time: messages, events and what is stored."""

from __future__ import annotations

import ast
import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_core.tools import tool

import stategraph.agent
import stategraph.run
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.engine.config import environment
from stategraph.errors import ConfigurationError
from stategraph.run.events.ids import new_id
from stategraph.run.runtime import AgentRuntime, create_run
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from stategraph.testing.clock import FakeClock
from stategraph.testing.ids import CountedIds
from tests.engine.test_environment import asks_the_machine

THREAD = {"configurable": {"thread_id": "t"}}
START = 1_700_000_000.0


@tool
async def think(about: str) -> str:
    """Take an hour to think."""
    await asyncio.sleep(3_600)
    return f"{about}: 42"


def agents() -> list[dict[str, Any]]:
    """One that calls a tool twice and hands over to two others, whose answers have no ids."""
    thinking = script.reply(script.call("think", {"about": "life"}), script.call("think", {"about": "all"}))
    split = script.reply(script.call("lc_transfer_to_two"), script.call("lc_transfer_to_three"))
    replies: dict[str, list[Any]] = {"one": [thinking, split], "two": ["Second."], "three": ["Third."]}
    described = [{"agent_id": name, "model": ScriptedChatModel(replies=said)} for name, said in replies.items()]
    return [{**described[0], "tools": [think]}, *described[1:]]


async def simulated(clock: FakeClock) -> bytes:
    """Run a turn of several agents in virtual time; return every event, and the thread as it is stored."""
    saver = in_memory_saver()
    edges = [{"from": "one", "to": [to], "edge_type": "handoff"} for to in ("two", "three")]
    async with AgentRuntime(checkpointer=saver, clock=clock, ids=CountedIds()) as runtime:
        run = await runtime.create_run(run_id="r", agents=agents(), edges=edges)
        seen = [event.to_sse() async for event in run.stream({"messages": [HumanMessage("hi")]}, THREAD)]
        states = [state async for state in run.graph.compiled.aget_state_history(THREAD)]
    stored = [(state.config, state.created_at, state.next, repr(state.values)) for state in states]
    messages = [message.model_dump(mode="json") for message in run.get_run_messages()]
    return json.dumps([seen, stored, messages], indent=1).encode()


def test_a_simulated_run_of_agents_comes_out_the_same_each_time_to_the_last_byte() -> None:
    first, second = (clock.run(simulated(clock)) for clock in (FakeClock(START), FakeClock(START)))
    assert first == second
    for told in (b"42", b"Second.", b"Third.", b"groupId", b"2023-11-14T23:13:20"):
        assert told in first


async def turn(**settings: Any) -> tuple[list[Any], list[str | None]]:
    """Run a turn; return when its steps began, and the ids of its messages."""
    began: list[Any] = []
    handlers = {"on_run_step": lambda event, data, metadata, graph: began.append(data["created_at"])}
    described = [{"agent_id": "a", "model": ScriptedChatModel(replies=["Hello."])}]
    run = await create_run(run_id="r", agents=described, custom_handlers=handlers, **settings)
    await run.process_stream({"messages": [HumanMessage("hi")]})
    return began, [message.id for message in run.get_run_messages()]


@pytest.mark.anyio
async def test_a_run_without_a_clock_takes_that_of_the_context_in_which_it_is_executed() -> None:
    clock = FakeClock(START)
    with clock.for_runs():
        assert (await turn())[0] == [START * 1_000]
    clock.advance(60)
    assert (await turn(clock=clock))[0] == [(START + 60) * 1_000]
    (began,), _ = await turn()
    assert began > (START + 60) * 1_000


@pytest.mark.anyio
async def test_without_ids_of_its_own_no_two_runs_share_an_id() -> None:
    (_, first), (_, second) = [await turn() for _ in range(2)]
    assert first
    assert set(first).isdisjoint(second)
    (_, counted), (_, again) = [await turn(ids=CountedIds()) for _ in range(2)]
    assert counted == again


@pytest.mark.anyio
async def test_a_clock_has_to_be_one() -> None:
    with pytest.raises(ConfigurationError, match="clock"):
        await turn(clock=object())


def test_ids_for_front_ends_are_made_by_the_ids_in_use() -> None:
    with environment.replacing(None, CountedIds()):
        first = [new_id("step_") for _ in range(3)]
    with environment.replacing(None, CountedIds()):
        assert [new_id("step_") for _ in range(3)] == first
    assert len({*first, new_id("step_"), new_id("step_")}) == 5
    assert all(len(each) == len("step_") + 21 for each in first)


def test_agents_and_runs_ask_the_machine_for_neither_time_nor_chance() -> None:
    roots = [Path(stategraph.agent.__file__).parent, Path(stategraph.run.__file__).parent]
    files = [file for root in roots for file in root.rglob("*.py")]
    assert len(files) > 50
    asking = [
        str(file)
        for file in files
        if any(asks_the_machine(node) for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    ]
    assert asking == []
