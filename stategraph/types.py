"""The values that authors hold: what a node returns, what a caller sends, what a graph shows of itself.

Everything here is data. Nothing here runs, waits or stores, and importing it loads neither langchain nor pydantic.
The policies of `stategraph.policies` are here too; the shapes of stream events are in `stategraph.stream_parts`.

The few names that belong to langchain (a `RunnableConfig` in a snapshot) are for type checkers only. What
langchain must recognise at run time is told by the engine, see `adopt_tool_output`.
"""

import sys
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    TypedDict,
    TypeVar,
    Union,
    final,
)
from warnings import warn

from typing_extensions import TypeVar as DefaultTypeVar
from typing_extensions import Unpack, deprecated
from xxhash import xxh3_128_hexdigest

from stategraph import fields, wire
from stategraph.constants import INTERRUPT, NS_SEP, OVERWRITE
from stategraph.policies import (
    CacheKey,
    CachePolicy,
    RetryPolicy,
    TimeoutPolicy,
    TracePolicy,
    default_cache_key,
    default_retry_on,
    omit_payload,
)
from stategraph.warnings import LangGraphDeprecatedSinceV10, LangGraphDeprecatedSinceV11

if TYPE_CHECKING:
    from langchain_core.runnables import Runnable, RunnableConfig
    from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointMetadata

__all__ = (
    "All",
    "CacheKey",
    "CachePolicy",
    "Checkpointer",
    "Command",
    "DeprecatedKwargs",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "Overwrite",
    "PregelExecutableTask",
    "PregelTask",
    "RetryPolicy",
    "Send",
    "StateSnapshot",
    "StateUpdate",
    "StreamWriter",
    "TimeoutPolicy",
    "TracePolicy",
    "adopt_tool_output",
    "default_cache_key",
    "default_retry_on",
    "ensure_valid_checkpointer",
    "interrupt_id",
    "omit_payload",
)

OutputT = TypeVar("OutputT")
NodeName = TypeVar("NodeName", bound=Hashable)
ResponseT = DefaultTypeVar("ResponseT", default=Any)
ValuesT = DefaultTypeVar("ValuesT", default=Any)

All = Literal["*"]
"""Every node of the graph, where a list of nodes is expected."""

Durability = Literal["sync", "async", "exit"]
"""The time at which a step's checkpoint is stored: before the next step, while it runs, or when the run ends."""

StreamWriter = Callable[[Any], None]
"""Given to a node that asks for it: what it is called with appears in the `custom` stream."""

Checkpointer = Union[None, bool, "BaseCheckpointSaver[Any]"]
"""A saver. For a nested graph also True (separate checkpoints), False (none) or None (as the graph around it)."""


def ensure_valid_checkpointer(checkpointer: Checkpointer) -> Checkpointer:
    """Check what was given as a checkpointer.

    Args:
        checkpointer: A saver, True, False or None.

    Returns:
        The argument.

    Raises:
        TypeError: It is something else, for instance the context manager that a saver's factory returns.
    """
    if checkpointer is None or isinstance(checkpointer, bool):
        return checkpointer
    # No saver can exist before the module of its base class is loaded.
    saver = getattr(sys.modules.get("langgraph.checkpoint.base"), "BaseCheckpointSaver", None)
    if saver is not None and isinstance(checkpointer, saver):
        valid: Checkpointer = checkpointer
        return valid
    found = type(checkpointer).__name__
    hint = ""
    if hasattr(checkpointer, "__enter__") or hasattr(checkpointer, "__aenter__"):
        statement = "with" if hasattr(checkpointer, "__enter__") else "async with"
        hint = f" This one is a context manager: enter it with `{statement}` and pass what it yields."
    raise TypeError(
        f"Invalid checkpointer provided: {found}. Expected a `BaseCheckpointSaver` (for instance"
        f" `InMemorySaver()`), True, False or None.{hint}"
    )


# Returned by nodes and sent by callers.


@wire.stored
class Send:
    """Run a node in the next step with a separate input, in addition to the step's other tasks.

    Returned by a router, or in `Command.goto`. Many of them to one node are a map-reduce: the node runs once for each,
    and the state's reducers bring the results together.

    Attributes:
        node: Name of the node.
        arg: Its input; it need not look like the graph's state.
        timeout: Limits for this one task; None means the node's own.
    """

    __slots__ = ("arg", "node", "timeout")

    node: str
    arg: Any
    timeout: TimeoutPolicy | None

    def __init__(self, /, node: str, arg: Any, *, timeout: float | timedelta | TimeoutPolicy | None = None) -> None:
        """Address an input to a node.

        Args:
            node: Name of the node.
            arg: Its input.
            timeout: Limits for this one task. A number of seconds or a timedelta is a `run_timeout`.
        """
        self.node = node
        self.arg = arg
        self.timeout = None if timeout is None else TimeoutPolicy.coerce(timeout)

    def _key(self) -> tuple[str, Any, TimeoutPolicy | None]:
        return self.node, self.arg, self.timeout

    def __eq__(self, value: object) -> bool:
        return isinstance(value, Send) and self._key() == value._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        timeout = "" if self.timeout is None else f", timeout={self.timeout!r}"
        return f"Send(node={self.node!r}, arg={self.arg!r}{timeout})"


@wire.stored
@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class Command(Generic[NodeName]):
    """Update the state and say what runs next, in one value.

    A node returns it, or a caller passes it as input to a graph that waits.
    """

    graph: str | None = None
    """The graph it is for: None is the graph itself, `Command.PARENT` the one around it."""

    update: Any | None = None
    """Changes to the state: a dict, pairs of key and value, or an object with annotated fields."""

    resume: dict[str, Any] | Any | None = None
    """The answer to an interrupt: a value for the only one that waits, or a dict of answers by interrupt id."""

    goto: Send | Sequence[Send | NodeName] | NodeName = ()
    """The next nodes, in addition to the node's own edges: names of nodes, `Send`s, or a sequence of both. None and
    anything else that is empty mean the edges alone.
    """

    PARENT: ClassVar[Literal["__parent__"]] = "__parent__"

    def __repr__(self) -> str:
        named = {"graph": self.graph, "update": self.update, "resume": self.resume, "goto": self.goto}
        shown = ", ".join(f"{name}={value!r}" for name, value in named.items() if _says_something(value))
        return f"Command({shown})"

    def _update_as_tuples(self) -> list[tuple[str, Any]]:
        return fields.update_items(self.update)

    def _targets(self) -> list[Send | str]:
        """List what `goto` names; nothing, in whichever form, names nothing.

        Raises:
            TypeError: It holds something else than names of nodes and `Send`s.
        """
        goto: Any = self.goto
        if isinstance(goto, (str, Send)):
            return [goto] if goto else []
        if goto is None or not _says_something(goto):
            return []
        listed = list(goto) if isinstance(goto, Iterable) and not isinstance(goto, (bytes, bytearray)) else [goto]
        targets = [target for target in listed if target is not None and target != ""]
        for index, target in enumerate(targets):
            if wire.is_double(target, Send):
                targets[index] = Send(target.node, target.arg, timeout=target.timeout)
            elif not isinstance(target, (str, Send)):
                raise TypeError(
                    f"In Command.goto, expected Send/str, got {type(target).__name__}: {target!r} in {self!r}. Give the"
                    " name of a node, a Send or a list of these; leave goto out to follow the graph's edges."
                )
        return targets


def _says_something(value: Any) -> bool:
    try:
        return bool(value)
    except Exception:  # arrays and tables refuse to be a truth value; they are not nothing
        return True


def adopt_tool_output(mixin: type) -> None:
    """Let `Command` be what a tool may return as it is.

    langchain turns a tool's result into text unless it is an instance of langchain's own marker class. The engine,
    which knows langchain, calls this once with that class; this module must not import it.

    Args:
        mixin: The marker class. It must not define fields.
    """
    wire.join(Command, mixin)


@wire.stored
@dataclass(slots=True)
class Overwrite:
    """Put a value in place of the state instead of reducing it into the state.

    One per channel and step. Its JSON form, a dict with both fields, means the same to a channel, and so does
    `{"__overwrite__": value}`.
    """

    value: Any
    """The new state of the channel."""

    type: Literal["__overwrite__"] = OVERWRITE
    """Tells the JSON form from any other dict."""


# Interrupts.


class DeprecatedKwargs(TypedDict):
    """Keyword arguments that still work and that a type checker should complain about."""


_PLACEHOLDER_ID: Final = "placeholder-id"


def interrupt_id(ns: str, answered: int) -> str:
    """Return the id of a task's next interrupt.

    Args:
        ns: The task's checkpoint namespace.
        answered: How many answers the task already has.

    Returns:
        A digest of both. Without answers it is that of the namespace alone, as older versions stored it.
    """
    key = f"{ns}{NS_SEP}{answered}" if answered else ns
    return xxh3_128_hexdigest(key.encode())


@final
@wire.stored
@dataclass(init=False, slots=True)
class Interrupt(Generic[ResponseT]):
    """A node waits for an answer."""

    value: Any
    """The value to show to those who may answer."""

    id: str
    """Names this wait: `Command(resume={id: answer})`."""

    response_schema: type[ResponseT] | dict[str, Any] | None = None
    """JSON schema of an answer, once a run has surfaced the interrupt. None: any answer."""

    def __init__(
        self,
        value: Any,
        id: str = _PLACEHOLDER_ID,
        *,
        response_schema: type[ResponseT] | dict[str, Any] | None = None,
        **deprecated_kwargs: Unpack[DeprecatedKwargs],
    ) -> None:
        """Describe a wait.

        Args:
            value: The value to show.
            id: The id, if it is known.
            response_schema: JSON schema or class of an answer.
            **deprecated_kwargs: Fields of interrupts stored before 0.6. Their `ns`, a sequence of namespace
                parts, stands for the id; the others are ignored.
        """
        self.value = value
        self.id = id
        self.response_schema = response_schema
        ns = deprecated_kwargs.get("ns")
        if id == _PLACEHOLDER_ID and isinstance(ns, Sequence):
            self.id = interrupt_id(NS_SEP.join(ns), 0)

    @classmethod
    def from_ns(
        cls, value: Any, ns: str, *, response_schema: type[ResponseT] | dict[str, Any] | None = None
    ) -> "Interrupt[ResponseT]":
        """Return the first interrupt of a task.

        Args:
            value: The value to show.
            ns: The task's checkpoint namespace, which the id is made of.
            response_schema: JSON schema or class of an answer.

        Returns:
            The interrupt.
        """
        return cls(value, interrupt_id(ns, 0), response_schema=response_schema)

    @property
    @deprecated("`interrupt_id` is deprecated. Use `id` instead.", category=None)
    def interrupt_id(self) -> str:
        """The id, under its old name."""
        warn("`interrupt_id` is deprecated. Use `id` instead.", LangGraphDeprecatedSinceV10, stacklevel=2)
        return self.id


# States of a graph, as they are shown.


@wire.stored
class StateUpdate(NamedTuple):
    """One change to a thread's state from outside."""

    values: dict[str, Any] | None
    """The update; None writes nothing and ends the node's turn."""

    as_node: str | None = None
    """The node whose turn the change counts as. None: the node that ran last, if there is only one."""

    task_id: str | None = None
    """The waiting task of that node that the change finishes. None: any."""


@wire.stored
class PregelTask(NamedTuple):
    """A task as a snapshot shows it."""

    id: str
    """Unique in the thread, and the same each time the same step is planned."""

    name: str
    """The node."""

    path: tuple[str | int | tuple[Any, ...], ...]
    """The task's origin, and its place in the order in which writes are applied."""

    error: Exception | None = None
    """The error it failed with. None: it did not fail."""

    interrupts: tuple[Interrupt, ...] = ()
    """The interrupts it waits for."""

    state: "RunnableConfig | StateSnapshot | None" = None
    """The snapshot of a nested graph if nested state was asked for, else a config to get it with."""

    result: Any | None = None
    """Its writes. None: it has not finished."""


@wire.stored
class StateSnapshot(NamedTuple, Generic[ValuesT]):
    """A thread between two steps."""

    values: ValuesT
    """The state, as the graph's output schema names it."""

    next: tuple[str, ...]
    """The nodes of the next step, one name per task. Empty: the run has ended."""

    config: "RunnableConfig"
    """Names the checkpoint this was read from."""

    metadata: "CheckpointMetadata | None"
    """Metadata stored with the checkpoint: source, step, parents."""

    created_at: str | None
    """Time at which the checkpoint was made, ISO 8601."""

    parent_config: "RunnableConfig | None"
    """Names the checkpoint before it. None: this is the first."""

    tasks: tuple[PregelTask, ...]
    """The tasks of the next step, with the results of earlier attempts."""

    interrupts: tuple[Interrupt, ...]
    """The interrupts that the tasks wait for. In the thread's latest state only those without an answer; in an older
    checkpoint the last interrupt of each task, answered or not.
    """


@wire.stored
@dataclass(frozen=True, slots=True, weakref_slot=True)
class PregelExecutableTask:
    """A task that is ready to run, as a hook around node execution gets it."""

    name: str
    input: Any
    proc: "Runnable[Any, Any]"
    writes: deque[tuple[str, Any]]
    config: "RunnableConfig"
    triggers: Sequence[str]
    retry_policy: Sequence[RetryPolicy]
    cache_key: CacheKey | None
    id: str
    path: tuple[str | int | tuple[Any, ...], ...]
    writers: Sequence["Runnable[Any, Any]"] = ()
    subgraphs: Sequence[Any] = ()
    timeout: TimeoutPolicy | None = None


@wire.stored
@dataclass(frozen=True)
class GraphOutput(Generic[OutputT]):
    """The return value of `invoke(..., version="v2")`."""

    value: OutputT
    """The output, in the form of the graph's output schema."""

    interrupts: tuple[Interrupt, ...] = ()
    """The interrupts that the graph waits for. Empty: it has ended."""

    def __getitem__(self, key: str) -> Any:
        """Read a key of the output, as callers of the first version do.

        Raises:
            KeyError: The output has no such key or attribute.
        """
        _warn_dict_access("result[key]")
        if key == INTERRUPT:
            return self.interrupts
        if not isinstance(self.value, dict):
            if hasattr(self.value, key):
                return getattr(self.value, key)
            raise KeyError(key)
        return self.value[key]

    def __contains__(self, key: object) -> bool:
        _warn_dict_access("key in result")
        if key == INTERRUPT:
            return bool(self.interrupts)
        if isinstance(self.value, dict):
            return key in self.value
        return isinstance(key, str) and hasattr(self.value, key)


def _warn_dict_access(expression: str) -> None:
    warn(
        f"Accessing GraphOutput via `{expression}` is deprecated."
        " The output is `result.value`, what the graph waits for is `result.interrupts`.",
        LangGraphDeprecatedSinceV11,
        stacklevel=3,
    )
