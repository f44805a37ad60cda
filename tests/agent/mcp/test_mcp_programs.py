"""How a program is spoken to and ended: one that only exists in memory, on a clock that jumps."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import mcp_types as wire
import pytest
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage
from pydantic import SecretStr

from stategraph.agent.mcp import stdio
from stategraph.agent.mcp.exchange import Unreadable
from stategraph.agent.mcp.servers import StdioServer
from stategraph.testing import FakeClock

TERM, KILL = signal.SIGTERM, signal.SIGKILL
PING = SessionMessage(wire.JSONRPCRequest(jsonrpc="2.0", id=1, method="ping"))


class Input:
    """The standard input of a program: keeps lines, or takes nothing."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines: list[bytes] = []
        self.closed_at: float | None = None
        self.takes_s = 0.0
        self.broken: Exception | None = None

    async def send(self, line: bytes) -> None:
        if self.broken is not None:
            raise self.broken
        await anyio.sleep(self.takes_s)
        self.lines.append(line)

    async def aclose(self) -> None:
        self.closed_at = now()
        self.program.told_to_leave()
        if self.broken is not None:
            raise self.broken


class Output:
    """The standard output of a program: pieces of bytes, an exception to raise, or None at its end."""

    def __init__(self) -> None:
        self.pieces: asyncio.Queue[bytes | Exception | None] = asyncio.Queue()
        self.taken = 0
        self.closed = False
        self.broken: Exception | None = None

    def say(self, *pieces: bytes | Exception | None) -> None:
        for piece in pieces:
            self.pieces.put_nowait(piece)

    async def receive(self) -> bytes:
        piece = anyio.ClosedResourceError() if self.closed else await self.pieces.get()
        self.taken += 1
        if isinstance(piece, Exception):
            raise piece
        if piece is None:
            self.say(None)
            raise anyio.EndOfStream
        return piece

    async def aclose(self) -> None:
        self.closed = True
        self.say(anyio.ClosedResourceError())  # to who waits
        if self.broken is not None:
            raise self.broken


class Program:
    """A process in memory, alone in its group unless `orphans` are left.

    Args:
        leaves_s: Seconds after its input was closed; None: it stays.
        heeds_s: Seconds after a request to end; None: it goes on.
        orphans: Others of its group stay.
        orphans_heed_s: Seconds after a request to end in which the others do; None: they go on.
        foreign: The group is that of another user.
        talks: Pieces that have to be read before it leaves.
    """

    pid = 4321

    def __init__(
        self,
        leaves_s: float | None = None,
        heeds_s: float | None = None,
        *,
        orphans: bool = False,
        orphans_heed_s: float | None = None,
        foreign: bool = False,
        talks: int = 0,
    ) -> None:
        self.leaves_s, self.heeds_s, self.orphans_heed_s = leaves_s, heeds_s, orphans_heed_s
        self.orphans, self.foreign, self.talks = orphans, foreign, talks
        self.returncode: int | None = None
        self.stdin, self.stdout = Input(self), Output()
        self.signals: list[tuple[int, float]] = []
        self.started: list[Any] = []
        self.pipe_closed = 0
        self._process = SimpleNamespace(_transport=SimpleNamespace(close=self.close_pipe))
        self.close_error: Exception | None = None

    def close_pipe(self) -> None:
        self.pipe_closed += 1
        if self.close_error is not None:
            raise self.close_error

    def told_to_leave(self) -> None:
        if self.leaves_s is not None:
            asyncio.get_running_loop().call_later(self.leaves_s, self._leave)

    def _leave(self) -> None:
        if self.stdout.taken < self.talks:
            self.stdout.say(b"x")
            asyncio.get_running_loop().call_later(0.01, self._leave)
        else:
            self.returncode = 0

    def _others_leave(self) -> None:
        self.orphans = False

    def _die(self) -> None:
        self.returncode, self.orphans = -9, False

    def killpg(self, leader: int, number: int) -> None:
        assert leader == self.pid
        if self.returncode is not None and not self.orphans:
            raise ProcessLookupError
        if number:
            self.signals.append((number, now()))
        if self.foreign:
            raise PermissionError
        after = asyncio.get_running_loop().call_later
        if number == KILL:
            after(0.2, self._die)
        if number == TERM and self.heeds_s is not None and self.returncode is None:
            after(self.heeds_s, self._leave)
        if number == TERM and self.orphans_heed_s is not None:
            after(self.orphans_heed_s, self._others_leave)


def now() -> float:
    return round(asyncio.get_running_loop().time(), 1)


Session = Callable[[Any, Any], Awaitable[Any]]
Run = Callable[..., Any]


async def nothing(hear: Any, tell: Any) -> None:
    """Leave at once."""


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a session with a program; returns what the session does and the seconds that ending it took."""

    def run(program: Callable[[], Program], session: Session = nothing, **server: Any) -> tuple[Program, Any, float]:
        async def main() -> tuple[Program, Any, float]:
            made = program()

            async def open_process(command: list[str], **options: Any) -> Program:
                made.started.append((command, options))
                return made

            monkeypatch.setattr(anyio, "open_process", open_process)
            monkeypatch.setattr(os, "killpg", made.killpg)
            async with asyncio.timeout(1000):
                async with stdio.running(StdioServer(command="serve", **server)) as (hear, tell):
                    found = await session(hear, tell)
                    begun = now()
                return made, found, round(now() - begun, 1)

        return FakeClock(grace_s=0).run(main())

    return run


def leaves_at_once() -> Program:
    return Program(leaves_s=0)


# Starting.


def test_a_program_is_started_in_a_group_of_its_own_with_its_environment(run: Run) -> None:
    program, _, _ = run(leaves_at_once, args=["-v"], env={"KEY": "k", "PATH": "here"}, cwd="/tmp")
    ((command, options),) = program.started
    assert command == ["serve", "-v"]
    assert options == {
        "env": get_default_environment() | {"KEY": "k", "PATH": "here"},
        "stderr": sys.__stderr__,
        "cwd": Path("/tmp"),
        "start_new_session": True,
    }


def test_a_program_complains_where_we_do_if_there_is_no_standard_error(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "__stderr__", None)
    program, _, _ = run(leaves_at_once)
    assert program.started[0][1]["stderr"] is sys.stderr


def test_on_windows_the_transport_of_the_package_runs_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []

    @asynccontextmanager
    async def client(described: Any, errlog: Any = None) -> Any:
        given.append((described, errlog))
        yield "read", "write"
        given.append("left")

    async def main() -> Any:
        server = StdioServer(command="serve", args=("-v",), env={"KEY": SecretStr("k")}, cwd=Path("/tmp"))
        async with stdio.running(server) as streams:
            return streams

    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setattr(stdio, "stdio_client", client)
    assert FakeClock(grace_s=0).run(main()) == ("read", "write")
    (described, errlog), left = given
    assert (described.command, described.args, described.env) == ("serve", ["-v"], {"KEY": "k"})
    assert (str(described.cwd), errlog, left) == ("/tmp", sys.__stderr__, "left")


# What it says.


def said(hear: Any) -> Any:
    """The messages up to the end: ids of answers, and the words of errors."""

    async def collect() -> list[Any]:
        return [str(each) if isinstance(each, Exception) else each.message.id async for each in hear]

    return collect()


def answers(*ids: int) -> bytes:
    return b"".join(b'{"jsonrpc": "2.0", "id": %d, "result": {}}\n' % each for each in ids)


@pytest.mark.parametrize(
    ("pieces", "heard"),
    [
        ([answers(1, 2), answers(3)], [1, 2, 3]),
        ([answers(1)[:20], answers(1)[20:] + answers(2)[:5], answers(2)[5:-1], b"\n"], [1, 2]),
        ([b"\n \n" + answers(1).replace(b"\n", b"\r\n") + b"\n"], [1]),
        ([b"\n", answers(1)], [1]),
        ([answers(1)[:-1]], []),
        ([], []),
    ],
)
@pytest.mark.parametrize("end", [None, anyio.BrokenResourceError(), anyio.ClosedResourceError(), OSError()], ids=repr)
def test_a_program_says_a_message_a_line_until_its_output_ends(
    run: Run, pieces: list[bytes], heard: list[int], end: Any
) -> None:
    async def session(hear: Any, tell: Any) -> Any:
        return await said(hear)

    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdout.say(*pieces, end, None)
        return made

    assert run(program, session)[1] == heard


def test_a_line_that_is_no_message_costs_nothing_but_itself(run: Run) -> None:
    async def session(hear: Any, tell: Any) -> Any:
        return await said(hear)

    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdout.say(b"\xff\n" + answers(1), None)
        return made

    broken, number = run(program, session)[1]
    assert broken.startswith("the answer cannot be read")
    assert number == 1


def test_a_line_has_at_most_64_mebibytes_and_what_comes_after_a_longer_one_is_not_heard(run: Run) -> None:
    half = b"x" * (32 * 1024 * 1024)

    def says(*pieces: bytes) -> Program:
        made = Program(leaves_s=0)
        made.stdout.say(*pieces, None)
        return made

    async def two(hear: Any, tell: Any) -> Any:
        return [str(await hear.receive())[:25], (await hear.receive()).message.id]

    assert run(lambda: says(half, half, b"\n" + answers(1)), two)[1] == ["the answer cannot be read", 1]

    async def one(hear: Any, tell: Any) -> Any:
        broken = await hear.receive()
        with pytest.raises(anyio.EndOfStream):
            await hear.receive()
        await anyio.sleep(1)
        return broken

    made, broken, _ = run(lambda: says(half, half, b"\x00", b"\n", answers(1)), one)
    assert isinstance(broken, Unreadable)
    assert (str(broken), broken.raw) == ("the answer has more than 67108864 bytes", "x" * 4096)
    assert made.stdout.taken >= 6  # the rest is thrown away


def test_a_program_is_heard_no_faster_than_the_session_listens(run: Run) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdout.say(answers(1), answers(2), answers(3))
        return made

    async def session(hear: Any, tell: Any) -> int:
        await anyio.sleep(1)
        return int(hear.statistics().current_buffer_used)

    assert run(program, session)[1] == 0


# What it is told.


def test_a_program_is_told_a_message_a_line_and_all_of_it_before_its_input_is_closed(run: Run) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdin.takes_s = 0.3
        return made

    async def session(hear: Any, tell: Any) -> float:
        await tell.send(PING)
        await tell.send(PING)
        return now()

    made, told_at, ended_s = run(program, session)
    assert made.stdin.lines == [b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n'] * 2
    assert told_at == 0.3  # no message waits between the session and the program
    assert ended_s == 0.3


def test_a_program_that_takes_nothing_holds_up_the_end_for_half_a_second(run: Run) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdin.takes_s = 1e6
        return made

    async def session(hear: Any, tell: Any) -> None:
        await tell.send(PING)

    made, _, ended_s = run(program, session)
    assert (made.stdin.lines, made.stdin.closed_at, ended_s) == ([], 0.5, 0.5)


@pytest.mark.parametrize("error", [anyio.BrokenResourceError(), anyio.ClosedResourceError(), BrokenPipeError()])
def test_a_program_that_takes_no_more_ends_the_session_at_once(run: Run, error: Exception) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdin.broken = error
        return made

    async def session(hear: Any, tell: Any) -> None:
        await tell.send(PING)
        with pytest.raises(anyio.EndOfStream):
            await hear.receive()
        with pytest.raises(anyio.BrokenResourceError):
            await tell.send(PING)

    assert run(program, session)[2] == 0


# Its end.


@pytest.mark.parametrize(
    ("program", "signals", "ended_s"),
    [
        (lambda: Program(leaves_s=0), [], 0.0),
        (lambda: Program(leaves_s=1.5), [], 1.5),
        (lambda: Program(heeds_s=1.5), [(TERM, 2.0)], 3.5),
        (lambda: Program(leaves_s=3), [(TERM, 2.0)], 3.0),
        (lambda: Program(), [(TERM, 2.0), (KILL, 4.0)], 4.2),
        (lambda: Program(leaves_s=1, orphans=True), [(TERM, 1.0), (KILL, 1.5)], 1.5),
        (lambda: Program(leaves_s=1, orphans=True, orphans_heed_s=0.3), [(TERM, 1.0)], 1.3),
        (lambda: Program(heeds_s=0.2, orphans=True), [(TERM, 2.0), (KILL, 4.0)], 4.0),
        (lambda: Program(leaves_s=1, orphans=True, foreign=True), [(TERM, 1.0)], 1.0),
        (lambda: Program(leaves_s=2.5, foreign=True), [(TERM, 2.0)], 2.5),
    ],
    ids=(
        *("at once", "soon", "when asked", "late", "never", "stubborn others", "others when asked"),
        *("itself but not the others", "others of another user", "of another user"),
    ),
)
def test_a_program_and_its_group_are_asked_to_leave_then_told_then_killed(
    run: Run, program: Callable[[], Program], signals: list[tuple[int, float]], ended_s: float
) -> None:
    made, _, took_s = run(program)
    assert (made.signals, made.stdin.closed_at) == (signals, 0.0)
    assert took_s == pytest.approx(ended_s, abs=0.1)
    assert made.returncode is not None
    assert (made.stdout.closed, made.pipe_closed) == (True, 1)


def test_a_killed_program_is_waited_for(run: Run) -> None:
    made, _, took_s = run(Program)
    assert (made.returncode, took_s) == (-9, 4.2)


def test_a_program_that_cannot_leave_before_it_has_said_all_is_heard_out(run: Run) -> None:
    made, _, _ = run(lambda: Program(leaves_s=0, talks=50))
    assert (made.signals, made.stdout.taken >= 50) == ([], True)

    def talks() -> Program:
        made = Program(leaves_s=0, talks=50)
        made.stdout.say(answers(1), answers(2))  # nobody hears the second
        return made

    async def one(hear: Any, tell: Any) -> None:
        await hear.receive()

    made, _, _ = run(talks, one)
    assert (made.signals, made.stdout.taken >= 50) == ([], True)


def test_a_cancelled_session_ends_its_program_in_the_same_way(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> Program:
        made = Program(leaves_s=0.5, talks=50)

        async def open_process(*_: Any, **options: Any) -> Program:
            return made

        monkeypatch.setattr(anyio, "open_process", open_process)
        monkeypatch.setattr(os, "killpg", made.killpg)
        with anyio.CancelScope() as scope:
            async with stdio.running(StdioServer(command="serve")):
                scope.cancel()
                await anyio.sleep(1)
        return made

    made = FakeClock(grace_s=0).run(main())
    assert (made.signals, made.returncode, made.stdout.closed) == ([], 0, True)


def test_pipes_that_are_closed_already_and_pipes_that_others_hold_do_not_disturb_the_end(run: Run) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made.stdin.broken, made.stdout.broken = BrokenPipeError(), anyio.ClosedResourceError()
        made.close_error = PermissionError()
        return made

    made, _, _ = run(program)
    assert (made.returncode, made.stdout.closed, made.pipe_closed) == (0, True, 1)


def test_a_process_without_a_transport_of_its_own_is_ended_as_well(run: Run) -> None:
    def program() -> Program:
        made = Program(leaves_s=0)
        made._process = SimpleNamespace(_transport=None)
        return made

    assert run(program)[0].returncode == 0
