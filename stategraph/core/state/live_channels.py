"""The live channels of a run, thawed on first touch.

A channel is made from its stored value when it is first needed; most channels of a wide state never are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from stategraph.constants import MISSING
from stategraph.core.channels.base import AnyChannel
from stategraph.core.checkpoint import Values


class Channels(dict[str, AnyChannel]):
    """Live channels by name; a missing one is thawed from its stored value.

    Attributes:
        raised: The signals of the last step, by channel; they have no live channel.
    """

    __slots__ = ("_signals", "_specs", "_values", "raised")

    def __init__(
        self,
        specs: Mapping[str, AnyChannel],
        values: Mapping[str, Any],
        signals: frozenset[str],
    ) -> None:
        self._specs = specs
        self._values = values
        self._signals = signals
        self.raised: Values = {name: values[name] for name in signals.intersection(values)} if values else {}

    def __missing__(self, name: str) -> AnyChannel:
        if name in self._signals:
            return self._specs[name].from_checkpoint(self.raised.get(name, MISSING))
        channel = self._specs[name].from_checkpoint(self._values.get(name, MISSING))
        self[name] = channel
        return channel

    def branch(self) -> Channels:
        """Return the same live channels, in a dict of its own."""
        branch = Channels(self._specs, self._values, self._signals)
        branch.update(self)
        branch.raised = dict(self.raised)
        return branch

    def may_hold_value(self, name: str) -> bool:
        """Return whether the channel can hold a value, without thawing it to see."""
        return name in self or name in self._values

    def starts_nodes(self, name: str) -> bool:
        """Return whether the channel has what starts a node: a value, or for a signal that it was raised."""
        return name in self.raised if name in self._signals else self[name].is_available()
