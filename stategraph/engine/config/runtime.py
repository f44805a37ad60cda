"""Runtime of a run, handed to its nodes: context, store, stream writer, identity, and the switch that drains it.

A `Runtime` is made once per run and once more per attempt of a task. Both are immutable. The one thing that changes
during a run is `RunControl`, and the run only ever reads it.

Most nodes never ask their runtime for anything, so an attempt's works its fields out when one of them is first read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, Protocol, cast, runtime_checkable

from langchain_core.runnables import RunnableConfig
from langgraph.store.base import BaseStore
from pydantic import BaseModel
from typing_extensions import TypedDict, TypeVar, Unpack

from stategraph.constants import CONF, CONFIG_KEY_RUNTIME
from stategraph.core.task import Task
from stategraph.engine.config import context as run_context
from stategraph.types import StreamWriter

__all__ = (
    "BaseUser",
    "ExecutionInfo",
    "RunControl",
    "Runtime",
    "ServerInfo",
    "get_runtime",
)

ContextT = TypeVar("ContextT", default=None)
"""The author's context: a dataclass, a pydantic model, a TypedDict, or None."""


# --- identity and place ---


@runtime_checkable
class BaseUser(Protocol):
    """An authenticated user, as ASGI servers describe one.

    The same protocol as the server SDK's, declared here because importing that one loads an HTTP client.
    """

    @property
    def is_authenticated(self) -> bool:
        """True if the user has logged in."""
        ...

    @property
    def display_name(self) -> str:
        """A name to show to people."""
        ...

    @property
    def identity(self) -> str:
        """The string that identifies the user."""
        ...

    @property
    def permissions(self) -> Sequence[str]:
        """The permissions of the user."""
        ...

    def __getitem__(self, key: str) -> Any: ...

    def __contains__(self, key: str) -> bool: ...

    def __iter__(self) -> Iterator[str]: ...


@dataclass(frozen=True, slots=True)
class ExecutionInfo:
    """The place in a run at which a node executes.

    Attributes:
        checkpoint_id: The checkpoint that the task started from.
        checkpoint_ns: The namespace of the task: the nodes and tasks above it, then itself.
        task_id: The task.
        thread_id: The thread. None without a checkpointer.
        run_id: The run. None if the caller's config named none.
        node_attempt: 1 for the first attempt, 2 for the first retry, and so on.
        node_first_attempt_time: When the first attempt started, in seconds since the epoch. None before it has.
    """

    checkpoint_id: str
    checkpoint_ns: str
    task_id: str
    thread_id: str | None = None
    run_id: str | None = None
    node_attempt: int = 1
    node_first_attempt_time: float | None = None

    def patch(self, **overrides: Any) -> ExecutionInfo:
        """Copy this with some fields replaced."""
        return replace(self, **overrides)


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """Information about the run from a server that runs graphs for others.

    Attributes:
        assistant_id: The assistant; empty if unknown.
        graph_id: The name the server knows the graph by; empty if unknown.
        user: The user who asked. None without authentication.
    """

    assistant_id: str
    graph_id: str
    user: BaseUser | None = None


# --- draining ---


class RunControl:
    """Asks one run to stop after the superstep it is in.

    Hand a new one to each run: a request cannot be taken back. It may be made from any thread.

    Attributes:
        drain_reason: Why it is to stop; None if it has not been asked.
    """

    __slots__ = ("drain_reason",)

    limited: ClassVar[bool] = False
    """Whether it is `GraphLimits`, which stop the run by themselves."""

    def __init__(self) -> None:
        # One reference that only ever goes from None to a reason: readers in other threads need no lock.
        self.drain_reason: str | None = None

    def request_drain(self, reason: str = "shutdown") -> None:
        """Ask the run to stop.

        Args:
            reason: Reported by the `GraphDrained` error that ends the run.
        """
        self.drain_reason = reason

    @property
    def drain_requested(self) -> bool:
        """True if the run has been asked to stop."""
        return self.drain_reason is not None


# --- the runtime ---


def _no_op_stream_writer(_: object) -> None:
    """Do nothing: the custom stream was not requested."""


def _no_op_heartbeat() -> None:
    """Report progress to an attempt that has no idle timeout."""


class _Overrides(TypedDict, Generic[ContextT], total=False):
    context: ContextT
    store: BaseStore | None
    stream_writer: StreamWriter
    heartbeat: Callable[[], None]
    previous: Any
    execution_info: ExecutionInfo
    server_info: ServerInfo | None
    control: RunControl | None


class _Origin:
    """The arguments of `_fields_of_attempt`, from which the fields of a runtime are computed when one is read.

    Of a run: None, and the arguments of `_fields_of_run`.
    """

    __slots__ = ("_origin",)

    _origin: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Runtime(_Origin, Generic[ContextT]):
    """The argument of a node that has a parameter named `runtime`.

    The config is not part of it: declare a parameter `config: RunnableConfig`, or call `get_config`.

    Example:
        A node that greets the user whom the caller named:

        ```python
        @dataclass
        class Caller:
            name: str

        def greet(state: State, runtime: Runtime[Caller]) -> State:
            return {"reply": f"Hello {runtime.context.name}"}

        builder = StateGraph(State, context_schema=Caller).add_node(greet).add_edge(START, "greet")
        builder.compile().invoke({}, context=Caller("Ada"))
        ```

    Attributes:
        context: What the caller passed as `context=`, in the form of the graph's context schema.
        store: The store that the graph was compiled with, or None.
        stream_writer: Writes one value to the `custom` stream; does nothing if that stream was not requested.
        heartbeat: Tells the node's idle timeout that work goes on although nothing is written or streamed. With
            `TimeoutPolicy(refresh_on="heartbeat")` nothing else counts as progress. Does nothing without a timeout.
        previous: What the entrypoint saved in the run before on the same thread. None in a `StateGraph`.
        execution_info: Where this node executes. None outside of a task.
        server_info: What the server says about the run, or None.
        control: The run's drain switch. None outside of a run.
    """

    context: ContextT = None  # type: ignore[assignment]
    store: BaseStore | None = None
    stream_writer: StreamWriter = _no_op_stream_writer
    heartbeat: Callable[[], None] = _no_op_heartbeat
    previous: Any = None
    execution_info: ExecutionInfo | None = None
    server_info: ServerInfo | None = None
    control: RunControl | None = None

    if not TYPE_CHECKING:  # or any name would pass for a field

        def __getattr__(self, name: str) -> Any:
            """Work out fields of an attempt's runtime, when one that is not there yet is read."""
            if name not in _FIELDS:
                raise AttributeError(f"'Runtime' object has no attribute '{name}'")
            facts, *rest = self._origin
            if facts is not None and (put_one := _PUT_OF_RUN.get(name)) is not None:
                # Most nodes, and graphs inside them, read no other: the rest is not worked out for the attempt.
                value = rest[-1] if name == "stream_writer" else None
                if value is None:
                    value = getattr(facts.runtime, name)
                put_one(self, value)
                return value
            # Two threads may do so at once: what they find out is equal.
            values = _fields_of_run(self.control, *rest) if facts is None else _fields_of_attempt(facts, *rest)
            for put, value in zip(_PUT_FIELDS, values):  # noqa: B905  `strict` takes as long as a field
                put(self, value)
            return values[_FIELDS.index(name)]

    def merge(self, other: Runtime[ContextT]) -> Runtime[ContextT]:
        """Combine two runtimes: the fields of `other`, and those of `self` where `other` has nothing to say."""
        writer, heartbeat = other.stream_writer, other.heartbeat
        return Runtime(
            context=other.context or self.context,
            store=other.store or self.store,
            stream_writer=self.stream_writer if writer is _no_op_stream_writer else writer,
            heartbeat=self.heartbeat if heartbeat is _no_op_heartbeat else heartbeat,
            previous=self.previous if other.previous is None else other.previous,
            execution_info=other.execution_info or self.execution_info,
            server_info=other.server_info or self.server_info,
            control=other.control or self.control,
        )

    def override(self, **overrides: Unpack[_Overrides[ContextT]]) -> Runtime[ContextT]:
        """Copy this with the given fields replaced, also by None."""
        return replace(self, **overrides)

    def patch_execution_info(self, **overrides: object) -> Runtime[ContextT]:
        """Copy this with some fields of `execution_info` replaced.

        Raises:
            RuntimeError: If there is none, because no task runs.
        """
        if self.execution_info is None:
            fields = ", ".join(sorted(overrides)) or "nothing"
            raise RuntimeError(f"This runtime belongs to no task: it has no `execution_info` to set {fields} in")
        return replace(self, execution_info=self.execution_info.patch(**overrides))

    @property
    def drain_requested(self) -> bool:
        """True if the run has been asked to stop."""
        return self.control is not None and self.control.drain_requested

    @property
    def drain_reason(self) -> str | None:
        """The reason why the run has been asked to stop, or None."""
        return None if self.control is None else self.control.drain_reason


DEFAULT_RUNTIME: Runtime[Any] = Runtime()


def get_runtime(context_schema: type[ContextT] | None = None) -> Runtime[ContextT]:
    """Return the runtime of the node or task that is running.

    Args:
        context_schema: Only tells a type checker what `context` is.

    Raises:
        RuntimeError: If no node or task is running in this context.
    """
    return cast(Runtime[ContextT], run_context.get_config()[CONF].get(CONFIG_KEY_RUNTIME))


# --- making runtimes ---


class RunFacts(NamedTuple):
    """Values that the runtimes of a run's tasks have in common.

    Attributes:
        runtime: The runtime of the run.
        thread_id: The id of its thread, or None.
        run_id: Its own id, or None.
        previous: What the entrypoint saved in the run before, or None.
    """

    runtime: Runtime[Any]
    thread_id: str | None
    run_id: str | None
    previous: Any


def _fields_of_attempt(
    facts: RunFacts,
    checkpoint_id: str,
    ns: str,
    task_id: str,
    attempt: int,
    started_at: float,
    stream_writer: StreamWriter | None,
) -> tuple[object, ...]:
    """Work out the values of an attempt's `Runtime`, in the order of its fields."""
    run = facts.runtime
    return (
        run.context,
        run.store,
        stream_writer or run.stream_writer,
        run.heartbeat,
        facts.previous,
        ExecutionInfo(checkpoint_id, ns, task_id, facts.thread_id, facts.run_id, attempt, started_at),
        run.server_info,
        run.control,
    )


def _fields_of_run(
    control: RunControl | None, store: BaseStore | None, stream_writer: StreamWriter, server_info: ServerInfo | None
) -> tuple[object, ...]:
    """Work out the values of the `Runtime` of a run around which there is none, in the order of its fields."""
    return (None, store, stream_writer, _no_op_heartbeat, None, None, server_info, control)


_FIELDS: Final = tuple(field.name for field in fields(Runtime))
_new = object.__new__
# Without a call of `object.__setattr__`, which looks the slot up by its name.
_PUT_FIELDS: Final = tuple(Runtime.__dict__[field].__set__ for field in _FIELDS)
_OF_RUN: Final = ("context", "store", "server_info", "control", "stream_writer")
_PUT_OF_RUN: Final = {name: Runtime.__dict__[name].__set__ for name in _OF_RUN}
"""Fields whose values are those of the run, but for the stream writer of an attempt that has its own."""
_put_control: Callable[[Runtime, RunControl], None] = _PUT_OF_RUN["control"]
_set_origin: Callable[[Runtime[Any], tuple[Any, ...]], None] = _Origin.__dict__["_origin"].__set__


def attempt_runtime(
    facts: RunFacts,
    task: Task,
    attempt: int,
    checkpoint_id: str,
    started_at: float,
    stream_writer: StreamWriter | None,
) -> Runtime[Any]:
    """Make the runtime of an attempt.

    Args:
        facts: The values common to its run.
        task: Its task.
        attempt: Its number, from 1.
        checkpoint_id: The checkpoint that the task started from.
        started_at: When the first attempt started, in seconds since the epoch.
        stream_writer: Writes to the custom stream; None for the run's.
    """
    runtime: Runtime[Any] = _new(Runtime)
    _set_origin(runtime, (facts, checkpoint_id, task.ns, task.id, attempt, started_at, stream_writer))
    return runtime


def new_runtime(store: BaseStore | None, stream_writer: StreamWriter, server_info: ServerInfo | None) -> Runtime[Any]:
    """Make the runtime of a run around which there is none, and whose caller passed no context and no switch.

    Args:
        store: Its store.
        stream_writer: Writes to its custom stream.
        server_info: What a server says about it.
    """
    runtime: Runtime[Any] = _new(Runtime)
    _set_origin(runtime, (None, store, stream_writer, server_info))
    _put_control(runtime, RunControl())  # at once: of two that are made when it is read, one would be lost
    return runtime


def run_runtime(
    outer: Runtime[Any],
    *,
    context: object,
    store: BaseStore | None,
    stream_writer: StreamWriter,
    server_info: ServerInfo | None,
    control: RunControl | None,
) -> Runtime[Any]:
    """Make the runtime of a run: as merging its own values into the one around it.

    Args:
        outer: The runtime that its config carries.
        context: What its caller passed, in the form of the graph's schema.
        store: Its store.
        stream_writer: Writes to its custom stream.
        server_info: What a server says about it.
        control: The caller's switch; None for the one around it, or a new one.
    """
    return Runtime(
        context=context or outer.context,
        store=store or outer.store,
        stream_writer=stream_writer,
        heartbeat=outer.heartbeat,
        previous=outer.previous,
        execution_info=outer.execution_info,
        server_info=server_info or outer.server_info,
        control=control or outer.control or RunControl(),
    )


def adopt_runtime(value: object) -> Runtime[Any]:
    """Read the runtime that a config carries from outside.

    Args:
        value: What the config holds: a runtime, nothing, or something of a server's that only resembles one.

    Returns:
        The runtime itself, the default for None, or a runtime with the `context` of any other object.
    """
    if isinstance(value, Runtime):
        return value
    return DEFAULT_RUNTIME if value is None else Runtime(context=getattr(value, "context", None))


def server_info_from(config: RunnableConfig) -> ServerInfo | None:
    """Collect what a server wrote into `configurable`, or None if it wrote nothing."""
    configurable: Mapping[str, Any] | None = config.get(CONF)
    if not configurable:
        return None
    assistant_id = configurable.get("assistant_id")
    graph_id = configurable.get("graph_id")
    user = configurable.get("langgraph_auth_user")
    # One attribute decides, not the protocol: a proxy that forwards attribute access does not look like one.
    if user is not None and not hasattr(user, "identity"):
        user = None
    if assistant_id is None and graph_id is None and user is None:
        return None
    return ServerInfo(str(assistant_id or ""), str(graph_id or ""), user)


def default_context(schema: type[object] | None) -> Any:
    """Make the context of code that runs where no caller can pass one: the schema's defaults.

    Returns:
        An instance of a dataclass or pydantic schema whose fields all have defaults, else None.
    """
    if schema is None or not _takes_fields(schema):
        return None
    try:
        return schema()
    except (TypeError, ValueError):  # a field without a default; pydantic's error is a ValueError
        return None


def _takes_fields(schema: object) -> bool:
    return is_dataclass(schema) or (isinstance(schema, type) and issubclass(schema, BaseModel))


def coerce_context(schema: type[object] | None, value: object) -> Any:
    """Bring the caller's `context` into the form that the graph declares.

    Args:
        schema: The graph's context schema. None accepts everything.
        value: A dict becomes an instance of a dataclass or pydantic schema; anything else stays as it is.

    Raises:
        TypeError: If a dataclass has no such field, or a required one is missing.
        pydantic.ValidationError: If a pydantic model refuses the values.
    """
    if schema is None or not isinstance(value, dict):
        return value
    return schema(**value) if _takes_fields(schema) else value
