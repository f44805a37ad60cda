"""The values that authors hold."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.tasks.interrupts import interrupt
from stategraph.policies import CacheKey as CacheKey
from stategraph.policies import CachePolicy, RetryPolicy, TimeoutPolicy, TracePolicy, omit_payload
from stategraph.policies import default_cache_key as default_cache_key
from stategraph.policies import default_retry_on as default_retry_on
from stategraph.stream_parts import (
    CheckpointPayload,
    CheckpointStreamPart,
    CheckpointTask,
    CustomStreamPart,
    DebugPayload,
    DebugStreamPart,
    MessagesStreamPart,
    StreamMode,
    StreamPart,
    TaskPayload,
    TaskResultPayload,
    TasksStreamPart,
    UpdatesStreamPart,
    ValuesStreamPart,
)
from stategraph.types import (
    All,
    Checkpointer,
    Command,
    Durability,
    GraphOutput,
    Interrupt,
    Overwrite,
    PregelExecutableTask,
    PregelTask,
    Send,
    StateSnapshot,
    StateUpdate,
    StreamWriter,
    ensure_valid_checkpointer,
)

__all__ = (
    "All",
    "CachePolicy",
    "CheckpointPayload",
    "CheckpointStreamPart",
    "CheckpointTask",
    "Checkpointer",
    "Command",
    "CustomStreamPart",
    "DebugPayload",
    "DebugStreamPart",
    "Durability",
    "GraphOutput",
    "Interrupt",
    "MessagesStreamPart",
    "Overwrite",
    "PregelExecutableTask",
    "PregelTask",
    "RetryPolicy",
    "Send",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamPart",
    "StreamWriter",
    "TaskPayload",
    "TaskResultPayload",
    "TasksStreamPart",
    "TimeoutPolicy",
    "TracePolicy",
    "UpdatesStreamPart",
    "ValuesStreamPart",
    "ensure_valid_checkpointer",
    "interrupt",
    "omit_payload",
)

__getattr__ = _names_of(__name__)
