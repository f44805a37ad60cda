"""Savers called the same way, whether they are sync or async."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from typing import Any, TypeVar
from uuid import uuid4

from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6

T = TypeVar("T")


class Sync:
    """A sync saver."""

    def __init__(self, saver: Any) -> None:
        self.saver = saver

    def __getattr__(self, name: str) -> Any:
        return getattr(self.saver, name)

    def all(self, *arguments: Any, **named: Any) -> list[Any]:
        return list(self.saver.list(*arguments, **named))

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        return getattr(self.saver, name)(*arguments, **named)


class Async:
    """An async saver whose event loop runs in a thread of its own."""

    def __init__(self, saver: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.saver = saver
        self.run = run

    def __getattr__(self, name: str) -> Any:
        if hasattr(self.saver, f"a{name}"):
            return lambda *arguments, **named: self.call(f"a{name}", *arguments, **named)
        return getattr(self.saver, name)

    def all(self, *arguments: Any, **named: Any) -> list[Any]:
        async def found() -> list[Any]:
            return [each async for each in self.saver.alist(*arguments, **named)]

        listed: list[Any] = self.run(found())
        return listed

    def call(self, name: str, *arguments: Any, **named: Any) -> Any:
        async def called() -> Any:
            return await getattr(self.saver, name)(*arguments, **named)

        return self.run(called())


@contextmanager
def loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """Run an event loop in a thread; yields what runs a coroutine in it."""
    running = asyncio.new_event_loop()
    thread = threading.Thread(target=running.run_forever)
    thread.start()
    try:
        yield lambda coroutine: asyncio.run_coroutine_threadsafe(coroutine, running).result(60)
    finally:
        running.call_soon_threadsafe(running.stop)
        thread.join()
        running.run_until_complete(running.shutdown_default_executor())
        running.close()


@contextmanager
def opened(kind: str, make: Callable[[], Any], amake: Callable[[], Any]) -> Iterator[Any]:
    """Open a saver and make its tables.

    Args:
        kind: `sync` or `async`.
        make: Returns a context with the sync saver.
        amake: Returns an async context with the async one.
    """
    with ExitStack() as stack:
        if kind == "sync":
            saver = stack.enter_context(make())
            saver.setup()
            yield Sync(saver)
            return
        run: Any = stack.enter_context(loop())
        exits = AsyncExitStack()

        async def begin() -> Any:
            entered = await exits.enter_async_context(amake())
            await entered.setup()
            return entered

        saver = run(begin())
        try:
            yield Async(saver, run)
        finally:
            run(exits.aclose())


@asynccontextmanager
async def given(value: Any) -> AsyncIterator[Any]:
    """Make an async context of a value."""
    yield value


def at(thread: str, checkpoint_id: str | None = None, namespace: str = "") -> Any:
    """The config of a checkpoint."""
    return {"configurable": {"thread_id": thread, "checkpoint_ns": namespace, "checkpoint_id": checkpoint_id}}


def checkpoint(**values: Any) -> Any:
    """A checkpoint whose channels have these values, each at the version of its name."""
    made = empty_checkpoint()
    versions = {name: f"{1:032}.{uuid4().int % 10**16:016}" for name in values}
    return {**made, "v": 4, "id": str(uuid6()), "channel_values": values, "channel_versions": versions}


def put(saver: Any, thread: str, parent: str | None = None, namespace: str = "", **values: Any) -> str:
    """Store a checkpoint and return its id."""
    made = checkpoint(**values)
    saver.put(at(thread, parent, namespace), made, {"source": "loop", "step": 1}, made["channel_versions"])
    found: str = made["id"]
    return found
