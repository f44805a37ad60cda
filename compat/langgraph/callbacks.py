"""Graph lifecycle callbacks."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.tracing.graph_callbacks import (
    GraphCallbackHandler,
    GraphInterruptEvent,
    GraphLifecycleEvent,
    GraphLifecycleStatus,
    GraphResumeEvent,
    get_async_graph_callback_manager_for_config,
    get_sync_graph_callback_manager_for_config,
)
from stategraph.engine.tracing.graph_callbacks import GraphCallbackManager as _GraphCallbackManager

__all__ = (
    "GraphCallbackHandler",
    "GraphInterruptEvent",
    "GraphLifecycleEvent",
    "GraphLifecycleStatus",
    "GraphResumeEvent",
    "get_async_graph_callback_manager_for_config",
    "get_sync_graph_callback_manager_for_config",
)

__getattr__ = _names_of(__name__)
