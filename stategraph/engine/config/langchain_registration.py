"""Registration of our classes with langchain and `langgraph-checkpoint`.

The core must not import those packages. Importing this module, which happens before any graph or task exists,
tells them what they need: the families that outsiders look for, and what the names in annotations mean.
"""

from typing import Any, Final, get_type_hints

from langchain_core.messages import AnyMessage
from langchain_core.messages.tool import ToolOutputMixin
from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointMetadata, EmptyChannelError

from stategraph import errors, stream_parts, types

_NAMES: Final[dict[str, Any]] = {
    "AnyMessage": AnyMessage,
    "BaseCheckpointSaver": BaseCheckpointSaver,
    "CheckpointMetadata": CheckpointMetadata,
    "Runnable": Runnable,
    "RunnableConfig": RunnableConfig,
}

_ANNOTATED: Final[tuple[type, ...]] = (
    types.PregelExecutableTask,
    types.PregelTask,
    types.StateSnapshot,
    stream_parts.CheckpointPayload,
    stream_parts.CheckpointTask,
    stream_parts.MessagesStreamPart,
)


def _adopt() -> None:
    types.adopt_tool_output(ToolOutputMixin)
    errors.adopt_empty_channel_error(EmptyChannelError)
    known = {**vars(types), **_NAMES}
    for cls in _ANNOTATED:
        cls.__annotations__ = get_type_hints(cls, known, known, include_extras=True)


_adopt()
