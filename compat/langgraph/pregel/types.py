"""Older home of the types in `langgraph.types`."""

from warnings import warn

from stategraph.policies import CachePolicy, RetryPolicy, default_retry_on
from stategraph.stream_parts import StreamMode
from stategraph.types import All, PregelExecutableTask, PregelTask, StateSnapshot, StateUpdate, StreamWriter
from stategraph.warnings import LangGraphDeprecatedSinceV10

__all__ = (
    "All",
    "CachePolicy",
    "PregelExecutableTask",
    "PregelTask",
    "RetryPolicy",
    "StateSnapshot",
    "StateUpdate",
    "StreamMode",
    "StreamWriter",
    "default_retry_on",
)

warn(
    f"Importing from {__name__} is deprecated. Please use 'from langgraph.types import ...' instead.",
    LangGraphDeprecatedSinceV10,
    stacklevel=2,
)
