"""A worker process for nodes, as the process of the run sees it: one socket, used by one attempt at a time."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

from stategraph.workers.nodes.port import READ_BYTES, HungUp, received
from stategraph.workers.process import launching, limits
from stategraph.workers.process.framing import Frames, frame
from stategraph.workers.references import Targets
from stategraph.workers.wire import Codec, Message

#: The steps by which a worker is made to end: after so many seconds, by this signal.
_STEPS: Final = ((2 * launching.KILL_S, signal.SIGTERM), (launching.KILL_S, signal.SIGKILL))


class Late(Exception):
    """The deadline has passed."""


class NodeProcess:
    """A worker process.

    Reading and writing is for who has taken it; to stop it and to look at it is for everybody.

    Args:
        name: Its name in messages.
        allow: Modules that it may import from.
        preload: Modules that it imports before its first node.
        environment: Its environment.

    Attributes:
        pid: Its process.
        codec: Reads what it sends.
        ended: How many attempts ended on it.
        worn: Whether it is to be replaced when its attempt has ended.
        killed: Why it was killed; None if it was not.
        gone: How the process ended, when it has.

    Raises:
        OSError: It cannot be started.
    """

    def __init__(self, name: str, allow: Sequence[str], preload: Sequence[str], environment: Mapping[str, str]) -> None:
        self.name = name
        self.ended = 0
        self.worn = False
        self.killed: str | None = None
        self.gone: Future[str] = Future()
        self.gone.set_running_or_notify_cancel()  # nobody who waits for it can cancel it
        self._allowed = frozenset(allow)
        self.codec = Codec(Targets(allow))
        self._socket, theirs = socket.socketpair()
        settings = {"name": name, "allow": self.codec.targets.allowed, "preload": list(preload)}
        try:
            with theirs:
                self._process = subprocess.Popen(
                    launching.command("stategraph.workers.nodes.serving", theirs.fileno(), settings),
                    stdin=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    env=dict(environment),
                )
        except BaseException:
            self._socket.close()
            raise
        self.pid = self._process.pid

    # For the thread that started it.

    def wait_until_ready(self) -> bool:
        """Wait until it can take a node; return False if it ended before."""
        try:
            data = received(self._socket)
        except HungUp:
            return False
        return any(message[0] == "ready" for message in Frames().feed(data))

    def wait(self) -> str:
        """Wait for its end, and return how it was."""
        code = self._process.wait()
        how = f"(process {self.pid}) {launching.ended_how(code)}"
        self.gone.set_result(how)
        return how

    def close(self) -> None:
        """Close the socket: nobody uses it any more."""
        self._socket.close()

    # For who has taken it. Deadlines are readings of the monotonic clock.

    def allowing(self, modules: frozenset[str]) -> bytes:
        """Return the bytes that let it import from further modules; empty if it may."""
        new = modules - self._allowed
        if not new:
            return b""
        self._allowed |= new
        self.codec.targets.allow(new)
        return frame(("allow", sorted(new)))

    def exchange(self, data: bytes, deadline: float | None) -> bytes:
        """Send bytes, if there are any, and return what comes; waits in this thread.

        Raises:
            Late: The deadline has passed.
            HungUp: It has ended.
        """
        if data:
            with self._limited(deadline):
                self._socket.sendall(data)
        with self._limited(deadline):
            return received(self._socket)

    @contextmanager
    def _limited(self, deadline: float | None) -> Iterator[None]:
        left = None if deadline is None else deadline - time.monotonic()
        if left is not None and left <= 0:
            raise Late
        self._socket.settimeout(left)
        try:
            yield
        except TimeoutError:
            raise Late from None
        except (HungUp, ConnectionError):
            self.gone.result()
            raise HungUp from None

    async def aexchange(self, data: bytes, deadline: float | None) -> bytes:
        """Do the same in an event loop."""
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            async with asyncio.timeout(left):
                return await self._exchanged_in_loop(data) or await self._end_in_loop()
        except TimeoutError:
            raise Late from None

    async def _exchanged_in_loop(self, data: bytes) -> bytes:
        loop = asyncio.get_running_loop()
        self._socket.setblocking(False)
        try:
            if data:
                await loop.sock_sendall(self._socket, data)
            else:
                await asyncio.sleep(0)  # a node that tells without end holds up nobody
            return await loop.sock_recv(self._socket, READ_BYTES)
        except ConnectionError:
            return b""

    async def _end_in_loop(self) -> NoReturn:
        await asyncio.wrap_future(self.gone)
        raise HungUp

    # For everybody.

    def rss_bytes(self) -> int | None:
        """Return its resident memory; None where the system does not tell."""
        return limits.rss_bytes(self.pid)

    def kill(self, why: str) -> None:
        """Stop it: SIGTERM now, and SIGKILL if that does not help."""
        if self.killed is None:
            self.killed = why
            self._signal(signal.SIGTERM)
            self._end_by(_STEPS[1:])

    def retire(self) -> None:
        """Let it end; nobody has taken it."""
        message: Message = ("stop",)
        self._socket.setblocking(False)
        with suppress(OSError):  # else signals end it
            self._socket.send(frame(message))
        self._end_by(_STEPS)

    def _end_by(self, steps: Iterable[tuple[float, signal.Signals]]) -> None:
        def see_to_it() -> None:
            for wait_s, number in steps:
                try:
                    self.gone.result(wait_s)
                except TimeoutError:
                    self._signal(number)
                else:
                    return

        threading.Thread(target=see_to_it, name=f"{self.name} end", daemon=True).start()

    def _signal(self, number: signal.Signals) -> None:
        if not self.gone.done():
            self._process.send_signal(number)  # of a process that has just ended it says nothing
