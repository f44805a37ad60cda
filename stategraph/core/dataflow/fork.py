"""The channels of a run as one of its tasks sees them.

Rules
-----
* A fork shares the channels of the state that it is made from, and copies one before it changes it.
* A list, dict or set is copied before a reducer gets it: one that changes it in place changes nobody else's.
* A fork has versions of its own that mean nothing to others, and is never stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

from stategraph.constants import MISSING
from stategraph.core.state import State
from stategraph.core.state.live_channels import Channels
from stategraph.core.state.versioning import Versioning, count_up
from stategraph.core.task import Fresh

_CONTAINERS = (list, dict, set)


class Fork(State):
    """A copy of a state that costs little until it is changed."""

    __slots__ = ("_own",)

    def __init__(self, origin: State) -> None:
        """Args: origin: The state; it must not change while the fork is used."""
        self.program = program = origin.program
        self.channels = channels = origin.channels.branch()
        self.is_read = False
        self._views = {}
        self._last_view = None
        self._shown = None
        self._checkpoint = {"channel_versions": {}, "versions_seen": {}}
        self._rule = count_up
        self._stored = False
        self._versioning = Versioning(program, self._checkpoint, count_up, stored=False)
        self._later = None
        self._active = set(origin._active)
        self.ignored = {}
        self.goes_on = True
        self._frozen = {}
        self._own: set[str] = set()
        for names in (program.reacts_to_empty, program.reacts_to_finish, program.reacts_to_consume):
            for name in names:
                if name in channels and name not in self._own:
                    self._take(name)

    def _take(self, name: str) -> None:
        """Make a channel the fork's own."""
        channel = self.channels[name].copy()
        if type(value := getattr(channel, "value", MISSING)) in _CONTAINERS:
            channel.value = copy(value)  # type: ignore[attr-defined]
        self.channels[name] = channel
        self._own.add(name)

    def _update(self, name: str, values: Sequence[object], fresh: Fresh | None) -> bool:
        if name not in self._own:
            self._take(name)
        return super()._update(name, values, fresh)


def show(state: State, seen: State) -> None:
    """Let a state show the values of another one; its versions stay.

    Args:
        state: The state; changed.
        seen: The other one, which must not be used as a state afterwards unless nothing is applied to the first.
    """
    channels: Channels = state.channels
    channels.clear()
    channels.update(seen.channels)
    channels.raised = dict(seen.channels.raised)
    state.forget_views()
    state._active = set(seen._active)
