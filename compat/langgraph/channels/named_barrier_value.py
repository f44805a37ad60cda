"""A channel that waits until every named writer has written."""

from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish

__all__ = ("NamedBarrierValue", "NamedBarrierValueAfterFinish")
