"""The exceptions that programs which run graphs and agents catch, by whose fault it is.

    Exception
    ├── the author or the caller
    │   ├── InvalidUpdateError         writes that the state cannot take, or a node that returned something else
    │   │   └── UnstorableValueError   a value that would come back from a checkpoint as another (strict graphs)
    │   ├── IgnoredInputError          something given that would have no effect (strict graphs; also a ValueError)
    │   ├── GraphRecursionError        more steps than `recursion_limit` (also a RecursionError)
    │   ├── EmptyInputError            a run that has nothing to start from
    │   ├── EmptyChannelError          read a channel that holds nothing
    │   ├── UnknownInterruptError      an answer that fits no waiting interrupt (strict resume)
    │   ├── InvalidAnswerError         an answer that does not fit what was asked (also a ValueError)
    │   ├── ConfigurationError         settings of an agent or a run that make no sense (also a ValueError)
    │   ├── MissingPackageError        settings that need a package which is not installed (also an ImportError)
    │   ├── EmptyContextError          nothing of a conversation fits a model's context
    │   ├── HandlerError               a host's handler of an event failed, and the run with it
    │   └── AbortError                 the host stopped the run
    ├── the node
    │   ├── NodeTimeoutError           an attempt took too long
    │   └── NodeCancelledError         the node's own code raised CancelledError
    ├── the store
    │   └── DamagedCheckpointError     a checkpoint that cannot be read (also a ValueError)
    ├── a model
    │   ├── ModelAnswerError           a model's answer that cannot be used, or none where one was due
    │   └── ModelTimeoutError          a model took longer than its agent allows (also a TimeoutError)
    ├── the engine or a worker
    │   ├── IllegalMoveError           a driver told a run's machine what it cannot be told in its status
    │   ├── TaskNotFound               a worker was asked for a task it does not have
    │   ├── WorkerError                a worker died, was stopped or could not be started
    │   │   └── JobTimeoutError        a job passed its deadline
    │   ├── JobError                   a job raised an exception that cannot be made again here
    │   └── TransferError              code or a value that cannot be sent to a worker (also a ValueError)
    └── GraphBubbleUp                  not failures: control that travels outwards through nodes
        ├── GraphInterrupt             a node waits for an answer
        │   └── NodeInterrupt          the same, raised by hand (deprecated)
        ├── GraphDrained               the run was asked to stop between two steps, and did
        └── ParentCommand              a Command for the graph around this one

The groups of this tree (author, node, store, model, engine) are not classes: programs catch the classes that
LangGraph has. `NodeError` is not an exception; it is what an error handler is given. All exceptions survive pickling,
so a worker process can report them.

Exceptions that come from one package alone are defined there: `LimitReachedError` in `stategraph.agent.limits`,
`McpError` and those below it in `stategraph.agent.mcp`, `OutputError`, a ModelAnswerError of an agent without a valid
output, in `stategraph.agent.output`, `ToolDeniedError`, of a tool of the host's graph that a hook denied, in
`stategraph.run.graphs.tool_hooks`, `GraphVersionError`, of a thread that no migration fits, and `GraphSchemaError` in
`stategraph.engine.compile.versions`, `StateValidationError` in `stategraph.graph.typed.validation`, `GraphLimitError`
in `stategraph.engine.config.limits`, `RemoteException` in `stategraph.engine.remote`; `LeaseLost`, `ThreadBusy`,
`UnknownRunError`, `StoreUnavailableError`, `EffectFailed`, `InDoubt` and others in `stategraph.workers`.
"""

import copyreg
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal
from warnings import warn

from typing_extensions import deprecated

from stategraph import wire
from stategraph.types import Command, Interrupt
from stategraph.warnings import LangGraphDeprecatedSinceV10

__all__ = (
    "AbortError",
    "ConfigurationError",
    "DamagedCheckpointError",
    "EmptyChannelError",
    "EmptyContextError",
    "EmptyInputError",
    "ErrorCode",
    "GraphBubbleUp",
    "GraphDrained",
    "GraphInterrupt",
    "GraphRecursionError",
    "HandlerError",
    "IgnoredInputError",
    "IllegalMoveError",
    "InvalidAnswerError",
    "InvalidUpdateError",
    "JobError",
    "JobTimeoutError",
    "MissingPackageError",
    "ModelAnswerError",
    "ModelTimeoutError",
    "NodeCancelledError",
    "NodeError",
    "NodeInterrupt",
    "NodeTimeoutError",
    "ParentCommand",
    "TaskNotFound",
    "TransferError",
    "UnknownInterruptError",
    "UnstorableValueError",
    "WorkerError",
    "adopt_empty_channel_error",
    "create_error_message",
    "is_invalid_resume",
    "mark_invalid_resume",
)


class ErrorCode(Enum):
    """Mistakes that have a page of help."""

    GRAPH_RECURSION_LIMIT = "GRAPH_RECURSION_LIMIT"
    INVALID_CHAT_HISTORY = "INVALID_CHAT_HISTORY"
    INVALID_CONCURRENT_GRAPH_UPDATE = "INVALID_CONCURRENT_GRAPH_UPDATE"
    INVALID_GRAPH_NODE_RETURN_VALUE = "INVALID_GRAPH_NODE_RETURN_VALUE"
    MULTIPLE_SUBGRAPHS = "MULTIPLE_SUBGRAPHS"


_HELP: Final = "https://docs.langchain.com/oss/python/langgraph/errors/"


def create_error_message(*, message: str, error_code: ErrorCode) -> str:
    """Add the address of the page of help to a message.

    Args:
        message: The error, in a sentence.
        error_code: The kind of mistake.

    Returns:
        The message and, on a separate line, the address.
    """
    return f"{message}\nFor troubleshooting, visit: {_HELP}{error_code.value}"


def _reduce(error: BaseException) -> tuple[Any, ...]:
    """Pickle by content: repeating `__init__` with `args` fails where a signature is not that of `Exception`."""
    return copyreg.__newobj__, (type(error), *error.args), error.__dict__  # type: ignore[attr-defined]


# The author or the caller.


class InvalidUpdateError(Exception):
    """The state cannot take what was written to it.

    Two nodes of one step wrote a channel that holds one value, a node returned something that is not an update, or an
    update names something that does not exist. The message names the channel or the node.
    """


class UnstorableValueError(InvalidUpdateError):
    """A value would come back from a checkpoint as another one; raised by strict graphs only.

    The message names the node, the channel, the path to the value, and what it would come back as. Nothing of the
    write has been stored.
    """


class IgnoredInputError(ValueError):
    """A strict graph was given something that would have no effect.

    The message says what it was and what would have one. Graphs that are not strict ignore it, as LangGraph does.
    """


class GraphRecursionError(RecursionError):
    """The graph ran as many steps as `recursion_limit` allows and did not end.

    Either it loops, or the limit is too low: pass `{"recursion_limit": n}` as config.
    """


class EmptyInputError(Exception):
    """A run was started without input on a thread that has nothing to continue."""


class _NoValue(Exception):
    """Python lets a class change its bases only if they are not built in."""


class EmptyChannelError(_NoValue):
    """A channel was read that holds nothing: never written, or cleared since."""


def adopt_empty_channel_error(cls: type[Exception]) -> None:
    """Make our class catchable as another package's class of the same meaning.

    The `langgraph-checkpoint` package has an `EmptyChannelError`, and programs may catch that one. The engine, which
    knows the package, calls this once with it; this module must not import it.

    Args:
        cls: That class.
    """
    wire.join(EmptyChannelError, cls)


ResumeMismatch = Literal["not_pending", "empty_map", "ambiguous"]


class UnknownInterruptError(Exception):
    """Strict resume: the answer cannot be matched to what the thread waits for.

    It is raised before anything is written, so the interrupts can still be answered. A single value while nothing waits
    is no mistake: it continues a graph that stopped at a static breakpoint.

    Attributes:
        reason: `not_pending`: names interrupts that do not wait (any more). `empty_map`: names none.
            `ambiguous`: a single value while several wait.
        interrupt_ids: The ids that do not wait, for `not_pending`.
        pending_ids: The ids that do.
    """

    reason: ResumeMismatch
    interrupt_ids: tuple[str, ...]
    pending_ids: tuple[str, ...]

    def __init__(
        self,
        message: str,
        *,
        reason: ResumeMismatch,
        interrupt_ids: Sequence[str] = (),
        pending_ids: Sequence[str] = (),
    ) -> None:
        """Refuse an answer.

        Args:
            message: The mismatch.
            reason: In which way.
            interrupt_ids: The ids that do not wait.
            pending_ids: The ids that do.
        """
        super().__init__(message)
        self.reason = reason
        self.interrupt_ids = tuple(interrupt_ids)
        self.pending_ids = tuple(pending_ids)

    __reduce__ = _reduce


class InvalidAnswerError(ValueError):
    """The answer to an interrupt does not fit what was asked: an unknown decision, or one that is missing.

    Nothing has been written, so the question can still be answered.
    """


class ConfigurationError(ValueError):
    """An agent, a graph of agents or a run was configured with something that makes no sense.

    It is raised before anything runs. The message has a sentence for each problem: the field, what was found there and
    what was expected. Values of fields that may hold secrets are not in it.
    """


class MissingPackageError(ImportError):
    """A package is needed that is not installed.

    Attributes:
        package: Its name for `pip install`; `stategraph[extra]` for one that an extra brings.
    """

    package: str

    def __init__(self, package: str, purpose: str) -> None:
        """Name a package.

        Args:
            package: Its name for `pip install`.
            purpose: The feature that needs it, as the beginning of a sentence.
        """
        quoted = f"'{package}'" if "[" in package else package  # shells read brackets
        super().__init__(f"{purpose} needs the package {package!r}, which is not installed: pip install {quoted}")
        self.package = package

    __reduce__ = _reduce


class EmptyContextError(Exception):
    """Nothing of a conversation fits a model's context, not even its newest message, or the instructions fill it.

    The message is JSON, `{"type": "empty_messages", "info": ...}`, by which front ends recognise it; `info` says what
    takes how many tokens, and what to change.
    """


class HandlerError(Exception):
    """A host's handler of an event failed, and the run with it. The message names it; the cause is its error."""


class AbortError(Exception):
    """The host stopped the run through its signal."""


# The node.


class NodeTimeoutError(Exception):
    """An attempt of a node took longer than its `TimeoutPolicy` allows.

    It is no `TimeoutError`, because that is an `OSError` and those are not retried by default.

    Attributes:
        node: The node.
        kind: The kind of limit.
        timeout: That limit, in seconds.
        elapsed: How long the attempt had taken, in seconds.
        run_timeout: The policy's limit for the whole attempt, in seconds, or None.
        idle_timeout: The policy's limit for silence, in seconds, or None.
    """

    node: str
    kind: Literal["idle", "run"]
    timeout: float
    elapsed: float
    run_timeout: float | None
    idle_timeout: float | None

    def __init__(
        self,
        node: str,
        elapsed: float,
        *,
        kind: Literal["idle", "run"],
        idle_timeout: float | None = None,
        run_timeout: float | None = None,
    ) -> None:
        """Report a time-out.

        Args:
            node: The node.
            elapsed: How long the attempt had taken, in seconds.
            kind: The kind of limit.
            idle_timeout: The limit for silence, in seconds; needed for `idle`.
            run_timeout: The limit for the attempt, in seconds; needed for `run`.

        Raises:
            ValueError: `kind` is neither, or its limit is missing.
        """
        limits = {"idle": idle_timeout, "run": run_timeout}
        if kind not in limits:
            raise ValueError(f"kind must be 'idle' or 'run', not {kind!r}")
        limit = limits[kind]
        if limit is None:
            raise ValueError(f"{kind}_timeout is required when kind={kind!r}")
        silence = " without making progress" if kind == "idle" else ""
        super().__init__(
            f"Node '{node}' exceeded its {kind} timeout of {limit:.3f}s{silence} (elapsed: {elapsed:.3f}s)."
        )
        self.node = node
        self.kind = kind
        self.timeout = limit
        self.elapsed = elapsed
        self.run_timeout = run_timeout
        self.idle_timeout = idle_timeout

    __reduce__ = _reduce


class NodeCancelledError(Exception):
    """A node's own code raised `asyncio.CancelledError`.

    The engine takes that exception for its own request to stop and would end the task silently. Raised by the node it
    is a failure like any other, so it becomes this.

    Attributes:
        node: The node.
    """

    node: str

    def __init__(self, node: str, message: str | None = None) -> None:
        """Report a cancellation that was not requested.

        Args:
            node: The node.
            message: The message; None for a sentence that names the node.
        """
        super().__init__(message or f"Node {node!r} raised asyncio.CancelledError, although nothing cancelled it")
        self.node = node

    __reduce__ = _reduce


@dataclass(frozen=True, slots=True)
class NodeError:
    """The argument of a node's error handler, in a parameter annotated with this class."""

    node: str
    """The node that failed."""

    error: BaseException
    """The exception of the last attempt."""


# The store.


class DamagedCheckpointError(ValueError):
    """A checkpoint that a saver returned, or failed to return, cannot be read.

    The message names the thread, the checkpoint and, if it is one, the channel. What the saver or its serialiser raised
    is the ``__cause__``.

    Attributes:
        thread_id: The thread; None if the config named none.
        checkpoint_id: The checkpoint; None if the latest was asked for and could not be loaded at all.
        checkpoint_ns: The namespace, empty for the root graph.
        channel: The channel whose value or version is damaged; None if it is not a single one.
    """

    def __init__(
        self,
        message: str,
        *,
        thread_id: str | None = None,
        checkpoint_id: str | None = None,
        checkpoint_ns: str = "",
        channel: str | None = None,
    ) -> None:
        super().__init__(message)
        self.thread_id = thread_id
        self.checkpoint_id = checkpoint_id
        self.checkpoint_ns = checkpoint_ns
        self.channel = channel

    __reduce__ = _reduce


# A model.


class ModelAnswerError(Exception):
    """A model's API answered with something that cannot be used, or ended without an answer.

    The message names provider, model and address, and the agent if it was one's. Errors that a provider has classes
    for, such as a wrong key or too many requests, keep their classes.
    """


class ModelTimeoutError(TimeoutError):
    """A model did not begin, go on with or end its answer within a time limit of its agent.

    The message names the model and the limit. A retry policy of the agent calls the model again.
    """


# The engine or a worker.


class IllegalMoveError(Exception):
    """A driver told the machine of a run what it cannot be told in its status; nothing has changed.

    The message says which moves are legal. A bug in a driver: graphs and their callers cannot cause it.
    """


class TaskNotFound(Exception):
    """A worker was asked for a task that it does not have."""


class WorkerError(Exception):
    """A worker died, was stopped for a limit, or could not be started.

    The message names the worker, how it ended, and the job that it held.
    """


class JobTimeoutError(WorkerError):
    """A job had not ended at its deadline and was stopped."""


class JobError(Exception):
    """A job raised an exception whose class, or whose content, cannot be made again in this process.

    Attributes:
        kind: Module and qualified name of the exception's class.
    """

    kind: str

    def __init__(self, message: str, *, kind: str = "") -> None:
        """Report an exception.

        Args:
            message: Its class and message.
            kind: Module and qualified name of its class.
        """
        super().__init__(message)
        self.kind = kind

    __reduce__ = _reduce


class TransferError(ConfigurationError):
    """Code or a value cannot be sent to a worker.

    Code is sent by its import path, so lambdas, nested functions and definitions of a script cannot be.
    Data is sent as checkpoints store it. The message says what was found, where, and what to do instead.
    """


# Control that travels outwards.


class GraphBubbleUp(Exception):
    """Not a failure: a node must let it pass, and is not retried for it."""

    __reduce__ = _reduce


class GraphInterrupt(GraphBubbleUp):
    """A node waits for answers. The outermost graph catches it; callers see the interrupts instead."""

    def __init__(self, interrupts: Sequence[Interrupt] = ()) -> None:
        """Stop a task.

        Args:
            interrupts: The interrupts that it waits for.
        """
        super().__init__(interrupts)


@deprecated("NodeInterrupt is deprecated. Please use [`interrupt`][langgraph.types.interrupt] instead.", category=None)
class NodeInterrupt(GraphInterrupt):
    """Raised by a node to wait for an answer. `interrupt()` does the same and returns the answer."""

    def __init__(self, value: Any, id: str | None = None) -> None:
        """Stop the task.

        Args:
            value: The value to show to those who may answer.
            id: The interrupt's id; None lets the engine choose it.
        """
        warn(
            "NodeInterrupt is deprecated. Please use `langgraph.types.interrupt` instead.",
            LangGraphDeprecatedSinceV10,
            stacklevel=2,
        )
        super().__init__([Interrupt(value) if id is None else Interrupt(value, id)])


class GraphDrained(GraphBubbleUp):
    """The run was asked to stop, and has stopped between two steps. Its checkpoint is stored; it can be continued.

    Attributes:
        reason: Why it was asked, for instance `sigterm`.
    """

    reason: str

    def __init__(self, reason: str = "shutdown") -> None:
        """Report a drained run.

        Args:
            reason: Why it was asked to stop.
        """
        super().__init__(f"Graph drained: {reason}")
        self.reason = reason


class ParentCommand(GraphBubbleUp):
    """A `Command` on its way to the graph that it names."""

    args: tuple[Command[Any]]

    def __init__(self, command: Command[Any]) -> None:
        """Send a command outwards.

        Args:
            command: The command.
        """
        super().__init__(command)


# Answers that do not fit an interrupt's schema. The exception is pydantic's; a mark tells where it came from.

_INVALID_RESUME: Final = "_langgraph_invalid_resume"


def mark_invalid_resume(error: BaseException) -> None:
    """Mark an exception as the refusal of an answer.

    Args:
        error: A validation error, about to leave `interrupt()`.
    """
    setattr(error, _INVALID_RESUME, True)


def is_invalid_resume(error: BaseException) -> bool:
    """Return whether an exception says that an answer does not fit the interrupt's `response_schema`.

    Around a tool this tells a bad answer, which can be given again, from bad arguments of the model.

    Args:
        error: Any exception.

    Returns:
        True if `interrupt()` raised it for that reason.
    """
    return getattr(error, _INVALID_RESUME, False) is True
