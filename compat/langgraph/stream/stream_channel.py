"""The queue between a transformer and its reader."""

from stategraph.dropin_names import names_of as _names_of
from stategraph.engine.streams.events.queue import StreamChannel as StreamChannel
from stategraph.engine.streams.events.queue import T as T

__getattr__ = _names_of(__name__)
