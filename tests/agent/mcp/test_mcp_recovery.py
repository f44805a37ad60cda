"""Servers that die, hang or never come, and what is left of them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from langchain_core.tools import ToolException

from stategraph.agent import reporting
from stategraph.agent.mcp import McpError, McpSessions, McpTimeout, McpUnavailable
from stategraph.agent.reporting import ToolReport
from tests.agent.mcp.conftest import HttpProcess, failing, program

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    """A hung test is a failed one."""
    async with asyncio.timeout(60):
        yield


def programs() -> list[int]:
    """The processes that were started for servers over stdio."""
    return [child.pid for child in psutil.Process().children() if child.pid not in HttpProcess.pids]


async def counted(sessions: McpSessions) -> dict[str, Any]:
    _, artifact = await sessions.call_tool("one", "counted", {})
    assert artifact is not None
    return dict(artifact["structuredContent"])


async def hanging(sessions: McpSessions) -> tuple[asyncio.Task[Any], int]:
    """Begin a call that has no end; returns it and the id of the server's process once the server works on it."""
    began: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def hear(report: ToolReport) -> None:
        assert isinstance(report, reporting.ToolProgress)
        began.set_result(int(report.message or 0))

    async def call() -> None:
        reporting.reporter.set(hear)
        await sessions.call_tool("one", "hang", {})

    calling = asyncio.create_task(call())
    return calling, await began


async def test_a_server_that_is_killed_in_the_middle_is_a_tool_error_and_is_started_again() -> None:
    hearing: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    go_on = asyncio.Event()
    heard: list[ToolReport] = []

    async def hear(report: ToolReport) -> None:
        assert isinstance(report, reporting.ToolProgress)
        hearing.set_result(int(report.message or 0))
        await go_on.wait()
        heard.append(report)

    async with McpSessions({"one": program()}) as sessions:
        other, _ = await hanging(sessions)
        reporting.reporter.set(hear)
        calling = asyncio.create_task(sessions.call_tool("one", "hang", {}))
        pid = await hearing
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(ToolException, match="'one' went away while it worked on tool 'hang'"):
            await other
        assert not calling.done()  # what the server said before it died is heard first
        go_on.set()
        with failing(McpUnavailable):
            await calling
        assert len(heard) == 1
        found = await asyncio.gather(*(counted(sessions) for _ in range(3)))
        assert len({one["pid"] for one in found} - {pid}) == 1


async def test_a_server_over_http_that_is_killed_in_the_middle_is_reached_again(http: HttpProcess) -> None:
    async with McpSessions({"one": {"url": http.url}}) as sessions:
        calling, pid = await hanging(sessions)
        http.kill()
        with failing(McpUnavailable, "'one' went away while it worked on tool 'hang'"):
            await calling
        http.start()
        assert (await counted(sessions))["pid"] != pid


async def test_a_server_over_http_that_was_started_anew_costs_no_call(http: HttpProcess) -> None:
    async with McpSessions({"one": {"url": http.url}}) as sessions:
        before = await counted(sessions)
        http.kill()
        http.start()
        assert (await counted(sessions))["pid"] != before["pid"]


async def test_a_server_over_http_that_is_down_is_a_tool_error_until_it_is_back(http: HttpProcess) -> None:
    async with McpSessions({"one": {"url": http.url}}) as sessions:
        await counted(sessions)
        http.kill()
        for _ in range(2):
            with failing(McpUnavailable):
                await sessions.call_tool("one", "add", {"a": 1, "b": 1})
        http.start()
        assert (await sessions.call_tool("one", "add", {"a": 1, "b": 1}))[0] == "2"


async def test_a_server_that_hangs_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stategraph.agent.mcp.connection.PING_S", 0.1)
    monkeypatch.setattr("stategraph.agent.mcp.stdio.LEAVE_S", 0.1)
    monkeypatch.setattr("stategraph.agent.mcp.stdio.KILL_S", 0.1)
    async with McpSessions({"one": program()}) as sessions:
        first = (await counted(sessions))["pid"]
        os.kill(first, signal.SIGSTOP)
        with failing(McpTimeout):
            await sessions.call_tool("one", "add", {"a": 1, "b": 1}, timeout_s=0.1)
        second = (await counted(sessions))["pid"]
        os.kill(second, signal.SIGSTOP)
        with failing(McpUnavailable, r"did not answer a ping within 0\.1 s"):
            await sessions.ping("one")
        third = (await counted(sessions))["pid"]
        assert len({first, second, third}) == 3
        assert programs() == [third]


async def test_one_process_serves_all_who_wait_for_it_even_if_the_first_gives_up() -> None:
    async with McpSessions({"one": program()}) as sessions:
        first = asyncio.create_task(counted(sessions))
        others = [asyncio.create_task(counted(sessions)) for _ in range(3)]
        await asyncio.sleep(0)  # all of them have asked
        first.cancel()
        assert len({found["pid"] for found in await asyncio.gather(*others)}) == 1
        assert len(programs()) == 1
        with pytest.raises(asyncio.CancelledError):
            await first


async def test_a_session_outlives_the_reporter_of_who_opened_it() -> None:
    async def listen(heard: list[ToolReport]) -> None:
        async def hear(report: ToolReport) -> None:
            heard.append(report)

        reporting.reporter.set(hear)
        await sessions.call_tool("one", "mutter", {"line": "hello"})

    async with McpSessions({"one": program()}) as sessions:
        first: list[ToolReport] = []
        second: list[ToolReport] = []
        await asyncio.create_task(listen(first))
        await asyncio.create_task(listen(second))
    assert first == second == [reporting.ToolLog("error", "hello")]


async def test_closing_ends_calls_and_leaves_no_process() -> None:
    async with McpSessions({"one": program(), "two": program("2025")}) as sessions:
        await sessions.tools()
        calling, pid = await hanging(sessions)
        assert len(programs()) == 2
    with failing(McpUnavailable, "'one' was closed while it worked on tool 'hang'"):
        await calling
    assert programs() == []
    assert not psutil.pid_exists(pid)
    with pytest.raises(RuntimeError, match="MCP sessions are closed"):
        await sessions.tools()


async def test_a_cancelled_owner_leaves_no_process() -> None:
    opened = asyncio.Event()

    async def own() -> None:
        async with McpSessions({"one": program()}) as sessions:
            await sessions.tools()
            opened.set()
            await asyncio.Event().wait()

    owner = asyncio.create_task(own())
    await opened.wait()
    owner.cancel()
    with pytest.raises(asyncio.CancelledError):
        await owner
    assert programs() == []


async def test_closing_in_the_middle_of_opening_leaves_no_process() -> None:
    async with McpSessions({"one": program()}) as sessions:
        listing = asyncio.create_task(sessions.tools())
        while not programs():  # noqa: ASYNC110 - the start of a program tells nobody
            await asyncio.sleep(0)
    with failing(McpUnavailable, "'one' was closed"):
        await listing
    assert programs() == []


async def test_a_cancelled_close_still_leaves_no_process() -> None:
    sessions = await McpSessions({"one": program()}).__aenter__()
    await sessions.tools()
    closing = asyncio.create_task(sessions.aclose())
    await asyncio.sleep(0)  # it has begun
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert programs() == []


async def test_a_program_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.defpath)  # one with a folder that may not be looked into is another error
    async with McpSessions({"one": {"command": "no-such-program"}}) as sessions:
        with failing(McpUnavailable, r"'one' \(no-such-program\): FileNotFoundError"):
            await sessions.tools()


async def test_a_program_that_ends_at_once_says_so_without_secrets(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    brief = {"command": sys.executable, "args": ["-c", ""], "env": {"KEY": "hidden"}}
    async with McpSessions({"one": brief}) as sessions:
        with failing(McpUnavailable, "it ended, or closed its output") as caught:
            await sessions.tools()
    assert "hidden" not in "".join(map(str, chain(caught.value)))
    assert "hidden" not in caplog.text


async def test_a_program_that_ends_at_once_is_started_three_times(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = f"import sys; open({str(starts)!r}, 'a').write('x')"
    async with McpSessions({"one": {"command": sys.executable, "args": ["-c", code]}}) as sessions:
        with failing(McpUnavailable):
            await sessions.tools()
    assert starts.read_text() == "xxx"


async def test_a_program_that_says_nothing_is_given_up_in_time() -> None:
    silent = {"command": sys.executable, "args": ["-c", "import sys; sys.stdin.read()"], "connectTimeoutS": 0.2}
    async with McpSessions({"one": silent}) as sessions:
        with failing(McpTimeout, r"did not answer within 0.2 s .* `connect_timeout_s` allows it more"):
            await sessions.tools()
        assert programs() == []


async def test_a_server_over_http_that_is_not_there_is_named_without_secrets() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"http://user:hidden@127.0.0.1:{port}/mcp?key=hidden"
    async with McpSessions({"one": {"url": url, "headers": {"authorization": "Bearer hidden"}}}) as sessions:
        with failing(McpError, rf"'one' \(http://127.0.0.1:{port}/mcp\): ConnectError") as caught:
            await sessions.tools()
    assert "hidden" not in "".join(map(str, chain(caught.value)))


def chain(error: BaseException | None) -> list[BaseException]:
    if error is None:
        return []
    inner = [found for one in getattr(error, "exceptions", ()) for found in chain(one)]
    return [error, *inner, *chain(error.__cause__), *chain(error.__context__)]


async def test_a_server_that_wants_a_key_says_so() -> None:
    process = HttpProcess("locked")
    servers = {"one": {"url": process.url}, "two": {"url": process.url, "headers": {"Authorization": "Bearer key"}}}
    try:
        async with McpSessions(servers) as sessions:
            with failing(McpUnavailable, r"\(HTTP status 401\)"):
                await sessions.tools("one")
            assert await sessions.tools("two")
    finally:
        process.kill()


async def test_secrets_are_in_no_log(http: HttpProcess, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with McpSessions({"one": {"url": http.url, "headers": {"secret": "hidden-value"}}}) as sessions:
        assert (await sessions.call_tool("one", "add", {"a": 1, "b": 1}))[0] == "2"
    assert caplog.messages
    assert "hidden-value" not in caplog.text


async def test_tools_of_several_servers_with_one_name_are_told_apart(http: HttpProcess) -> None:
    async with McpSessions({"one": {"url": http.url}, "two": {"url": http.url}}) as sessions:
        names = {tool.name for tool in await sessions.tools()}
        assert {"one_add", "two_add"} <= names
        assert "add" not in names
        assert "add" in {tool.name for tool in await sessions.tools("one")}
        assert "one_add" in {tool.name for tool in await sessions.tools("one", prefix=True)}
        with pytest.raises(ValueError, match="no MCP server 'three'; there are: one, two"):
            await sessions.tools("three")


@pytest.mark.parametrize("old", [[], ["2025"]], ids=["now", "2025"])
async def test_a_server_that_tells_of_changes_is_not_asked_for_its_tools_as_long_as_it_tells_of_none(
    old: list[str],
) -> None:
    async with McpSessions({"one": program(*old)}) as sessions:
        before, after = -1, 0
        while before != after:  # its promise may still be on its way
            before = (await counted(sessions))["listings"]
            first = await sessions.tools()
            after = (await counted(sessions))["listings"]
        assert [tool.name for tool in await sessions.tools()] == [tool.name for tool in first]
        await sessions.call_tool("one", "grow", {"name": "grown"})
        known: set[str] = set()
        while "grown" not in known:
            known = {tool.name for tool in await sessions.tools()}
        listed = (await counted(sessions))["listings"]
        assert listed > after
        await sessions.tools()
        assert (await counted(sessions))["listings"] == listed


async def test_sessions_are_used_inside_of_their_block() -> None:
    sessions = McpSessions({})
    with pytest.raises(RuntimeError, match="not open"):
        await sessions.ping("one")
    async with sessions:
        assert await sessions.tools() == []
        with pytest.raises(RuntimeError, match="open already"):
            await sessions.__aenter__()
    with pytest.raises(RuntimeError, match="closed"):
        await sessions.ping("one")
