"""The ports of the engine: what a run needs of the world around it, one contract each.

Each port is implemented in this package; tests, workers, simulations and hosts bring implementations of their own. A
clock, ids, a runner and sinks are put in place by `stategraph.engine.config.environment.use`, an executor is given to
`add_node`, a lease to the savers of `stategraph.workers.fencing`. Clock and ids of a `Run` may be fields of its config.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from uuid import UUID

from stategraph.policies import TimeoutPolicy

if TYPE_CHECKING:  # builders import this module through the clock, and must not load what runs graphs
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import ToolCall
    from langchain_core.runnables import Runnable, RunnableConfig
    from langchain_core.tools import BaseTool

    from stategraph.core.effects import Fact
    from stategraph.core.settings import Watch


@runtime_checkable
class Clock(Protocol):
    """Tells the time and lets it pass, for all in a run that would ask the machine; an event loop has its own."""

    def time(self) -> float:
        """Return the time in seconds since the epoch."""

    def monotonic(self) -> float:
        """Return a reading in seconds that never goes back; only differences mean anything."""

    def sleep(self, seconds: float, /) -> None:
        """Wait in a thread."""

    async def asleep(self, seconds: float, /) -> None:
        """Wait in an event loop."""


@runtime_checkable
class IdFactory(Protocol):
    """Makes ids that no other call gets, and random numbers that vary waiting times. Several threads ask at once."""

    def checkpoint_id(self, step: int, /) -> str:
        """Return the id of a new checkpoint, a UUID as text.

        Savers take the greatest id of a thread, compared as text, for the latest, so each has to be greater than all
        before. Ids of tasks are made of it, so its first 24 characters must not be those of an id for another run.

        Args:
            step: The step's number; -1 for an input, -2 for the state before anything was written.
        """

    def boundary(self) -> str:
        """Return a text that sorts after all checkpoint ids made so far, and before all to come."""

    def unique(self) -> UUID:
        """Return a new id for anything else."""

    def random(self) -> float:
        """Return a number between 0 and 1."""


@dataclass(frozen=True, slots=True)
class NodeWork:
    """A node that an executor is to run.

    Attributes:
        name: The node's name.
        function: What the author gave as the node: a function, a coroutine function, or a Runnable.
        timeout: Limits of one attempt, in seconds; None: none.
        runnable: Runs the node where it is called: `invoke(state, config)`, and for the async API
            `ainvoke(state, config)`; both fill in the arguments that the function asks for.
    """

    name: str
    function: object
    timeout: TimeoutPolicy | None
    runnable: Runnable[Any, Any]


class NodeCall(Protocol):
    """Runs one node for every attempt of a task; called by several threads and tasks at the same time."""

    def invoke(self, state: Any, config: RunnableConfig, /) -> Any:
        """Run the node, and return what its function returns or raise what it raises; waits in this thread."""

    async def ainvoke(self, state: Any, config: RunnableConfig, /) -> Any:
        """Do the same for a run on an event loop; if it is cancelled, the result is no longer wanted."""


class NodeExecutor(Protocol):
    """Runs nodes in a place of its own; given to `add_node` as `executor`.

    To a run such a node is like any other: retries, error handlers, caches and interrupts follow from what the call
    returns or raises. A call in this process has to run in a copy of the caller's context
    (`contextvars.copy_context()`), where `interrupt()` and `get_stream_writer()` find the run.

    Limits of an attempt are kept by the executor alone, which raises `NodeTimeoutError`; the run cannot tell that one
    was ignored. The clauses of `tests/engine/executor_contract.py`, in the repository, can, and test all else that an
    executor has to do.
    """

    def prepare(self, work: NodeWork, /) -> NodeCall:
        """Return the call that runs a node.

        Done when the node is added, and again when its graph is compiled if all nodes have limits and it has none.

        Raises:
            ConfigurationError: The executor cannot run this node, or keep its limits.
        """


class TaskRunner(Protocol):
    """Runs attempts of a sync run's tasks beside each other: calls each once, unless its receiver was cancelled.

    A step's only task does not come here; it runs in place. An async run has its event loop.
    """

    def start(self, receiver: Receiver, attempt: Callable[..., Any], /, *args: Any) -> None:
        """Have an attempt called, here or in another thread, and tell the receiver how it ended."""


class Receiver(Protocol):
    """Is told how an attempt ended; the part of a `Future` that a runner needs."""

    def set_running_or_notify_cancel(self) -> bool:
        """Note that the attempt begins; False if it was cancelled."""

    def set_result(self, result: Any) -> None:
        """Take what it returned."""

    def set_exception(self, error: BaseException) -> None:
        """Take what it raised."""


class Lease(Protocol):
    """A right to write to a thread, whose token each write has to prove; a store refuses all but the newest."""

    @property
    def run_id(self) -> str:
        """The run that has it."""

    @property
    def thread_id(self) -> str:
        """The thread that it is for."""

    @property
    def token(self) -> int:
        """Its number, greater than those of all leases of the thread before it."""


class FactSink(Protocol):
    """Takes the facts of one run in order, numbered from 0 without gaps; a number that comes again is the same fact.

    It is called by the thread that drives the run, or that tells it something, and must not wait.
    """

    @property
    def watch(self) -> Watch:
        """The facts to report, such as `UNHEARD._replace(ended=True)`; those that nobody watches are not made."""

    def take(self, number: int, fact: Fact, /) -> None:
        """Take the next fact."""


class ToolCalls(Protocol):
    """Makes the calls of one tool."""

    @property
    def tool(self) -> BaseTool:
        """The tool."""

    def invoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Make a call, with what was injected, and the config of the running node."""

    async def ainvoke(self, call: ToolCall, config: RunnableConfig) -> Any:
        """Make a call on an event loop."""


class Tape(Protocol):
    """Records what a run gets from outside of it, or gives it the same again; see `stategraph.replay`.

    It hears of calls from the threads and event loops of tasks, of the order of tasks from those that drive runs.
    """

    def model(self, chat: BaseChatModel, /) -> BaseChatModel:
        """Return the model to ask in place of one."""

    def invoker(self, invoker: ToolCalls, /) -> ToolCalls:
        """Return what makes the calls of a tool in place of another."""

    def writer(self, write: Callable[[Any], None], /) -> Callable[[Any], None]:
        """Return the function that a task writes to the custom stream with, in place of another."""

    def hold(self, ns: str, task_id: str, /) -> None:
        """Wait, in the thread of a task that has ended, until the run may hear of it."""

    async def ahold(self, ns: str, task_id: str, /) -> None:
        """Do the same on an event loop."""

    def taken(self, ns: str, task_id: str, /) -> None:
        """Note that a run hears now how one of several tasks ended.

        Args:
            ns: The namespace of the run.
            task_id: The task.
        """
