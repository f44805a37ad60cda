"""A program that is started, and spoken to in lines through its standard input and output.

The `mcp` package has such a transport. This one differs where that one is at the mercy of the program:

- The program's whole process group is ended with it, also if the program itself has left long ago.
- A line has a largest size, and bytes that are no text cost that line and not the session.
- Lines that are no messages are not each logged with a traceback.

On Windows, which has no process groups of this kind, the package's own transport is used; it ends the program's job.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import ByteReceiveStream, Process
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp import StdioServerParameters, stdio_client
from mcp.client.stdio import get_default_environment
from mcp.shared.message import SessionMessage

from stategraph.agent.mcp.exchange import Unreadable, read_message
from stategraph.agent.mcp.servers import StdioServer

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

LARGEST_LINE: Final = 64 * 1024 * 1024
"""Bytes of a line; images and files are large."""

FLUSH_S: Final = 0.5
"""Seconds in which what was written has to have been taken, when the session ends."""

LEAVE_S: Final = 2.0
"""Seconds that a program has to leave by itself once its input is closed."""

KILL_S: Final = 2.0
"""Seconds that it has to heed a signal before it is killed."""

ORPHANS_S: Final = 0.5
"""Seconds that what it has started has to heed a signal once the program itself has left."""

_POLL_S: Final = 0.01

_ENDED: Final = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError, OSError)
"""Errors that say that a pipe is closed, at this end or the other."""


@asynccontextmanager
async def running(server: StdioServer) -> AsyncIterator[TransportStreams]:
    """Run a program and speak with it.

    Args:
        server: Which.

    Yields:
        What it says, and what it is told.

    Raises:
        OSError: It cannot be started.
    """
    given = {name: value.get_secret_value() for name, value in server.env.items()}
    errors = sys.__stderr__ or sys.stderr
    if sys.platform == "win32":
        described = StdioServerParameters(command=server.command, args=list(server.args), env=given, cwd=server.cwd)
        async with stdio_client(described, errlog=errors) as streams:
            yield streams
        return
    process = await anyio.open_process(
        [server.command, *server.args],
        env=get_default_environment() | given,
        stderr=errors,
        cwd=server.cwd,
        start_new_session=True,
    )
    # Nothing is awaited before the task group: a cancellation here would leave the program running.
    said, hear = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    tell, told = anyio.create_memory_object_stream[SessionMessage](0)
    flushed = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_read, process, said)
        tasks.start_soon(_write, process, told, said, flushed)
        try:
            yield hear, tell
        finally:
            with anyio.CancelScope(shield=True):
                # A program that is stuck writing cannot read: what it still says is thrown away.
                hear.close()
                tell.close()
                with anyio.move_on_after(FLUSH_S):
                    await flushed.wait()
                await _end(process)
            tasks.cancel_scope.cancel()


async def _read(process: Process, said: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    """Pass on the messages of a program until its output ends; then throw away what it says."""
    output = process.stdout
    assert output is not None
    try:
        with suppress(*_ENDED):
            await _pass_on(output, said)
    finally:
        with anyio.CancelScope(shield=True), suppress(*_ENDED):
            while True:
                await output.receive()


async def _pass_on(output: ByteReceiveStream, said: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
    """Pass on messages, a message a line; return when one is too long: where the next one begins is unknown."""
    line = bytearray()
    async with said:
        while len(line) <= LARGEST_LINE:
            *ends, begin = (await output.receive()).split(b"\n")
            for end in ends:
                if whole := bytes(line + end).strip():
                    await said.send(read_message(whole))
                line.clear()
            line += begin
        shown = bytes(line[:4096]).decode("utf-8", "replace")
        await said.send(Unreadable(f"the answer has more than {LARGEST_LINE} bytes", shown))


async def _write(
    process: Process,
    told: MemoryObjectReceiveStream[SessionMessage],
    said: MemoryObjectSendStream[SessionMessage | Exception],
    flushed: anyio.Event,
) -> None:
    """Tell a program what it is told, a message a line."""
    assert process.stdin is not None
    try:
        async with told:
            async for message in told:
                line = message.message.model_dump_json(exclude_unset=True)
                await process.stdin.send(line.encode() + b"\n")
    except _ENDED:
        # It takes nothing more, so no pending request will be answered.
        await said.aclose()
    finally:
        flushed.set()


async def _end(process: Process) -> None:
    """End a program and what it has started: ask, signal, kill."""
    assert process.stdin is not None and process.stdout is not None
    with suppress(*_ENDED):
        await process.stdin.aclose()
    left = await _gone(process, LEAVE_S)
    if _signal_group(process.pid, signal.SIGTERM) and not await _gone(
        process, ORPHANS_S if left else KILL_S, group=True
    ):
        _signal_group(process.pid, signal.SIGKILL)
        await _gone(process, KILL_S)
    with suppress(*_ENDED):
        await process.stdout.aclose()
    # Its output stays open as long as what has left the group holds it; nothing public of anyio lets go of it.
    transport = getattr(getattr(process, "_process", None), "_transport", None)
    if callable(close := getattr(transport, "close", None)):
        with suppress(PermissionError):
            close()


async def _gone(process: Process, within_s: float, *, group: bool = False) -> bool:
    """Wait for the end of a program, or of all its group; False if it takes longer.

    Not `process.wait()`, which waits for the end of its output too, and others may have inherited that.
    """
    with anyio.move_on_after(within_s):
        while process.returncode is None or (group and _signal_group(process.pid, 0)):  # noqa: ASYNC110 - no event tells
            await anyio.sleep(_POLL_S)
        return True
    return False


def _signal_group(leader: int, number: int) -> bool:
    """Send a signal to a process group; False if nothing is left of it."""
    try:
        os.killpg(leader, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return number != 0  # the rest belongs to another user
    return True
