"""Values that a run provides to its nodes."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.config.runtime import DEFAULT_RUNTIME as DEFAULT_RUNTIME
from stategraph.engine.config.runtime import BaseUser, ExecutionInfo, RunControl, Runtime, ServerInfo, get_runtime

__all__ = ("BaseUser", "ExecutionInfo", "RunControl", "Runtime", "ServerInfo", "get_runtime")

__getattr__ = _names_of(__name__)
