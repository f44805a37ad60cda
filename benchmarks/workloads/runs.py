"""Running a graph as a workload: drain its stream, or take only its first event."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing, closing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from benchmarks.workloads.base import LOOP, Digest, Timed

STEPS_WITHOUT_END = 1_000_000_000


@dataclass(frozen=True, slots=True)
class GraphRun:
    """How one graph is run.

    Attributes:
        graph: the compiled graph.
        input: its input, or a function that makes a fresh one.
        variant: "async" or "sync".
        config: further keys of the config, for instance callbacks.
        options: further keyword arguments of ``stream``.
        thread_id: the thread; empty: another one in each run.
    """

    graph: Any
    input: Any
    variant: str
    config: dict[str, Any] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    thread_id: str = ""

    def _call(self, method: str, **extra: Any) -> Any:
        thread = {"thread_id": self.thread_id or str(uuid4())}
        config = {"configurable": thread, "recursion_limit": STEPS_WITHOUT_END, **self.config}
        given = self.input() if callable(self.input) else self.input
        return getattr(self.graph, method)(given, config, **{**self.options, **extra})

    def drain(self, take: Callable[[Any], Any], **extra: Any) -> None:
        """Run to the end and hand every chunk to ``take``."""
        if self.variant == "async":
            LOOP.run(self._adrain(take, **extra))
        else:
            for chunk in self._call("stream", **extra):
                take(chunk)

    async def _adrain(self, take: Callable[[Any], Any], **extra: Any) -> None:
        async for chunk in self._call("astream", **extra):
            take(chunk)

    def first_event(self) -> None:
        """Run up to the first chunk and close the stream."""
        if self.variant == "async":
            LOOP.run(self._afirst_event())
        else:
            with closing(self._call("stream")) as stream:
                for _ in stream:
                    break

    async def _afirst_event(self) -> None:
        async with aclosing(self._call("astream")) as stream:
            async for _ in stream:
                break

    def work(self) -> None:
        """One timed iteration: the whole stream, as its consumer sees it."""
        self.drain(_drop)

    def describe(self) -> dict[str, Any]:
        """The digest of the updates of one run and of its final values."""
        digest = Digest()
        final: list[Any] = [None]

        def take(chunk: Any) -> None:
            mode, data = chunk
            if mode == "values":
                final[0] = data
            else:
                digest.add(data)

        self.drain(take, stream_mode=["updates", "values"])
        digest.add(final[0])
        return digest.result()


def _drop(_: Any) -> None:
    """What the timed consumer does with a chunk."""


def forget_threads(*savers: Any) -> Callable[[], None]:
    """Return a function that empties in-memory savers."""

    def reset() -> None:
        for saver in savers:
            for table in (saver.storage, saver.writes, saver.blobs):
                table.clear()

    return reset


def stored_bytes(saver: Any) -> dict[str, int]:
    """Count the bytes an in-memory saver holds, by what they are for."""
    checkpoints = [entry for spaces in saver.storage.values() for rows in spaces.values() for entry in rows.values()]
    return {
        "checkpoints": sum(len(entry[0][1]) + len(entry[1][1]) for entry in checkpoints),
        "values": sum(len(blob[1]) for blob in saver.blobs.values()),
        "pending_writes": sum(len(write[2][1]) for rows in saver.writes.values() for write in rows.values()),
    }


def whole_run(run: GraphRun, *savers: Any) -> Timed:
    """Time whole runs; savers are emptied in between."""
    return Timed(run.work, run.describe, forget_threads(*savers))


def until_first_event(run: GraphRun) -> Timed:
    """Time runs that end with the first event."""
    return Timed(run.first_event, run.describe, forget_threads())
