"""A pool of processes: true parallelism, and jobs that can always be stopped.

- A worker is a fresh interpreter, not a fork: it has no threads, locks or connections of its host. It gets the host's
  import path, a cleaned environment and one socket.
- It ends with its host within two seconds, however that ends.
- A worker whose resident memory is above the limit is replaced when its jobs have ended; one that is above twice the
  limit is killed with them.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterable, Mapping
from typing import Any

from stategraph.errors import ConfigurationError, TransferError
from stategraph.workers.process import launching, limits
from stategraph.workers.process.framing import Framed
from stategraph.workers.references import names
from stategraph.workers.scheduling import ScheduledPool, Seat, WorkerLink
from stategraph.workers.wire import Message

#: Interval between checks of memory, in seconds.
_LOOK_S = 0.5

#: Above so many times the limit a worker is killed at once.
_EXCESS = 2

_MEGABYTE = 1024 * 1024


class ProcessPool(ScheduledPool):
    """Runs jobs in processes of this machine.

    Args:
        workers: How many processes.
        allow: Modules that targets and values may be imported from.
        memory_limit_mb: Resident memory of a worker, in MiB, above which it is replaced; None: no limit. Known on Linux
            alone.
        pass_environment: Names of environment variables that workers get, added to the few that every program needs:
            keys of model providers, for example.
        environment: Variables of the workers' own.
        preload: Modules that a worker imports before its first job.
        **settings: As for `ScheduledPool`.
    """

    backend = "process"

    def __init__(
        self,
        workers: int = 2,
        *,
        allow: Iterable[str] = (),
        memory_limit_mb: int | None = None,
        pass_environment: Iterable[str] = (),
        environment: Mapping[str, str] | None = None,
        preload: Iterable[str] = (),
        **settings: Any,
    ) -> None:
        super().__init__(workers, allow=allow, **settings)
        if not hasattr(socket, "AF_UNIX"):
            raise ConfigurationError("Workers in processes need Unix sockets, which this system lacks; use threads")
        if memory_limit_mb is not None and memory_limit_mb <= 0:
            raise ConfigurationError(f"'memory_limit_mb' is {memory_limit_mb!r}; expected more than 0, or None")
        self._memory_limit = None if memory_limit_mb is None else memory_limit_mb * _MEGABYTE
        self._pass_environment = names(pass_environment, "pass_environment")
        self._environment = dict(environment or {})
        self._preload = names(preload, "preload")
        self._watching: asyncio.Task[None] | None = None

    def _start(self, name: str) -> WorkerLink:
        if self._memory_limit is not None and self._watching is None:
            self._watching = asyncio.ensure_future(self._watch(self._memory_limit))
        return ProcessLink(self, name)

    def launch(self, name: str, descriptor: int) -> tuple[list[str], dict[str, str]]:
        """Return the command and the environment of a worker."""
        settings = {"name": name, "allow": self.targets.allowed, "preload": self._preload}
        command = launching.command("stategraph.workers.process.child", descriptor, settings)
        return command, limits.environment(self._pass_environment, self._environment)

    def deliver(self, name: str, message: Message) -> None:
        """Take a message of a worker."""
        self._received(name, message)

    def lost(self, name: str, how: str) -> None:
        """Handle the loss of a worker."""
        self._died(name, how)

    async def aclose(self) -> None:
        """Cancel the remaining jobs and stop all workers, see `WorkerPool.aclose`."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await super().aclose()

    async def _watch(self, limit: int) -> None:
        while True:
            await asyncio.sleep(_LOOK_S)
            for seat in list(self._seats):
                self._look_at(seat, limit)

    def _look_at(self, seat: Seat, limit: int) -> None:
        used = seat.link.rss_bytes()
        if used is None or used <= limit or seat.killed is not None:
            return
        if used > _EXCESS * limit and seat.jobs:
            sizes = f"{used // _MEGABYTE} MiB of memory, and its limit is {limit // _MEGABYTE} MiB"
            self._kill(seat, f"it used {sizes}")
            self._fill()
        elif not seat.retiring:
            self._count["recycled"] += 1
            self._retire(seat)
            self._fill()
            self._dispatch()


class ProcessLink:
    """A worker in a process.

    Args:
        pool: The pool.
        name: The worker's name.
    """

    def __init__(self, pool: ProcessPool, name: str) -> None:
        self.pid: int | None = None
        self._pool = pool
        self._name = name
        self._unsent: list[Message] = []
        self._framed: Framed | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._hung_up = asyncio.Event()
        self._gone = asyncio.Event()
        self._life = asyncio.ensure_future(self._live())
        self._killing: asyncio.Task[None] | None = None

    async def _live(self) -> None:
        """Start the process, wait for its end, and tell the pool, however that goes."""
        try:
            how = await self._run()
        except Exception as error:  # any at all: nobody else would tell that there is no such worker
            self._signal(signal.SIGKILL)
            how = f"could not be started: {error if isinstance(error, OSError) else repr(error)}"
        self._gone.set()
        self._pool.lost(self._name, how)

    async def _run(self) -> str:
        """Run the process, and return how it ended."""
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                command, environment = self._pool.launch(self._name, theirs.fileno())
                self._process = await asyncio.create_subprocess_exec(
                    *command, stdin=asyncio.subprocess.DEVNULL, pass_fds=(theirs.fileno(),), env=environment
                )
            self.pid = self._process.pid
            framed = Framed(self._receive, self._hung_up.set)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: framed, ours)
        except BaseException:
            ours.close()
            raise
        self._framed = framed
        for message in self._unsent:
            framed.send(message)
        self._unsent.clear()
        code = await self._process.wait()
        try:  # what it has sent comes before its end
            await asyncio.wait_for(self._hung_up.wait(), launching.KILL_S)
        except TimeoutError:
            framed.close()
        return f"(process {self.pid}) {launching.ended_how(code)}"

    def _receive(self, message: Message) -> None:
        self._pool.deliver(self._name, message)

    def send(self, message: Message) -> None:
        """Send it a message, in order."""
        if self._framed is None:
            self._unsent.append(message)
            return
        try:
            self._framed.send(message)
        except TransferError as error:
            if message[0] not in ("job", "reply"):
                raise
            job_id = message[1]["id"] if message[0] == "job" else message[1]
            failed = ("failed", job_id, self._pool.codec.describe(error, "the host"))
            asyncio.get_running_loop().call_soon(self._receive, failed)

    def rss_bytes(self) -> int | None:
        """Return its resident memory; None where the system does not tell."""
        return None if self.pid is None else limits.rss_bytes(self.pid)

    def kill(self, why: str) -> None:
        """Stop it: SIGTERM, and SIGKILL if that does not help."""
        if self._killing is None:
            self._killing = asyncio.ensure_future(self._kill())

    async def _kill(self) -> None:
        if self._process is None:
            await asyncio.wait((self._life,), timeout=launching.KILL_S)
        self._signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._gone.wait(), launching.KILL_S)
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._gone.wait()

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                return

    async def stop(self) -> None:
        """Let it end, and see to it."""
        self.send(("stop",))
        try:
            await asyncio.wait_for(self._gone.wait(), 2 * launching.KILL_S)
        except TimeoutError:
            await self._kill()
        if self._killing is not None:
            await self._killing
        await self._life
