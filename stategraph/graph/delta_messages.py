"""Message lists that a graph stores as what was added to them: `compile(delta_messages=True)`.

- The graph is the same: each list is merged by `add_messages`, and nodes, streams and states see what they saw before.
- Only the form in a checkpoint differs. A thread that was stored in full goes on as deltas. A thread of deltas goes on
  in full too, from its newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from stategraph.core.channels import BinaryOperatorAggregate, DeltaChannel
from stategraph.core.channels.base import AnyChannel
from stategraph.errors import ConfigurationError
from stategraph.graph.reducers import add_all_messages, add_messages


def kept_channels(channels: Mapping[str, AnyChannel], *, delta_messages: bool) -> Mapping[str, AnyChannel]:
    """Return the channels of a graph, with delta channels in place of those that `add_messages` merges if asked to.

    Args:
        channels: The channels of the state.
        delta_messages: The switch.

    Raises:
        ConfigurationError: `add_messages` merges none of them, and none is a delta channel already; or the switch is
            neither True nor False.
    """
    if not isinstance(delta_messages, bool):
        raise ConfigurationError(f"compile(delta_messages=...) is True or False; found {delta_messages!r}")
    if not delta_messages:
        return channels
    found = {name: _as_delta(channel) for name, channel in channels.items()}
    if not any(isinstance(channel, DeltaChannel) for channel in found.values()):
        raise ConfigurationError(
            "compile(delta_messages=True) finds no message list in the state; its keys are "
            f"{', '.join(map(repr, channels)) or 'none'}. Annotate one with the reducer `add_messages` itself, as "
            "MessagesState does, or leave the argument out. A reducer with options, such as "
            "add_messages(format=...), or of your own is written as a DeltaChannel in the state"
        )
    return found


def _as_delta(channel: AnyChannel) -> AnyChannel:
    if type(channel) is not BinaryOperatorAggregate or channel.operator is not add_messages:
        return channel
    delta: DeltaChannel[Any] = DeltaChannel(add_all_messages, cast("type[Any]", channel.typ))
    delta.key = channel.key
    return delta
