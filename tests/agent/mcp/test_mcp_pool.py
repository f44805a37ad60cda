"""The pool of sessions: when one is opened, asked, replaced and closed. The sessions only exist in memory."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import mcp_types as wire
import pytest
from anyio.from_thread import start_blocking_portal
from langchain_core.tools import ToolException

from stategraph.agent.mcp import (
    McpBadAnswer,
    McpRefused,
    McpSessions,
    McpTimeout,
    McpUnavailable,
    ResourceContents,
    slots,
)
from stategraph.agent.mcp.calls import Call
from stategraph.agent.mcp.connection import Tools
from stategraph.agent.mcp.errors import McpNotDone
from stategraph.agent.settings.secrets import Secrets
from stategraph.testing import FakeClock


class Session:
    """A session with a server in memory: what becomes of it is set by tests."""

    def __init__(self) -> None:
        self.alive, self.forgotten, self.ended, self.working = True, False, False, False
        self.secrets = Secrets()
        self.doubt = False
        self.asked_idle_s: list[float] = []
        self.pings = self.closes = 0
        self.ping_fails: Exception | None = None
        self.listed: Tools | Exception = Tools((), ())
        self.answers: list[wire.CallToolResult | BaseException] = []
        self.called: list[tuple[str, dict[str, Any], float | None]] = []
        self.contents: list[wire.TextResourceContents | wire.BlobResourceContents] = []
        self.closing = asyncio.Event()
        self.closing.set()

    def doubtful(self, idle_s: float) -> bool:
        self.asked_idle_s.append(idle_s)
        return self.doubt

    def retire(self) -> None:
        self.alive = False

    async def close(self) -> None:
        await self.closing.wait()
        self.closes += 1
        self.alive, self.ended = False, True

    async def ping(self) -> None:
        self.pings += 1
        if self.ping_fails is not None:
            raise self.ping_fails
        self.doubt = False

    async def tools(self, *, known: bool = False) -> Tools:
        if isinstance(self.listed, Exception):
            raise self.listed
        return self.listed

    def begin_call(
        self, name: str, arguments: dict[str, Any], timeout_s: float | None, reports: bool, resumed: None = None
    ) -> Call[Any]:
        return Call("one", self.call_tool(name, arguments, timeout_s), asyncio.Queue())

    async def call_tool(self, name: str, arguments: dict[str, Any], timeout_s: float | None) -> Any:
        self.called.append((name, arguments, timeout_s))
        answer = self.answers.pop(0) if self.answers else text("done")
        if isinstance(answer, BaseException):
            raise answer
        return answer

    async def read_resource(self, uri: str) -> wire.ReadResourceResult:
        return wire.ReadResourceResult(contents=list(self.contents))

    async def get_prompt(self, name: str, arguments: dict[str, str]) -> wire.GetPromptResult:
        return wire.GetPromptResult(description=f"{name} {arguments}", messages=[])


class Servers:
    """Opens sessions: each time the next of `outcomes`, else a new session; notes when, and for which server."""

    def __init__(self) -> None:
        self.outcomes: list[Session | BaseException] = []
        self.opened: list[Session] = []
        self.tries: list[tuple[str, float]] = []
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.left_at: float | None = None
        self.tasks: list[str] = []
        self.seen: list[str | None] = []

    async def open(self, name: str, server: Any) -> Session:
        self.tries.append((name, now()))
        task = asyncio.current_task()
        assert task is not None and server.command == "serve"
        self.tasks.append(task.get_name())
        self.seen.append(of_the_caller.get())
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            await asyncio.sleep(1)
            self.left_at = now()
            raise
        made = self.outcomes.pop(0) if self.outcomes else Session()
        if isinstance(made, BaseException):
            raise made
        self.opened.append(made)
        return made

    def times(self) -> list[float]:
        return [at for _, at in self.tries]


of_the_caller: ContextVar[str | None] = ContextVar("of_the_caller", default=None)

Scenario = Callable[[McpSessions, Servers], Coroutine[Any, Any, Any]]
Run = Callable[..., Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a scenario with a pool, on a clock that jumps."""

    def run(scenario: Scenario, *names: str) -> Any:
        async def main() -> Any:
            servers = Servers()
            monkeypatch.setattr(slots, "_load", lambda: servers)
            pool = McpSessions({name: {"command": "serve"} for name in names or ("one",)})
            async with asyncio.timeout(1000), pool:
                return await scenario(pool, servers)

        return FakeClock(grace_s=0).run(main())

    return run


def now() -> float:
    return round(asyncio.get_running_loop().time(), 3)


def text(said: str, **more: Any) -> wire.CallToolResult:
    return wire.CallToolResult(content=[wire.TextContent(text=said)], **more)


async def use(pool: McpSessions, server: str = "one") -> Any:
    return (await pool.call_tool(server, "add", {}))[0]


# Opening.


def test_a_session_is_opened_once_for_all_that_need_it_and_kept(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        of_the_caller.set("mine")
        assert await asyncio.gather(*(use(pool) for _ in range(3))) == ["done"] * 3
        assert await use(pool) == "done"
        assert servers.tries == [("one", 0.0)]
        assert servers.tasks == ["opening MCP session of one"]
        assert servers.seen == [None]  # it outlives the caller, so it has nothing of it
        (session,) = servers.opened
        assert (session.pings, session.closes) == (0, 0)
        assert session.asked_idle_s[-1] == 30.0

    run(scenario)


def test_each_server_has_its_own_session(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        await use(pool, "one")
        await use(pool, "two")
        assert [name for name, _ in servers.tries] == ["one", "two"]
        assert pool.servers == pool.names == ("one", "two")
        with pytest.raises(ValueError, match="no MCP server 'three'; there are: one, two"):
            await use(pool, "three")

    run(scenario, "one", "two")


def test_a_caller_that_stops_waiting_does_not_stop_the_attempt(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        servers.go_on.clear()
        first, second = (asyncio.create_task(use(pool)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await asyncio.sleep(1)
        servers.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "done"
        assert len(servers.tries) == 1

    run(scenario)


def test_three_attempts_are_made_each_after_a_longer_pause_and_then_one_for_each_request(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        servers.outcomes = [McpUnavailable(f"no {number}") for number in range(5)]
        with pytest.raises(McpUnavailable, match="no 2"):
            await use(pool)
        assert servers.times() == [0.0, 0.1, 0.3]
        for number in (3, 4):
            with pytest.raises(McpUnavailable, match=f"no {number}"):
                await use(pool)
        assert await use(pool) == "done"
        assert servers.times()[3:] == [0.7, 1.5, 3.1]

    run(scenario)


def test_an_attempt_that_took_too_long_is_not_repeated_but_counts(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        servers.outcomes = [McpTimeout("too late")]
        with pytest.raises(McpTimeout, match="too late"):
            await use(pool)
        assert servers.times() == [0.0]
        assert await use(pool) == "done"
        assert servers.times() == [0.0, 0.1]

    run(scenario)


def test_another_error_of_an_attempt_is_for_who_waits_and_the_next_request_tries_again(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        servers.outcomes = [LookupError("a fault")]
        with pytest.raises(LookupError, match="a fault"):
            await use(pool)
        assert await use(pool) == "done"
        assert servers.times() == [0.0, 0.0]

    run(scenario)


def test_an_attempt_that_fails_when_none_waits_any_more_disturbs_nobody(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        unheard: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: unheard.append(context))
        servers.go_on.clear()
        servers.outcomes = [LookupError("a fault")]
        waiting = asyncio.create_task(use(pool))
        await asyncio.sleep(1)
        waiting.cancel()
        await asyncio.sleep(1)
        servers.go_on.set()
        await asyncio.sleep(1)
        del waiting
        gc.collect()
        assert unheard == []

    run(scenario)


# Replacing.


def test_failures_are_counted_until_a_request_is_answered(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        for _ in range(2):
            (await opened(pool, servers)).alive = False
        await use(pool)
        assert servers.times() == [0.0, 0.1, 0.3]
        servers.opened[-1].alive = False
        await use(pool)
        assert servers.times() == [0.0, 0.1, 0.3, 0.4]

    run(scenario)


async def opened(pool: McpSessions, servers: Servers) -> Session:
    """Have a session opened that is asked nothing."""
    servers.outcomes.append(made := Session())
    await pool.ping("one")
    assert made.pings == 1
    return made


def test_a_session_that_is_over_is_closed_and_replaced_unasked(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        await use(pool)
        (first,) = servers.opened
        first.alive = False
        await use(pool)
        assert (first.pings, first.closes, len(servers.opened)) == (0, 1, 2)

    run(scenario)


@pytest.mark.parametrize("well", [True, False])
def test_a_doubtful_session_is_asked_whether_it_is_well_and_replaced_if_not(run: Run, well: bool) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        await use(pool)
        (first,) = servers.opened
        first.doubt, first.ping_fails = True, None if well else McpUnavailable("not well")
        assert await use(pool) == "done"
        assert first.pings == 1
        assert (first.closes, servers.times()) == ((0, [0.0]) if well else (1, [0.0, 0.1]))
        assert await use(pool) == "done"
        assert len(servers.tries) == (1 if well else 2)

    run(scenario)


def test_a_forgotten_session_is_replaced_at_once_and_ends_by_itself_or_with_the_pool(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> list[Session]:
        for number in range(3):
            await use(pool)
            session = servers.opened[number]
            session.alive, session.forgotten = False, True
            session.closing.clear()
            if number:
                servers.opened[0].ended = True
        await use(pool)
        assert servers.times() == [0.0] * 4
        assert [each.closes for each in servers.opened] == [0] * 4
        for session in servers.opened:
            session.closing.set()
        return servers.opened

    assert [session.closes for session in run(scenario)] == [0, 1, 1, 1]


def test_a_ping_that_fails_ends_the_session_and_says_so(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.ping_fails = McpUnavailable("not well")
        with pytest.raises(McpUnavailable, match="not well"):
            await pool.ping("one")
        assert not session.alive
        await pool.ping("one")
        assert (session.closes, len(servers.opened)) == (1, 2)

    run(scenario)


@pytest.mark.parametrize("again", [text("again"), McpNotDone("no")])
def test_a_request_about_which_nothing_was_done_is_made_once_more(run: Run, again: Any) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.answers = [McpNotDone("no"), again, text("third")]
        if isinstance(again, McpNotDone):
            with pytest.raises(McpNotDone):
                await use(pool)
        else:
            assert await use(pool) == "again"
        assert len(session.called) == 2

    run(scenario)


@pytest.mark.parametrize("error", [McpUnavailable("gone"), McpTimeout("late"), McpRefused("no"), McpBadAnswer("odd")])
def test_a_request_that_may_have_had_effects_is_never_repeated(run: Run, error: Exception) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.answers = [error]
        with pytest.raises(type(error)):
            await pool.call_tool("one", "add", {"a": 1}, timeout_s=2)
        assert session.called == [("add", {"a": 1}, 2)]

    run(scenario)


def test_a_lost_session_is_counted_and_closed_once_however_often_it_cannot_be_replaced(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.alive = False
        servers.outcomes = [McpUnavailable("no"), McpUnavailable("no")]
        with pytest.raises(McpUnavailable, match="no"):
            await use(pool)
        assert servers.times() == [0.0, 0.1, 0.3]
        await use(pool)
        assert (servers.times()[3:], session.closes) == ([0.7], 1)

    run(scenario)


# Closing.


def test_closing_ends_the_attempt_and_tells_who_waits(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        servers.go_on.clear()
        first, second = (asyncio.create_task(use(pool)) for _ in range(2))
        await asyncio.sleep(1)
        first.cancel()
        await pool.aclose()
        assert servers.left_at == now() == 2.0  # nothing is left of the attempt
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(McpUnavailable, match="MCP server 'one' was closed") as caught:
            await second
        assert caught.value.server == "one"
        assert servers.opened == []
        assert repr(pool) == "<McpSessions one: closed>"

    run(scenario)


def test_closing_waits_for_every_session_even_if_it_is_cancelled(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        await asyncio.gather(use(pool, "one"), use(pool, "two"))
        one, two = servers.opened
        one.closing.clear()
        closing = asyncio.create_task(pool.aclose())
        await asyncio.sleep(1)
        assert (one.closes, two.closes, closing.done()) == (0, 1, False)
        closing.cancel()
        await asyncio.sleep(1)
        assert not closing.done()
        one.closing.set()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert one.closes == 1

    run(scenario, "one", "two")


def test_a_request_that_would_be_made_again_is_not_once_the_pool_is_closed(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)

        async def call_tool(*_: Any) -> Any:
            await pool.aclose()
            session.called.append(("", {}, None))
            raise McpNotDone("no")

        session.call_tool = call_tool  # type: ignore[assignment]
        with pytest.raises(McpUnavailable, match="'one' was closed") as caught:
            await use(pool)
        assert (caught.value.server, len(session.called)) == ("one", 1)

    run(scenario)


def test_a_pool_says_whether_it_can_be_used(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> McpSessions:
        assert repr(pool) == "<McpSessions one: open>"
        with pytest.raises(RuntimeError, match="are open already"):
            await pool.open()
        return pool

    pool = run(scenario)
    assert repr(pool) == "<McpSessions one: closed>"
    with pytest.raises(RuntimeError, match="MCP sessions are closed"):
        asyncio.run(pool.ping("one"))

    async def reopened() -> None:
        async with pool as same:
            assert same is pool
            await asyncio.to_thread(elsewhere)

    def elsewhere() -> None:
        with pytest.raises(RuntimeError, match="opened in another event loop"):
            asyncio.run(pool.ping("one"))

    asyncio.run(reopened())
    new = McpSessions({})
    assert repr(new) == "<McpSessions without servers: not open>"
    with pytest.raises(RuntimeError, match="MCP sessions are not open"):
        asyncio.run(new.ping("one"))


# What servers answer.


def tool(name: str) -> wire.Tool:
    return wire.Tool(name=name, input_schema={"type": "object"})


def test_tools_of_servers_that_cannot_be_asked_are_missing_and_the_reasons_are_given(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        for name, listed in (
            ("one", Tools((tool("add"), tool("own")), tuple(f"tool {number}" for number in range(7)))),
            ("two", Tools((tool("add"),), tuple(f"tool {number}" for number in range(5)))),
            ("three", McpTimeout("too late", server="three")),
            ("four", McpRefused("no", server="four")),
        ):
            await pool.ping(name)
            servers.opened[-1].listed = listed
        listing = await pool.listing()
        assert [each.name for each in listing.tools] == ["one_add", "own", "two_add"]
        assert {name: str(error) for name, error in listing.failed.items()} == {"three": "too late", "four": "no"}
        assert {name: len(dropped) for name, dropped in listing.dropped.items()} == {"one": 7, "two": 5}
        assert [each.name for each in (await pool.listing("two", "two", prefix=True)).tools] == ["two_add"]
        assert not (await pool.listing("three")).tools
        assert [each.name for each in (await pool.listing("one")).tools] == ["add", "own"]
        assert [each.name for each in await pool.tools("one")] == ["add", "own"]
        about = [
            {"server": each.metadata["mcp"]["server"], "tool": each.metadata["mcp"]["tool"]}
            for each in listing.tools
            if each.metadata
        ]
        assert about == [
            *({"server": "one", "tool": "add"}, {"server": "one", "tool": "own"}, {"server": "two", "tool": "add"})
        ]
        caplog.clear()
        assert [each.name for each in await pool.tools("one", "two", "three", prefix=True)] == [
            *("one_add", "one_own", "two_add")
        ]
        left_out = "lists what no agent can have, which is left out: tool 0"
        assert [record.getMessage() for record in caplog.records] == [
            "The tools of MCP server 'three' are missing: too late",
            f"MCP server 'one' {left_out}; tool 1; tool 2; tool 3; tool 4 and 2 more",
            f"MCP server 'two' {left_out}; tool 1; tool 2; tool 3; tool 4",
        ]
        for asked in (("three", "four"), ("three", "four", "three")):
            with pytest.raises(McpTimeout, match="too late") as caught:
                await pool.tools(*asked)
            assert caught.value.__notes__[-1] == "no"
        for session in servers.opened:
            session.listed = McpRefused("no")
        with pytest.raises(McpRefused, match="no"):
            await pool.tools()
        servers.opened[0].listed = ValueError("a fault")
        with pytest.raises(ValueError, match="a fault"):
            await pool.tools()

    caplog.set_level(logging.WARNING, "stategraph.agent.mcp")
    run(scenario, "one", "two", "three", "four")


def test_a_pool_that_was_never_opened_can_be_closed() -> None:
    pool = McpSessions({"one": {"command": "serve"}})
    asyncio.run(pool.aclose())
    assert repr(pool) == "<McpSessions one: closed>"


def test_without_servers_there_are_no_tools() -> None:
    async def tools() -> list[Any]:
        async with McpSessions({}) as pool:
            return [*await pool.tools(), *(await pool.listing()).tools]

    assert asyncio.run(tools()) == []


def test_a_tool_that_says_that_it_failed_raises_its_words(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.answers = [text("no such city", is_error=True)]
        with pytest.raises(ToolException, match="no such city"):
            await use(pool)

    run(scenario)


def test_a_resource_is_read_unless_its_data_are_none(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        session = await opened(pool, servers)
        session.contents = [wire.BlobResourceContents(uri="a", blob="AAE=")]
        assert await pool.read_resource("one", "a") == [ResourceContents("a", data=b"\x00\x01")]
        session.contents = [wire.BlobResourceContents(uri="a", blob="abc")]
        with pytest.raises(McpBadAnswer, match="'one' answered for resource 'a' cannot be used") as caught:
            await pool.read_resource("one", "a")
        assert caught.value.server == "one"

    run(scenario)


def test_a_prompt_may_have_no_arguments(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        await opened(pool, servers)
        assert (await pool.get_prompt("one", "greet")).description == "greet {}"
        assert (await pool.get_prompt("one", "greet", {"a": "b"})).description == "greet {'a': 'b'}"

    run(scenario)


# From threads.


def test_a_request_from_a_thread_is_made_in_the_loop_of_the_pool(run: Run) -> None:
    async def scenario(pool: McpSessions, servers: Servers) -> None:
        async def ask() -> int:
            assert asyncio.get_running_loop() is loop
            return 7

        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(pool.from_thread, ask) == 7
        with pytest.raises(RuntimeError, match="in a thread that runs an event loop; await its `ainvoke`"):
            pool.from_thread(ask)

    run(scenario)


def test_a_request_from_a_thread_needs_the_loop_of_the_pool(run: Run) -> None:
    async def ask() -> None:
        raise AssertionError("made after all")

    async def scenario(pool: McpSessions, servers: Servers) -> McpSessions:
        return pool

    for pool in (McpSessions({}), run(scenario)):
        with pytest.raises(RuntimeError, match="the event loop of its sessions is not running; run the graph"):
            pool.from_thread(ask)


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Let SIGINT raise, whatever handler there is."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupted_request_from_a_thread_is_given_up() -> None:
    over: list[str] = []
    done = threading.Event()

    def interrupt_when_it_waits() -> None:
        main = threading.main_thread().ident or 0
        while sys._current_frames()[main].f_code is not threading.Condition.wait.__code__:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    async def ask() -> None:
        try:
            await asyncio.to_thread(interrupt_when_it_waits)
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            over.append("given up")
            raise
        finally:
            done.set()

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(McpSessions({})) as pool:
        with pytest.raises(KeyboardInterrupt):
            pool.from_thread(ask)
        assert done.wait(timeout=30)
    assert over == ["given up"]
