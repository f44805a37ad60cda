"""The stream modes as type checkers know them, and the shapes of what a stream yields with `version="v2"`.

A mode has its name in `StreamMode` and its part in `StreamPart`: parts are dicts told apart by their `type`.
Every part has `ns`, the namespace of the graph it comes from: empty for the outermost, one `node:task_id` for each
graph around it otherwise.
"""

from typing import TYPE_CHECKING, Any, Generic, Literal, NotRequired

from typing_extensions import TypeAliasType, TypedDict, TypeVar

from stategraph.types import Interrupt, StateSnapshot

if TYPE_CHECKING:
    from langchain_core.messages import AnyMessage
    from langchain_core.runnables import RunnableConfig
    from langgraph.checkpoint.base import CheckpointMetadata

__all__ = (
    "CheckpointPayload",
    "CheckpointStreamPart",
    "CheckpointTask",
    "CustomStreamPart",
    "DebugPayload",
    "DebugStreamPart",
    "MessagesStreamPart",
    "StreamMode",
    "StreamPart",
    "TaskPayload",
    "TaskResultPayload",
    "TasksStreamPart",
    "UpdatesStreamPart",
    "ValuesStreamPart",
)

StateT = TypeVar("StateT")
OutputT = TypeVar("OutputT")

StreamMode = Literal["values", "updates", "checkpoints", "tasks", "debug", "messages", "custom"]
"""The kind of parts that a stream yields.

`values` the whole state after each step; `updates` what each task wrote; `messages` tokens of chat models, with
metadata; `custom` what nodes hand to their stream writer; `checkpoints` each stored checkpoint; `tasks` each start and
end of a task; `debug` both of the last two, with step numbers and times.

A graph also takes `tools`, the starts, partial outputs and ends of tools. As in LangGraph, this type does not have it,
so that code which handles each of its values stays complete.
"""


class TaskPayload(TypedDict):
    """A task starts."""

    id: str
    name: str
    """The node."""
    input: Any
    triggers: list[str]
    """The channels whose change started it."""
    metadata: NotRequired[dict[str, Any]]
    """Metadata of the task's config, if it has any; more keys may come."""


class TaskResultPayload(TypedDict):
    """A task has ended."""

    id: str
    name: str
    """The node."""
    error: str | None
    """The error it failed with. None: it did not fail."""
    interrupts: list[dict[str, Any]]
    """The interrupts it waits for."""
    result: dict[str, Any]
    """Its writes, by channel."""


class CheckpointTask(TypedDict):
    """A task of a checkpoint's next step.

    `error` is there if it failed; `result` with `interrupts` if it has finished; `interrupts` alone if it is to run.
    """

    id: str
    name: str
    """The node."""
    error: NotRequired[str]
    result: NotRequired[Any]
    interrupts: NotRequired[list[dict[str, Any]]]
    state: "StateSnapshot | RunnableConfig | None"
    """The snapshot of a nested graph, or a config to get it with. None: the node is no graph."""


class CheckpointPayload(TypedDict, Generic[StateT]):
    """A checkpoint was made."""

    config: "RunnableConfig | None"
    """Names the checkpoint."""
    metadata: "CheckpointMetadata"
    values: StateT
    next: list[str]
    """The nodes of the next step."""
    parent_config: "RunnableConfig | None"
    """Names the checkpoint before it. None: this is the first."""
    tasks: list[CheckpointTask]


class _DebugCheckpointPayload(TypedDict, Generic[StateT]):
    type: Literal["checkpoint"]
    step: int
    timestamp: str
    payload: CheckpointPayload[StateT]


class _DebugTaskPayload(TypedDict):
    type: Literal["task"]
    step: int
    timestamp: str
    payload: TaskPayload


class _DebugTaskResultPayload(TypedDict):
    type: Literal["task_result"]
    step: int
    timestamp: str
    payload: TaskResultPayload


DebugPayload = TypeAliasType(
    "DebugPayload",
    _DebugCheckpointPayload[StateT] | _DebugTaskPayload | _DebugTaskResultPayload,
    type_params=(StateT,),
)
"""A checkpoint or task event with the number of its step and its time, ISO 8601. `type` tells which."""


class ValuesStreamPart(TypedDict, Generic[OutputT]):
    """The whole state after a step."""

    type: Literal["values"]
    ns: tuple[str, ...]
    data: OutputT
    interrupts: tuple[Interrupt, ...]


class UpdatesStreamPart(TypedDict):
    """A task's writes: `{node: update}`; interrupts of the graph come under `__interrupt__`."""

    type: Literal["updates"]
    ns: tuple[str, ...]
    data: dict[str, Any]


class MessagesStreamPart(TypedDict):
    """A message, or a chunk of one, with metadata that says which node and step it comes from."""

    type: Literal["messages"]
    ns: tuple[str, ...]
    data: "tuple[AnyMessage, dict[str, Any]]"


class CustomStreamPart(TypedDict):
    """A value that a node gave to its stream writer."""

    type: Literal["custom"]
    ns: tuple[str, ...]
    data: Any


class CheckpointStreamPart(TypedDict, Generic[StateT]):
    """A checkpoint was made."""

    type: Literal["checkpoints"]
    ns: tuple[str, ...]
    data: CheckpointPayload[StateT]


class TasksStreamPart(TypedDict):
    """A task starts, or (with a `result` and an `error`) has ended."""

    type: Literal["tasks"]
    ns: tuple[str, ...]
    data: TaskPayload | TaskResultPayload


class DebugStreamPart(TypedDict, Generic[StateT]):
    """A checkpoint or task event with step and time."""

    type: Literal["debug"]
    ns: tuple[str, ...]
    data: DebugPayload[StateT]


StreamPart = TypeAliasType(
    "StreamPart",
    ValuesStreamPart[OutputT]
    | UpdatesStreamPart
    | CustomStreamPart
    | MessagesStreamPart
    | TasksStreamPart
    | CheckpointStreamPart[StateT]
    | DebugStreamPart[StateT],
    type_params=(StateT, OutputT),
)
"""Any part of a stream; a check of `part["type"]` narrows it."""
