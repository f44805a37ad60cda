"""An MCP server asks a person: the run pauses, and the answer goes back to the server."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langgraph.checkpoint.memory import InMemorySaver

from stategraph.errors import InvalidAnswerError
from stategraph.run.run import Run
from stategraph.run.runtime import AgentRuntime
from stategraph.testing import script
from stategraph.testing.chat_model import ScriptedChatModel
from tests.agent.mcp.conftest import KINDS, HttpProcess

pytest.importorskip("mcp")
pytestmark = pytest.mark.anyio

SERVER = Path(__file__).resolve().parents[1] / "agent" / "mcp" / "asking.py"
THREAD = {"configurable": {"thread_id": "t"}}


@pytest.fixture(params=KINDS)
def described(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A description of the server that asks, in each way that it can be reached."""
    transport, *old = request.param.split("-")
    if transport == "stdio":
        yield {
            "command": sys.executable,
            "args": [str(SERVER), "stdio", "0", *old],
            "env": {"COUNTER": str(tmp_path / "n")},
        }
        return
    process = HttpProcess(*old, program=SERVER, env={"COUNTER": str(tmp_path / "n")})
    yield {"url": process.url}
    process.kill()


class Host:
    """A chat backend, in one process or after a restart."""

    def __init__(self, described: dict[str, Any], saver: InMemorySaver, rows: list[tuple[str, Any]]) -> None:
        self._described = described
        self._saver = saver
        kept = ("on_tool_progress", "on_run_step_completed")
        self._handlers = dict.fromkeys(kept, lambda event, data, metadata, graph: rows.append((event, data)))

    @asynccontextmanager
    async def run(self, *replies: Any) -> AsyncIterator[tuple[Run, AgentRuntime]]:
        async with AgentRuntime(
            checkpointer=self._saver, mcp_servers={"shop": self._described}, custom_handlers=self._handlers
        ) as runtime:
            yield await self.again(runtime, *replies), runtime

    async def again(self, runtime: AgentRuntime, *replies: Any) -> Run:
        model = ScriptedChatModel(replies=list(replies))
        agent = {"agent_id": "a", "model": model, "tools": await runtime.tools()}
        return await runtime.create_run(run_id="r", agents=[agent], human_in_the_loop={"enabled": True})


@pytest.fixture
def rows() -> list[tuple[str, Any]]:
    return []


@pytest.fixture
def host(described: dict[str, Any], rows: list[tuple[str, Any]]) -> Host:
    return Host(described, InMemorySaver(), rows)


def results(run: Run) -> list[str]:
    return [str(each.content) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


def question(run: Run) -> dict[str, Any]:
    asked = run.get_interrupt()
    assert asked is not None
    return dict(asked.payload)  # type: ignore[arg-type, call-overload]


async def start(run: Run) -> None:
    await run.process_stream({"messages": [HumanMessage("go")]}, THREAD)


ORDER = script.reply(script.call("order", {"item": "tea"}, id="c1"))
ACCEPT = {"action": "accept", "content": {"size": "large"}}


async def test_a_form_pauses_the_run_and_its_answer_goes_back(host: Host) -> None:
    async with host.run(ORDER) as (run, runtime):
        await start(run)
        asked = question(run)
        assert (asked["type"], asked["server"], asked["mode"]) == ("mcp_elicitation", "shop", "form")
        assert asked["message"] == "Which tea?"
        assert set(asked["requestedSchema"]["properties"]) == {"size", "number"}
        run = await host.again(runtime, "Done.")
        with pytest.raises(InvalidAnswerError, match=r"'size' is none of 'small', 'large'"):
            await run.resume({"action": "accept", "content": {"size": "huge"}}, THREAD)
        await run.resume(ACCEPT, THREAD)
        assert results(run) == ["1 large tea"]
        assert (await runtime.mcp.call_tool("shop", "orders", {}))[0] == "tea"


@pytest.mark.parametrize("answer", ["decline", {"action": "cancel"}])
async def test_a_person_may_say_no_or_leave(host: Host, answer: Any) -> None:
    async with host.run(ORDER) as (run, runtime):
        await start(run)
        run = await host.again(runtime, "Done.")
        await run.resume(answer, THREAD)
        action = answer if isinstance(answer, str) else answer["action"]
        assert results(run) == [f"not ordered: {action}"]


async def test_an_answer_in_another_process_is_given_to_the_same_question_asked_again(host: Host) -> None:
    async with host.run(ORDER) as (run, _):
        await start(run)
        question(run)
    async with host.run("Done.") as (run, _):
        await run.resume(ACCEPT, THREAD)
        assert run.get_interrupt() is None
        assert results(run) == ["1 large tea"]


async def test_several_questions_of_one_call_are_asked_in_turn_also_across_processes(
    host: Host, rows: list[tuple[str, Any]]
) -> None:
    deliver = script.reply(script.call("deliver", {"item": "tea"}, id="c1"))
    async with host.run(deliver) as (run, runtime):
        await start(run)
        assert question(run)["message"] == "Which tea?"
        run = await host.again(runtime)
        await run.resume({"action": "accept", "content": {"size": "small", "number": 2}}, THREAD)
        assert question(run)["message"] == "Where to, with 2?"
    async with host.run("Done.") as (run, _):
        await run.resume({"action": "accept", "content": {"street": "Hauptstrasse"}}, THREAD)
        assert results(run) == ["2 small tea to Hauptstrasse"]
    assert [event for event, _ in rows].count("on_run_step_completed") == 1


async def test_calls_side_by_side_each_get_their_own_answer(host: Host) -> None:
    both = script.reply(
        script.call("order", {"item": "tea"}, id="c1"),
        script.call("order", {"item": "milk"}, id="c2"),
    )
    async with host.run(both) as (run, runtime):
        await start(run)
        asked = {each.payload["message"]: each.interrupt_id for each in run.get_interrupts()}  # type: ignore[index, call-overload]
        assert set(asked) == {"Which tea?", "Which milk?"}
        run = await host.again(runtime, "Done.")
        milk = {"action": "accept", "content": {"size": "small", "number": 3}}
        await run.resume({asked["Which tea?"]: ACCEPT, asked["Which milk?"]: milk}, THREAD)
        assert results(run) == ["1 large tea", "3 small milk"]
        assert sorted((await runtime.mcp.call_tool("shop", "orders", {}))[0].split(",")) == ["milk", "tea"]
