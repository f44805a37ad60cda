"""One attempt of a run: find its graph, give it a fenced saver, call it, and tell what it says.

Rules
-----
* A graph is imported only from modules that the worker was told of, in a thread of its own: a module that takes its
  time holds up no heartbeats.
* The input is given unless an earlier attempt has stored something; then the run goes on from its checkpoint.
* A run that takes back another one begins at the checkpoint that was there before that one, or on an empty thread.
* However an attempt ends, it ends as one `Outcome`. A lost lease has none: nothing is said or stored about it.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, TypeAlias

import anyio

from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import TransferError
from stategraph.run.ports import RunSession
from stategraph.workers.eventlog import EventBuffer
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.persistent import PersistentSaver
from stategraph.workers.leases import LeaseLost, RunStatus
from stategraph.workers.outages import flat, is_outage
from stategraph.workers.references import Targets
from stategraph.workers.registry.operations import lost
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed

#: Default for the stream modes that a run logs.
STREAM_MODES: Final = ("updates", "custom")

UNSTORABLE_EVENT: Final = "run.unstorable"


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt.

    Attributes:
        status: What becomes of the run; `pending`: it is given back, as the store was away.
        error: Kind and message of what it failed with.
    """

    status: RunStatus
    error: str | None = None


class Graphs:
    """The graphs of a worker, each imported when a run first needs it.

    Args:
        targets: Imports them.
    """

    def __init__(self, targets: Targets) -> None:
        self._targets = targets
        self._found: dict[str, Any] = {}
        self._importing: dict[str, asyncio.Future[Any]] = {}

    async def find(self, target: str) -> Any:
        """Import a graph from a module that is allowed, in a thread.

        Runs that need a graph which is being imported wait for that. It goes on if they are cancelled.

        Raises:
            TransferError: It may not be imported, cannot be, or is no graph.
        """
        if target in self._found:
            return self._found[target]
        if target not in self._importing:
            self._importing[target] = self._start(target)
        return await asyncio.shield(self._importing[target])

    def _start(self, target: str) -> asyncio.Future[Any]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()

        def work() -> None:
            try:
                settle = partial(self._settle, target, self._load(target), None)
            except TransferError as error:
                settle = partial(self._settle, target, None, error)
            with contextlib.suppress(RuntimeError):  # the loop is closed: the worker has ended
                loop.call_soon_threadsafe(settle)

        # A daemon: a module that hangs must not keep the worker from its end.
        threading.Thread(target=work, name=f"stategraph import of {target}", daemon=True).start()
        return answer

    def _settle(self, target: str, graph: Any, error: TransferError | None) -> None:
        answer = self._importing.pop(target)
        if error is None:
            self._found[target] = graph
            answer.set_result(graph)
        else:
            answer.set_exception(error)
            answer.exception()  # the runs that waited may be gone

    def _load(self, target: str) -> Any:
        try:
            found = self._targets.load(target)
        except TransferError:
            raise
        except BaseException as error:  # a module may also exit
            raise TransferError(f"The target {target!r} cannot be imported: {type(error).__name__}: {error}") from error
        if not hasattr(found, "astream") or not hasattr(found, "checkpointer"):
            raise TransferError(
                f"The target {target!r} is a {type(found).__name__}; expected a compiled graph at the top of a module, "
                "not a function that makes one"
            )
        return found


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run of a registry, as those who make its session see it.

    Attributes:
        run_id: The run.
        thread_id: Its thread.
        tenant: Whose run it is, as it was submitted; empty: nobody's.
        context: What it was submitted with as the context of its graph, such as a reference to its session.
    """

    run_id: str
    thread_id: str
    tenant: str
    context: Any = field(repr=False)


SessionOf: TypeAlias = Callable[[StoredRun], RunSession | Awaitable[RunSession | None] | None]
"""Makes the session of a run, anew for each attempt: what it raises is the end of the run. None: it has none."""


class Attempt:
    """An attempt of a run that has been claimed.

    Args:
        registry: Where the run is.
        saver: Where its thread is.
        claimed: The run.
        modes: The stream modes that are told as events.
        grace_s: How long a call of the saver is tried while the database is away, in seconds.
        note: Told each error after which it is tried again.
        hurry: Once it is set, a call of the saver that fails is not tried again.
        session_of: Makes the session in which the run is executed; None: it has none.
    """

    def __init__(
        self,
        registry: RunRegistry,
        saver: Saver,
        claimed: Claimed,
        modes: Sequence[str] = STREAM_MODES,
        *,
        grace_s: float,
        note: Callable[[Exception], object],
        hurry: anyio.Event | None = None,
        session_of: SessionOf | None = None,
    ) -> None:
        self._registry = registry
        self._session_of = session_of
        self._claimed = claimed
        self._modes = list(modes)
        self.events = EventBuffer(registry, claimed)
        guard = Guard(claimed.lease, attempt=claimed.attempt, began=claimed.began, outbox=self.events)
        self._saver = PersistentSaver(saver, guard, registry.operations.database, grace_s, note, hurry)

    async def run(self, graph: Any) -> Outcome:
        """Execute a graph to the end of the attempt.

        Raises:
            LeaseLost: Another owner has the run.
        """
        if self._session_of is None:
            return await self._run(graph)
        try:
            session = await self._session(self._session_of)
        except Exception as error:
            return Outcome(RunStatus.ERROR, f"{type(error).__name__}: {error}")
        async with session:
            return await self._run(graph)

    async def _run(self, graph: Any) -> Outcome:
        try:
            await self._stream(graph.copy({"checkpointer": self._saver}))
        except Exception as error:
            if any(isinstance(each, LeaseLost) for each in flat(error)):
                raise lost(self._claimed.lease) from error
            status = RunStatus.PENDING if is_outage(error, self._registry.operations.database) else RunStatus.ERROR
            return Outcome(status, f"{type(error).__name__}: {error}")
        return Outcome(await self._ended_as(graph))

    async def _session(self, make: SessionOf) -> AbstractAsyncContextManager[object]:
        """Return what the run is executed in."""
        claimed = self._claimed
        run = StoredRun(
            claimed.lease.run_id, claimed.lease.thread_id, claimed.tenant, self._registry.load(claimed.context)
        )
        made = make(run)
        session = await made if inspect.isawaitable(made) else made
        return contextlib.nullcontext() if session is None else session.active(run.run_id, run.thread_id)

    async def _stream(self, graph: Any) -> None:
        claimed = self._claimed
        config = self._config()
        given: object = None
        if not claimed.began:
            given = self._registry.load(claimed.input)
            if claimed.rollback is not None:
                if claimed.rollback.checkpoint_id is None:
                    await self._saver.adelete_thread(claimed.lease.thread_id)
                else:
                    config["configurable"]["checkpoint_id"] = claimed.rollback.checkpoint_id
        options = {"stream_mode": self._modes, "durability": "sync"}
        if claimed.context is not None:
            options["context"] = self._registry.load(claimed.context)
        async for mode, chunk in graph.astream(given, config, **options):
            self._tell(mode, chunk)

    async def _ended_as(self, graph: Any) -> RunStatus:
        state = await graph.copy({"checkpointer": self._saver}).aget_state(self._config())
        return RunStatus.INTERRUPTED if state.next else RunStatus.SUCCESS

    def _config(self) -> dict[str, Any]:
        claimed = self._claimed
        given = dict(claimed.config)
        metadata = {**given.get("metadata", {}), "run_id": claimed.lease.run_id}
        return {
            **given,
            "metadata": metadata,
            "configurable": {**given.get("configurable", {}), "thread_id": claimed.lease.thread_id},
        }

    def _tell(self, mode: str, chunk: object) -> None:
        try:
            self.events.put(mode, chunk)
        except TypeError as error:
            self.events.put(UNSTORABLE_EVENT, {"type": mode, "error": str(error)[:200]})
