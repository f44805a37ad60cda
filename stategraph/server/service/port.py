"""The interfaces between the service and the protocols, and its values.

Rules
-----
* Every call names its `Caller`. What a caller may not see does not exist for it: `NotFoundError`, also by id.
* Events of a run have numbers without holes, and are the same from every process.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from stategraph.server.service.values import (
    ANYONE,
    FIRST_PAGE,
    UNSAID,
    Assistant,
    AssistantSettings,
    Authorize,
    Caller,
    CancelAction,
    ConflictError,
    Cron,
    Filter,
    InvalidError,
    NotBegunError,
    NotFoundError,
    Page,
    RefusedError,
    RunRecord,
    RunRequest,
    RunStatusName,
    ServiceError,
    Thread,
    UnavailableError,
    allow_all,
)
from stategraph.types import StateSnapshot
from stategraph.workers.eventlog import LoggedEvent
from stategraph.workers.registry.port import Session

__all__ = (
    "ANYONE",
    "FIRST_PAGE",
    "Assistant",
    "Assistants",
    "Authorize",
    "Caller",
    "CancelAction",
    "ConflictError",
    "Cron",
    "Crons",
    "Filter",
    "Graphs",
    "InvalidError",
    "LoggedEvent",
    "NotBegunError",
    "NotFoundError",
    "Page",
    "RefusedError",
    "RunRecord",
    "RunRequest",
    "RunStatusName",
    "Runs",
    "Service",
    "ServiceError",
    "Store",
    "Thread",
    "Threads",
    "UnavailableError",
    "allow_all",
)


class Runs(Protocol):
    """Runs of graphs, over the registry of workers."""

    async def create(self, caller: Caller, request: RunRequest) -> RunRecord:
        """Begin a run; any worker executes it.

        Raises:
            ConflictError: The thread has a run, and the strategy is `reject`.
            InvalidError: The request makes no sense for the graph.
            NotFoundError: There is no such assistant, or no such thread.
        """

    async def check_webhook(self, url: str) -> None:
        """Make sure that the address of a webhook may be sent to.

        Raises:
            InvalidError: It may not.
        """

    async def create_many(self, caller: Caller, requests: Sequence[RunRequest]) -> list[RunRecord]:
        """Begin several runs."""

    async def get(self, caller: Caller, run_id: str, thread_id: str | None = None) -> RunRecord:
        """Look at a run; with `thread_id`, only at one of that thread.

        Raises:
            NotFoundError: There is none.
        """

    async def list(
        self, caller: Caller, thread_id: str, *, status: str | None = None, limit: int = 10, offset: int = 0
    ) -> list[RunRecord]:
        """List the runs of a thread, the newest first.

        Raises:
            NotFoundError: There is no such thread.
        """

    async def wait(self, caller: Caller, run_id: str) -> RunRecord:
        """Wait for the end of a run.

        Raises:
            NotFoundError: There is none.
        """

    async def output(self, caller: Caller, run_id: str) -> Any:
        """Wait for the end of a run and return the values of its thread; the values of before if the run failed."""

    async def outcome(self, caller: Caller, run_id: str) -> tuple[RunRecord, Any]:
        """Wait for the end of a run; return it, and the values of its thread, None if it failed.

        Raises:
            NotFoundError: There is none.
        """

    def events(self, caller: Caller, run_id: str, after_seq: int = 0) -> AsyncGenerator[LoggedEvent, None]:
        """Read the events of a run from any process, as they come, until `run.end`.

        The `type` of an event is the name of its stream mode, for a graph inside of the graph with its namespace:
        `updates`, `messages|worker:0b6b...`; or `run.attempt` and `run.end`. Its `data` is what the engine streamed.
        """

    def follow(
        self, caller: Caller, thread_id: str, after: tuple[int, int] | None = None
    ) -> AsyncGenerator[tuple[RunRecord, LoggedEvent], None]:
        """Read the events of all runs of a thread, one run after the other, also of those that come; without an end.

        Args:
            caller: Who asks.
            thread_id: The thread.
            after: The last event that the reader has: when its run was asked for, in milliseconds since 1970, and its
                number. None: what happens from now on.
        """

    async def last_seq(self, caller: Caller, run_id: str) -> int:
        """Return the number of the newest event of a run; 0 if there is none."""

    async def cancel(
        self, caller: Caller, run_id: str, *, action: CancelAction = "interrupt", wait: bool = False
    ) -> None:
        """Stop a run.

        Args:
            caller: Who asks.
            run_id: The run.
            action: `interrupt`: the thread stays where the run got to. `rollback`: the run is deleted with all that it
                wrote.
            wait: Whether to return when it has stopped.

        Raises:
            ConflictError: It has ended.
            NotFoundError: There is none.
        """

    async def cancel_many(
        self,
        caller: Caller,
        *,
        thread_id: str | None = None,
        run_ids: Sequence[str] | None = None,
        status: Literal["pending", "running", "all"] | None = None,
        action: CancelAction = "interrupt",
    ) -> None:
        """Stop several runs: those of a thread that are named, or all in a status."""

    async def delete(self, caller: Caller, run_id: str) -> None:
        """Delete a run that has ended, with its events.

        Raises:
            ConflictError: It goes on.
            NotFoundError: There is none.
        """


# Graphs.


class Graphs(Protocol):
    """The graphs that are served, by their ids."""

    def ids(self) -> Sequence[str]:
        """Return the ids, in the order in which they were named."""

    def description(self, graph_id: str) -> str | None:
        """Return what a graph is said to do; None if nothing is said."""

    def open(
        self,
        graph_id: str,
        config: Mapping[str, Any] | None = None,
        *,
        access: str = "threads.read",
        caller: Caller = ANYONE,
        context: Any = None,
    ) -> AbstractAsyncContextManager[Any]:
        """Return a compiled graph for a block, with the service's saver and store.

        Args:
            graph_id: The graph.
            config: What a function that makes the graph is given.
            access: What the graph is for: `threads.create_run`, `threads.update`, `threads.read`, `assistants.read`.
            caller: Who asks.
            context: What a run's graph is given as its context.

        Raises:
            NotFoundError: There is no such graph.
        """


# Assistants, threads, the store, schedules.


class Assistants(Protocol):
    """Assistants, in versions; each graph is one by itself."""

    async def get(self, caller: Caller, assistant_id: str) -> Assistant:
        """Return an assistant by its id or by that of its graph.

        Raises:
            NotFoundError: There is none.
        """

    async def to_run(self, caller: Caller, assistant_id: str) -> Assistant:
        """Return an assistant that a run is made with: one that the caller may see, or one that stands for a graph.

        Raises:
            NotFoundError: There is none.
        """

    async def create(
        self,
        caller: Caller,
        graph_id: str,
        settings: AssistantSettings = UNSAID,
        *,
        assistant_id: str | None = None,
        if_exists: Literal["raise", "do_nothing"] = "raise",
    ) -> Assistant:
        """Make an assistant.

        Raises:
            ConflictError: It is there, and `if_exists` is `raise`.
            NotFoundError: There is no such graph.
        """

    async def update(
        self, caller: Caller, assistant_id: str, settings: AssistantSettings, *, graph_id: str | None = None
    ) -> Assistant:
        """Make a new version of an assistant.

        Raises:
            NotFoundError: There is no such assistant, or graph.
        """

    async def versions(
        self,
        caller: Caller,
        assistant_id: str,
        *,
        metadata: Mapping[str, Any] | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Assistant]:
        """List the versions of an assistant, the newest first.

        Raises:
            NotFoundError: There is no such assistant.
        """

    async def set_latest(self, caller: Caller, assistant_id: str, version: int | None) -> Assistant:
        """Make a version of an assistant the current one.

        Raises:
            NotFoundError: There is no such assistant or version.
        """

    async def delete(self, caller: Caller, assistant_id: str) -> None:
        """Delete an assistant.

        Raises:
            NotFoundError: There is none.
        """

    async def search(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        graph_id: str | None = None,
        name: str | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Assistant]:
        """List assistants."""

    async def count(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        graph_id: str | None = None,
        name: str | None = None,
    ) -> int:
        """Count assistants."""


class Threads(Protocol):
    """Threads and their states. The status of a thread is that of its runs."""

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
        """Make a thread, with a state if there are supersteps.

        Raises:
            ConflictError: It is there, and `if_exists` is `raise`.
        """

    async def get(self, caller: Caller, thread_id: str) -> Thread:
        """Return a thread.

        Raises:
            NotFoundError: There is none.
        """

    async def check(self, caller: Caller, thread_id: str, action: str, value: dict[str, Any]) -> None:
        """Make sure that a caller may do something with a thread, as cheaply as that can be.

        Args:
            caller: Who asks.
            thread_id: The thread.
            action: `read`, `update`, `delete`, `create_run`.
            value: What the caller's `authorize` is given, and may change.

        Raises:
            NotFoundError: There is no such thread for this caller.
            RefusedError: The caller may not.
        """

    async def admit(self, caller: Caller, thread_id: str, value: dict[str, Any]) -> Callable[[Session], bool]:
        """Ask whether a caller may run something on a thread.

        Args:
            caller: Who asks.
            thread_id: The thread.
            value: What the caller's `authorize` is given, and may change.

        Returns:
            Called in a transaction, says whether the thread is there for this caller.

        Raises:
            RefusedError: The caller may not.
        """

    def use(
        self, session: Session, thread_id: str, assistant: Assistant, config: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Note, in a transaction, with which assistant and config a thread is run; return the thread's metadata."""

    def tell(self, thread_id: str) -> None:
        """Wake those in this process who wait for a run of a thread."""

    async def runs_after(
        self, caller: Caller, thread_id: str, number: int, wait_s: float = 0.0
    ) -> list[tuple[int, str]]:
        """Return runs of a thread, the oldest first, each with a number that is greater than those before it.

        Args:
            caller: Who asks. Of a thread that is not there for the caller there are no runs.
            thread_id: The thread, which need not be there yet.
            number: Only runs with a greater one.
            wait_s: How long to wait for one, if there is none.
        """

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
        """List threads, those changed last first."""

    async def count(
        self,
        caller: Caller,
        *,
        metadata: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        status: str | None = None,
    ) -> int:
        """Count threads."""

    async def update(
        self,
        caller: Caller,
        thread_id: str,
        metadata: Mapping[str, Any] | None = None,
        ttl: Mapping[str, Any] | None = None,
    ) -> Thread:
        """Merge metadata into a thread's, and say how long it lives from now on."""

    async def delete(self, caller: Caller, thread_id: str) -> None:
        """Delete a thread with its runs, events and checkpoints."""

    async def copy(self, caller: Caller, thread_id: str) -> Thread:
        """Make a thread with the checkpoints of another one."""

    async def prune(self, caller: Caller, thread_ids: Sequence[str], strategy: str = "delete") -> int:
        """Delete threads, or all of their checkpoints but the newest; return how many."""

    async def state(
        self,
        caller: Caller,
        thread_id: str,
        checkpoint: Mapping[str, Any] | None = None,
        *,
        subgraphs: bool = False,
    ) -> StateSnapshot:
        """Return the state of a thread, at its newest checkpoint or at another one."""

    async def has_checkpoint(self, thread_id: str, checkpoint: Mapping[str, Any]) -> bool:
        """Return whether a thread has a checkpoint, for a caller who was let in already."""

    async def storage(self, caller: Caller, thread_id: str) -> Any:
        """Measure what is stored of a thread: counts and bytes of checkpoints, values and writes.

        Raises:
            NotFoundError: There is no such thread.
        """

    async def update_state(
        self,
        caller: Caller,
        thread_id: str,
        values: Any,
        *,
        as_node: str | None = None,
        checkpoint: Mapping[str, Any] | None = None,
    ) -> Mapping[str, Any]:
        """Write values to a thread as a node would; return the config of the new checkpoint."""

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
        """List the states of a thread, the newest first."""


class Store(Protocol):
    """Long-term memory: values by namespace and key. Namespaces are changed by the caller's `authorize`."""

    async def put(
        self,
        caller: Caller,
        namespace: Sequence[str],
        key: str,
        value: Mapping[str, Any],
        *,
        index: Any = None,
        ttl: float | None = None,
    ) -> None:
        """Store a value; `ttl` is in minutes."""

    async def get(self, caller: Caller, namespace: Sequence[str], key: str, *, refresh_ttl: bool | None = None) -> Any:
        """Return an item; None if there is none."""

    async def delete(self, caller: Caller, namespace: Sequence[str], key: str) -> None:
        """Delete a value."""

    async def search(
        self,
        caller: Caller,
        prefix: Sequence[str],
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[Any]:
        """List items below a namespace."""

    async def namespaces(
        self,
        caller: Caller,
        *,
        prefix: Sequence[str] | None = None,
        suffix: Sequence[str] | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[tuple[str, ...]]:
        """List namespaces."""


class Crons(Protocol):
    """Schedules of runs."""

    async def create(self, caller: Caller, payload: Mapping[str, Any], *, thread_id: str | None = None) -> Cron:
        """Make a schedule.

        Args:
            caller: Who asks; its runs are this caller's.
            payload: `assistant_id`, `schedule`, `timezone`, `end_time`, `enabled`, `metadata`, `on_run_completed`, and
                what the runs are asked for with, by the names of the LangGraph API.
            thread_id: Where they are; None: each on a thread of its own.

        Raises:
            InvalidError: The schedule is none, or another field makes no sense.
            NotFoundError: There is no such assistant or thread.
        """

    async def get(self, caller: Caller, cron_id: str) -> Cron:
        """Return a schedule.

        Raises:
            NotFoundError: There is none.
        """

    async def update(self, caller: Caller, cron_id: str, changes: Mapping[str, Any]) -> Cron:
        """Change fields of a schedule's payload, and so when it is due.

        Raises:
            InvalidError: A field makes no sense.
            NotFoundError: There is none.
        """

    async def search(
        self,
        caller: Caller,
        *,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        enabled: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        page: Page = FIRST_PAGE,
    ) -> list[Cron]:
        """List schedules."""

    async def count(
        self,
        caller: Caller,
        *,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> int:
        """Count schedules."""

    async def delete(self, caller: Caller, cron_id: str) -> None:
        """Delete a schedule; runs that it began stay.

        Raises:
            NotFoundError: There is none.
        """


@dataclass(slots=True)
class Service:
    """All that protocols call; one for each application."""

    graphs: Graphs
    runs: Runs
    assistants: Assistants
    threads: Threads
    store: Store
    crons: Crons
