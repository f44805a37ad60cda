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
modern = pytest.mark.parametrize("host", ["http"], indirect=True)
older = pytest.mark.parametrize("host", ["stdio-2025", "http-2025"], indirect=True)


class Host:
    """A chat backend, in one process or after a restart."""

    def __init__(self, described: dict[str, Any], rows: list[tuple[str, Any]]) -> None:
        self._described = described
        self.saver = InMemorySaver()
        kept = ("on_tool_progress", "on_run_step_completed")
        self._handlers = dict.fromkeys(kept, lambda event, data, metadata, graph: rows.append((event, data)))

    @asynccontextmanager
    async def run(self, *replies: Any) -> AsyncIterator[tuple[Run, AgentRuntime]]:
        async with AgentRuntime(
            checkpointer=self.saver, mcp_servers={"shop": self._described}, custom_handlers=self._handlers
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


# What servers since 2026-07-28 do: they want their state back.

STREET = {"action": "accept", "content": {"street": "Hauptstrasse"}}
DOOR = {"action": "accept", "content": {"door": "7"}}


def accept(**content: str) -> dict[str, Any]:
    return {"action": "accept", "content": content}


async def answer(host: Host, given: Any, *replies: Any) -> Run:
    """Resume the run in a process of its own."""
    async with host.run(*replies) as (run, _):
        await run.resume(given, THREAD)
    return run


def book(item: str, **more: Any) -> Any:
    return script.reply(script.call("book", {"item": item, **more}, id="c1"))


@modern
async def test_a_call_goes_on_in_other_processes_from_the_state_of_its_server(host: Host) -> None:
    async with host.run(book("bread")) as (run, _):
        await start(run)
        assert question(run)["message"] == "Which bread?"
    run = await answer(host, accept(size="large"))
    assert question(run)["message"] == "Which street?"
    run = await answer(host, STREET)
    assert question(run)["message"] == "Which door?"
    run = await answer(host, DOOR, "Done.")
    assert results(run) == ["large bread to Hauptstrasse 7, begun 1"]


@modern
async def test_a_call_goes_on_in_the_same_process_after_it_did_in_another(host: Host) -> None:
    async with host.run(book("butter")) as (run, _):
        await start(run)
    async with host.run() as (run, runtime):
        await run.resume(accept(size="small"), THREAD)
        run = await host.again(runtime)
        await run.resume(STREET, THREAD)
        assert question(run)["message"] == "Which door?"
        run = await host.again(runtime, "Done.")
        await run.resume(DOOR, THREAD)
        assert results(run) == ["small butter to Hauptstrasse 7, begun 1"]


@modern
async def test_the_state_of_a_server_is_shown_to_nobody(host: Host, rows: list[tuple[str, Any]]) -> None:
    async with host.run(book("salt")) as (run, _):
        await start(run)
        asked = question(run)
        assert set(asked) == {"type", "server", "mode", "message", "requestedSchema"}
    assert "Which salt?" in repr(host.saver.storage) + repr(host.saver.writes)
    assert "request_state" not in repr(rows)


@modern
async def test_a_call_whose_state_is_not_taken_back_is_made_again_and_gets_the_answers(
    host: Host, https: dict[str, HttpProcess]
) -> None:
    async with host.run(book("milk")) as (run, _):
        await start(run)
    run = await answer(host, accept(size="large"))
    https["http"].kill()
    https["http"].start()  # which makes it forget the key that it seals its states with
    run = await answer(host, STREET)
    assert question(run)["message"] == "Which door?"
    run = await answer(host, DOOR, "Done.")
    assert results(run) == ["large milk to Hauptstrasse 7, begun 1"]  # by the server that was started anew


@modern
async def test_a_state_that_is_too_large_is_not_stored_and_the_call_is_made_again(host: Host) -> None:
    async with host.run(book("jam", stubborn=True)) as (run, _):
        await start(run)
    await answer(host, accept(size="large"))
    await answer(host, STREET)
    run = await answer(host, DOOR, "Done.")
    assert results(run) == ["large jam to Hauptstrasse 7, begun 1"]


@modern
async def test_each_of_several_calls_side_by_side_goes_on_from_its_own_state(host: Host) -> None:
    both = script.reply(script.call("book", {"item": "figs"}, id="c1"), script.call("book", {"item": "dates"}, id="c2"))
    async with host.run(both) as (run, _):
        await start(run)
        asked = {each.payload["message"]: each.interrupt_id for each in run.get_interrupts()}  # type: ignore[index, call-overload]
    run = await answer(host, {asked["Which figs?"]: accept(size="small"), asked["Which dates?"]: accept(size="large")})
    for given in (STREET, DOOR):
        run = await answer(host, {each.interrupt_id: given for each in run.get_interrupts()}, "Done.")
    assert results(run) == [
        "small figs to Hauptstrasse 7, begun 1",
        "large dates to Hauptstrasse 7, begun 1",
    ]


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
