"""Access to the run that a node is in: its config, store and stream."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.config.context import get_config as get_config
from stategraph.engine.config.context import get_store as get_store
from stategraph.engine.config.context import get_stream_writer as get_stream_writer

__getattr__ = _names_of(__name__)
