"""A pool without workers: jobs run in the event loop of the pool itself, sync ones in threads.

For tests and for programs that want one code path. It isolates nothing: a job that never ends cannot be stopped, and
one that hogs the processor holds up everybody.
"""

from __future__ import annotations

import asyncio

from stategraph.workers.execution import JobWorker
from stategraph.workers.references import Targets
from stategraph.workers.scheduling import ScheduledPool, WorkerLink
from stategraph.workers.wire import Message


class InlinePool(ScheduledPool):
    """Runs jobs in its own event loop. Arguments are those of `ScheduledPool`."""

    backend = "inline"

    def _start(self, name: str) -> WorkerLink:
        return InlineLink(self, name)

    def deliver(self, name: str, message: Message) -> None:
        """Take a message of a worker."""
        self._received(name, message)

    def lost(self, name: str, how: str) -> None:
        """Handle the loss of a worker."""
        self._died(name, how)


class InlineLink:
    """A worker in the pool's event loop.

    Args:
        pool: The pool.
        name: The worker's name.
    """

    pid = None

    def __init__(self, pool: InlinePool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._loop = asyncio.get_running_loop()
        self._worker = JobWorker(name, Targets(pool.targets.allowed), self.reply)
        self.reply(("ready", None))

    def send(self, message: Message) -> None:
        """Send it a message, in order."""
        self._loop.call_soon(self._worker.receive, message)

    def reply(self, message: Message) -> None:
        """Take a message of the worker to the pool."""
        self._loop.call_soon(self._pool.deliver, self._name, message)

    def rss_bytes(self) -> int | None:
        """Return None: the memory is the host's own."""
        return None

    def kill(self, why: str) -> None:
        """Leave it: its threads cannot be stopped, so they are left behind."""
        self._loop.call_soon(self._pool.lost, self._name, f"was left behind: {why}")

    async def stop(self) -> None:
        """Let it end."""
        await self._worker.aclose()
