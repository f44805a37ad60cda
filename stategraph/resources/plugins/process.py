"""A plug-in in a process of its own, with limits, and in a sandbox if its trust level asks for one.

- Its process gets a cleaned environment, one socket and its configuration over that socket: secrets are in no argument
  and no environment.
- What it sends is plain data of limited size. A message that cannot be read ends it.
- What it prints is logged line by line, secrets of its configuration hidden, at a limited rate.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import ormsgpack

from stategraph.resources.plugins import permissions, sandbox
from stategraph.resources.plugins.api import Json, Offers
from stategraph.resources.plugins.errors import (
    PluginCallError,
    PluginError,
    PluginPermissionError,
    PluginProtocolError,
    PluginStartError,
    PluginTimeout,
    PluginUnavailable,
)
from stategraph.resources.plugins.instance import Usage, Watcher
from stategraph.resources.plugins.output import OutputLog
from stategraph.resources.plugins.spec import PluginLimits, PluginSpec
from stategraph.workers.process import bubblewrap, launching, limits
from stategraph.workers.process.frames import FrameCutter, FrameTooLong, framed

_MEBIBYTE: Final = 1024 * 1024

#: Seconds that a process has to end politely.
_STOP_S: Final = 2.0


class ProcessInstance:
    """A plug-in in a process.

    Args:
        spec: Its declaration.
        target: `package.module:Class`, which was checked.
        watcher: Who is told its events and its end.
    """

    def __init__(self, spec: PluginSpec, target: str, watcher: Watcher) -> None:
        self.offers = Offers()
        self._spec = spec
        self._target = target
        self._watcher = watcher
        self._sandboxed = spec.runs_in == "sandbox"
        self._loop = asyncio.get_running_loop()
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Json]] = {}
        self._ready: asyncio.Future[Offers] = self._loop.create_future()
        self._connection: _Connection | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._output = OutputLog(spec.name, spec.secrets)
        self._life: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._stopped = False
        self._lost: str | None = None

    # Its process.

    async def start(self) -> None:
        """Start it, see `Instance.start`."""
        try:
            async with asyncio.timeout(self._spec.limits.start_s):
                await self._launch()
                granted = sorted(self._spec.permissions)
                self._send("begin", self._target, dict(self._spec.config), granted)
                self.offers = await self._ready
        except PluginError:
            await self.stop()
            raise
        except TimeoutError:
            await self.stop()
            raise PluginStartError(
                f"Plugin '{self._spec.name}' did not start within {self._spec.limits.start_s:g} s{self._output.told()}"
            ) from None
        except OSError as error:
            await self.stop()
            raise PluginStartError(f"The process of plugin '{self._spec.name}' cannot be started: {error}") from error
        except BaseException:
            await self.stop()
            raise

    async def _launch(self) -> None:
        if self._sandboxed:
            await sandbox.check(self._spec, self._target)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                command, environment = self._command(theirs.fileno())
                self._process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE,
                    stderr=asyncio.subprocess.STDOUT,
                    pass_fds=(theirs.fileno(),),
                    env=environment,
                    start_new_session=True,
                )
            self._life = asyncio.create_task(self._live(self._process))
            connection = _Connection(self, self._spec.limits.message_mb * _MEBIBYTE)
            await self._loop.connect_accepted_socket(lambda: connection, ours)
        except BaseException:
            ours.close()
            raise
        self._connection = connection

    def _command(self, descriptor: int) -> tuple[list[str], dict[str, str]]:
        settings = {
            "name": self._spec.name,
            "rlimits": dict(_rlimits(self._spec.limits)),
            "sandboxed": self._sandboxed,
            "message_bytes": self._spec.limits.message_mb * _MEBIBYTE,
        }
        command = launching.command("stategraph.resources.plugins.child", descriptor, settings)
        if self._sandboxed:
            python = bubblewrap.python()
            return [*sandbox.command(self._spec, self._target), python, *command[1:]], {}
        passed = permissions.arguments(self._spec.permissions, "environment")
        return command, limits.environment(passed, {"MALLOC_ARENA_MAX": "2"})

    async def _live(self, process: asyncio.subprocess.Process) -> None:
        """Log what the process prints, wait for its end, and tell of it."""
        assert process.stdout is not None
        reading = asyncio.create_task(self._output.read(process.stdout))
        code = await process.wait()
        self._kill(process.pid)  # processes that it has started hold its output open
        await asyncio.wait((reading,), timeout=_STOP_S)
        reading.cancel()
        self.fault(f"its process {launching.ended_how(code)}")

    async def _hung_up(self) -> None:
        """End a process that has closed its connection; one that ends by itself says how."""
        assert self._life is not None
        await asyncio.wait((self._life,), timeout=launching.KILL_S)
        self.fault("its process closed the connection")

    def hung_up(self) -> None:
        """Note that the connection is closed."""
        if self._life is not None and self._lost is None and not self._stopped:
            self._leaving = asyncio.create_task(self._hung_up())

    def fault(self, why: str) -> None:
        """Note that it is gone, or has to go."""
        if self._lost is not None:
            return
        self._lost = f"{why}{self._output.told()}"
        if self._process is not None and self._process.returncode is None:
            self._kill(self._process.pid)
        if not self._ready.done():
            self._ready.set_exception(PluginStartError(f"Plugin '{self._spec.name}' did not start: {self._lost}"))
            self._ready.exception()  # nobody may be waiting
        for each in self._waiting.values():
            if not each.done():
                each.set_exception(PluginUnavailable(f"Plugin '{self._spec.name}' is gone: {self._lost}"))
        if not self._stopped:
            self._watcher.lost(self, self._lost)

    @staticmethod
    def _kill(pid: int) -> None:
        try:
            os.killpg(pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return

    async def stop(self) -> None:
        """End it, see `Instance.stop`."""
        self._stopped = True
        self._send("stop")
        if self._life is not None:
            await asyncio.wait((self._life,), timeout=_STOP_S)
            if not self._life.done():
                assert self._process is not None
                self._kill(self._process.pid)
                await asyncio.wait((self._life,))
        if self._leaving is not None:
            await asyncio.wait((self._leaving,))
        if self._connection is not None:
            self._connection.close()
        self.fault("it was stopped")

    # Messages.

    def _send(self, *message: Json) -> None:
        if self._connection is not None:
            self._connection.send(ormsgpack.packb(message))

    def receive(self, message: Json) -> None:
        """Take a message of the process.

        Raises:
            PluginProtocolError: It is none.
        """
        match message:
            case ["done", int(number), value]:
                self._settle(number, value)
            case ["failed", int(number), str(kind), str(text)]:
                self._settle(number, PluginCallError(f"{kind}: {self._output.hidden(text)}", kind))
            case ["publish", str(topic), dict(event)]:
                self._watcher.published(topic, event)
            case ["ready", dict(data)] if not self._ready.done():
                try:
                    self._ready.set_result(Offers.of(data))
                except ValueError as error:
                    raise PluginProtocolError(str(error)) from None
            case ["refused", str(kind), str(text)] if not self._ready.done():
                self._ready.set_exception(_refusal(self._spec.name, kind, self._output.hidden(text)))
            case _:
                raise PluginProtocolError("a message of another form came")

    def _settle(self, number: int, outcome: Json) -> None:
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if isinstance(outcome, PluginCallError):
            waiting.set_exception(outcome)
        else:
            waiting.set_result(outcome)

    async def call(self, kind: str, name: str, payload: Json, timeout_s: float) -> Json:
        """Call a function of it, see `Instance.call`."""
        if self._lost is not None or self._stopped or self._connection is None:
            raise PluginUnavailable(f"Plugin '{self._spec.name}' is gone: {self._lost or 'it was stopped'}")
        number = next(self._numbers)
        waiting = self._waiting[number] = self._loop.create_future()
        over = False
        try:
            try:
                data = ormsgpack.packb(("call", number, kind, name, payload))
            except ormsgpack.MsgpackEncodeError as error:
                raise TypeError(f"The argument of the {kind} '{name}' is no JSON: {error}") from error
            self._connection.send(data)
            async with asyncio.timeout(timeout_s):
                return await waiting
        except TimeoutError:
            over = True
            raise PluginTimeout(
                f"The {kind} '{name}' of plugin '{self._spec.name}' took longer than {timeout_s:g} s"
            ) from None
        except asyncio.CancelledError:
            over = True
            raise
        finally:
            del self._waiting[number]
            if over:
                self._send("cancel", number)

    def tell(self, topic: str, event: Json) -> None:
        """Tell it an event."""
        self._send("event", topic, event)

    def usage(self) -> Usage:
        """Return what its process uses; of a sandbox, the process in it."""
        if self._process is None or self._process.returncode is not None:
            return Usage()
        pid = _innermost(self._process.pid) if self._sandboxed else self._process.pid
        return Usage(pid, limits.rss_bytes(pid), _cpu_s(pid))


class _Connection(asyncio.Protocol):
    """The host's end of the connection.

    Args:
        instance: Takes the messages.
        most_bytes: The most bytes of a message, either way.
    """

    def __init__(self, instance: ProcessInstance, most_bytes: int) -> None:
        self._instance = instance
        self._most = most_bytes
        self._frames = FrameCutter(most_bytes)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._instance.hung_up()

    def data_received(self, data: bytes) -> None:
        try:
            for each in self._frames.feed(data):
                self._instance.receive(ormsgpack.unpackb(each))
        except (FrameTooLong, PluginProtocolError, ormsgpack.MsgpackDecodeError) as error:
            self.close()
            self._instance.fault(f"it broke the protocol: {error}")

    def send(self, data: bytes) -> None:
        """Send a message.

        Raises:
            PluginError: It is too large, or the process reads nothing.
        """
        if len(data) > self._most:
            raise PluginError(f"A message of {len(data):,} bytes cannot be sent to a plug-in; at most {self._most:,}")
        if self._transport is None:
            return
        if self._transport.get_write_buffer_size() > 2 * self._most:
            raise PluginUnavailable("The process of the plug-in reads nothing, and too much waits for it")
        self._transport.write(framed(data))

    def close(self) -> None:
        """Leave."""
        if self._transport is not None:
            self._transport.abort()


def _rlimits(most: PluginLimits) -> Iterator[tuple[str, int]]:
    yield "RLIMIT_CORE", 0
    yield "RLIMIT_AS", most.memory_mb * _MEBIBYTE
    yield "RLIMIT_NOFILE", most.files
    yield "RLIMIT_FSIZE", most.file_mb * _MEBIBYTE
    if most.cpu_s is not None:
        yield "RLIMIT_CPU", most.cpu_s
    if most.processes is not None:
        yield "RLIMIT_NPROC", most.processes


def _refusal(name: str, kind: str, text: str) -> PluginError:
    """Return the error of a plug-in that did not start."""
    if kind == "PluginPermissionError":
        return PluginPermissionError(text)
    if kind == "PluginStartError":
        return PluginStartError(text)
    return PluginStartError(f"Plugin '{name}' did not start: {kind}: {text}")


def _innermost(pid: int) -> int:
    """Return the process at the end of a chain of processes that have one child each."""
    while True:
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except OSError:
            return pid
        if len(children) != 1:
            return pid
        pid = int(children[0])


def _cpu_s(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None
