"""Ports of runs: where their events are kept, where runs are found by their ids, who measures them, and who acts.

In one process they are `stategraph.run.events.run_log` and `stategraph.run.recent_runs`, unless an `AgentRuntime` is
given others; over the registry of workers `stategraph.workers.run_finder`. `stategraph.telemetry` measures with
OpenTelemetry.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias, TypeVar, runtime_checkable

from stategraph.run.json_safe import to_json

if TYPE_CHECKING:  # they need LangChain and the engine, and a runtime without runs does not
    from langchain_core.runnables import RunnableConfig

    from stategraph.agent.ports import Listener, ToolHost
    from stategraph.run.pauses import RunInterrupt

ExecutionStatus: TypeAlias = Literal["completed", "cancelled", "failed", "interrupted"]
"""The end of an execution."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """An event with its number.

    Attributes:
        seq: 1 for the first event of a run, then without holes.
        event: Its name on the wire.
        data: Its payload, as handlers are given it.
        metadata: Its place; None at the end of a run.
    """

    seq: int
    event: str
    data: Any
    metadata: Mapping[str, Any] | None = None

    def to_json(self) -> str:
        """Name and payload as JSON; what has no form in JSON, such as ways to answer, is left out."""
        return to_json({"event": self.event, "data": self.data})

    def to_sse(self) -> str:
        """Format the event as a frame of an event stream (https://html.spec.whatwg.org/#server-sent-events).

        The number is the frame's id, which a browser that reconnects sends as `Last-Event-ID`.
        """
        return f"id: {self.seq}\nevent: message\ndata: {self.to_json()}\n\n"


@runtime_checkable
class EventLog(Protocol):
    """Keeps the events of one run, numbered from 1 without holes over all its executions, the last of each its end."""

    @property
    def last_seq(self) -> int:
        """The number of the newest event; 0 before the first."""

    @property
    def is_open(self) -> bool:
        """True if an execution is running or about to start; a new log is open."""

    @property
    def is_full(self) -> bool:
        """True if the run has to wait before the next event, see `room`."""

    def begin(self) -> None:
        """Prepare for an execution that is about to start: readers wait for its events."""

    def put(self, event: str, data: Any, metadata: Mapping[str, Any] | None) -> None:
        """Keep an event under the next number; it may be stored later, but before any that follows it."""

    async def room(self) -> None:
        """Wait until the log takes events again."""

    def let_go(self) -> None:
        """Wait for no reader any longer: the execution is about to end."""

    def end(
        self,
        status: ExecutionStatus,
        error: BaseException | None,
        interrupts: Sequence[RunInterrupt] = (),
        *,
        more: Mapping[str, object] | None = None,
    ) -> None:
        """Log the end of an execution; readers leave after it.

        Args:
            status: Its end.
            error: The error that ended it; None: there was none.
            interrupts: The interrupts that it waits for.
            more: Further fields of the event, such as `usage`; None: none.
        """

    def read(self, after_seq: int, *, owns: bool = False) -> AsyncGenerator[RunEvent, None]:
        """Yield the events after a number: those that are kept, then new ones until the execution ends.

        Args:
            after_seq: The number of the last event that the reader has; 0: none.
            owns: Whether the run waits for this reader.
        """


EventLogFactory: TypeAlias = Callable[[str], EventLog]
"""Makes the log of a run, given the run's id. A run that resumes another under its id asks again: a log that continues
the numbers of the first lets readers of both go on.
"""


class RunFinder(Protocol):
    """Finds runs by their ids, wherever they execute: all that go on, and ended ones for as long as they are kept."""

    async def is_running(self, run_id: str) -> bool:
        """Return whether a run has not ended.

        Raises:
            LookupError: There is no such run.
        """

    async def cancel(self, run_id: str, reason: str = "") -> bool:
        """Ask a run to stop.

        Args:
            run_id: Which.
            reason: Why; empty: not known.

        Returns:
            Whether there was something to stop; False if the run has ended.

        Raises:
            LookupError: There is no such run.
        """

    def events(self, run_id: str, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Yield the events of a run after a number, until its execution ends.

        Raises:
            LookupError: There is no such run; raised by the first step.
        """


Settle: TypeAlias = Callable[[ExecutionStatus, BaseException | None], Awaitable[None]]
"""Is awaited with the status of an execution that has ended, and its error, before readers are told of it."""


class ThreadKeeper(Protocol):
    """Is told of the executions on a thread, see `stategraph.run.threads`."""

    def executing(
        self,
        saver: object,
        thread_id: str,
        run_id: str,
        waits: Callable[[], bool],
        is_ending: Callable[[], bool],
    ) -> AbstractAsyncContextManager[Settle | None]:
        """Return what is entered before an execution, and left after it.

        It is entered with a function that the execution awaits before readers are told of its end, so that nobody whom
        they tell still finds it running; or with None.

        Args:
            saver: Keeps the thread; None: it is not kept.
            thread_id: The thread.
            run_id: The run.
            waits: Tells at the end whether it waits for a person.
            is_ending: Tells whether readers of the run know its end already.
        """


class KnownRun(Protocol):
    """A run of this process, as those see it who keep runs by their ids."""

    id: str

    @property
    def running(self) -> bool:
        """True if the run is being executed, or has been started."""

    def abort(self, reason: str | None = None) -> None:
        """Stop the running execution."""

    def attach(self, after_seq: int = 0) -> AsyncGenerator[RunEvent, None]:
        """Watch the events after a number, until the execution ends."""

    async def ended(self) -> None:
        """Wait until the execution has ended."""


RunT = TypeVar("RunT", bound=KnownRun)


@runtime_checkable
class RunDirectory(RunFinder, Protocol[RunT]):
    """Keeps the runs that a runtime makes, by their ids; what it finds by the `RunFinder` may be elsewhere.

    Each run that goes on has to be kept, because closing the runtime aborts what the directory lists.
    """

    async def check(self, run_id: str, /) -> None:
        """Check that an id may be used for a new run; called before the run is made.

        Raises:
            ConfigurationError: A run of that id goes on.
        """

    async def add(self, run: RunT, /) -> None:
        """Keep a run that was made, in place of an earlier one of its id; ended ones may be forgotten.

        Raises:
            ConfigurationError: A run of that id has begun since the check; the caller gets this instead of its run.
        """

    def get(self, run_id: str, /) -> RunT | None:
        """Return a run of this process; None if there is none, or it was forgotten."""

    def known(self, run_id: str, /) -> RunT:
        """Return a run of this process.

        Raises:
            LookupError: There is none, or it was forgotten.
        """

    def __iter__(self) -> Iterator[RunT]:
        """Iterate over the runs of this process, in a copy that does not change meanwhile."""


@dataclass(frozen=True, slots=True)
class MeasuredExecution:
    """An execution of a run that begins.

    Attributes:
        run_id: The run.
        thread_id: Its thread; the run's id if the host named none.
        agents: Names of its agents by their ids, the root first, and of their subagents.
        own_tools: Names of the tools by which agents hand over and call subagents, of which only facts tell.
        graph: The name of the host's own graph that is run; None: it is one of agents, or has no name.
        queued_s: Seconds that it waited for a worker; None: it did not wait for one.
    """

    run_id: str
    thread_id: str
    agents: Mapping[str, str]
    own_tools: Collection[str] = ()
    graph: str | None = None
    queued_s: float | None = None


class Measurement(Protocol):
    """Measures one execution, in its task."""

    def config(self, config: RunnableConfig, /) -> RunnableConfig:
        """Return the config of the run's graph, with callbacks that measure it."""

    def listener(self, listener: Listener, /) -> Listener:
        """Return a listener that passes everything on to another one."""

    def host(self, host: ToolHost, /) -> ToolHost:
        """Return a host of tools that passes everything on to another one."""

    def end(self, status: ExecutionStatus, error: BaseException | None, /) -> None:
        """Note that the execution has ended; called once, in the same task."""


@runtime_checkable
class RunTelemetry(Protocol):
    """Measures runs; the field `telemetry` of a run's configuration."""

    def measure(self, execution: MeasuredExecution, /) -> Measurement:
        """Begin to measure an execution; called in its task."""


@runtime_checkable
class RunSession(Protocol):
    """The session of a run: who acts, as a layer above knows it; the field `session` of a run's configuration.

    A run enters it for each of its executions, and so for all nodes, tools and models in it. It is never stored, and is
    sent to no worker: see `stategraph.governance.session` for one, and for references that are.
    """

    def active(self, run_id: str, thread_id: str | None) -> AbstractAsyncContextManager[object]:
        """Be the session of what happens in the block.

        Args:
            run_id: The run.
            thread_id: Its thread; None: none.
        """
