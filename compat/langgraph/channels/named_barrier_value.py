"""A channel that waits until every named writer has written."""

from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.dropin_names import names_of as _names_of

__all__ = ("NamedBarrierValue", "NamedBarrierValueAfterFinish")

__getattr__ = _names_of(__name__)
