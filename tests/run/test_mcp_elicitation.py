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


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, HttpProcess]]:
    """The server that asks, over HTTP in both versions of the protocol, for all tests."""
    folder = tmp_path_factory.mktemp("asking")
    started = {
        kind: HttpProcess(*arguments, program=SERVER, env={"COUNTER": str(folder / kind)})
        for kind, arguments in (("http", ()), ("http-2025", ("2025",)))
    }
    yield started
    for process in started.values():
        process.kill()


@pytest.fixture
def host(
    request: pytest.FixtureRequest, https: dict[str, HttpProcess], tmp_path: Path, rows: list[tuple[str, Any]]
) -> Host:
    """A chat backend with the server that asks, reached in one of the ways."""
    transport, *old = request.param.split("-")
    if transport == "stdio":
        env = {"COUNTER": str(tmp_path / "counter")}
        return Host({"command": sys.executable, "args": [str(SERVER), "stdio", "0", *old], "env": env}, rows)
    return Host({"url": https[request.param].url}, rows)


each_way = pytest.mark.parametrize("host", KINDS, indirect=True)
two_ways = pytest.mark.parametrize("host", ["http", "stdio-2025"], indirect=True)
older = pytest.mark.parametrize("host", ["stdio-2025", "http-2025"], indirect=True)


class Host:
    """A chat backend, in one process or after a restart."""

    def __init__(self, described: dict[str, Any], rows: list[tuple[str, Any]]) -> None:
        self._described = described
        self._saver = InMemorySaver()
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


def results(run: Run) -> list[str]:
    return [str(each.content) for each in run.get_run_messages() if isinstance(each, ToolMessage)]


def question(run: Run) -> dict[str, Any]:
    asked = run.get_interrupt()
    assert asked is not None
    return dict(asked.payload)  # type: ignore[arg-type, call-overload]


async def start(run: Run) -> None:
    await run.process_stream({"messages": [HumanMessage("go")]}, THREAD)


async def made(runtime: AgentRuntime) -> list[str]:
    """What was ordered of the server since it was started."""
    return str((await runtime.mcp.call_tool("shop", "orders", {}))[0]).split(",")


ORDER = script.reply(script.call("order", {"item": "tea"}, id="c1"))
ACCEPT = {"action": "accept", "content": {"size": "large"}}


@each_way
async def test_a_form_pauses_the_run_and_its_answer_goes_back(host: Host) -> None:
    order = script.reply(script.call("order", {"item": "a tea"}, id="c1"))
    async with host.run(order) as (run, runtime):
        await start(run)
        asked = question(run)
        assert (asked["type"], asked["server"], asked["mode"]) == ("mcp_elicitation", "shop", "form")
        assert asked["message"] == "Which a tea?"
        assert set(asked["requestedSchema"]["properties"]) == {"size", "number"}
        run = await host.again(runtime, "Done.")
        with pytest.raises(InvalidAnswerError, match=r"'size' is none of 'small', 'large'"):
            await run.resume({"action": "accept", "content": {"size": "huge"}}, THREAD)
        await run.resume(ACCEPT, THREAD)
        assert results(run) == ["1 large a tea"]
        assert (await made(runtime)).count("a tea") == 1


@pytest.mark.parametrize("answer", ["decline", {"action": "cancel"}])
@two_ways
async def test_a_person_may_say_no_or_leave(host: Host, answer: Any) -> None:
    async with host.run(ORDER) as (run, runtime):
        await start(run)
        run = await host.again(runtime, "Done.")
        await run.resume(answer, THREAD)
        action = answer if isinstance(answer, str) else answer["action"]
        assert results(run) == [f"not ordered: {action}"]


@each_way
async def test_an_answer_in_another_process_is_given_to_the_same_question_asked_again(host: Host) -> None:
    async with host.run(ORDER) as (run, _):
        await start(run)
        question(run)
    async with host.run("Done.") as (run, _):
        await run.resume(ACCEPT, THREAD)
        assert run.get_interrupt() is None
        assert results(run) == ["1 large tea"]


@two_ways
async def test_several_questions_of_one_call_are_asked_in_turn(host: Host) -> None:
    deliver = script.reply(script.call("deliver", {"item": "rice"}, id="c1"))
    async with host.run(deliver) as (run, runtime):
        await start(run)
        run = await host.again(runtime)
        await run.resume({"action": "accept", "content": {"size": "small", "number": 2}}, THREAD)
        assert question(run)["message"] == "Where to, with 2?"
        run = await host.again(runtime, "Done.")
        await run.resume({"action": "accept", "content": {"street": "Hauptstrasse"}}, THREAD)
        assert results(run) == ["2 small rice to Hauptstrasse"]
        assert (await made(runtime)).count("rice") == 1


@two_ways
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


@each_way
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
        assert (await made(runtime)).count("milk") == 1


# What only older servers do.


@older
async def test_an_answer_is_not_given_to_another_question(host: Host) -> None:
    async with host.run(script.reply(script.call("whim", {"item": "tea"}, id="c1"))) as (run, _):
        await start(run)
        assert question(run)["message"].startswith("Pay 1")
    async with host.run("Done.") as (run, _):
        await run.resume({"action": "accept", "content": {"yes": True}}, THREAD)
        (result,) = results(run)
        assert "asked something else" in result
        assert run.get_interrupt() is None


@older
async def test_a_call_that_waits_goes_on_where_it_asked(host: Host) -> None:
    async with host.run(script.reply(script.call("whim", {"item": "tea"}, id="c1"))) as (run, runtime):
        await start(run)
        run = await host.again(runtime, "Done.")
        await run.resume({"action": "accept", "content": {"yes": True}}, THREAD)
        assert results(run) == ["accept"]


@pytest.mark.parametrize(
    ("tool", "arguments", "page", "result"),
    [
        ("visit", {"url": "https://pay.example.com/a"}, "https://pay.example.com/a", "accept"),
        ("locked", {}, "https://pay.example.com/in", "open"),
    ],
)
@older
async def test_a_page_is_shown_and_never_opened(
    host: Host, tool: str, arguments: dict[str, Any], page: str, result: str
) -> None:
    async with host.run(script.reply(script.call(tool, arguments, id="c1"))) as (run, runtime):
        await start(run)
        asked = question(run)
        assert (asked["mode"], asked["url"]) == ("url", page)
        run = await host.again(runtime, "Done.")
        await run.resume("accept", THREAD)
        assert results(run) == [result]


@older
async def test_a_page_inside_of_the_network_is_not_shown(host: Host) -> None:
    visit = script.reply(script.call("visit", {"url": "https://169.254.169.254/latest"}, id="c1"))
    async with host.run(visit, "Done.") as (run, _):
        await start(run)
        assert run.get_interrupt() is None
        assert "private network" in results(run)[0]


@older
async def test_models_and_roots_are_not_offered_and_the_tool_hears_it(host: Host) -> None:
    async with host.run(script.reply(script.call("imagine", {}, id="c1")), "Done.") as (run, _):
        await start(run)
        assert results(run) == ["-32600: Sampling not supported; -32600: List roots not supported"]
