"""Runs that a process executes by itself, next to those of workers: no other writes to the thread meanwhile.

    async with hold(registry, "thread-1", on_conflict="enqueue") as held:
        graph = graph.copy({"checkpointer": held.fence(saver)})
        await graph.ainvoke(input, {"configurable": {"thread_id": "thread-1"}})

Two processes that invoke a graph on one thread follow the policy, as submitted runs do: the second is refused, waits,
or stops the first.
"""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import AbortError
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.saver import FencedSaver
from stategraph.workers.ids import new_owner, new_ulid
from stategraph.workers.leases import LeaseLost, RunStatus
from stategraph.workers.registry.operations import lost
from stategraph.workers.registry.port import StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import HELD, Claimed, OnConflict, Submission, ThreadBusy, thread_name
from stategraph.workers.wakeups.signals import SignalKind

#: Interval at which a waiting run checks whether its thread is free.
LOOK_S: Final = 0.1


class Held:
    """A thread that this process has.

    Attributes:
        run_id: The run in the registry that stands for this.
        claimed: Its claim.
    """

    def __init__(self, registry: RunRegistry, claimed: Claimed) -> None:
        self.run_id = claimed.lease.run_id
        self.claimed = claimed
        self._registry = registry

    def fence(self, saver: Saver) -> FencedSaver:
        """Wrap a saver, so that it writes only as long as this process has the thread.

        Raises:
            ConfigurationError: The saver cannot be fenced, or is known to be on another database than the registry.
        """
        return FencedSaver(saver, Guard(self.claimed.lease), self._registry.operations.database)


@asynccontextmanager
async def hold(
    registry: RunRegistry, thread_id: str, *, on_conflict: OnConflict = "reject", wait_s: float = 60.0
) -> AsyncGenerator[Held, None]:
    """Have a thread to oneself for a block.

    Args:
        registry: Where the runs are.
        thread_id: The thread.
        on_conflict: What to do if the thread has runs that wait or run; see `RunRegistry.submit`. With `rollback` the
            block is told in `claimed.rollback` where to begin.
        wait_s: How long the thread is waited for, in seconds.

    Yields:
        The thread.

    Raises:
        ThreadBusy: It has a run, and `on_conflict` is `reject`; or it was not free in time.
        LeaseLost: Another process took the thread, as this one did not keep its lease alive.
        AbortError: The run was cancelled, for instance by a later one.
    """
    owner, run_id = new_owner(), new_ulid()
    run = Submission(
        thread_name(thread_id),
        HELD,
        run_id=run_id,
        queue=f"held:{run_id}",  # no worker's
        max_attempts=1,
        deadline_s=wait_s,
    )
    await anyio.to_thread.run_sync(registry.operations.submit, run, on_conflict)
    claimed = await _claim(registry, owner, run, wait_s)
    ending = _Ending()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(_keep, registry, claimed, ending, group.cancel_scope)
            try:
                yield Held(registry, claimed)
            except BaseException as error:  # raised outside of the group, which would wrap it
                ending.error = error
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await _finish(registry, claimed, ending)
    ending.raise_what_happened(claimed)


class _Ending:
    """The end of a block."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        self.cancelled: str | None = None
        self.lost = False

    def raise_what_happened(self, claimed: Claimed) -> None:
        if self.lost:
            raise lost(claimed.lease) from self.error
        if self.cancelled is not None:
            raise AbortError(self.cancelled) from self.error
        if self.error is not None:
            raise self.error


async def _claim(registry: RunRegistry, owner: str, run: Submission, wait_s: float) -> Claimed:
    with anyio.move_on_after(wait_s):
        while True:
            if (claimed := await registry.claim_run(owner, run.run_id)) is not None:
                return claimed
            if (await registry.get(run.run_id)).status is not RunStatus.PENDING:
                break
            await anyio.sleep(LOOK_S * random.uniform(0.7, 1.3))
    with anyio.CancelScope(shield=True):
        await registry.cancel(run.run_id, "not free in time")
    raise ThreadBusy(
        f"Thread '{run.thread_id}' was not free within {wait_s:g} s, or a later run took this one's place",
        thread_id=run.thread_id,
    )


async def _keep(registry: RunRegistry, claimed: Claimed, ending: _Ending, scope: anyio.CancelScope) -> None:
    with registry.bus.watch([(SignalKind.STOP, claimed.lease.owner)]) as wakes:
        while True:
            await wakes.wait(registry.settings.heartbeat_s)
            try:
                beat = await registry.heartbeat(claimed.lease.owner, [claimed.lease])
            except StoreUnavailableError:
                continue  # the lease may be lost by this; the next heartbeat, or a write, says so
            ending.lost = bool(beat.lost)
            ending.cancelled = beat.cancelled.get(claimed.lease.run_id)
            if ending.lost or ending.cancelled is not None:
                scope.cancel()
                return


async def _finish(registry: RunRegistry, claimed: Claimed, ending: _Ending) -> None:
    if ending.cancelled is not None:
        status, error = RunStatus.CANCELLED, f"AbortError: {ending.cancelled}"
    elif ending.error is not None:
        status, error = RunStatus.ERROR, f"{type(ending.error).__name__}: {ending.error}"
    else:
        status, error = RunStatus.SUCCESS, None
    try:
        await registry.finish(claimed.lease, status, error)
    except LeaseLost:
        ending.lost = True
