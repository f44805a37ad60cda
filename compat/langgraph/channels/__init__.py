"""Channels: state cells with an update rule."""

from stategraph.core.channels.any_value import AnyValue
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.base import BaseChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate
from stategraph.core.channels.delta import DeltaChannel
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue, LastValueAfterFinish
from stategraph.core.channels.topic import Topic
from stategraph.core.channels.untracked import UntrackedValue
from stategraph.dropin_names import names_of as _names_of

__all__ = (
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "DeltaChannel",
    "EphemeralValue",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Topic",
    "UntrackedValue",
)

__getattr__ = _names_of(__name__)
