"""Things of a tenant, where no policies of a database say so: threads, namespaces of stores, runs of a registry.

All of it asks the active session for the tenant, and so works for any database.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, nullcontext
from typing import Any, Final

from stategraph.engine.checkpoints.saver_interfaces import BaseStore
from stategraph.governance import session as sessions
from stategraph.governance.session import ActiveSession
from stategraph.governance.tenants.keys import label, own_part, thread_key
from stategraph.savers.namespaced import NamespacedStore
from stategraph.workers.eventlog import LoggedEvent, attach
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import OnConflict, RunInfo, UnknownRunError


class OwnThreads:
    """A part of a `Session` that refuses executions on threads whose ids are not keys of its tenant."""

    def entered(self, session: ActiveSession) -> nullcontext[None]:
        """Check the thread.

        Raises:
            TenantMismatchError: It is not one of the tenant's.
        """
        if session.run.thread_id is not None:
            own_part(session.tenant, session.run.thread_id)
        return nullcontext()

    entered_sync = entered


def tenant_store(store: BaseStore) -> NamespacedStore:
    """Return a store in which each session finds its tenant's namespaces alone, by their names within the tenant.

    Args:
        store: Keeps all of them. Without an active session, operations raise `NoSessionError`.
    """
    return NamespacedStore(store, lambda: (label(sessions.current().tenant),))


_MOST: Final = 100


class TenantRuns:
    """The runs of a registry as the tenant of the active session sees them: those of others do not exist.

    Threads are named as within the tenant; runs have the ids that `submit` returns.

    Args:
        registry: The registry.
    """

    def __init__(self, registry: RunRegistry) -> None:
        self._registry = registry

    async def submit(
        self, thread_id: str, input: object, *, target: str, on_conflict: OnConflict = "reject", **more: Any
    ) -> str:
        """Add a run of the tenant; see `RunRegistry.submit`.

        Args:
            thread_id: The thread, as within the tenant.
            input: What the graph is called with.
            target: Where the graph is, `package.module:attribute`.
            on_conflict: What to do if the thread has runs that wait or run.
            **more: Further arguments of `RunRegistry.submit`, without `tenant`. A `run_id` is made the tenant's own.
        """
        tenant = sessions.current().tenant
        if more.get("run_id"):
            more["run_id"] = thread_key(tenant, more["run_id"])
        own = thread_key(tenant, thread_id)
        return await self._registry.submit(own, input, target=target, on_conflict=on_conflict, **more, tenant=tenant)

    async def get(self, run_id: str) -> RunInfo:
        """Look at a run.

        Raises:
            UnknownRunError: The tenant has none of this id.
        """
        found = await self._registry.get(run_id)
        if found.tenant != sessions.current().tenant:
            raise UnknownRunError(f"There is no run '{run_id}'")
        return found

    async def list(
        self, *, thread_id: str | None = None, status: str | None = None, limit: int = _MOST
    ) -> Sequence[RunInfo]:
        """Look at the newest runs; see `RunRegistry.list`."""
        tenant = sessions.current().tenant
        own = None if thread_id is None else thread_key(tenant, thread_id)
        return await self._registry.list(status=status, thread_id=own, tenant=tenant, limit=limit)

    async def resume(self, run_id: str, answer: Any = None, *, new_id: str = "") -> str:
        """Go on where a run of the tenant waits for an answer; see `RunRegistry.resume`."""
        await self.get(run_id)
        own = thread_key(sessions.current().tenant, new_id) if new_id else ""
        return await self._registry.resume(run_id, answer, new_id=own)

    async def cancel(self, run_id: str, reason: str = "cancelled by the host") -> bool:
        """Ask a run of the tenant to stop; see `RunRegistry.cancel`."""
        await self.get(run_id)
        return await self._registry.cancel(run_id, reason)

    async def requeue(self, run_id: str) -> bool:
        """Give a dead run of the tenant new attempts; see `RunRegistry.requeue`."""
        await self.get(run_id)
        return await self._registry.requeue(run_id)

    async def erase_thread(self, thread_id: str) -> int:
        """Erase the runs of a thread of the tenant; see `RunRegistry.erase_thread`."""
        return await self._registry.erase_thread(thread_key(sessions.current().tenant, thread_id))

    async def events(self, run_id: str, after_seq: int = 0) -> AsyncIterator[LoggedEvent]:
        """Read the events of a run of the tenant as they come; see `stategraph.workers.eventlog.attach`."""
        await self.get(run_id)
        async with aclosing(attach(self._registry, run_id, after_seq)) as events:
            async for event in events:
                yield event
