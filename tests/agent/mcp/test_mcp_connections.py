"""One session with a server that only exists in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
import logging
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import mcp_types as wire
import pytest
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp.shared.subscriptions import SUBSCRIPTION_ID_META_KEY

from stategraph._version import __version__
from stategraph.agent import reporting
from stategraph.agent.mcp import (
    Elicitation,
    McpBadAnswer,
    McpError,
    McpRefused,
    McpSessions,
    McpTimeout,
    McpUnavailable,
    stdio,
)
from stategraph.agent.mcp import call_meta as meta
from stategraph.agent.mcp.connection import Connection
from stategraph.agent.mcp.errors import McpNotDone
from stategraph.agent.mcp.exchange import Trouble, current
from stategraph.agent.mcp.servers import StdioServer
from stategraph.testing import FakeClock

KEY = "a-key-of-the-server"
OLD, NEW = "2025-06-18", "2026-07-28"
NOT_FOUND = wire.ErrorData(code=wire.METHOD_NOT_FOUND, message="no such method")
NEEDED = {"resultType": "complete", "ttlMs": 60_000, "cacheScope": "public"}
DONE = [wire.TextContent(text="done")]
ALL: dict[str, Any] = {"tools": {}, "resources": {}, "prompts": {}}


class Server:
    """A server in memory.

    Args:
        version: Of the protocol.
        capabilities: What it says that it can do.

    `answers` has for a method what it answers: a result, an error, a function of the request, or None for silence.
    """

    def __init__(self, version: str = OLD, **capabilities: Any) -> None:
        about = {"capabilities": capabilities, "serverInfo": {"name": "s", "version": "1"}}
        self.version = version
        self.answers: dict[str, Any] = {
            "tools/list": {"tools": [tool("add")]},
            "tools/call": {"content": [{"type": "text", "text": "done"}]},
            "ping": {},
        }
        if version == OLD:
            self.answers["initialize"] = about | {"protocolVersion": version}
        else:
            self.answers["server/discover"] = about | {"supportedVersions": [version]}
            self.answers["subscriptions/listen"] = self.acknowledge
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.told: list[str] = []
        self.hears: Callable[[Any], None] = lambda answer: None
        self.listening: Any = None
        self.starts_s = self.leaves_s = 0.0
        self.left = False
        self.fails: Exception | None = None

    @asynccontextmanager
    async def running(self, server: StdioServer) -> AsyncIterator[Any]:
        self.says, read = anyio.create_memory_object_stream[SessionMessage | Exception](99)
        write, told = anyio.create_memory_object_stream[SessionMessage](99)
        await anyio.sleep(self.starts_s)
        if self.fails is not None:
            raise self.fails
        async with anyio.create_task_group() as tasks, self.says, read, write, told:
            tasks.start_soon(self._serve, told)
            try:
                yield read, write
                await anyio.sleep(self.leaves_s)
            finally:
                self.left = True
                tasks.cancel_scope.cancel()

    async def _serve(self, told: Any) -> None:
        async for message in told:
            inner = message.message
            if not isinstance(inner, wire.JSONRPCRequest):
                self.told.append(getattr(inner, "method", ""))
                if isinstance(inner, wire.JSONRPCResponse):
                    self.hears(inner)
                continue
            self.asked.append((inner.method, inner.params or {}))
            answer = self.answers.get(inner.method, NOT_FOUND)
            if callable(answer):
                answer = answer(inner)
            if isinstance(answer, wire.ErrorData):
                self.say(wire.JSONRPCError(jsonrpc="2.0", id=inner.id, error=answer))
            elif answer is not None:
                more = NEEDED if self.version == NEW else {}
                self.say(wire.JSONRPCResponse(jsonrpc="2.0", id=inner.id, result={**answer, **more}))

    def say(self, message: Any) -> None:
        self.says.send_nowait(SessionMessage(message))

    def tell(self, method: str, **params: Any) -> None:
        self.say(wire.JSONRPCNotification(jsonrpc="2.0", method=method, params=params))

    def acknowledge(self, request: wire.JSONRPCRequest) -> None:
        self.listening = request.id
        self.tell_listener("notifications/subscriptions/acknowledged", notifications={"toolsListChanged": True})

    def tell_listener(self, method: str, **params: Any) -> None:
        self.tell(method, **params, _meta={SUBSCRIPTION_ID_META_KEY: self.listening})

    def methods(self) -> list[str]:
        return [method for method, _ in self.asked]


def tool(name: str) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object"}}


Scenario = Callable[[Connection, Server], Coroutine[Any, Any, Any]]
Run = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a scenario with a session that has been opened, or without one; then the session is closed."""

    def run(server: Server, scenario: Any, *, opened: bool = True, **described: Any) -> Any:
        async def main() -> Any:
            monkeypatch.setattr(stdio, "running", server.running)
            given = StdioServer.model_validate({"command": "serve", "env": {"KEY": KEY}, **described})
            async with asyncio.timeout(10_000):
                if not opened:
                    return await scenario(given)
                session = await Connection.open("one", given)
                try:
                    return await scenario(session, server)
                finally:
                    begun = now()
                    await session.close()
                    assert server.leaves_s or now() == begun  # nothing holds it up

        return FakeClock(grace_s=0).run(main())

    return run


async def called(
    session: Connection, name: str, arguments: dict[str, Any], timeout_s: float | None
) -> wire.CallToolResult:
    """Calls a tool and attends to the call, as a pool does."""
    hear = reporting.reporter.get()
    return await session.begin_call(name, arguments, timeout_s, hear is not None).attend(None, hear)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 1)


async def settled() -> None:
    """Let everything happen that is on its way."""
    await asyncio.sleep(0.001)


both = pytest.mark.parametrize("version", [OLD, NEW])


# Opening and closing.


@both
def test_a_session_says_who_it_is_and_is_alive_until_it_is_closed(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> Connection:
        assert (session.alive, session.forgotten, session.ended, session.doubtful(0)) == (True, False, False, False)
        return session

    server = Server(version)
    session = run(server, scenario)
    assert (session.alive, session.ended, server.left) == (False, True, True)
    client = server.asked[0][1]["_meta"]["io.modelcontextprotocol/clientInfo"]
    if version == OLD:
        assert server.methods() == ["server/discover", "initialize"]
        client = server.asked[1][1]["clientInfo"]
    assert (client["name"], client["version"]) == ("stategraph", __version__)


def test_a_server_that_does_not_answer_is_given_up_in_time(run: Run) -> None:
    async def scenario(given: StdioServer) -> None:
        with pytest.raises(McpTimeout, match=r"'one' \(serve\) did not answer within 7 s of being started") as caught:
            await Connection.open("one", given)
        assert (caught.value.server, now(), server.left) == ("one", 7.0, True)

    server = Server()
    server.answers = {"server/discover": None}
    run(server, scenario, opened=False, connect_timeout_s=7)


def test_a_server_that_starts_slowly_is_left_once_it_has_started(run: Run) -> None:
    async def scenario(given: StdioServer) -> None:
        with pytest.raises(McpTimeout):
            await Connection.open("one", given)
        assert (now(), server.left, server.asked) == (9.0, True, [])

    server = Server()
    server.starts_s = 9
    run(server, scenario, opened=False, connect_timeout_s=7)


def test_who_stops_waiting_for_a_session_leaves_none_behind(run: Run) -> None:
    async def scenario(given: StdioServer) -> None:
        opening = asyncio.create_task(Connection.open("one", given))
        await asyncio.sleep(1)
        opening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await opening
        assert (now(), server.left) == (1.0, True)

    server = Server()
    server.answers = {"server/discover": None}
    run(server, scenario, opened=False)


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        (FileNotFoundError(f"no {KEY}"), r"FileNotFoundError: no \[redacted\]"),
        (None, r"RedactedError: MCPError: not today, \[redacted\]"),
    ],
)
def test_a_server_that_cannot_be_started_or_agreed_with_is_named_with_the_reason(
    run: Run, fails: Exception | None, said: str
) -> None:
    async def scenario(given: StdioServer) -> None:
        words = rf"There is no session with MCP server 'one' \(serve\): {said}$"
        with pytest.raises(McpUnavailable, match=words) as caught:
            await Connection.open("one", given)
        assert caught.value.server == "one"
        assert caught.value.__cause__ is not None
        assert KEY not in str(caught.value.__cause__)

    server = Server()
    server.fails = fails
    server.answers["initialize"] = wire.ErrorData(code=-1, message=f"not today, {KEY}")
    run(server, scenario, opened=False)


def test_a_server_that_ends_at_once_may_have_said_why(run: Run) -> None:
    async def scenario(given: StdioServer) -> None:
        with pytest.raises(McpUnavailable, match="it ended, or closed its output; what it wrote to its standard error"):
            await Connection.open("one", given)

    server = Server()
    server.answers = {"server/discover": lambda _: server.says.close()}
    run(server, scenario, opened=False)


def test_a_transport_that_does_not_end_is_cut_off_after_ten_seconds(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.leaves_s = 100
        await session.close()
        assert (now(), session.ended, server.left) == (10.0, True, True)
        await session.close()
        assert now() == 10.0

    run(Server(), scenario)


def test_a_cancelled_close_ends_the_session_all_the_same(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.leaves_s = 5
        closing = asyncio.create_task(session.close())
        await asyncio.sleep(1)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert (now(), session.ended) == (5.0, True)

    run(Server(), scenario)


def test_a_session_that_is_retired_ends_by_itself(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        session.retire()
        assert not session.alive
        await settled()
        assert session.ended
        with pytest.raises(McpUnavailable, match="There is no session with MCP server 'one'") as caught:
            await called(session, "add", {}, None)
        assert caught.value.server == "one"

    run(Server(), scenario)


def test_a_session_is_over_when_its_server_says_no_more_and_so_are_its_requests(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["tools/call"] = None
        calling = asyncio.create_task(called(session, "add", {}, None))
        await settled()
        server.says.close()
        with pytest.raises(
            McpUnavailable, match="'one' went away while it worked on tool 'add'; it is started"
        ) as caught:
            await calling
        assert (caught.value.server, session.alive) == ("one", False)
        assert session.doubtful(1000)

    run(Server(), scenario)


def test_a_session_that_is_closed_says_so_to_its_requests(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["tools/call"] = None
        calling = asyncio.create_task(called(session, "add", {}, None))
        await settled()
        await session.close()
        with pytest.raises(McpUnavailable, match="'one' was closed while it worked on tool 'add'"):
            await calling

    run(Server(), scenario)


# Whether it is well.


@both
def test_a_ping_is_asked_and_makes_a_session_certain_again(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        await asyncio.sleep(20)
        assert (session.doubtful(20.1), session.doubtful(19)) == (False, True)
        await session.ping()
        assert (server.methods()[-1], session.doubtful(0)) == ("ping" if version == OLD else "server/discover", False)

    run(Server(version), scenario)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (wire.ErrorData(code=-1, message=f"too hot, {KEY}"), r"is not well: too hot, \[redacted\]"),
        (None, "did not answer a ping within 5 s"),
        (lambda _: {"_meta": 7}, "is not well: ValidationError: "),
        (NOT_FOUND, None),
    ],
)
def test_a_server_that_does_not_answer_a_ping_is_not_well(run: Run, answer: Any, said: str | None) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["ping"] = answer
        session_was, before = current.get(), now()
        if said is None:
            await session.ping()
        else:
            with pytest.raises(McpUnavailable, match=f"^MCP server 'one' {said}") as caught:
                await session.ping()
            assert caught.value.server == "one"
        assert now() - before == (5.0 if answer is None else 0.0)
        assert current.get() is session_was

    run(Server(), scenario)


def test_a_session_with_requests_is_not_idle_and_one_with_a_late_answer_is_doubtful(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["tools/call"] = None
        calling = asyncio.create_task(called(session, "add", {}, None))
        await asyncio.sleep(50)
        assert not session.doubtful(30)
        with pytest.raises(McpTimeout, match=r"^MCP server 'one' did not answer in time for tool 'add'$") as caught:
            await calling
        assert (caught.value.server, now()) == ("one", 60.0)
        assert session.doubtful(1000)
        assert "notifications/cancelled" in server.told
        await session.ping()
        assert not session.doubtful(0)

    run(Server(), scenario)


@pytest.mark.parametrize(("limit", "given", "after_s"), [(5, None, 5.0), (5, 2, 2.0), (None, 3, 3.0)])
def test_a_call_has_its_own_time_or_that_of_the_server(run: Run, limit: Any, given: Any, after_s: float) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["tools/call"] = None
        with pytest.raises(McpTimeout):
            await called(session, "add", {}, given)
        assert now() == after_s

    run(Server(), scenario, call_timeout_s=limit)


def test_a_forgotten_session_ends_when_its_requests_have_their_answers(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        asked: list[Any] = []
        server.answers["tools/call"] = asked.append
        calls = [asyncio.create_task(called(session, "add", {}, None)) for _ in range(2)]
        await settled()
        session._forget()
        assert (session.alive, session.forgotten, session.ended) == (False, True, False)
        for request, call in zip(asked, calls, strict=True):
            await settled()
            assert not session.ended
            result = {"content": [{"type": "text", "text": "done"}]}
            server.say(wire.JSONRPCResponse(jsonrpc="2.0", id=request.id, result=result))
            assert (await call).content == DONE
        await settled()
        assert session.ended

    async def idle(session: Connection, server: Server) -> None:
        session._forget()
        await settled()
        assert session.ended

    run(Server(), scenario)
    run(Server(), idle)


# Calls, and what is said about them.


@both
def test_a_call_brings_its_arguments_and_what_is_sent_along(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        result = await called(session, "add", {"a": 1}, None)
        assert result.content == DONE
        token = meta.current.set({"stategraph/run": "r"})
        await called(session, "add", {"a": 2}, None)
        meta.current.reset(token)
        (_, first), (_, second) = [each for each in server.asked if each[0] == "tools/call"]
        assert (first["name"], first["arguments"], second["arguments"]) == ("add", {"a": 1}, {"a": 2})
        assert "stategraph/run" not in first.get("_meta", {})
        assert second["_meta"]["stategraph/run"] == "r"
        assert "progressToken" not in second["_meta"]

    run(Server(version), scenario)


def test_progress_and_log_are_heard_in_order_before_the_call_returns_without_secrets(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> list[Any]:
        heard: list[Any] = []

        async def hear(report: reporting.ToolReport) -> None:
            await asyncio.sleep(1)
            heard.append(report)

        def answer(request: wire.JSONRPCRequest) -> Any:
            token = (request.params or {})["_meta"]["progressToken"]
            server.tell("notifications/progress", progressToken=token, progress=1, total=2, message=f"with {KEY}")
            server.tell("notifications/message", level="warning", logger=f"log of {KEY}", data={"k": [KEY]})
            return outcome

        server.answers["tools/call"] = answer
        reporting.reporter.set(hear)
        try:
            heard.append((await called(session, "add", {}, None)).content)
        except McpError as error:
            heard.append(type(error))
        return heard

    said = [
        reporting.ToolProgress(1, 2, "with [redacted]"),
        reporting.ToolLog("warning", {"k": ["[redacted]"]}, "log of [redacted]"),
    ]
    outcome: Any = {"content": [{"type": "text", "text": "done"}]}
    assert run(Server(), scenario) == [*said, DONE]
    outcome = wire.ErrorData(code=-1, message="no")
    assert run(Server(), scenario) == [*said, McpRefused]


def test_the_time_of_a_person_is_not_that_of_the_call(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        pending: list[Any] = []

        def ask(request: wire.JSONRPCRequest) -> None:
            pending.append(request.id)
            params = {"message": f"Is {KEY} yours?", "requestedSchema": {"type": "object", "properties": {}}}
            server.say(wire.JSONRPCRequest(jsonrpc="2.0", id=77, method="elicitation/create", params=params))

        async def person(asked: Elicitation) -> str:
            assert asked.message == "Is [redacted] yours?"
            await asyncio.sleep(500)
            assert not session.doubtful(0) and session.working
            return "decline"

        def heard(answer: Any) -> None:
            assert (answer.id, answer.result) == (77, {"action": "decline"})
            outcome = {"content": [{"type": "text", "text": "done"}]}
            server.say(wire.JSONRPCResponse(jsonrpc="2.0", id=pending[0], result=outcome))

        server.answers["tools/call"] = ask
        server.hears = heard
        assert (await session.begin_call("add", {}, 5, False).attend(person, None)).content == DONE
        server.hears = lambda answer: None
        with pytest.raises(McpTimeout):
            await session.begin_call("add", {}, 5, False).attend(person, None)
        assert now() == 1005.0

    run(Server(), scenario)


def test_a_reporter_that_fails_ends_the_call_with_its_error(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        async def hear(report: reporting.ToolReport) -> None:
            raise LookupError("the listener is broken")

        def answer(request: wire.JSONRPCRequest) -> None:
            server.tell("notifications/message", level="info", data="working")

        server.answers["tools/call"] = answer
        reporting.reporter.set(hear)
        with pytest.raises(LookupError, match="the listener is broken"):
            await called(session, "add", {}, None)
        await settled()
        assert "notifications/cancelled" in server.told
        assert not session.doubtful(1000)

    run(Server(), scenario)


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("debug", logging.DEBUG),
        ("info", logging.INFO),
        ("notice", logging.INFO),
        ("warning", logging.WARNING),
        ("error", logging.ERROR),
        ("critical", logging.CRITICAL),
        ("emergency", logging.CRITICAL),
    ],
)
def test_a_log_that_no_call_hears_goes_to_pythons(
    run: Run, caplog: pytest.LogCaptureFixture, level: str, logged: int
) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.tell("notifications/message", level=level, data=f"{KEY} {'x' * 3000}")
        await settled()

    caplog.set_level(logging.DEBUG, "stategraph.agent.mcp")
    run(Server(), scenario)
    (record,) = [each for each in caplog.records if each.name == "stategraph.agent.mcp"]
    assert record.levelno == logged
    assert record.getMessage().startswith("MCP server 'one': [redacted] xxx")
    assert record.getMessage().endswith("... (3011 characters)")


@pytest.mark.parametrize("refusal", [None, wire.ErrorData(code=-1, message=f"no {KEY}")])
def test_a_server_that_logs_is_told_how_much_is_wanted(
    run: Run, caplog: pytest.LogCaptureFixture, refusal: wire.ErrorData | None
) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        assert server.asked[-1] == ("logging/setLevel", {"level": "error"})
        await called(session, "add", {}, None)

    caplog.set_level(logging.INFO, "stategraph.agent.mcp")
    server = Server(logging={})
    server.answers["logging/setLevel"] = {} if refusal is None else refusal
    filters = list(warnings.filters)
    run(server, scenario, log_level="error")
    assert list(warnings.filters) == filters
    said = [each.getMessage() for each in caplog.records if each.name == "stategraph.agent.mcp"]
    assert said == ([] if refusal is None else ["MCP server 'one' keeps its own log level: no [redacted]"])
    silent = Server()
    run(silent, lambda session, server: settled())
    assert "logging/setLevel" not in silent.methods()


def test_a_new_server_is_told_with_each_request_how_much_of_its_log_is_wanted(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        await called(session, "add", {}, None)
        assert server.asked[-1][1]["_meta"]["io.modelcontextprotocol/logLevel"] == "error"
        assert "logging/setLevel" not in server.methods()

    run(Server(NEW, logging={}), scenario, log_level="error")


# Failures.


@pytest.mark.parametrize(
    ("trouble", "kind", "said", "doubtful"),
    [
        (Trouble("gone", f"broken {KEY}"), McpUnavailable, r"went away .* 'add' \(broken \[redacted\]\); it is", True),
        (Trouble("unavailable", "503"), McpUnavailable, "was not there for tool 'add'; .* in its place .503.", False),
        (Trouble("refused", "403"), McpRefused, r"^MCP server 'one' refused tool 'add' \(403\)$", False),
        (Trouble("bad", "a page"), McpBadAnswer, "^What MCP server 'one' .* tool 'add' cannot be used: a page$", False),
        ("not done", McpNotDone, "^MCP server 'one' did nothing about tool 'add': it forgot$", True),
        (None, McpRefused, r"^MCP server 'one' refused tool 'add': no \[redacted\] \(HTTP status 418\)$", False),
    ],
)
def test_what_is_known_of_a_request_says_what_its_error_means(
    run: Run, trouble: Any, kind: type[McpError], said: str, doubtful: bool
) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        def answer(_: Any) -> wire.ErrorData:
            (request,) = session._requests
            if isinstance(trouble, Trouble):
                request.trouble = trouble
            request.not_done = "it forgot" if trouble == "not done" else None
            request.status = 418
            return wire.ErrorData(code=-1, message=f"no {KEY}")

        server.answers["tools/call"] = answer
        with pytest.raises(kind, match=said) as caught:
            await called(session, "add", {}, None)
        assert (type(caught.value), caught.value.server) == (kind, "one")
        assert str(caught.value.__cause__) == "no [redacted]"
        assert session.doubtful(1000) is doubtful

    run(Server(), scenario)


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (wire.ErrorData(code=-1, message="no"), McpRefused, "^MCP server 'one' refused tool 'add': no$"),
        (wire.ErrorData(code=wire.CONNECTION_CLOSED, message="x"), McpUnavailable, "'one' went away while it worked"),
        (
            wire.ErrorData(code=wire.PARSE_ERROR, message=f"Failed to parse {KEY} {'x' * 400}"),
            McpBadAnswer,
            r"^What MCP server 'one' answered .* cannot be used: Failed to parse \[redacted\].* characters\)$",
        ),
        (wire.ErrorData(code=wire.PARSE_ERROR, message="no"), McpRefused, "refused tool 'add': no"),
        (wire.ErrorData(code=-1, message="Failed to parse it"), McpRefused, "refused tool 'add': Failed to parse it"),
        ({"content": KEY}, McpBadAnswer, "^What MCP server 'one' answered for tool 'add' cannot be used: "),
        (wire.ErrorData(code=-1, message="e" * 5000), McpRefused, r"e{2000}\.\.\. \(5000 characters\)$"),
    ],
    ids=lambda value: None,
)
def test_an_answer_that_is_an_error_is_sorted_and_bounded_and_keeps_secrets(
    run: Run, answer: Any, kind: type[McpError], said: str
) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["tools/call"] = answer
        before = current.get()
        with pytest.raises(kind, match=said) as caught:
            await called(session, "add", {}, None)
        assert (type(caught.value), caught.value.server) == (kind, "one")
        assert all(KEY not in str(each) and len(str(each)) < 2200 for each in (caught.value, caught.value.__cause__))
        assert type(caught.value.__cause__) is (MCPError if isinstance(answer, wire.ErrorData) else ValueError)
        assert caught.value.__context__ is None or KEY not in str(caught.value.__context__)
        assert current.get() is before
        assert not session._requests

    run(Server(), scenario)


@pytest.mark.parametrize(("size", "kind"), [(10, RuntimeError), (5000, ValueError)])
def test_an_answer_that_breaks_the_schema_of_its_tool_cannot_be_used(
    run: Run, size: int, kind: type[Exception]
) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
        server.answers["tools/list"] = {"tools": [tool("add") | {"outputSchema": schema}]}
        server.answers["tools/call"] = {"content": [], "structuredContent": {"n": "x" * size}}
        await session.tools()
        said = "^What MCP server 'one' answered for tool 'add' cannot be used: Invalid structured content"
        with pytest.raises(McpBadAnswer, match=said) as caught:
            await called(session, "add", {}, None)
        cause = caught.value.__cause__
        assert (type(cause), str(cause)[:26], len(str(cause)) < 2200) == (kind, "Invalid structured content", True)

    run(Server(**ALL), scenario)


# Listings.


def test_what_a_server_does_not_have_is_not_asked_for(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        assert (await session.tools()).found == ()
        assert [*await session.resources(), *await session.resource_templates(), *await session.prompts()] == []
        assert not any(method.endswith("/list") for method in server.methods())

    run(Server(), scenario)


def paged(kind: str, *entries: dict[str, Any]) -> Callable[[wire.JSONRPCRequest], dict[str, Any]]:
    def page(request: wire.JSONRPCRequest) -> dict[str, Any]:
        at = int((request.params or {}).get("cursor") or 0)
        more = {"nextCursor": str(at + 1)} if at + 1 < len(entries) else {}
        return {kind: [entries[at]], **more}

    return page


@both
def test_all_pages_are_listed_each_time(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        for _ in range(2):
            assert [each.name for each in (await session.tools()).found] == ["a", "b"]
            assert [each.name for each in await session.resources()] == ["c", "d"]
            assert [each.name for each in await session.resource_templates()] == ["e", "f"]
            assert [each.name for each in await session.prompts()] == ["g", "h"]
        assert len([method for method in server.methods() if method.endswith("/list")]) == 16

    server = Server(version, **ALL)
    server.answers |= {
        "tools/list": paged("tools", tool("a"), tool("b")),
        "resources/list": paged("resources", {"uri": "a:c", "name": "c"}, {"uri": "a:d", "name": "d"}),
        "resources/templates/list": paged(
            "resourceTemplates", {"uriTemplate": "a:{e}", "name": "e"}, {"uriTemplate": "a:{f}", "name": "f"}
        ),
        "prompts/list": paged("prompts", {"name": "g"}, {"name": "h"}),
    }
    run(server, scenario)


def test_tools_that_no_agent_can_have_are_told_with_the_reason_and_without_secrets(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        tools = await session.tools()
        assert [each.name for each in tools.found] == ["a"]
        assert tools.dropped == (
            "tool 'b': its description breaks the protocol",
            "tool 'c [redacted]': its description breaks the protocol",
            "tool 'a': listed twice; the first one is taken",
        )

    server = Server(**ALL)
    broken = [{"name": name, "inputSchema": 7} for name in ("b", f"c {KEY}")]
    server.answers["tools/list"] = {"tools": [tool("a"), *broken, tool("a")]}
    run(server, scenario)


def test_a_listing_without_an_end_is_given_up_by_its_time_or_its_size(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def endless(request: wire.JSONRPCRequest) -> dict[str, Any]:
        return {"prompts": [{"name": "p"}], "nextCursor": "more"}

    async def large(session: Connection, server: Server) -> None:
        with pytest.raises(
            McpBadAnswer, match=r"^The list of prompts of MCP server 'one' has more than 1000 pages"
        ) as caught:
            await session.prompts()
        assert (caught.value.server, session.doubtful(1000)) == ("one", False)

    async def slow(session: Connection, server: Server) -> None:
        server.answers["prompts/list"] = None
        server.answers["resources/list"] = None
        with pytest.raises(McpError):
            await session.resources()
        assert now() == 5.0

    server = Server(**ALL)
    server.answers["prompts/list"] = endless
    run(server, large)
    run(server, slow, call_timeout_s=5)


def test_a_listing_has_the_time_of_one_request(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        def slow(request: wire.JSONRPCRequest) -> None:
            page = {"prompts": [{"name": "p"}], "nextCursor": "more"}
            answer = wire.JSONRPCResponse(jsonrpc="2.0", id=request.id, result=page)
            asyncio.get_running_loop().call_later(2, server.say, answer)

        server.answers["prompts/list"] = slow
        said = "^MCP server 'one' did not give the whole list of prompts within 5 s$"
        with pytest.raises(McpTimeout, match=said) as caught:
            await session.prompts()
        assert (caught.value.server, now()) == ("one", 5.0)
        assert session.doubtful(1000)

    run(Server(**ALL), scenario, call_timeout_s=5)


def test_a_resource_is_read_and_a_prompt_filled_in_by_name(run: Run) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        server.answers["resources/read"] = {"contents": [{"uri": "a:b", "text": "t"}]}
        server.answers["prompts/get"] = {"messages": [], "description": "d"}
        assert (await session.read_resource("a:b")).contents[0].uri == "a:b"
        assert (await session.get_prompt("p", {"x": "y"})).description == "d"
        assert server.asked[-2] == ("resources/read", {"uri": "a:b"})
        assert server.asked[-1] == ("prompts/get", {"name": "p", "arguments": {"x": "y"}})
        del server.answers["resources/read"], server.answers["prompts/get"]
        with pytest.raises(McpRefused, match="refused resource 'a:b': no such method"):
            await session.read_resource("a:b")
        with pytest.raises(McpRefused, match="refused prompt 'p': no such method"):
            await session.get_prompt("p", {})

    run(Server(**ALL), scenario)


def listings(server: Server) -> int:
    return server.methods().count("tools/list")


@both
def test_tools_are_kept_for_a_minute_if_the_server_tells_of_changes(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        def change() -> None:
            told = server.tell if version == OLD else server.tell_listener
            told("notifications/tools/list_changed")

        await settled()
        first = await session.tools()
        assert await session.tools() is first
        if version == NEW:
            (listen,) = [params for method, params in server.asked if method == "subscriptions/listen"]
            assert listen["notifications"] == {"toolsListChanged": True}
        await asyncio.sleep(59)
        assert await session.tools() is first
        assert listings(server) == 1
        await asyncio.sleep(1.1)
        await session.tools()
        assert listings(server) == 2
        server.tell("notifications/resources/list_changed")
        await settled()
        await session.tools()
        assert listings(server) == 2
        change()
        await settled()
        await session.tools()
        assert listings(server) == 3

        def changing(request: wire.JSONRPCRequest) -> dict[str, Any]:
            change()
            return {"tools": [tool("add")]}

        change()
        await settled()
        server.answers["tools/list"] = changing
        await session.tools()
        server.answers["tools/list"] = {"tools": [tool("new")]}
        assert [each.name for each in (await session.tools()).found] == ["new"]
        assert listings(server) == 5

    run(Server(version, tools={"listChanged": True}), scenario)


@both
def test_tools_are_listed_each_time_if_the_server_does_not_tell_of_changes(run: Run, version: str) -> None:
    async def scenario(session: Connection, server: Server) -> None:
        await settled()
        for _ in range(2):
            await session.tools()
        assert listings(server) == 2
        assert "subscriptions/listen" not in server.methods()

    for capability in ({}, {"listChanged": False}):
        run(Server(version, tools=capability), scenario)


def test_a_new_server_that_stops_telling_of_changes_is_asked_each_time(run: Run) -> None:
    async def lost(session: Connection, server: Server) -> None:
        await settled()
        await session.tools()
        assert not session.doubtful(1000)
        server.tell("notifications/cancelled", requestId=server.listening)
        await settled()
        assert session.doubtful(1000)
        for _ in range(2):
            await session.tools()
        assert listings(server) == 3

    async def ended(session: Connection, server: Server) -> None:
        await settled()
        await session.tools()
        server.say(wire.JSONRPCResponse(jsonrpc="2.0", id=server.listening, result={"resultType": "complete"}))
        await settled()
        assert not session.doubtful(1000)
        for _ in range(2):
            await session.tools()
        assert listings(server) == 3

    async def refused(session: Connection, server: Server) -> None:
        await settled()
        assert session.doubtful(1000)
        for _ in range(2):
            await session.tools()
        assert listings(server) == 2

    async def not_honored(session: Connection, server: Server) -> None:
        await settled()
        for _ in range(2):
            await session.tools()
        assert listings(server) == 2

    telling: dict[str, Any] = {"tools": {"listChanged": True}}
    run(Server(NEW, **telling), lost)
    run(Server(NEW, **telling), ended)
    server = Server(NEW, **telling)
    server.answers["subscriptions/listen"] = wire.ErrorData(code=-1, message="no")
    run(server, refused)
    server = Server(NEW, **telling)

    def acknowledge(request: wire.JSONRPCRequest) -> None:
        server.listening = request.id
        server.tell_listener("notifications/subscriptions/acknowledged", notifications={})

    server.answers["subscriptions/listen"] = acknowledge
    run(server, not_honored)


# In a pool.


@both
def test_a_pool_reaches_its_servers_by_such_sessions(run: Run, version: str) -> None:
    async def scenario(given: StdioServer) -> None:
        async with McpSessions({"one": given}) as pool:
            (add,) = await pool.tools()
            call: Any = {"type": "tool_call", "id": "c", "name": "add", "args": {"a": 1}}
            answer = await add.ainvoke(call)
            assert (answer.content, answer.tool_call_id) == ("done", "c")
            assert [each.name for each in await pool.resources("one")] == ["r"]
            assert [each.name for each in await pool.resource_templates("one")] == ["t"]
            assert [each.name for each in await pool.prompts("one")] == ["p"]
            await pool.ping("one")
            assert len([each for each in server.methods() if each == "tools/call"]) == 1
        assert server.left

    server = Server(version, **ALL)
    server.answers |= {
        "resources/list": paged("resources", {"uri": "a:r", "name": "r"}),
        "resources/templates/list": paged("resourceTemplates", {"uriTemplate": "a:{t}", "name": "t"}),
        "prompts/list": paged("prompts", {"name": "p"}),
    }
    run(server, scenario, opened=False)
