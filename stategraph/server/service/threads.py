"""Threads: made, looked for, changed, copied, deleted; with their states.

Rules
-----
* Whatever is done with a thread, its caller has to be allowed to, and one that the caller may not see is not there.
* A row tells of the thread's last run as soon as somebody looks: it is settled from the thread's state then. Nothing is
  written at the end of a run, which another process may have executed.
* Deletion takes the runs along, with their events; those that go on are cancelled first. The row goes last, so one that
  was cut off is done again.
* The life of a thread counts from its last run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal
from uuid import uuid4

import anyio

from stategraph.errors import ConfigurationError
from stategraph.run.threads.rules import Row
from stategraph.server.service.database import Tables, shown
from stategraph.server.service.filters import Condition
from stategraph.server.service.notices import Notices
from stategraph.server.service.states import States, Storage, graph_needed, missing
from stategraph.server.service.thread_table import Found, LastRun, Settled, ThreadSearch, ThreadTable
from stategraph.server.service.values import (
    ANYONE,
    FIRST_PAGE,
    Assistant,
    Caller,
    ConflictError,
    Filter,
    InvalidError,
    NotFoundError,
    Page,
    ServiceError,
    Thread,
)
from stategraph.types import StateSnapshot
from stategraph.workers.registry.port import Session
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import UnknownRunError

#: How long the runs of a thread that is deleted have to stop.
_STOPPING_S: Final = 60.0

#: How often it is looked whether they have.
_LOOK_S: Final = 0.1

#: How often a reader looks for a new run of a thread, at first and after a while.
_FIRST_LOOK_S: Final = 0.01
_LONGEST_LOOK_S: Final = 2.0

#: Rows that are settled at a time.
_AT_ONCE: Final = 50

#: Seconds after which another process may take over what became of an expired thread.
_AGAIN_S: Final = 600.0

#: What a run that was cancelled failed with, for clients of LangGraph.
_CANCELLED: Final = {
    "error": "UserInterrupt",
    "message": "interrupt requested via POST /threads/{thread_id}/runs/{run_id}/cancel",
}

_STRATEGIES: Final = ("delete", "keep_latest")

_log = logging.getLogger(__name__)


class ThreadService:
    """Threads and their states; `port.Threads` and what the LangGraph API needs besides.

    Args:
        tables: Where their rows are.
        states: Their states.
        registry: Their runs.
        default_ttl: How long threads live that nothing is said of: `ttl` in minutes, and `strategy`; None: for ever.
    """

    def __init__(
        self,
        tables: Tables,
        states: States,
        registry: RunRegistry,
        default_ttl: Mapping[str, Any] | None = None,
    ) -> None:
        self._tables = tables
        self._rows = ThreadTable(tables)
        self._states = states
        self._registry = registry
        self._default_ttl = default_ttl
        self._notices = Notices()

    async def create(
        self,
        caller: Caller,
        *,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        if_exists: Literal["raise", "do_nothing"] = "raise",
        ttl: Mapping[str, Any] | None = None,
        supersteps: Sequence[Mapping[str, Any]] | None = None,
    ) -> Thread:
        """Make a thread.

        Args:
            caller: Who asks.
            thread_id: Its id; None: a new one.
            metadata: Free.
            if_exists: `do_nothing` returns the one that is there.
            ttl: How long it lives: `ttl` in minutes after its last use, `strategy` `delete` or `keep_latest`.
            supersteps: Steps that it begins with; `graph_id` is among the metadata then.

        Raises:
            ConflictError: It is there.
            InvalidError: An argument makes no sense.
        """
        value: dict[str, Any] = {
            "thread_id": thread_id or str(uuid4()),
            "metadata": dict(metadata or {}),
            "if_exists": if_exists,
        }
        if ttl is not None:
            value["ttl"] = dict(ttl)
        filter = await caller.authorize("threads", "create", value)
        name = str(value["thread_id"])
        life = _life(value.get("ttl", self._default_ttl))
        graph_id = None
        if supersteps:
            graph_id = graph_needed(self._states.graph_of(value["metadata"]), name)
        row = Row(name, 0.0, 0.0, owner=caller.identity or None, metadata=value["metadata"])

        visible = self._rows.visible(name, None)

        def add(session: Session) -> Found | None:
            if not self._rows.add(session, row):
                return None
            if life is not None:
                self._rows.live(session, name, *life)
            return self._rows.find(session, visible)

        if (added := await self._tables.write(add, quick=True)) is None:
            return await self._existing(name, filter, if_exists)
        if supersteps and graph_id is not None:
            try:
                await self._states.write_steps(caller, name, graph_id, supersteps)
            except BaseException:
                with anyio.CancelScope(shield=True):
                    await self._erase(name)
                raise
            added = await self._found(visible, name)
        return (await self._fresh(added)).thread

    async def _existing(self, thread_id: str, filter: Filter | None, if_exists: str) -> Thread:
        if if_exists == "do_nothing":
            try:
                return (await self._found(self._rows.visible(thread_id, filter), thread_id)).thread
            except NotFoundError:
                pass  # another caller's
        raise ConflictError(f"Thread with ID {thread_id} already exists")

    async def get(self, caller: Caller, thread_id: str) -> Thread:
        """Return a thread.

        Raises:
            NotFoundError: There is none.
        """
        return (await self._read(caller, thread_id, "read", {})).thread

    async def check(self, caller: Caller, thread_id: str, action: str, value: dict[str, Any]) -> None:
        """Make sure that a caller may do something with a thread, by one statement.

        Raises:
            NotFoundError: There is no such thread for this caller.
            RefusedError: The caller may not.
        """
        value.setdefault("thread_id", thread_id)
        filter = await caller.authorize("threads", action, value)
        where = self._rows.visible(thread_id, filter)
        if not await self._tables.read(lambda session: self._rows.exists(session, where), quick=True):
            raise missing(thread_id)

    async def _read(self, caller: Caller, thread_id: str, action: str, value: Mapping[str, Any]) -> Found:
        filter = await caller.authorize("threads", action, {"thread_id": thread_id, **value})
        return await self._found(self._rows.visible(thread_id, filter), thread_id)

    async def _found(self, where: Condition, thread_id: str) -> Found:
        """Return a thread whose row tells of its last run."""
        found = await self._tables.read(lambda session: self._rows.find(session, where))
        if found is None:
            raise missing(thread_id)
        return await self._fresh(found)

    async def _fresh(self, found: Found) -> Found:
        """Return a thread again once its row tells of its last run."""
        if not found.is_stale:
            return found
        await self._settle(found)
        where = Condition("i.thread_id = ?", (found.thread.thread_id,))
        return await self._tables.read(lambda session: self._rows.find(session, where)) or found

    async def _settle(self, found: Found) -> None:
        """Store what the thread's state and its last run say."""
        thread_id = found.thread.thread_id
        run = await self._tables.read(lambda session: self._rows.last_run(session, thread_id))
        try:
            state = await self._states.read(ANYONE, thread_id, self._states.graph_of(found.thread.metadata))
        except Exception as problem:  # a graph that is not served any more, or cannot be made
            _log.warning("Thread '%s' cannot be read (%s: %s)", thread_id, type(problem).__name__, problem)
            state = None
        settled = _settled(state, run, found.last or 0)
        await self._tables.write(lambda session: self._rows.settle(session, thread_id, settled))

    async def admit(self, caller: Caller, thread_id: str, value: dict[str, Any]) -> Callable[[Session], bool]:
        """Ask whether a caller may run something on a thread; see `port.Threads.admit`."""
        value.setdefault("thread_id", thread_id)
        where = self._rows.visible(thread_id, await caller.authorize("threads", "create_run", value))
        return lambda session: self._rows.exists(session, where)

    def use(
        self, session: Session, thread_id: str, assistant: Assistant, config: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Note with which assistant and config a thread is run; see `port.Threads.use`."""
        metadata = {"graph_id": assistant.graph_id, "assistant_id": assistant.assistant_id}
        merged = self._rows.merge(session, thread_id, metadata)
        self._rows.use(session, thread_id, config)
        return merged

    def tell(self, thread_id: str) -> None:
        """Wake those in this process who wait for a run of a thread."""
        self._notices.tell(thread_id)

    async def runs_after(
        self, caller: Caller, thread_id: str, number: int, wait_s: float = 0.0
    ) -> list[tuple[int, str]]:
        """Return runs of a thread, and wait for one; see `port.Threads.runs_after`."""
        filter = await caller.authorize("threads", "read", {"thread_id": thread_id})
        where = self._rows.visible(thread_id, filter)

        def look(session: Session) -> list[tuple[int, str]]:
            if not self._rows.exists(session, where):
                return []
            return self._rows.runs_after(session, thread_id, number, _AT_ONCE)

        with self._notices.of(thread_id) as notice:
            found = await self._tables.read(look)
            pause = _FIRST_LOOK_S
            with anyio.move_on_after(wait_s):
                while not found:
                    pause = _FIRST_LOOK_S if await notice.within(pause) else min(_LONGEST_LOOK_S, pause * 2)
                    found = await self._tables.read(look)
            return found

    async def search(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        ids: Sequence[str] | None = None,
        status: str | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Thread]:
        """List threads.

        Args:
            caller: Who asks.
            metadata: Those that have these values among their metadata.
            values: Those that have these among the values of their state.
            ids: Those of these; None or empty: any.
            status: Those in this status.
            page: Which part; by default those changed last first.
        """
        asked = ThreadSearch(metadata=metadata, values=values, ids=ids, status=status)
        needed = asked.needs_states or page.sort_by in ("status", "state_updated_at")
        where = await self._searched(caller, asked, page, needed)
        found = await self._tables.read(lambda session: self._rows.page(session, where, page))
        return [(await self._fresh(each)).thread for each in found]

    async def count(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        status: str | None = None,
    ) -> int:
        """Count threads; the arguments are those of `search`."""
        asked = ThreadSearch(metadata=metadata, values=values, status=status)
        where = await self._searched(caller, asked, FIRST_PAGE, asked.needs_states)
        return await self._tables.read(lambda session: self._rows.count(session, where))

    async def _searched(self, caller: Caller, asked: ThreadSearch, page: Page, settled: bool) -> Condition:
        """Return the condition of a search, once the rows tell what it needs to know."""
        value: dict[str, Any] = {
            "metadata": dict(asked.metadata or {}),
            "values": dict(asked.values or {}),
            "status": asked.status,
            "limit": page.limit,
            "offset": page.offset,
            "ids": asked.ids,
        }
        filter = await caller.authorize("threads", "search", value)
        asked = ThreadSearch(
            metadata=value["metadata"], values=value["values"], ids=value["ids"], status=value["status"]
        )
        if settled:
            before = self._rows.searched(ThreadSearch(metadata=asked.metadata, ids=asked.ids), filter)
            while stale := await self._tables.read(lambda session: self._rows.stale(session, before, _AT_ONCE)):
                for each in stale:
                    await self._settle(each)
        return self._rows.searched(asked, filter)

    async def update(
        self,
        caller: Caller,
        thread_id: str,
        metadata: Mapping[str, Any] | None = None,
        ttl: Mapping[str, Any] | None = None,
    ) -> Thread:
        """Merge metadata into a thread's, and say how long it lives from now on.

        Raises:
            InvalidError: An argument makes no sense.
            NotFoundError: There is none.
        """
        value: dict[str, Any] = {"thread_id": thread_id, "metadata": dict(metadata or {})}
        filter = await caller.authorize("threads", "update", value)
        life = _life(ttl)
        where = self._rows.visible(thread_id, filter)

        def change(session: Session) -> bool:
            if not self._rows.exists(session, where):
                return False
            self._rows.merge(session, thread_id, value["metadata"])
            if life is not None:
                self._rows.live(session, thread_id, *life)
            return True

        if not await self._tables.write(change):
            raise missing(thread_id)
        return (await self._found(self._rows.visible(thread_id, None), thread_id)).thread

    async def delete(self, caller: Caller, thread_id: str) -> None:
        """Delete a thread with its runs, events, schedules and checkpoints; runs that go on are cancelled.

        Raises:
            ConflictError: A run did not stop in time.
            NotFoundError: There is none.
        """
        await self.check(caller, thread_id, "delete", {})
        await self._erase(thread_id)

    async def _erase(self, thread_id: str) -> None:
        with anyio.move_on_after(_STOPPING_S):
            while True:
                await self._stop(thread_id)
                try:
                    await self._registry.erase_thread(thread_id)
                    break
                except ConfigurationError:  # a run goes on
                    await anyio.sleep(_LOOK_S)
            await self._states.erase(thread_id)
            await self._tables.write(lambda session: self._rows.remove(session, thread_id))
            return
        raise ConflictError(f"Thread '{thread_id}' has a run that does not stop: delete it again when it has")

    async def _stop(self, thread_id: str) -> None:
        """Ask the runs of a thread to stop."""
        for run in await self._registry.list(thread_id=thread_id):
            if run.finished_at is None and run.cancel_requested is None:
                try:
                    await self._registry.cancel(run.run_id, "its thread is deleted")
                except UnknownRunError:
                    continue

    async def copy(self, caller: Caller, thread_id: str) -> Thread:
        """Make a thread with the metadata and all checkpoints of another one.

        Raises:
            NotFoundError: There is none.
        """
        source = await self._read(caller, thread_id, "read", {})
        value: dict[str, Any] = {"thread_id": str(uuid4()), "metadata": dict(source.thread.metadata)}
        await caller.authorize("threads", "create", value)
        name = str(value["thread_id"])
        row = Row(name, 0.0, 0.0, owner=caller.identity or None, metadata=dict(value["metadata"]))
        if not await self._tables.write(lambda session: self._rows.add(session, row)):
            raise ConflictError(f"Thread with ID {name} already exists")
        try:
            await self._states.copy(thread_id, name)
            if source.thread.has_state:
                await self._settle(await self._found(self._rows.visible(name, None), name))
        except BaseException:
            with anyio.CancelScope(shield=True):
                await self._erase(name)
            raise
        return (await self._found(self._rows.visible(name, None), name)).thread

    async def prune(self, caller: Caller, thread_ids: Sequence[str], strategy: str = "delete") -> int:
        """Delete threads, or all of their checkpoints but the newest; those that are not there are left out.

        Returns:
            How many that were.
        """
        if strategy not in _STRATEGIES:
            raise InvalidError(f"The strategy is '{strategy}'; expected one of: {', '.join(_STRATEGIES)}")
        action = "delete" if strategy == "delete" else "update"
        done = 0
        for thread_id in dict.fromkeys(thread_ids):
            try:
                await self.check(caller, thread_id, action, {})
            except NotFoundError:
                continue
            await (self._erase(thread_id) if strategy == "delete" else self._states.keep_latest(thread_id))
            done += 1
        return done

    async def sweep(self, limit: int = 100) -> int:
        """Delete threads whose time is over, or their old checkpoints; return how many threads that were.

        Several processes may do so at the same time: each thread is one's.
        """
        expired = await self._tables.write(lambda session: self._rows.expired(session, limit, _AGAIN_S))
        for thread_id, strategy in expired:
            try:
                if strategy == "delete":
                    await self._erase(thread_id)
                else:
                    await self._states.keep_latest(thread_id)
                    await self._tables.write(lambda session, name=thread_id: self._rows.keep(session, name))  # type: ignore[misc]
            except ServiceError as error:
                _log.warning("Thread '%s' has expired, and is left for the next time: %s", thread_id, error)
            except Exception:  # of this thread alone: the others are not held up
                _log.exception("Thread '%s' has expired, and is left for the next time", thread_id)
        return len(expired)

    # States.

    async def state(
        self,
        caller: Caller,
        thread_id: str,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        subgraphs: bool = False,
    ) -> StateSnapshot:
        """Return the state of a thread, at its newest checkpoint or at another one.

        Raises:
            NotFoundError: There is no such thread.
        """
        graph_id = await self._graph_of(caller, thread_id, "read", {})
        return await self._states.read(caller, thread_id, graph_id, checkpoint, subgraphs=subgraphs)

    async def history(
        self,
        caller: Caller,
        thread_id: str,
        *,
        limit: int = 10,
        before: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> list[StateSnapshot]:
        """List the states of a thread, the newest first.

        Raises:
            NotFoundError: There is no such thread.
        """
        graph_id = await self._graph_of(caller, thread_id, "read", {})
        return await self._states.history(
            caller, thread_id, graph_id, limit=limit, before=before, metadata=metadata, checkpoint=checkpoint
        )

    async def update_state(
        self,
        caller: Caller,
        thread_id: str,
        values: Any,
        *,
        as_node: str | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Write values to a thread as a node would; return the config of the new checkpoint.

        Raises:
            ConflictError: A run goes on there.
            MalformedError: The node or the values are not the graph's, or the thread has no graph.
            NotFoundError: There is no such thread.
        """
        graph_id = graph_needed(await self._graph_of(caller, thread_id, "update", {}), thread_id)
        return await self._states.update(caller, thread_id, graph_id, values, as_node, checkpoint)

    async def has_checkpoint(self, thread_id: str, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a thread has a checkpoint, see `port.Threads.has_checkpoint`."""
        return await self._states.has(thread_id, checkpoint)

    async def storage(self, caller: Caller, thread_id: str) -> Storage:
        """Measure what is stored of a thread.

        Raises:
            NotFoundError: There is no such thread.
        """
        await self.check(caller, thread_id, "read", {})
        return await self._states.storage(thread_id)

    async def _graph_of(self, caller: Caller, thread_id: str, action: str, value: Mapping[str, Any]) -> str | None:
        filter = await caller.authorize("threads", action, {"thread_id": thread_id, **value})
        where = self._rows.visible(thread_id, filter)
        found = await self._tables.read(lambda session: self._rows.find(session, where))
        if found is None:
            raise missing(thread_id)
        return self._states.graph_of(found.thread.metadata)


def _life(ttl: Mapping[str, Any] | None) -> tuple[float, str] | None:
    """Return the seconds that a thread lives, and what becomes of it; None: for ever.

    Raises:
        InvalidError: That makes no sense.
    """
    if ttl is None or ttl.get("ttl") is None:
        return None
    minutes, strategy = ttl["ttl"], ttl.get("strategy", "delete")
    if isinstance(minutes, bool) or not isinstance(minutes, int | float) or not 0 <= minutes < 1e9:
        raise InvalidError(f"A thread's ttl is {minutes!r:.40}; expected a number of minutes")
    if strategy not in _STRATEGIES:
        raise InvalidError(f"A thread's strategy is {strategy!r:.40}; expected one of: {', '.join(_STRATEGIES)}")
    return float(minutes) * 60, strategy


def _settled(state: StateSnapshot | None, run: LastRun | None, number: int) -> Settled:
    """Return what a thread's row is to tell of its state and its last run."""
    failed = run is not None and run.status in ("error", "dead", "timeout")
    waits = state is not None and bool(state.next)
    return Settled(
        status="error" if failed else "interrupted" if waits else "idle",
        values=shown(None if state is None else state.values),
        interrupts=shown({} if state is None else _interrupts(state)),
        error=None if run is None or (problem := _problem(run)) is None else shown(problem),
        at=0.0 if run is None else run.at,
        run=number,
    )


def _problem(run: LastRun) -> Mapping[str, str] | None:
    """Return what a run failed with; None if it did not."""
    if run.status == "cancelled":
        return _CANCELLED
    if run.status not in ("error", "dead", "timeout"):
        return None
    kind, _, message = (run.error or f"TimeoutError: {run.status}").partition(": ")
    return {"error": kind, "message": message}


def _interrupts(state: StateSnapshot) -> dict[str, Any]:
    """Return what a thread waits for, by task."""
    return {
        task.id: [{"id": each.id, "value": each.value} for each in task.interrupts]
        for task in state.tasks
        if task.interrupts
    }
