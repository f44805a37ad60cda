"""A pool of threads, each with its own event loop.

It keeps the host's event loop free from jobs that hold it up for a while. Threads share the interpreter's lock, so they
make nothing faster, and a job that never ends cannot be stopped: its thread is left behind and replaced.
"""

from __future__ import annotations

import asyncio
import threading

from stategraph.workers.execution import JobWorker
from stategraph.workers.inline import InlinePool
from stategraph.workers.references import Targets
from stategraph.workers.scheduling import WorkerLink
from stategraph.workers.wire import Message


class ThreadPool(InlinePool):
    """Runs jobs in threads. Arguments are those of `ScheduledPool`."""

    backend = "thread"

    def _start(self, name: str) -> WorkerLink:
        return ThreadLink(self, name)


class ThreadLink:
    """A worker in a thread.

    Args:
        pool: The pool.
        name: The worker's name.
    """

    pid = None

    def __init__(self, pool: ThreadPool, name: str) -> None:
        self._pool = pool
        self._name = name
        self._affinity = asyncio.get_running_loop()
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._ended = asyncio.Event()
        self._killed = False
        threading.Thread(target=self._main, name=name, daemon=True).start()
        self._ready.wait()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        finally:
            self._tell_home(self._ended.set)

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._worker = JobWorker(self._name, Targets(self._pool.targets.allowed), self._reply)
        self._ready.set()
        self._reply(("ready", None))
        await self._stop.wait()
        await self._worker.aclose()

    def send(self, message: Message) -> None:
        """Send it a message, in order."""
        self._loop.call_soon_threadsafe(self._worker.receive, message)

    def _reply(self, message: Message) -> None:
        self._tell_home(self._pool.deliver, self._name, message)

    def _tell_home(self, what: object, *arguments: object) -> None:
        if not self._affinity.is_closed():
            self._affinity.call_soon_threadsafe(what, *arguments)  # type: ignore[arg-type]

    def rss_bytes(self) -> int | None:
        """Return None: the memory is the host's own."""
        return None

    def kill(self, why: str) -> None:
        """Leave it: a thread cannot be stopped. It ends when its job does."""
        self._end()
        self._affinity.call_soon(self._pool.lost, self._name, f"was left behind: {why}")

    async def stop(self) -> None:
        """Let it end."""
        self._end()
        await self._ended.wait()

    def _end(self) -> None:
        if self._stop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._stop.set)
