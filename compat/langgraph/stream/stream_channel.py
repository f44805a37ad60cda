"""The queue between a transformer and its reader."""

from stategraph.engine.events.queue import StreamChannel as StreamChannel
from stategraph.engine.events.queue import T as T
