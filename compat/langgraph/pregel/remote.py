"""A graph on a server."""

import sys
from types import ModuleType
from typing import Any

try:
    from stategraph.engine.remote import wire
except ModuleNotFoundError as error:
    if not (error.name or "").startswith("langgraph_sdk"):
        raise
    raise ModuleNotFoundError(
        "RemoteGraph needs the client library of LangGraph servers: pip install 'stategraph[remote]'", name=error.name
    ) from error

from stategraph.engine.remote.graph import EVENT_RUN_OPTIONS as _V3_SUPPORTED_KWARGS
from stategraph.engine.remote.graph import RemoteGraph
from stategraph.engine.remote.relay import RemoteException
from stategraph.engine.remote.wire import merge_tracing_headers as _merge_tracing_headers
from stategraph.engine.remote.wire import sendable as _sanitize_config_value

__all__ = ("RemoteException", "RemoteGraph")


class _Module(ModuleType):
    """Passes on a replaced tracing hook to where the engine reads it."""

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "_merge_tracing_headers":
            wire.merge_tracing_headers = value


sys.modules[__name__].__class__ = _Module
