"""The runs of this process by their ids: all that go on, and the newest of those that have ended."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncGenerator, Iterator
from itertools import islice
from typing import TYPE_CHECKING

from stategraph.errors import ConfigurationError
from stategraph.run.ports import RunEvent

if TYPE_CHECKING:  # it needs the engine, and a runtime without runs does not
    from stategraph.run.run import Run


class RecentRuns:
    """A `RunDirectory` in memory.

    Args:
        kept: How many runs are kept; those that go on are always, also if they are more.
    """

    def __init__(self, kept: int) -> None:
        self._runs: OrderedDict[str, Run] = OrderedDict()
        self._kept = kept

    def __iter__(self) -> Iterator[Run]:
        return iter(list(self._runs.values()))

    async def check(self, run_id: str, /) -> None:
        """Check that an id may be used for a new run.

        Raises:
            ConfigurationError: The run of that id has not ended.
        """
        known = self._runs.get(run_id)
        if known is not None and known.running:
            raise ConfigurationError(f"Run '{run_id}' is still running: await it, abort it, or use another run_id")

    async def add(self, run: Run, /) -> None:
        """Keep a run, and forget the oldest of those that have ended if there are too many."""
        self._runs[run.id] = run
        self._runs.move_to_end(run.id)
        surplus = max(0, len(self._runs) - self._kept)
        ended = (run_id for run_id, each in self._runs.items() if each is not run and not each.running)
        for run_id in list(islice(ended, surplus)):  # the oldest ones come first: few are looked at
            del self._runs[run_id]

    def get(self, run_id: str, /) -> Run | None:
        """Return a run; None if there is none."""
        return self._runs.get(run_id)

    def known(self, run_id: str, /) -> Run:
        """Return a run.

        Raises:
            LookupError: There is none.
        """
        run = self._runs.get(run_id)
        if run is None:
            raise LookupError(f"There is no run '{run_id}' here; it was made elsewhere, or ended long ago")
        return run

    async def erase_thread(self, thread_id: str) -> int:
        """Forget the runs of a thread, with their events; return how many that were.

        Raises:
            ConfigurationError: One of them goes on.
        """
        several = [run for run in self._runs.values() if run.thread_id == thread_id]
        if (running := next((run for run in several if run.running), None)) is not None:
            raise ConfigurationError(
                f"Run '{running.id}' goes on in thread '{thread_id}': wait for its end, or abort it"
            )
        for run in several:
            del self._runs[run.id]
        return len(several)

    # As a `RunFinder`.

    async def is_running(self, run_id: str) -> bool:
        """Return whether a run is being executed, or has been started.

        Raises:
            LookupError: There is none of that id.
        """
        return self.known(run_id).running

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Stop a run; return whether it was going on.

        Raises:
            LookupError: There is none of that id.
        """
        run = self.known(run_id)
        if not run.running:
            return False
        run.abort(reason or None)
        return True

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of a run after a number, until its execution ends.

        Raises:
            LookupError: There is none of that id.
        """
        async for event in self.known(run_id).attach(after_seq):
            yield event
