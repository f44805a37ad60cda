"""Runs as protocols call them; see `port.Runs`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import Any, Final, Literal, TypeVar

from stategraph.constants import INTERRUPT
from stategraph.server.service.graphs.served import ServedGraphs
from stategraph.server.service.port import (
    Assistant,
    Assistants,
    Caller,
    CancelAction,
    ConflictError,
    Filter,
    InvalidError,
    LoggedEvent,
    NotFoundError,
    RunRecord,
    RunRequest,
    Threads,
    UnavailableError,
)
from stategraph.server.service.runs import requests
from stategraph.server.service.runs.erasing import ROLLED_BACK, Erasing
from stategraph.server.service.runs.following import followed
from stategraph.server.service.runs.records import record_of, statuses_of
from stategraph.server.service.runs.sessions import Beginning, Sessions, goes_on
from stategraph.server.service.runs.webhooks import Webhooks
from stategraph.workers.eventlog import attach
from stategraph.workers.leases import ENDED, RunStatus
from stategraph.workers.registry.labelled import LabelledRun
from stategraph.workers.registry.port import Session, StoreUnavailableError
from stategraph.workers.registry.runs import RunRegistry
from stategraph.workers.registry.values import ThreadBusy, UnknownRunError
from stategraph.workers.wakeups.bus import Wakes
from stategraph.workers.wakeups.signals import SignalKind

T = TypeVar("T")

#: Reason of a run that a client stopped.
STOPPED: Final = "stopped by the client"

#: How often someone who waits for the end of a run looks at it, if no signal comes.
_LOOK_S: Final = 5.0
_FIRST_LOOK_S: Final = 0.1
_POLL_S: Final = 0.1

#: The events that tell the values of a run.
_VALUES: Final = "values"

#: How many of the newest values are looked through for questions.
_MOST_QUESTIONS: Final = 100

#: How many runs are known by those who began them.
_KNOWN: Final = 1_000

_ACTIVE: Final = (RunStatus.PENDING, RunStatus.RUNNING)


class RegistryRuns:
    """Runs over a registry.

    Args:
        registry: Where runs are.
        graphs: What they run.
        assistants: Their settings.
        threads: Where they run.
        erasing: Ends what is taken back.
        webhooks: Tells ends to addresses that requests name; None: requests that name one are refused.
        sessions: Say in which session each run is executed; None: runs have none.
    """

    def __init__(
        self,
        registry: RunRegistry,
        graphs: ServedGraphs,
        assistants: Assistants,
        threads: Threads,
        erasing: Erasing,
        webhooks: Webhooks | None = None,
        sessions: Sessions | None = None,
    ) -> None:
        self.registry = registry
        self._graphs = graphs
        self._assistants = assistants
        self._threads = threads
        self._erasing = erasing
        self._webhooks = webhooks
        self._sessions = sessions
        #: Runs that were begun here last, with their callers, who may read them without being looked up again.
        self._begun: dict[str, Caller] = {}

    async def create(self, caller: Caller, request: RunRequest) -> RunRecord:
        """Begin a run, see `port.Runs.create`."""
        requests.check(request)
        given = requests.given_to(request)
        assistant = await self._assistant(caller, request.assistant_id)
        if request.webhook:
            await self.check_webhook(request.webhook)
        ids = requests.ids_of(request)
        metadata = requests.metadata_of(request, assistant)
        metadata, is_there = await self._admit(caller, request, ids, metadata, assistant.assistant_id)
        tenant, session = caller.identity, None
        if self._sessions is not None:
            tenant, session = await self._session(self._sessions, caller, request, assistant, ids)
        if request.thread_id is not None:
            await self._check_checkpoint(caller, request, ids.thread_id)
        config, context = requests.settings_of(request, assistant, caller, ids, metadata)
        of_run, submitted = config["metadata"], config

        def prepare(transaction: Session) -> Mapping[str, Any]:
            """Look for the thread, note its use and whom to tell, in the transaction that adds the run."""
            nonlocal submitted
            if is_there is not None and not is_there(transaction):
                raise NotFoundError("Thread or assistant not found.")
            if request.webhook and self._webhooks is not None:
                self._webhooks.add(transaction, ids.run_id, request.webhook)
            of_thread = self._threads.use(transaction, ids.thread_id, assistant, config)
            if request.thread_id is not None:
                submitted = {**config, "metadata": {**of_thread, **of_run}}
            return submitted

        submit = partial(
            self.registry.submit,
            ids.thread_id,
            given,
            target=self._graphs.target(assistant.graph_id),
            on_conflict=request.multitask_strategy,
            run_id=ids.run_id,
            context=context or None,
            delay_s=request.after_seconds,
            tenant=tenant,
            options=requests.options_of(request, session),
            labels=requests.labels_of(request, assistant, metadata, session),
            kept_s=requests.KEPT_S if requests.is_temporary(request) else None,
            prepare=prepare,
        )
        try:
            try:
                await submit()
            except NotFoundError:
                if request.if_not_exists == "reject":
                    raise
                await self._threads.create(caller, thread_id=ids.thread_id, if_exists="do_nothing")
                await submit()
        except ThreadBusy as error:
            raise ConflictError(
                "Thread is already running a task. Wait for it to finish or choose a different multitask strategy."
            ) from error
        except StoreUnavailableError as error:
            raise UnavailableError("The database is away; nothing is known of the run") from error
        except (ValueError, TypeError) as error:
            raise InvalidError(str(error)) from error
        self._threads.tell(ids.thread_id)
        if request.run_id:  # it may have been asked for before
            return record_of(await self._found(ids.run_id), self.registry)
        self._begun[ids.run_id] = caller
        if len(self._begun) > _KNOWN:
            del self._begun[next(iter(self._begun))]
        return requests.record_of(request, assistant, ids, metadata, (submitted, context))

    async def _check_checkpoint(self, caller: Caller, request: RunRequest, thread_id: str) -> None:
        """Make sure that the checkpoint is there at which the run is to begin, on a thread that the caller sees."""
        place = requests.checkpoint_of(request)
        if "checkpoint_id" not in place:
            return
        if request.thread_id is not None:
            await self._threads.check(caller, thread_id, "read", {"thread_id": thread_id})
        if not await self._threads.has_checkpoint(thread_id, place):
            on = f"Thread '{thread_id}'" if request.thread_id is not None else "The thread of a run without one"
            raise NotFoundError(
                f"{on} has no checkpoint '{place['checkpoint_id']:.100}': its history lists those that it has. Without "
                "a checkpoint, the run goes on from the newest one"
            )

    async def _session(
        self, sessions: Sessions, caller: Caller, request: RunRequest, assistant: Assistant, ids: requests.Ids
    ) -> tuple[str, str]:
        """Return tenant and session of a run, which may go on with another one's on a thread that the caller sees."""
        if goes_on(request) and request.thread_id is not None:
            await self._threads.check(caller, ids.thread_id, "read", {"thread_id": ids.thread_id})
        found = await self.registry.labelled.of_thread(ids.thread_id, limit=1) if goes_on(request) else []
        before = next(iter(found), None)
        about = (assistant.assistant_id, assistant.graph_id, ids.thread_id, before)
        return sessions.issue(Beginning(caller, request, *about))

    async def check_webhook(self, url: str) -> None:
        """Make sure that a webhook may be told, see `port.Runs.check_webhook`."""
        if self._webhooks is None:
            raise InvalidError("This server tells no webhooks")
        await self._webhooks.check(url)

    async def _assistant(self, caller: Caller, assistant_id: str) -> Assistant:
        try:
            return await self._assistants.to_run(caller, assistant_id)
        except NotFoundError:
            if requests.is_uuid(assistant_id):
                raise NotFoundError("Thread or assistant not found.") from None
            raise InvalidError(
                f"Invalid assistant: '{assistant_id}'. Must be either:\n- A valid assistant UUID, or\n- One of the "
                f"registered graphs: {', '.join(self._graphs.ids())}"
            ) from None

    async def create_many(self, caller: Caller, requests: Sequence[RunRequest]) -> list[RunRecord]:
        """Begin several runs, see `port.Runs.create_many`."""
        return [await self.create(caller, each) for each in requests]

    async def _admit(
        self, caller: Caller, request: RunRequest, ids: requests.Ids, metadata: Mapping[str, Any], assistant_id: str
    ) -> tuple[dict[str, Any], Callable[[Session], bool] | None]:
        """Make sure that the caller may run something on the thread, and make one for a stateless run.

        Returns:
            The metadata of the run, and what says in a transaction whether the thread is there; None: it is.
        """
        value: dict[str, Any] = {
            "thread_id": ids.thread_id,
            "assistant_id": assistant_id,
            "run_id": ids.run_id,
            "status": "pending",
            "metadata": dict(metadata),
            "prevent_insert_if_inflight": request.multitask_strategy == "reject",
            "multitask_strategy": request.multitask_strategy,
            "if_not_exists": request.if_not_exists,
            "after_seconds": request.after_seconds,
            "kwargs": {"input": request.input, "command": request.command},
        }
        if request.thread_id is None:
            allowed = await caller.authorize("threads", "create_run", value)
            await self._check_checkpoint(caller, request, ids.thread_id)
            owner = {**_equalities(allowed), **_added(metadata, value["metadata"])}
            await self._threads.create(Caller(caller.identity), thread_id=ids.thread_id, metadata=owner)
            return dict(value["metadata"]), None
        is_there = await self._threads.admit(caller, ids.thread_id, value)
        return dict(value["metadata"]), is_there

    async def get(self, caller: Caller, run_id: str, thread_id: str | None = None) -> RunRecord:
        """Look at a run, see `port.Runs.get`."""
        return record_of(await self._seen(caller, run_id, "read", thread_id), self.registry)

    async def list(
        self, caller: Caller, thread_id: str, *, status: str | None = None, limit: int = 10, offset: int = 0
    ) -> list[RunRecord]:
        """List the runs of a thread, see `port.Runs.list`."""
        await self._threads.check(caller, thread_id, "read", {"thread_id": thread_id})
        found = await self.registry.labelled.of_thread(thread_id, statuses_of(status), limit, offset)
        return [record_of(each, self.registry) for each in found]

    async def wait(self, caller: Caller, run_id: str) -> RunRecord:
        """Wait for the end of a run, see `port.Runs.wait`."""
        await self._may_read(caller, run_id)
        ended, _ = await self._ended(run_id)
        return record_of(ended, self.registry)

    async def output(self, caller: Caller, run_id: str) -> Any:
        """Wait for the end of a run and return its values, see `port.Runs.output`."""
        await self._may_read(caller, run_id)
        return await self._values(caller, *await self._ended(run_id))

    async def outcome(self, caller: Caller, run_id: str) -> tuple[RunRecord, Any]:
        """Wait for the end of a run and return it with its values, see `port.Runs.outcome`."""
        await self._may_read(caller, run_id)
        ended, told = await self._ended(run_id)
        run = record_of(ended, self.registry)
        failed = run.status in ("error", "timeout")
        return run, None if failed else await self._values(caller, ended, told)

    async def _values(self, caller: Caller, run: LabelledRun, told: Sequence[bytes]) -> Any:
        """Return the values of a run that has ended, from its newest ones."""
        asks = run.info.status is RunStatus.INTERRUPTED
        if asks:
            told = await self.registry.labelled.last_events(run.info.run_id, _VALUES, _MOST_QUESTIONS)
        values = [self.registry.load(each) for each in reversed(told)]
        if values:
            return (_asked(values) if asks else None) or values[-1]
        state = await self._threads.state(caller, run.info.thread_id)
        return state.values

    async def events(self, caller: Caller, run_id: str, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
        """Read the events of a run, see `port.Runs.events`."""
        await self._may_read(caller, run_id)
        try:
            async for event in attach(self.registry, run_id, after_seq):
                yield event
        except UnknownRunError as error:
            raise NotFoundError("Run not found") from error

    async def follow(
        self, caller: Caller, thread_id: str, after: tuple[int, int] | None = None
    ) -> AsyncGenerator[tuple[RunRecord, LoggedEvent], None]:
        """Read the events of all runs of a thread, see `port.Runs.follow`."""
        await self._threads.check(caller, thread_id, "read", {"thread_id": thread_id})
        async with aclosing(followed(self.registry, thread_id, after=after)) as events:
            async for run, event in events:
                yield record_of(run, self.registry), event

    async def last_seq(self, caller: Caller, run_id: str) -> int:
        """Return the number of the newest event of a run, see `port.Runs.last_seq`."""
        await self._seen(caller, run_id, "read")
        return await self.registry.labelled.last_seq(run_id)

    async def cancel(
        self, caller: Caller, run_id: str, *, action: CancelAction = "interrupt", wait: bool = False
    ) -> None:
        """Stop a run, see `port.Runs.cancel`."""
        run = await self._seen(caller, run_id, "update")
        if run.info.status in ENDED:
            raise ConflictError("The run has ended, there is nothing to cancel")
        await self._stop(run, action, wait)

    async def cancel_many(
        self,
        caller: Caller,
        *,
        thread_id: str | None = None,
        run_ids: Sequence[str] | None = None,
        status: Literal["pending", "running", "all"] | None = None,
        action: CancelAction = "interrupt",
    ) -> None:
        """Stop several runs, see `port.Runs.cancel_many`."""
        if status is not None and (thread_id is not None or run_ids):
            raise InvalidError("Runs are named by a status, or by a thread and their ids, not both")
        if status is not None:
            wanted = _ACTIVE if status == "all" else (RunStatus(status),)
            found = await self.registry.labelled.in_status(wanted)
            runs = [each for each in found if await self._may(caller, each)]
        elif thread_id is not None and run_ids:
            runs = [await self._seen(caller, each, "update", thread_id) for each in run_ids]
        else:
            raise InvalidError("Which runs? Name a status, or a thread and the ids of its runs")
        stopping = [each for each in runs if each.info.status not in ENDED]
        if not stopping:
            raise NotFoundError("No runs found to cancel.")
        await asyncio.gather(*(self._stop(each, action, False) for each in stopping))

    async def delete(self, caller: Caller, run_id: str) -> None:
        """Delete a run that has ended, see `port.Runs.delete`."""
        await self._seen(caller, run_id, "delete")
        if not await self.registry.labelled.delete(run_id):
            raise ConflictError("The run goes on: cancel it, or wait for its end")

    # Helpers.

    async def _stop(self, run: LabelledRun, action: CancelAction, wait: bool) -> None:
        run_id = run.info.run_id
        await self.registry.cancel(run_id, ROLLED_BACK if action == "rollback" else STOPPED)
        if action == "rollback":
            ending = self._erasing.erase_soon(self._end_of(run_id))
            if wait:
                await asyncio.shield(ending)
        elif wait:
            await self._ended(run_id)

    async def _found(self, run_id: str) -> LabelledRun:
        return await self._known(self.registry.labelled.get(run_id))

    async def _known(self, looking: Awaitable[T]) -> T:
        try:
            return await looking
        except UnknownRunError as error:
            raise NotFoundError("Run not found") from error
        except StoreUnavailableError as error:
            raise UnavailableError("The database is away") from error

    async def _seen(self, caller: Caller, run_id: str, action: str, thread_id: str | None = None) -> LabelledRun:
        """Return a run that the caller may do something with; runs are their threads' in this."""
        run = await self._found(run_id)
        found_on = run.info.thread_id
        if thread_id is not None and found_on != thread_id:
            raise NotFoundError("Run not found")
        try:
            await self._threads.check(caller, found_on, action, {"thread_id": found_on, "run_id": run_id})
        except NotFoundError:
            raise NotFoundError("Run not found") from None
        return run

    async def _end_of(self, run_id: str) -> LabelledRun:
        run, _ = await self._ended(run_id)
        return run

    async def _may_read(self, caller: Caller, run_id: str) -> None:
        """Make sure that a caller may read a run; who has just begun it may."""
        if self._begun.get(run_id) is not caller:
            await self._seen(caller, run_id, "read")

    async def _may(self, caller: Caller, run: LabelledRun) -> bool:
        try:
            await self._seen(caller, run.info.run_id, "update")
        except NotFoundError:
            return False
        return True

    async def _ended(self, run_id: str) -> tuple[LabelledRun, Sequence[bytes]]:
        """Wait for the end of a run; return it, and its newest values.

        While an attempt of it goes on in this process, what the attempt tells is no reason to look for an end: its
        last signal comes when it is over. One that was begun here just now has not ended either.
        """
        look_s = _LOOK_S if self.registry.bus.is_live else _POLL_S
        with self.registry.bus.watch([(SignalKind.EVENTS, run_id)]) as wakes:
            if run_id in self._begun:
                await self._over(wakes, run_id, min(look_s, _FIRST_LOOK_S))
            while True:
                run, told = await self._known(self.registry.labelled.with_last_event(run_id, _VALUES))
                if run.info.finished_at is not None:
                    return run, told
                await self._over(wakes, run_id, look_s)

    async def _over(self, wakes: Wakes, run_id: str, look_s: float) -> None:
        """Wait until something was told of a run that no attempt here goes on with, or until it is time to look."""
        tails = self.registry.tails
        woken = await wakes.wait(look_s)
        await asyncio.sleep(0)  # in which a worker of this process begins with what it has claimed
        while woken and tails is not None and tails.get(run_id) is not None:
            woken = await wakes.wait(_LOOK_S)


def _asked(told: Iterable[Any]) -> Any:
    """Return the values of a run that asks: those with its first question, and the other questions with them."""
    values: Any = None
    for each in told:
        if not (isinstance(each, dict) and INTERRUPT in each):
            continue
        values = each if values is None else {**values, INTERRUPT: [*values[INTERRUPT], *each[INTERRUPT]]}
    return values


def _equalities(allowed: Filter | None) -> dict[str, Any]:
    """Return what a new thread has to have in its metadata to pass a filter."""
    wanted = {}
    for name, value in (allowed or {}).items():
        if not isinstance(value, Mapping):
            wanted[name] = value
        elif "$eq" in value:
            wanted[name] = value["$eq"]
    return wanted


def _added(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in after.items() if name not in before or before[name] != value}
