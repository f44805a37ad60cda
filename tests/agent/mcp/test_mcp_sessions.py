"""Tools, resources and prompts of a real server: the same over stdio and HTTP, old protocol and new."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest
from anyio.from_thread import BlockingPortal
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import BaseTool, ToolException

from stategraph.agent import reporting
from stategraph.agent.mcp import (
    McpBadAnswer,
    McpRefused,
    McpSessions,
    McpTimeout,
    McpUnavailable,
    PromptArgument,
    Resource,
    ResourceContents,
)
from stategraph.agent.reporting import ToolLog, ToolProgress, ToolReport
from tests.agent.mcp.conftest import program

Run = Callable[[Callable[[], Awaitable[Any]]], Any]


@pytest.fixture
def run(portal: BlockingPortal) -> Run:
    """Run a coroutine function where the sessions live."""

    async def bounded(scenario: Callable[[], Awaitable[Any]]) -> Any:
        async with asyncio.timeout(30):
            return await scenario()

    return lambda scenario: portal.call(bounded, scenario)


def named(tools: list[BaseTool], name: str) -> BaseTool:
    (found,) = [tool for tool in tools if tool.name == name]
    return found


def call(tool: BaseTool, **arguments: Any) -> dict[str, Any]:
    return {"type": "tool_call", "id": "call_1", "name": tool.name, "args": arguments}


def test_an_old_server_is_told_which_lines_of_its_log_are_wanted(
    sessions: McpSessions, run: Run, request: pytest.FixtureRequest
) -> None:
    old = "2025" in request.node.callspec.id
    assert run(lambda: counted(sessions)).get("log_level") == ("info" if old else None)


def test_all_pages_of_tools_are_listed_with_schema_and_annotations(sessions: McpSessions, run: Run) -> None:
    tools = run(sessions.tools)
    assert len(tools) > 4
    add = named(tools, "add")
    assert add.description == "Add two numbers."
    assert set(add.args) == {"a", "b"}
    about = {"server": "one", "tool": "add", "title": "Adding", "annotations": {"readOnlyHint": True}}
    digest = add.metadata["mcp"].pop("digest") if add.metadata else ""
    endpoint = add.metadata["mcp"].pop("endpoint") if add.metadata else {}
    assert endpoint["protocol"] in ("2025-11-25", "2026-07-28") and endpoint["transport"] in ("pipe", "tcp")
    assert add.metadata == {"mcp": about}
    assert digest.startswith("sha256:")


def test_a_tool_call_becomes_a_tool_message_with_an_artifact(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> Any:
        add = named(await sessions.tools(), "add")
        return await add.ainvoke(call(add, a=2, b=3))

    message = run(scenario)
    assert (message.content, message.status, message.tool_call_id) == ("5", "success", "call_1")
    assert message.artifact == {"structuredContent": {"result": 5}}


def test_parameters_may_have_any_name(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> Any:
        echo = named(await sessions.tools(), "echo")
        return await echo.ainvoke({"config": "c", "run_manager": "r", "self": "s"})

    assert run(scenario) == "c\nr"


def test_content_of_every_kind_reaches_the_message(sessions: McpSessions, run: Run) -> None:
    content, artifact = run(lambda: sessions.call_tool("one", "show", {}))
    assert content == [
        {"type": "text", "text": "look:"},
        {"type": "image", "base64": "AAE=", "mime_type": "image/png"},
        {"type": "file", "base64": "AAE=", "mime_type": "audio/wav"},
        {"type": "text", "text": "a note"},
        {"type": "file", "base64": "AAE=", "mime_type": "application/pdf"},
        {"type": "text", "text": "[far (text/plain)](note://far): far away"},
    ]
    assert [block["type"] for block in artifact["content"]] == [
        "image",
        "audio",
        "resource",
        "resource",
        "resource_link",
    ]


def test_a_result_without_content_shows_its_structure(sessions: McpSessions, run: Run) -> None:
    content, artifact = run(lambda: sessions.call_tool("one", "structure", {}))
    assert content == '{"deg": 21, "where": "Köln"}'
    assert artifact == {"structuredContent": {"deg": 21, "where": "Köln"}}


def test_a_result_may_be_larger_than_a_megabyte(sessions: McpSessions, run: Run) -> None:
    size = 2 * 1024 * 1024
    content, _ = run(lambda: sessions.call_tool("one", "large", {"size": size}))
    assert len(content) == size


def test_a_failed_tool_raises_in_the_words_of_the_server(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> Any:
        fail = named(await sessions.tools(), "fail")
        return await fail.ainvoke(call(fail, city="Atlantis"))

    with pytest.raises(ToolException, match="no such city: Atlantis"):
        run(scenario)


def test_a_tool_that_breaks_its_own_schema_is_a_tool_error(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> Any:
        await sessions.tools()  # brings the schemas: the client itself would look at the first page alone
        return await sessions.call_tool("one", "wrong", {})

    with pytest.raises(McpBadAnswer, match="'one' answered for tool 'wrong' cannot be used: Invalid structured"):
        run(scenario)


def test_progress_and_logs_are_reported_in_order_before_the_call_returns(
    sessions: McpSessions, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[ToolReport | str] = []

    async def hear(report: ToolReport) -> None:
        await asyncio.sleep(0)  # a listener that takes a moment must not be overtaken
        heard.append(report)

    async def scenario() -> None:
        reporting.reporter.set(hear)
        heard.append((await sessions.call_tool("one", "count", {"to": 2}))[0])

    run(scenario)
    assert heard == [
        ToolProgress(1, 2, "step 1"),
        ToolLog("warning", {"step": 1}, "counter"),
        ToolProgress(2, 2, "step 2"),
        ToolLog("warning", {"step": 2}, "counter"),
        "done",
    ]
    # What the caller has heard is not said to Python's log as well.
    assert [record for record in caplog.records if record.name == "stategraph.agent.mcp"] == []


def test_each_caller_hears_of_its_own_calls_progress(sessions: McpSessions, run: Run) -> None:
    async def one(to: int) -> list[ToolReport]:
        heard: list[ToolReport] = []

        async def hear(report: ToolReport) -> None:
            heard.append(report)

        reporting.reporter.set(hear)
        await sessions.call_tool("one", "count", {"to": to})
        return heard

    async def scenario() -> list[list[ToolReport]]:
        return await asyncio.gather(one(1), one(3))

    totals = [{report.total for report in heard if isinstance(report, ToolProgress)} for heard in run(scenario)]
    assert totals == [{1.0}, {3.0}]


def test_a_reporter_that_fails_fails_the_call_and_stops_the_server(sessions: McpSessions, run: Run) -> None:
    async def hear(report: ToolReport) -> None:
        raise LookupError("the listener is broken")

    async def scenario() -> None:
        reporting.reporter.set(hear)
        await sessions.call_tool("one", "hang", {})

    given_up = run(lambda: counted(sessions))["given_up"]
    with pytest.raises(LookupError, match="the listener is broken"):
        run(scenario)
    run(lambda: stops(sessions, given_up + 1))


async def counted(sessions: McpSessions) -> dict[str, Any]:
    _, artifact = await sessions.call_tool("one", "counted", {})
    assert artifact is not None
    return dict(artifact["structuredContent"])


async def stops(sessions: McpSessions, given_up: int) -> None:
    """Wait until the server has given up so many calls; the protocol has no answer to a cancellation."""
    while (await counted(sessions))["given_up"] < given_up:
        pass


def test_cancelling_a_call_stops_the_server_and_keeps_the_session(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> None:
        before = await counted(sessions)
        began = asyncio.Event()

        async def hear(report: ToolReport) -> None:
            began.set()

        reporting.reporter.set(hear)
        calling = asyncio.create_task(sessions.call_tool("one", "hang", {}))
        await began.wait()
        calling.cancel()
        with pytest.raises(asyncio.CancelledError):
            await calling
        reporting.reporter.set(None)
        await stops(sessions, before["given_up"] + 1)
        assert (await counted(sessions))["pid"] == before["pid"]

    run(scenario)


def test_a_call_that_takes_too_long_is_a_tool_error_and_the_session_stays(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> Any:
        hang = named(await sessions.tools(), "hang")
        hang.timeout_s = 0.05  # type: ignore[attr-defined]
        with pytest.raises(McpTimeout, match="'one' did not answer in time for tool 'hang'"):
            await hang.ainvoke({})
        return (await sessions.call_tool("one", "add", {"a": 1, "b": 1}))[0]

    assert run(scenario) == "2"


def test_an_unknown_tool_is_refused(sessions: McpSessions, run: Run) -> None:
    with pytest.raises(ToolException, match="Unknown tool: nothing"):
        run(lambda: sessions.call_tool("one", "nothing", {}))


def test_a_well_server_answers_a_ping(sessions: McpSessions, run: Run) -> None:
    assert run(lambda: sessions.ping("one")) is None


@pytest.mark.parametrize("error", [anyio.ClosedResourceError(), ValueError("no such answer")])
def test_a_session_whose_ping_fails_in_any_way_is_replaced(
    sessions: McpSessions, run: Run, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    async def scenario() -> str:
        await sessions.ping("one")
        with monkeypatch.context() as patched:
            for name in ("send_ping", "send_discover"):
                patched.setattr(f"mcp.client.session.ClientSession.{name}", fail)
            with pytest.raises(McpUnavailable, match=f"'one' is not well: {type(error).__name__}"):
                await sessions.ping("one")
        return (await sessions.call_tool("one", "add", {"a": 1, "b": 1}))[0]

    assert run(scenario) == "2"


def test_a_server_that_was_silent_for_long_is_asked_whether_it_is_there(
    sessions: McpSessions, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run(lambda: counted(sessions))["pings"]
    again = run(lambda: counted(sessions))["pings"]
    monkeypatch.setattr("stategraph.agent.mcp.slots.IDLE_S", -1.0)
    assert (again - before, run(lambda: counted(sessions))["pings"] - again) == (0, 1)


def test_tools_are_listed_anew_when_the_server_tells_of_a_change_or_time_has_passed(
    sessions: McpSessions, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listings() -> int:
        return int((await counted(sessions))["listings"])

    async def scenario() -> None:
        before = -1
        while before != await listings():  # the server's promise to tell may still be on its way
            before = await listings()
            await sessions.tools()
        await sessions.call_tool("one", "grow", {"name": "grown"})
        known: set[str] = set()
        while "grown" not in known:
            known = {tool.name for tool in await sessions.tools()}
        after = await listings()
        assert after > before
        monkeypatch.setattr("stategraph.agent.mcp.connection.TOOLS_KEPT_S", 0.0)
        await sessions.tools()
        assert await listings() > after

    run(scenario)


def test_all_pages_of_resources_are_listed_and_can_be_read(sessions: McpSessions, run: Run) -> None:
    found = run(lambda: sessions.resources("one"))
    assert [resource.uri for resource in found] == ["note://today", "note://raw", "note://list"]
    assert found[0] == Resource("note://today", "today", "Today", "What is to do.", "text/plain")
    assert run(lambda: sessions.read_resource("one", "note://today")) == [
        ResourceContents("note://today", text="water the plants", mime_type="text/plain")
    ]
    assert run(lambda: sessions.read_resource("one", "note://raw")) == [
        ResourceContents("note://raw", data=b"\x00\xff", mime_type="application/octet-stream")
    ]


def test_templates_of_resources_are_listed_and_can_be_filled_in(sessions: McpSessions, run: Run) -> None:
    (template,) = run(lambda: sessions.resource_templates("one"))
    assert (template.uri_template, template.name) == ("note://day/{day}", "of_day")
    (read,) = run(lambda: sessions.read_resource("one", "note://day/monday"))
    assert read.text == "note of monday"


def test_a_resource_whose_data_cannot_be_read_is_an_answer_that_breaks_the_protocol(
    sessions: McpSessions, run: Run
) -> None:
    with pytest.raises(McpBadAnswer, match="MCP server 'one' answered for resource 'note://day/broken'"):
        run(lambda: sessions.read_resource("one", "note://day/broken"))


def test_a_resource_that_is_not_there_is_refused(sessions: McpSessions, run: Run) -> None:
    with pytest.raises(McpRefused, match="'one' refused resource 'note://none'"):
        run(lambda: sessions.read_resource("one", "note://none"))


def test_all_pages_of_prompts_are_listed_and_can_be_filled_in(sessions: McpSessions, run: Run) -> None:
    found = run(lambda: sessions.prompts("one"))
    assert [prompt.name for prompt in found] == ["greet", "short", "long"]
    assert found[0].arguments == (PromptArgument("name", None, True), PromptArgument("tone", None, False))
    filled = run(lambda: sessions.get_prompt("one", "greet", {"name": "Ada"}))
    assert filled.description == "Greet somebody."
    assert filled.messages == (
        HumanMessage(content="Greet Ada, be kind."),
        AIMessage(content="Dear Ada,"),
    )


def test_a_prompt_that_is_not_there_is_refused(sessions: McpSessions, run: Run) -> None:
    with pytest.raises(McpRefused, match="'one' refused prompt 'none'"):
        run(lambda: sessions.get_prompt("one", "none"))


def test_a_line_of_a_log_that_no_caller_listens_to_goes_to_pythons_log(
    sessions: McpSessions, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run(lambda: sessions.call_tool("one", "mutter", {"line": "out of paper"}))
    (record,) = [record for record in caplog.records if record.name == "stategraph.agent.mcp"]
    assert (record.levelname, record.getMessage()) == ("ERROR", "MCP server 'one': out of paper")


def test_secrets_reach_the_server(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> tuple[Any, Any]:
        header, _ = await sessions.call_tool("one", "header", {"name": "secret"})
        variable, _ = await sessions.call_tool("one", "variable", {"name": "SECRET"})
        return header, variable

    assert "s3cret-value" in run(scenario)


def test_a_tool_can_be_invoked_from_a_thread_without_a_loop(sessions: McpSessions, run: Run) -> None:
    add = named(run(sessions.tools), "add")
    assert add.invoke({"a": 20, "b": 22}) == "42"


def test_a_tool_invoked_synchronously_inside_of_a_loop_says_what_to_do(sessions: McpSessions, run: Run) -> None:
    async def scenario() -> None:
        named(await sessions.tools(), "add").invoke({"a": 1, "b": 1})

    with pytest.raises(RuntimeError, match="await its `ainvoke`"):
        run(scenario)


def test_sessions_of_another_loop_say_so(sessions: McpSessions) -> None:
    with pytest.raises(RuntimeError, match="opened in another event loop"):
        asyncio.run(sessions.tools())


def test_a_tool_whose_loop_has_ended_says_what_to_do() -> None:
    async def list_one() -> BaseTool:
        async with McpSessions({"one": program()}) as sessions:
            return (await sessions.tools())[0]

    tool = asyncio.run(list_one())
    with pytest.raises(RuntimeError, match="start_blocking_portal"):
        tool.invoke({})
