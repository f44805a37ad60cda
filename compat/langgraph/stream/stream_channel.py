"""The queue between a transformer and its reader."""

from stategraph.engine.projections.queue import StreamChannel as StreamChannel
