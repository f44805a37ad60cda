"""Strings that leave the process, and the one sentinel for "no value".

Three families live here. The public node names and tags that authors write. The reserved keys under which a task's
writes are stored: savers keep them, so a renamed key orphans every stored thread. The reserved keys of
``config["configurable"]``, through which code written for LangGraph reaches the engine.

All values are those of LangGraph 1.2.24. This module imports nothing but `typing`.
"""

from typing import Any, Final, final

# For authors.

START: Final = "__start__"
"""The virtual node that hands the input to the graph."""

END: Final = "__end__"
"""The virtual node where a path through the graph stops."""

TAG_HIDDEN: Final = "langsmith:hidden"
"""A run with this tag is left out of traces and streams."""

TAG_NOSTREAM: Final = "nostream"
"""A chat model with this tag does not stream its tokens."""

# Keys of stored writes. A write is `(task id, key, value)`; any key that is not listed here names a channel.

INPUT: Final = "__input__"
"""The caller's input."""

PREVIOUS: Final = "__previous__"
"""Channel of the value that an entrypoint saved for its next run on the thread."""

RETURN: Final = "__return__"
"""The return value of a functional task."""

NO_WRITES: Final = "__no_writes__"
"""The task finished and wrote nothing."""

TASKS: Final = "__pregel_tasks"
"""A `Send`, waiting to become a task."""

INTERRUPT: Final = "__interrupt__"
"""The task waits for an answer."""

RESUME: Final = "__resume__"
"""The answers a task has been given so far."""

ERROR: Final = "__error__"
"""The task failed."""

ERROR_SOURCE_NODE: Final = "__error_source_node__"
"""The node that failed, kept for the error handler that runs in its place."""

SNAPSHOT_BUMPS: Final = "__snapshot_bumps__"
"""Key of `versions_seen`: versions that were raised for a snapshot alone, and what their readers had really seen."""

OVERWRITE: Final = "__overwrite__"
"""Marks a dict as a value that replaces the state instead of being reduced into it."""

REMOVE_ALL_MESSAGES: Final = "__remove_all__"
"""Id of a ``RemoveMessage`` that removes every message before it."""

NULL_TASK_ID: Final = "00000000-0000-0000-0000-000000000000"
"""Owner of the writes that no task made."""

CACHE_NS_WRITES: Final = "__pregel_ns_writes"
"""Cache namespace of task results."""

# Kinds of tasks, as the first element of their paths.

PULL: Final = "__pregel_pull"
"""A channel it listens to changed."""

PUSH: Final = "__pregel_push"
"""A `Send` or a call asked for it."""

# A checkpoint namespace is `node:task_id|node:task_id|...`, outermost graph first.

NS_SEP: Final = "|"
NS_END: Final = ":"

# Keys of `config["configurable"]`.

CONF: Final = "configurable"

CONFIG_KEY_THREAD_ID: Final = "thread_id"
CONFIG_KEY_CHECKPOINT_NS: Final = "checkpoint_ns"
CONFIG_KEY_CHECKPOINT_ID: Final = "checkpoint_id"

CONFIG_KEY_CHECKPOINT_MAP: Final = "checkpoint_map"
"""Namespace to checkpoint id, for the graphs that enclose this one."""

CONFIG_KEY_TASK_ID: Final = "__pregel_task_id"
CONFIG_KEY_RUNTIME: Final = "__pregel_runtime"
CONFIG_KEY_SCRATCHPAD: Final = "__pregel_scratchpad"

CONFIG_KEY_READ: Final = "__pregel_read"
"""`read(keys, fresh)`: the state as this task sees it."""

CONFIG_KEY_READ_STATE: Final = "__pregel_read_state"
"""`read()`: the state as the node would be given it by an edge; None unless a `Send` started the task."""

CONFIG_KEY_SEND: Final = "__pregel_send"
"""`write(pairs)`: adds to this task's writes."""

CONFIG_KEY_CALL: Final = "__pregel_call"
"""`call(function, input, ...)`: starts a functional task, returns its future."""

CONFIG_KEY_CHECKPOINTER: Final = "__pregel_checkpointer"
CONFIG_KEY_CACHE: Final = "__pregel_cache"
CONFIG_KEY_STREAM: Final = "__pregel_stream"
CONFIG_KEY_DURABILITY: Final = "__pregel_durability"

CONFIG_KEY_STREAM_MESSAGES_V2: Final = "__pregel_stream_messages_v2"
"""True: token streams are content-block events."""

CONFIG_KEY_RESUMING: Final = "__pregel_resuming"
"""True if a nested graph continues from its last checkpoint."""

CONFIG_KEY_RESUME_MAP: Final = "__pregel_resume_map"
"""Interrupt id, or hash of a namespace, to the answer meant for it."""

CONFIG_KEY_STRICT_RESUME: Final = "__pregel_strict_resume"
"""True: an answer that fits no pending interrupt is refused."""

CONFIG_KEY_REPLAY_STATE: Final = "__pregel_replay_state"
"""The checkpoint of the outer graph that is being replayed, so that nested graphs start from theirs of that time."""

CONFIG_KEY_LINEAGE: Final = "__pregel_lineage"
"""The checkpoints that the enclosing runs started from, so that nested graphs start from those belonging to them."""

CONFIG_KEY_NODE_FINISHED: Final = "__pregel_node_finished"
CONFIG_KEY_NODE_ERROR: Final = "__pregel_node_error"
CONFIG_KEY_RUNNER_SUBMIT: Final = "__pregel_runner_submit"
CONFIG_KEY_TIMED_ATTEMPT_OBSERVER: Final = "__pregel_timed_attempt_observer"

CHECKPOINT_COORDINATE_KEYS: Final = (
    CONFIG_KEY_THREAD_ID,
    CONFIG_KEY_CHECKPOINT_NS,
    CONFIG_KEY_CHECKPOINT_ID,
    CONFIG_KEY_CHECKPOINT_MAP,
)
"""A configurable with any of these addresses a place in a history."""

RESERVED: Final[frozenset[str]] = frozenset(
    {
        *(INPUT, NO_WRITES, INTERRUPT, RESUME, ERROR, ERROR_SOURCE_NODE, SNAPSHOT_BUMPS),
        *(CONFIG_KEY_SEND, CONFIG_KEY_READ, CONFIG_KEY_CHECKPOINTER, CONFIG_KEY_STREAM, CONFIG_KEY_TASK_ID),
        *(CONFIG_KEY_CHECKPOINT_MAP, CONFIG_KEY_CHECKPOINT_ID, CONFIG_KEY_CHECKPOINT_NS),
        *(CONFIG_KEY_RESUMING, CONFIG_KEY_RESUME_MAP, CONFIG_KEY_STRICT_RESUME, CONFIG_KEY_REPLAY_STATE),
        *(CONFIG_KEY_TIMED_ATTEMPT_OBSERVER, CONFIG_KEY_STREAM_MESSAGES_V2),
        *(PUSH, PULL, NS_SEP, NS_END, CONF, TAG_HIDDEN),
    }
)
"""Names that no node and no channel may have."""


@final
class _Missing:
    """The type of `MISSING`: copies and unpickles to the one instance, so that `is` keeps working."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "MISSING"

    def __reduce__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = _Missing()
"""No value, where None would be one. It is never stored: no serialiser takes it."""
