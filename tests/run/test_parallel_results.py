"""Results of calls side by side are told and kept as they come, and told once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import tool

from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.errors import AbortError, HandlerError
from stategraph.run.hooks.hook_registry import HookRegistry
from stategraph.run.questions import ask_user_question
from stategraph.run.run import Run
from tests.run.hosting import THREAD, WEATHER, Host, ask, calls, run_of

pytestmark = pytest.mark.anyio


@tool
async def pay(to: str) -> str:
    """Has an effect."""
    return f"paid {to}"


@tool
async def wait() -> str:
    """Never returns."""
    await asyncio.Event().wait()
    return "never"


@tool
async def choose() -> str:
    """Asks."""
    return str(ask_user_question("Which?")["answer"])


@tool
async def nested() -> str:
    """Fails with the error of a handler of a run within."""
    raise HandlerError("of another run")


def results(run: Run) -> dict[str, Any]:
    return {m.tool_call_id: m.content for m in run.get_run_messages() if isinstance(m, ToolMessage)}


@pytest.mark.parametrize("saved", [False, True], ids=["", "saved"])
async def test_a_quick_result_is_told_before_a_slow_one_and_kept_when_the_run_is_stopped(saved: bool) -> None:
    told = asyncio.Event()
    host = Host(on_run_step_closed=lambda data: told.set() if data["type"] == "tool_calls" else None)
    options = {"checkpointer": in_memory_saver() if saved else None}
    answer = calls(("pay", {"to": "ada"}), ("wait", {}))
    run = await run_of(answer, host=host, agent={"tools": [pay, wait]}, compile_options=options)
    task = run.start(ask(), THREAD)
    async with asyncio.timeout(10):
        await told.wait()
    run.abort("enough")
    with pytest.raises(AbortError):
        await task
    kept = results(run)
    assert kept["call_1"] == "paid ada"
    assert "did not finish" in kept["call_2"]
    if saved:
        state = await run.graph.compiled.aget_state(THREAD)
        stored = [message.content for message in state.values["messages"] if isinstance(message, ToolMessage)]
        assert stored == list(kept.values())
    steps = [data["status"] for event, data in host.rows if event == "on_run_step_closed"]
    assert steps == ["completed", "completed", "cancelled"]


async def test_what_was_told_before_a_question_is_not_told_again_and_what_hooks_said_of_it_holds() -> None:
    host, hooks, after = Host(), HookRegistry(), []

    def remark(happened: Mapping[str, Any]) -> dict[str, Any]:
        after.append(happened["toolUseId"])
        return {"additionalContext": f"about {happened['toolUseId']}"}

    hooks.register("PostToolUse", remark)
    hooks.register(
        "PreToolUse", lambda happened: {"decision": "deny"} if happened["toolInput"].get("to") == "eve" else {}
    )
    settings: dict[str, Any] = {
        "agent": {"tools": [pay, choose]},
        "compile_options": {"checkpointer": in_memory_saver()},
    }
    three = calls(("pay", {"to": "ada"}), ("pay", {"to": "eve"}), ("choose", {}))
    run = await run_of(three, host=host, hooks=hooks, **settings)
    await run.process_stream(ask(), THREAD)
    completed = [data["result"]["tool_call"] for event, data in host.rows if event == "on_run_step_completed"]
    assert [each["id"] for each in completed] == ["call_2", "call_1"]
    # As another process would have it: the same thread, everything else made anew.
    elsewhere = await run_of("Done.", host=host, hooks=hooks, **settings)
    await elsewhere.resume({"answer": "that"}, THREAD)
    assert after == ["call_1", "call_3"]
    completed = [data["result"]["tool_call"] for event, data in host.rows if event == "on_run_step_completed"]
    assert [each["id"] for each in completed] == ["call_2", "call_1", "call_3"]
    opened = [data["id"] for event, data in host.rows if event == "on_run_step"]
    closed = [data["id"] for event, data in host.rows if event == "on_run_step_closed"]
    assert sorted(opened) == sorted(closed)
    contents = [message.content for message in elsewhere.get_run_messages()]
    assert contents[1:] == [
        "paid ada",
        "Blocked: A hook does not allow this call.",
        "that",
        "about call_1\n\nabout call_3",
        "Done.",
    ]


async def test_the_error_of_another_runs_handler_is_the_tools_own() -> None:
    run = await run_of(calls(("nested", {})), "Fine.", agent={"tools": [nested]})
    await run.process_stream(ask())
    assert "of another run" in results(run)["call_1"]


async def test_a_result_that_a_host_gives_early_and_with_the_others_is_told_once() -> None:
    def execute(data: Any) -> None:
        results = [{"toolCallId": call["id"], "content": f"once {call['id']}"} for call in data["toolCalls"]]
        for _ in range(2):
            data.on_result(results[0])
        data.resolve([*results, results[1]])

    host = Host(on_tool_execute=execute)
    answer = calls(("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"}))
    run = await run_of(answer, "Fine.", host=host, agent={"tool_definitions": [WEATHER]})
    await asyncio.wait_for(run.process_stream(ask()), 10)
    told = [data["result"]["tool_call"]["id"] for event, data in host.rows if event == "on_run_step_completed"]
    assert told == ["call_1", "call_2"]
    assert [message.content for message in run.get_run_messages()][1:3] == ["once call_1", "once call_2"]
