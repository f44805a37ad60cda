"""The sessions of a pool: opened when first needed, watched, replaced when lost, ended when idle.

Rules:

- One attempt at a time to reach a server; all callers that need it wait for that one. A caller that stops waiting does
  not stop the attempt.
- A session whose server failed to answer, or that was silent for `IDLE_S`, has to answer a ping before it is used
  again; one that does not is replaced.
- Attempts that follow failures wait: `backoff_s`. `ATTEMPTS` failures in a row are reported to the caller; from then on
  each request makes one attempt. A request that is answered resets the count of failures.
- What one request learns about a session is not the others' answer: a session that was forgotten takes no new ones, and
  those that it has get their own.
- A server whose description says so has a session for each thread of a conversation, or for each user. It ends when it
  was not used for `idle_s`, and a call that waits for a person counts as use.
- No two users share a session of a server that has tokens of each user.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

from stategraph.agent.mcp.errors import McpTimeout, McpUnauthorized, McpUnavailable
from stategraph.agent.mcp.servers import McpServer, StdioServer
from stategraph.errors import MissingPackageError

if TYPE_CHECKING:
    from stategraph.agent.mcp.connection import Connection
    from stategraph.agent.settings.secrets import Secrets

IDLE_S: Final = 30.0
ATTEMPTS: Final = 3

MOST_THREADS: Final = 1000
"""Sessions of one server, where each thread or user has its own; the one that was unused longest makes room."""

Place: TypeAlias = tuple[str, str | None, str | None]
"""The server, the thread and the user of a session."""


def backoff_s(failures: int) -> float:
    """Return seconds to wait before an attempt to reach a server.

    Args:
        failures: How many attempts or sessions ended badly since a request was answered.

    Returns:
        Nothing at first, then a tenth of a second and twice as much each time, at most two seconds.
    """
    return min(0.1 * 2 ** (failures - 1), 2.0) if failures else 0.0


class Slots:
    """The places of all sessions.

    Args:
        described: The servers.
    """

    def __init__(self, described: Mapping[str, McpServer]) -> None:
        self._described = described
        self._slots: dict[Place, Slot] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._slots)

    @contextmanager
    def used(self, server: str, thread_id: str | None, user: str | None = None) -> Iterator[Slot]:
        """Find the place of a session, and keep it from ending while the block is open.

        Args:
            server: The server.
            thread_id: The thread that needs it; None: none.
            user: The user who needs it; None: none.

        Raises:
            McpUnauthorized: The server has a session for each user, and there is none.
        """
        described = self._described[server]
        key = (server, thread_id if described.session == "thread" else None, user if described.per_user else None)
        if described.per_user and not user:
            raise McpUnauthorized(
                f"MCP server {server!r} has a session for each user, and nobody is named: give the run a user "
                "(config={'configurable': {'user_id': ...}}), or ask within `with sessions.acting_for(user)`",
                server=server,
            )
        # The last one is the one that was used last.
        slot = self._slots.pop(key, None) or Slot(server, _of_user(described, key[2]))
        self._slots[key] = slot
        if described.session != "shared":
            self._make_room(server)
        slot.users += 1
        slot.keep()
        try:
            yield slot
        finally:
            slot.users -= 1
            if described.session != "shared" and self._slots.get(key) is slot:
                slot.end_after(described.idle_s, lambda: self._end_idle(key, slot))

    def _make_room(self, server: str) -> None:
        theirs = [key for key in self._slots if key[0] == server]
        if len(theirs) > MOST_THREADS:
            for key in theirs[:-1]:
                if not self._slots[key].busy:
                    self._end(key)
                    return
            self._slots.pop(theirs[-1])
            raise McpUnavailable(
                f"MCP server {server!r} has {MOST_THREADS} sessions that work, one for each thread or user; "
                "another one has to wait until one of them ends",
                server=server,
            )

    def _end_idle(self, key: Place, slot: Slot) -> None:
        if self._slots.get(key) is not slot:
            return
        if slot.busy:
            slot.end_after(self._described[key[0]].idle_s, lambda: self._end_idle(key, slot))
        else:
            self._end(key)

    def _end(self, key: Place) -> asyncio.Task[None]:
        slot = self._slots.pop(key)
        slot.keep()
        ending = asyncio.get_running_loop().create_task(
            slot.close(), name=f"ending MCP session of {key[0]}", context=contextvars.Context()
        )
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending

    async def end_thread(self, thread_id: str) -> None:
        """End the sessions of a thread, and wait until nothing of them is left."""
        await asyncio.gather(*(self._end(key) for key in list(self._slots) if key[1] == thread_id))

    async def end_user(self, user: str) -> None:
        """End the sessions of a user, and wait until nothing of them is left."""
        await asyncio.gather(*(self._end(key) for key in list(self._slots) if key[2] == user))

    async def aclose(self) -> None:
        """End all sessions, and wait until nothing of them is left."""
        for key in list(self._slots):
            self._end(key)
        await asyncio.gather(*self._ending)


def _of_user(described: McpServer, user: str | None) -> McpServer:
    return described if user is None or isinstance(described, StdioServer) else described.of_user(user)


class Slot:
    """The place of one session in the pool."""

    def __init__(self, name: str, server: McpServer) -> None:
        self._name = name
        self._server = server
        self._connection: Connection | None = None
        self._opening: asyncio.Task[Connection] | None = None
        self._leaving: list[Connection] = []
        self._failures = 0
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.users = 0

    @property
    def secrets(self) -> Secrets:
        """Texts that are hidden in what the server says."""
        return self._server.secrets if self._connection is None else self._connection.secrets

    @property
    def busy(self) -> bool:
        """True if somebody uses it, or a request of its session has no answer yet."""
        return self.users > 0 or (self._connection is not None and self._connection.working)

    def keep(self) -> None:
        """Do not end it for being idle."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def end_after(self, idle_s: float, end: Callable[[], None]) -> None:
        """Call `end` if it is not used for a time."""
        self.keep()
        self._timer = asyncio.get_running_loop().call_later(idle_s, end)

    async def ready(self) -> Connection:
        """Return the session, opened or replaced if need be."""
        if self._closed:
            raise self._was_closed()
        held = self._connection
        if self._opening is None:
            if held is not None and held.alive and not held.doubtful(IDLE_S):
                return held
            # A clean context: the session outlives the run that happens to need it first.
            self._opening = asyncio.get_running_loop().create_task(
                self._reopen(), name=f"opening MCP session of {self._name}", context=contextvars.Context()
            )
            self._opening.add_done_callback(self._opened)
        opening = self._opening
        await asyncio.wait((opening,))  # whose own cancellation does not reach the attempt
        if opening.cancelled():
            raise self._was_closed()
        return opening.result()

    def answered(self) -> None:
        """Note that a request was answered."""
        self._failures = 0

    async def close(self) -> None:
        """End the session, and the attempt to open one."""
        self._closed = True
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait((self._opening,))
        left = [*self._leaving, *([] if self._connection is None else [self._connection])]
        await asyncio.gather(*(connection.close() for connection in left))

    def _was_closed(self) -> McpUnavailable:
        return McpUnavailable(f"MCP server {self._name!r} was closed", server=self._name)

    def _opened(self, opening: asyncio.Task[Connection]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # raised to those who wait; if none is left, the next caller tries again

    async def _reopen(self) -> Connection:
        if (held := self._connection) is not None:
            if held.alive and await _answers(held):
                return held
            self._connection = None
            self._leaving = [each for each in (*self._leaving, held) if not each.ended]
            if not held.forgotten:
                await held.close()
                self._failures += 1
        session = await asyncio.to_thread(_load)
        while True:
            await asyncio.sleep(backoff_s(self._failures))
            try:
                self._connection = await session.open(self._name, self._server)
            except (McpUnavailable, McpTimeout) as error:
                self._failures += 1
                # After waiting for a time-out, do not wait again.
                if self._failures >= ATTEMPTS or isinstance(error, McpTimeout):
                    raise
            else:
                return self._connection


async def _answers(connection: Connection) -> bool:
    try:
        await connection.ping()
    except McpUnavailable:
        return False
    return True


def _load() -> type[Connection]:
    """Import the modules that need the `mcp` package: on first use, in a thread, since that takes 0.57 s."""
    try:
        from stategraph.agent.mcp.connection import Connection
    except ModuleNotFoundError as error:
        raise MissingPackageError("stategraph[mcp]", "A session with an MCP server") from error
    return Connection
