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
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

import anyio

from stategraph.constants import INTERRUPT
from stategraph.engine.checkpoints.saver_interfaces import Saver
from stategraph.errors import TransferError
from stategraph.run.ports import RunSession
from stategraph.workers.eventlog import EventBuffer
from stategraph.workers.fencing.guard import Guard
from stategraph.workers.fencing.persistent import PersistentSaver
from stategraph.workers.hosted.options import RunOptions
from stategraph.workers.hosted.sources import SERVED, GraphGone, GraphMaker, StoredRun, not_served
from stategraph.workers.hosted.streaming import storable, streamed, told
from stategraph.workers.leases import LeaseLost, RunStatus
from stategraph.workers.outages import flat, is_outage
from stategraph.workers.references import Targets
from stategraph.workers.registry.operations import lost
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import Claimed

logger = logging.getLogger("stategraph.workers")

#: Default for the stream modes that a run logs.
STREAM_MODES: Final = ("updates", "custom")

UPDATES_MODE: Final = "updates"

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
        if target.startswith(SERVED) and not self._targets.permits(SERVED.rstrip(":")):
            raise not_served(target)
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


SessionOf: TypeAlias = Callable[[StoredRun], RunSession | Awaitable[RunSession | None] | None]
"""Makes the session of a run, anew for each attempt: what it raises is the end of the run. None: it has none."""


_NO_SESSIONS: Final = (
    "ConfigurationError: The run is to be executed in a session, and this worker makes none: start it with --session-of"
)


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
        self._default_modes = tuple(modes)
        self._asked = False
        self.events = EventBuffer(registry, claimed)
        guard = Guard(claimed.lease, attempt=claimed.attempt, began=claimed.began, outbox=self.events)
        self._saver = PersistentSaver(saver, guard, registry.operations.database, grace_s, note, hurry)

    async def run(self, graph: Any) -> Outcome:
        """Execute a graph, or one that is made for this attempt, to the end of the attempt.

        Raises:
            LeaseLost: Another owner has the run.
        """
        if self._session_of is None:
            if self._claimed.options.get("session") is not None:
                return Outcome(RunStatus.ERROR, _NO_SESSIONS)
            return await self._run(graph)
        try:
            session = await self._session(self._session_of)
        except Exception as error:
            return Outcome(RunStatus.ERROR, f"{type(error).__name__}: {error}")
        async with session:
            return await self._run(graph)

    async def _run(self, found: Any) -> Outcome:
        try:
            options = RunOptions.from_json(self._claimed.options)
            stored = self._stored(options)
            if not isinstance(found, GraphMaker):
                return await self._streamed(found.copy({"checkpointer": self._saver}), options, stored.context)
            async with found.open(stored) as graph:
                context = found.context_of(graph, stored)
                return await self._streamed(graph.copy({"checkpointer": self._saver}), options, context)
        except Exception as error:
            if any(isinstance(each, LeaseLost) for each in flat(error)):
                raise lost(self._claimed.lease) from error
            if is_outage(error, self._registry.operations.database):
                return Outcome(RunStatus.PENDING, f"{type(error).__name__}: {error}")
            lease = self._claimed.lease
            if isinstance(error, GraphGone):  # no fault of any code
                logger.error("The run '%s' of thread '%s' failed: %s", lease.run_id, lease.thread_id, error)
            else:
                logger.error("The run '%s' of thread '%s' failed", lease.run_id, lease.thread_id, exc_info=error)
            return Outcome(RunStatus.ERROR, f"{type(error).__name__}: {error}")

    async def _streamed(self, graph: Any, options: RunOptions, context: Any) -> Outcome:
        await self._stream(graph, options, context)
        if options.stream_modes is not None and UPDATES_MODE in options.stream_modes:
            # Whatever the graph waits for is in its updates.
            return Outcome(RunStatus.INTERRUPTED if self._asked else RunStatus.SUCCESS)
        state = await graph.aget_state(self._config())
        return Outcome(RunStatus.INTERRUPTED if state.next else RunStatus.SUCCESS)

    async def _session(self, make: SessionOf) -> AbstractAsyncContextManager[object]:
        """Return what the run is executed in."""
        run = self._stored(RunOptions.from_json(self._claimed.options))
        made = make(run)
        session = await made if inspect.isawaitable(made) else made
        return contextlib.nullcontext() if session is None else session.active(run.run_id, run.thread_id)

    def _stored(self, options: RunOptions) -> StoredRun:
        claimed = self._claimed
        takes_back = claimed.rollback is not None and options.erases_rollback
        context = self._registry.load(claimed.context)
        lease = claimed.lease
        stored = (lease.run_id, lease.thread_id, claimed.tenant, context, self._config(), takes_back, options.session)
        return StoredRun(*stored)

    async def _stream(self, graph: Any, options: RunOptions, context: Any) -> None:
        claimed = self._claimed
        config = self._config()
        config["configurable"].update({} if claimed.began else options.checkpoint or {})
        given: object = None
        if not claimed.began:
            given = self._registry.load(claimed.input)
            if claimed.rollback is not None and not options.erases_rollback:
                if claimed.rollback.checkpoint_id is None:
                    await self._saver.adelete_thread(claimed.lease.thread_id)
                else:
                    config["configurable"]["checkpoint_id"] = claimed.rollback.checkpoint_id
        modes = self._default_modes if options.stream_modes is None else options.stream_modes
        async with contextlib.aclosing(streamed(graph, given, config, modes, self._call(options, context))) as parts:
            async for name, chunk in parts:
                self._tell(name, chunk)

    def _call(self, options: RunOptions, context: Any) -> dict[str, Any]:
        """Return the options of the call of the graph."""
        call: dict[str, Any] = {"durability": options.durability or "sync"}
        if options.subgraphs:
            call["subgraphs"] = True
        for name in ("interrupt_before", "interrupt_after"):
            if (nodes := getattr(options, name)) is not None:
                call[name] = nodes if isinstance(nodes, str) else list(nodes)
        if context is not None:
            call["context"] = context
        return call

    def _config(self) -> dict[str, Any]:
        claimed = self._claimed
        given = dict(claimed.config)
        metadata = {**given.get("metadata", {}), "run_id": claimed.lease.run_id}
        if claimed.options:  # a host that shows it to clients: traces and their metadata name the run
            metadata |= {"run_attempt": claimed.attempt, "thread_id": claimed.lease.thread_id}
            with contextlib.suppress(ValueError):
                given["run_id"] = UUID(claimed.lease.run_id)
        return {
            **given,
            "metadata": metadata,
            "configurable": {**given.get("configurable", {}), "thread_id": claimed.lease.thread_id},
        }

    def _tell(self, name: str, chunk: object) -> None:
        self._asked = self._asked or (name == UPDATES_MODE and isinstance(chunk, dict) and INTERRUPT in chunk)
        try:
            self.events.put(name, told(name, chunk) if self._claimed.options else chunk)
        except TypeError as error:
            if self._claimed.options:  # a host that shows it to clients
                self.events.put(name, storable(chunk, self._registry.dump))
                return
            self.events.put(UNSTORABLE_EVENT, {"type": name, "error": str(error)[:200]})
