"""Servers over stdio that break the protocol, or go on for ever."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any, cast

import mcp_types as wire
import psutil
import pytest
from langchain_core.tools import ToolException
from mcp.shared.message import SessionMessage

from stategraph.agent import reporting
from stategraph.agent.mcp import McpBadAnswer, McpError, McpRefused, McpSessions, McpTimeout, exchange, listing, stdio
from tests.agent.test_secrets import chain

pytestmark = pytest.mark.anyio

SERVER = Path(__file__).with_name("rude.py")
KEY = "a-key-of-the-server" * 5


def rude(mood: str, *more: str, **settings: Any) -> dict[str, Any]:
    return {"command": sys.executable, "args": [str(SERVER), mood, *more], **settings}


# Listings.


@pytest.mark.parametrize(
    ("mood", "limit", "said"),
    [
        ("endless", {"MOST_PAGES": 20}, "more than 20 pages, 20 entries so far"),
        ("endless", {"MOST_ENTRIES": 20}, "has 21 entries"),
        ("heavy", {"MOST_BYTES": 100_000}, "at most 10000 and 100000 are taken"),
    ],
)
async def test_a_listing_without_an_end_is_given_up(
    mood: str, limit: dict[str, int], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in limit.items():
        monkeypatch.setattr(listing, name, value)
    async with McpSessions({"one": rude(mood)}) as sessions:
        with pytest.raises(McpBadAnswer, match=said):
            await sessions.tools()


async def test_a_listing_has_the_time_of_one_request() -> None:
    async with McpSessions({"one": rude("slow", call_timeout_s=0.3)}) as sessions:
        with pytest.raises(McpTimeout, match=r"did not give the whole list of tools within 0\.3 s"):
            await sessions.tools()


async def test_a_server_that_cannot_be_listed_costs_its_own_tools_only(caplog: pytest.LogCaptureFixture) -> None:
    servers = {"good": rude("fine"), "bad": rude("no list"), "gone": {"command": "no-such-program"}}
    async with McpSessions(servers) as sessions:
        assert [tool.name for tool in await sessions.tools()] == ["fine"]
        said = " ".join(record.getMessage() for record in caplog.records)
        assert "The tools of MCP server 'bad' are missing: What MCP server 'bad' answered" in said
        assert "The tools of MCP server 'gone' are missing: There is no session" in said
        listed = await sessions.listing()
        assert {name: type(error).__name__ for name, error in listed.failed.items()} == {
            "bad": "McpBadAnswer",
            "gone": "McpUnavailable",
        }
        with pytest.raises(McpBadAnswer) as caught:
            await sessions.tools("bad", "gone")
        assert "no-such-program" in "".join(caught.value.__notes__)


@pytest.mark.parametrize(
    ("mood", "kept", "dropped"),
    [
        ("twice", ["fine"], ["tool 'fine': listed twice"]),
        ("nameless", ["fine"], ["a tool without a name"] * 6),
        (
            "schemas",
            ["fine", "kept"],
            [f"tool '{name}'" for name in ("array", "none", "text", "lost", "far", "odd", "names", "deep")],
        ),
    ],
)
async def test_a_tool_that_no_agent_can_have_is_left_out_with_a_word(
    mood: str, kept: list[str], dropped: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    async with McpSessions({"one": rude(mood)}) as sessions:
        listed = await sessions.listing()
        assert [tool.name for tool in listed.tools] == kept
        assert listed.tools[0].description == "d"  # the first one of that name
        words = listed.dropped["one"]
        assert len(words) == len(dropped)
        assert all(any(word.startswith(start) for word in words) for start in dropped)
        await sessions.tools()
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert warning.startswith("MCP server 'one' lists what no agent can have")


# Answers.


@pytest.mark.parametrize("mood", ["half", "null", "null result", "another id", "no text", "half a character", "levels"])
async def test_an_answer_that_is_none_fails_at_once(mood: str) -> None:
    # Without a limit: only the answer itself can end the call.
    async with McpSessions({"one": rude(mood, call_timeout_s=None)}) as sessions:
        (fine,) = await sessions.tools()
        for _ in range(2):  # the session goes on
            async with asyncio.timeout(30):
                with pytest.raises(McpBadAnswer, match="What MCP server 'one' answered for tool 'fine' cannot be used"):
                    await fine.ainvoke({})


async def test_an_answer_that_names_no_request_is_not_for_the_one_that_waits_for_changes() -> None:
    session = exchange.Exchange(cast("Any", None), cast("Any", None), lambda: None, lambda: None)
    for number, method in (("listen-1", "subscriptions/listen"), (5, "tools/call")):
        session.tell(SessionMessage(wire.JSONRPCRequest(jsonrpc="2.0", id=number, method=method)))
    failed = session.hear(exchange.Unreadable("no message", "null"))
    assert failed is not None and isinstance(failed.message, wire.JSONRPCError)
    assert failed.message.id == 5


def test_the_end_of_what_a_server_says_is_told_to_its_connection_and_ends_what_waits() -> None:
    ended: list[bool] = []
    session = exchange.Exchange(cast("Any", None), cast("Any", None), lambda: ended.append(True), lambda: None)
    session.tell(SessionMessage(wire.JSONRPCRequest(jsonrpc="2.0", id=5, method="tools/call")))
    session.end()
    assert ended == [True]
    assert session.hear(exchange.Unreadable("no message", "null")) is None  # there is no request left to fail


async def test_a_server_that_answers_answers_disturbs_nobody() -> None:
    async with McpSessions({"one": rude("asks")}) as sessions:
        (fine,) = await sessions.tools()
        assert [await fine.ainvoke({}) for _ in range(2)] == ["done", "done"]


@pytest.mark.parametrize(
    ("mood", "kind", "most"), [("long error", McpRefused, 2_200), ("long failure", ToolException, 20_100)]
)
async def test_the_texts_of_errors_are_bounded(mood: str, kind: type[Exception], most: int) -> None:
    async with McpSessions({"one": rude(mood)}) as sessions:
        (fine,) = await sessions.tools()
        with pytest.raises(kind, match="1000000 characters") as caught:
            await fine.ainvoke({})
        assert all(len(str(each)) < most for each in chain(caught.value))


async def test_a_tool_that_fails_without_a_word_is_an_error_that_says_so() -> None:
    async with McpSessions({"one": rude("silent failure")}) as sessions:
        (fine,) = await sessions.tools()
        with pytest.raises(ToolException, match="does not say why"):
            await fine.ainvoke({})


async def test_what_is_no_message_is_ignored_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with McpSessions({"one": rude("chatters")}) as sessions:
        (fine,) = await sessions.tools()
        assert await fine.ainvoke({}) == "done"
    assert len([record for record in caplog.records if "no message" in record.getMessage()]) == 1


async def test_a_line_without_an_end_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "LARGEST_LINE", 1_000_000)
    async with McpSessions({"one": rude("one line")}) as sessions:
        with pytest.raises(McpError, match="'one'"):
            await sessions.tools()
    assert not psutil.Process().children()


async def test_a_server_that_is_named_twice_and_cannot_be_listed_is_an_error() -> None:
    async with McpSessions({"bad": rude("no list")}) as sessions:
        with pytest.raises(McpError, match="'bad'"):
            await sessions.tools("bad", "bad")


# What is left.


async def test_what_a_program_has_started_ends_with_it(tmp_path: Path) -> None:
    state = tmp_path / "pid"
    async with McpSessions({"one": rude("leaves a stubborn child", str(state))}) as sessions:
        await sessions.tools()
        child = int(state.read_text())
        assert psutil.pid_exists(child)
    with pytest.raises(psutil.NoSuchProcess):
        psutil.Process(child).wait(timeout=10)
        psutil.Process(child)


async def test_what_has_left_a_programs_group_keeps_no_pipe_to_us_open(tmp_path: Path) -> None:
    state = tmp_path / "pid"
    before = psutil.Process().num_fds()
    async with McpSessions({"one": rude("leaves a daemon", str(state))}) as sessions:
        await sessions.tools()
        assert psutil.Process().num_fds() > before
    daemon = psutil.Process(int(state.read_text()))
    try:
        assert daemon.is_running()
        assert psutil.Process().num_fds() == before
    finally:
        daemon.kill()


async def test_what_a_program_says_of_errors_goes_where_ours_go_and_does_not_hold_it_up(
    capfd: pytest.CaptureFixture[str],
) -> None:
    async with McpSessions({"one": rude("complains")}) as sessions:
        (fine,) = await sessions.tools()
        assert await fine.ainvoke({}) == "done"
    assert capfd.readouterr().err.count("complaint") == 50_000


async def test_a_program_that_heeds_no_signal_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stdio, "LEAVE_S", 0.1)
    monkeypatch.setattr(stdio, "KILL_S", 0.1)
    async with McpSessions({"one": rude("stubborn")}) as sessions:
        await sessions.tools()
    assert not psutil.Process().children()


# Secrets.


LEAKS = (
    *("leaks", "leaks as a tool", "leaks as no message", "leaks as a wrong result"),
    *("leaks at the cut", "leaks as a tool at the cut"),
)
TELLS = ("leaks in its log", "leaks in its progress")


@pytest.mark.parametrize("mood", LEAKS + TELLS)
async def test_a_server_that_repeats_its_secrets_is_not_repeated(mood: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    heard: list[reporting.ToolReport] = []

    async def hear(report: reporting.ToolReport) -> None:
        heard.append(report)

    failed: list[BaseException] = []
    async with McpSessions({"one": rude(mood, env={"KEY": KEY})}) as sessions:
        (fine,) = await sessions.tools()
        reporting.reporter.set(hear if mood in TELLS else None)
        try:
            await fine.ainvoke({})
        except ToolException as error:
            failed = chain(error)
        reporting.reporter.set(None)
    texts = [f"{each} {each!r} {vars(each)}" for each in failed] + [repr(heard), repr(sessions)]
    texts += [record.getMessage() for record in caplog.records if record.name.startswith("stategraph")]
    assert not any(KEY[:8] in text for text in texts)
    assert failed or heard


async def test_sessions_can_be_opened_again_and_the_tools_go_with_them() -> None:
    sessions = McpSessions({"one": rude("fine")})
    async with sessions:
        (fine,) = await sessions.tools()
    async with sessions:
        assert await fine.ainvoke({}) == "done"
