"""What a run provides to its nodes."""

from langgraph_sdk.auth.types import BaseUser

from stategraph.engine.runtime import DEFAULT_RUNTIME as DEFAULT_RUNTIME
from stategraph.engine.runtime import ExecutionInfo, RunControl, Runtime, ServerInfo, get_runtime

__all__ = ("BaseUser", "ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "get_runtime")
