"""The kinds of channels, and which of them must be told about what.

Most channels change only when they are written. Telling each of them about every step would make a step cost as much as
the state is wide, so the three questions below are asked once, when a graph is compiled.

This package must never know a program or its tasks: a channel is given the values of a step, and says what to store.
"""

from typing import Final

from stategraph.core.channels.any_value import AnyValue
from stategraph.core.channels.barrier import NamedBarrierValue, NamedBarrierValueAfterFinish
from stategraph.core.channels.base import AnyChannel, BaseChannel
from stategraph.core.channels.binop import BinaryOperatorAggregate, ChangedAggregate
from stategraph.core.channels.delta import DeltaChannel
from stategraph.core.channels.ephemeral import EphemeralValue
from stategraph.core.channels.last_value import LastValue, LastValueAfterFinish
from stategraph.core.channels.topic import Topic
from stategraph.core.channels.untracked import UntrackedValue

__all__ = (
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "ChangedAggregate",
    "DeltaChannel",
    "EphemeralValue",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Topic",
    "UntrackedValue",
    "reacts_to_consume",
    "reacts_to_empty_update",
    "reacts_to_finish",
)

Channel = AnyChannel

_IGNORES_EMPTY_UPDATE: Final = frozenset(
    cls.update
    for cls in (
        BinaryOperatorAggregate,
        ChangedAggregate,
        DeltaChannel,
        LastValue,
        LastValueAfterFinish,
        NamedBarrierValue,
        NamedBarrierValueAfterFinish,
        UntrackedValue,
    )
)


def reacts_to_empty_update(cls: type[Channel]) -> bool:
    """Return whether a channel must hear of a step that wrote nothing to it.

    Args:
        cls: The channel's class.

    Returns:
        False if its `update` is one of ours that returns at once for an empty sequence.
    """
    return cls.update not in _IGNORES_EMPTY_UPDATE


def reacts_to_finish(cls: type[Channel]) -> bool:
    """Return whether a channel must hear that nothing is left to run.

    Args:
        cls: The channel's class.

    Returns:
        False if it has no `finish` of its own.
    """
    return cls.finish is not BaseChannel.finish


def reacts_to_consume(cls: type[Channel]) -> bool:
    """Return whether a channel must hear that a node it started has run.

    Args:
        cls: The channel's class.

    Returns:
        False if it has no `consume` of its own.
    """
    return cls.consume is not BaseChannel.consume
