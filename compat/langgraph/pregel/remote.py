"""A graph on a server."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.interop.checkpoint_helpers import share_setting
from stategraph.engine.remote import wire
from stategraph.engine.remote.graph import EVENT_RUN_OPTIONS as _V3_SUPPORTED_KWARGS
from stategraph.engine.remote.graph import RemoteGraph
from stategraph.engine.remote.relay import RemoteException
from stategraph.engine.remote.wire import merge_tracing_headers as _merge_tracing_headers
from stategraph.engine.remote.wire import sendable as _sanitize_config_value

__all__ = ("RemoteException", "RemoteGraph")

__getattr__ = _names_of(__name__)

share_setting(__name__, "_merge_tracing_headers", wire, "merge_tracing_headers")
