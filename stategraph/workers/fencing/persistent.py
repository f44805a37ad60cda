"""The saver of a run on a worker: fenced, with async calls that are tried again while its database is away.

Trying again does no harm: a write whose answer was lost is the same rows once more, and its lease is checked each time.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any

import anyio
from langchain_core.runnables import RunnableConfig

from stategraph.engine.checkpoints.saver_interfaces import CheckpointTuple, Save, Saver
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.saver import FencedSaver
from stategraph.workers.fencing.within import FencedWithin
from stategraph.workers.outages import persist
from stategraph.workers.registry.port import Database


class PersistentSaver(FencedSaver):
    """A fenced saver whose async reads of a checkpoint, and writes, wait for a database that is away.

    `alist` and the calls that are not async do not wait.

    Args:
        saver: As for `FencedSaver`.
        guard: As for `FencedSaver`.
        database: As for `FencedSaver`.
        grace_s: How long a call is tried, in seconds.
        note: Told each error after which it is tried again.
        hurry: Once it is set, a call that fails is not tried again.
    """

    def __init__(
        self,
        saver: Saver,
        guard: Guard,
        database: Database,
        grace_s: float,
        note: Callable[[Exception], object],
        hurry: anyio.Event | None = None,
    ) -> None:
        super().__init__(saver, guard, database)
        self._how = (database, grace_s, note, hurry)

    def with_allowlist(self, extra_allowlist: Collection[tuple[str, ...]]) -> FencedSaver:
        """Return a saver that may also bring back further classes."""
        twin = self.saver.with_allowlist(extra_allowlist)
        if twin is self.saver:
            return self
        self._is_beside(twin)
        return PersistentSaver(twin, self.guard, *self._how)

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Load a checkpoint with its pending writes."""
        return await persist(partial(super().aget_tuple, config), *self._how)

    async def aget_delta_channel_history(self, *, config: RunnableConfig, channels: Sequence[str]) -> Mapping[str, Any]:
        """Load what delta channels are rebuilt from."""
        read = partial(super().aget_delta_channel_history, config=config, channels=channels)
        return await persist(read, *self._how)

    async def _aperform_together(self, within: FencedWithin, saves: Sequence[Save]) -> int:
        return await persist(partial(super()._aperform_together, within, saves), *self._how)

    async def _acall(self, method: str, config: RunnableConfig, arguments: tuple[object, ...]) -> Any:
        write = partial(super()._acall, method, config, arguments)
        return await persist(write, *self._how)
