"""The life of a plug-in, as a table, and its budget of restarts.

    Registered -> Starting -> Running <-> Unhealthy -> Restarting -> Starting ... -> Failed
                                 any of these -> Stopping -> Stopped

It knows no clock: times are arguments, in seconds of any one clock.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import Final

from stategraph.resources.plugins.errors import PluginError


class PluginState(StrEnum):
    """State of a plug-in."""

    REGISTERED = "Registered"
    STARTING = "Starting"
    RUNNING = "Running"
    UNHEALTHY = "Unhealthy"
    RESTARTING = "Restarting"
    FAILED = "Failed"
    STOPPING = "Stopping"
    STOPPED = "Stopped"


class Happening(StrEnum):
    """Reasons for a plug-in to go from one state to another."""

    START = "start"
    STARTED = "started"
    SICK = "sick"
    WELL = "well"
    LOST = "lost"
    EXHAUSTED = "exhausted"
    STOP = "stop"
    ENDED = "ended"


_S, _H = PluginState, Happening

MOVES: Final[dict[tuple[PluginState, Happening], PluginState]] = {
    (_S.REGISTERED, _H.START): _S.STARTING,
    (_S.STARTING, _H.STARTED): _S.RUNNING,
    (_S.STARTING, _H.LOST): _S.RESTARTING,
    (_S.RUNNING, _H.SICK): _S.UNHEALTHY,
    (_S.RUNNING, _H.LOST): _S.RESTARTING,
    (_S.UNHEALTHY, _H.WELL): _S.RUNNING,
    (_S.UNHEALTHY, _H.LOST): _S.RESTARTING,
    (_S.RESTARTING, _H.START): _S.STARTING,
    (_S.RESTARTING, _H.EXHAUSTED): _S.FAILED,
    (_S.FAILED, _H.START): _S.STARTING,
    (_S.STOPPED, _H.START): _S.STARTING,
    (_S.STOPPING, _H.ENDED): _S.STOPPED,
    **{
        (state, _H.STOP): _S.STOPPING
        for state in (_S.REGISTERED, _S.STARTING, _S.RUNNING, _S.UNHEALTHY, _S.RESTARTING, _S.FAILED)
    },
}


class IllegalPluginMove(PluginError):
    """A plug-in was told what cannot happen in its state, which stays as it was."""


def moved(state: PluginState, happening: Happening) -> PluginState:
    """Return the state after something happened.

    Raises:
        IllegalPluginMove: It cannot happen in this state.
    """
    try:
        return MOVES[state, happening]
    except KeyError:
        possible = ", ".join(each for at, each in MOVES if at is state) or "nothing"
        raise IllegalPluginMove(
            f"A plug-in that is {state} cannot be told '{happening}'; possible: {possible}"
        ) from None


class RestartBudget:
    """Counts restarts of a plug-in, and says how long to wait before the next one.

    Args:
        most: Restarts within the window.
        window_s: The window, in seconds.
        first_s: Seconds before the first restart; each further one within the window waits twice as long.
        longest_s: The longest wait, in seconds.
    """

    def __init__(self, most: int = 5, window_s: float = 600.0, first_s: float = 0.5, longest_s: float = 60.0) -> None:
        self._most = most
        self._window = window_s
        self._first = first_s
        self._longest = longest_s
        self._times: deque[float] = deque()

    def take(self, now: float) -> float | None:
        """Take one restart; return the seconds to wait before it, or None if there is none left."""
        while self._times and self._times[0] <= now - self._window:
            self._times.popleft()
        if len(self._times) >= self._most:
            return None
        self._times.append(now)
        wait: float = self._first * 2 ** (len(self._times) - 1)
        return min(self._longest, wait)

    def reset(self) -> None:
        """Forget all restarts, as when a person starts a plug-in that has failed."""
        self._times.clear()
