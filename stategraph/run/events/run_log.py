"""The events of a run, numbered and kept for a while, so that a reader that lost the connection loses nothing.

- Every event has the next number. The newest ones are kept, as many as the log is long.
- A reader that reconnects names the last event it saw and continues from there. If that is no longer kept, a gap is
  sent as an event, never silence.
- A reader that owns the run holds it up when it falls behind; one that only watches does not, and may find gaps.
- The last event of an execution says how it ended.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from stategraph.errors import AbortError
from stategraph.run.events.event_types import FRONT_END_EVENTS, Gap, GraphEvents, RunEnd, RunError, WaitingFor
from stategraph.run.ports import ExecutionStatus, RunEvent

if TYPE_CHECKING:  # it needs the engine, and a runtime without runs does not
    from stategraph.run.pauses import RunInterrupt

__all__ = ("LAG", "RunEvent", "RunLog", "sse")

#: The lag, in events, that the reader that owns the run may have.
LAG = 64


async def sse(
    events: AsyncIterator[RunEvent], only: Collection[str] | None = FRONT_END_EVENTS
) -> AsyncGenerator[str, None]:
    """Yield the frames of an event stream for a browser.

    Args:
        events: From `Run.stream`, `Run.attach` or `AgentRuntime.attach`; closed when the browser leaves.
        only: The events to send; None: all of them, prompts included.

    Yields:
        Frames.
    """
    try:
        async for event in events:
            if only is None or event.event in only:
                yield event.to_sse()
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


class RunLog:
    """An `EventLog` in memory: the newest events of a run.

    Args:
        size: How many events are kept.
    """

    def __init__(self, size: int) -> None:
        # Made into a RunEvent when it is read: most events are never read.
        self._events: deque[tuple[int, str, Any, Mapping[str, object] | None]] = deque(maxlen=size)
        self._last = 0
        self._running = True
        self._let_go = False
        self._readers: set[_Reader] = set()
        self._owner: _Reader | None = None

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 before the first."""
        return self._last

    def begin(self) -> None:
        """Prepare for an execution that is about to start: readers wait for its events, as before the first one."""
        self._running = True
        self._let_go = False
        # One that is left from the execution before does not hold up this one.
        self._owner = None

    def put(self, event: str, data: object, metadata: Mapping[str, object] | None) -> None:
        """Keep an event and wake readers."""
        self._last += 1
        self._events.append((self._last, event, data, metadata))
        for reader in self._readers:
            reader.news.set()

    @property
    def is_full(self) -> bool:
        """True if the reader that owns the run has fallen too far behind."""
        owner = self._owner
        return owner is not None and not self._let_go and self._last - owner.seen > LAG

    async def room(self) -> None:
        """Wait until the reader that owns the run has nearly caught up."""
        owner = self._owner
        while owner is not None and owner is self._owner and self.is_full:
            owner.read.clear()
            await owner.read.wait()

    def let_go(self) -> None:
        """Wait for the reader that owns the run no longer: the execution is about to end."""
        self._let_go = True
        if self._owner is not None:
            self._owner.read.set()

    @property
    def is_open(self) -> bool:
        """True if an execution is running or about to start."""
        return self._running

    def end(
        self,
        status: ExecutionStatus,
        error: BaseException | None,
        interrupts: Sequence[RunInterrupt] = (),
        *,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Log the end of an execution: the last event gives its outcome, and readers leave.

        A run that waits says for what, so that a front end that comes back can ask the person. The message of an error
        is for the host, who is raised it; it may name prompts, addresses and keys. Why a run was aborted is the host's
        own word.
        """
        data = RunEnd(status=status)
        if error is not None:
            data["error"] = RunError(type=type(error).__name__)
            if isinstance(error, AbortError):
                data["error"]["message"] = str(error)
        if interrupts:
            data["interrupts"] = [
                WaitingFor(interruptId=each.interrupt_id, payload=each.payload) for each in interrupts
            ]
        if more:
            data |= cast("RunEnd", more)
        self._running = False
        for reader in self._readers:
            # The next execution may begin before they read this.
            reader.until = self._last + 1 if reader.until is None else reader.until
        self.put(GraphEvents.ON_RUN_END, data, None)

    async def read(self, after_seq: int, *, owns: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Events after a number: those that are kept, then new ones until the execution ends.

        Args:
            after_seq: The number of the last event that the reader has; 0: none.
            owns: Whether the run waits for this reader.

        Yields:
            The events. One called `on_gap` stands for those that are no longer kept.
        """
        reader = _Reader(max(0, after_seq), None if self._running else self._last)
        if owns:
            self._owner = reader
        self._readers.add(reader)
        try:
            if reader.seen > self._last:
                # Numbers of another process, which this run began in.
                yield _gap(reader.seen, 0)
                reader.seen = 0
            while not reader.has_all():
                reader.news.clear()
                for event in self._after(reader.seen):
                    reader.seen = event.seq
                    yield event
                    reader.read.set()
                    if reader.has_all():
                        return
                if reader.seen >= self._last:
                    await reader.news.wait()
        finally:
            self._readers.discard(reader)
            reader.seen = self._last
            reader.read.set()
            if self._owner is reader:
                self._owner = None

    def _after(self, seq: int) -> list[RunEvent]:
        """Return the kept events after a number, preceded by a gap if some are missing."""
        # Numbers have no holes, so the newest are the last ones: earlier events need not be searched.
        newest = min(self._last - seq, len(self._events))
        kept = [RunEvent(*self._events[-back]) for back in range(newest, 0, -1)]
        first = self._last - newest + 1
        return kept if first <= seq + 1 else [_gap(seq, first - 1), *kept]


def _gap(seen: int, lost_to: int) -> RunEvent:
    return RunEvent(lost_to, GraphEvents.ON_GAP, Gap(afterSeq=seen, lostTo=lost_to))


class _Reader:
    """The position of a reader.

    Attributes:
        seen: The number of the newest event that it has.
        until: The number of the last event that is for it; None as long as the execution goes on.
        news: Set when there is something to read.
        read: Set when it has read something.
    """

    def __init__(self, seen: int, until: int | None) -> None:
        self.seen = seen
        self.until = until
        self.news = asyncio.Event()
        self.read = asyncio.Event()

    def has_all(self) -> bool:
        """Return whether the reader has received everything meant for it."""
        return self.until is not None and self.seen >= self.until
