"""What a run provides to its nodes."""

from stategraph.engine.runtime import DEFAULT_RUNTIME as DEFAULT_RUNTIME
from stategraph.engine.runtime import BaseUser, ExecutionInfo, RunControl, Runtime, ServerInfo, get_runtime

__all__ = ("BaseUser", "ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "get_runtime")
