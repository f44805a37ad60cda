"""Processes that dispatch effects of their own, without a run's lease: whether one that has claimed an effect goes on.

- A claim without a run's lease is a lease by itself: it holds for `lease_s` from its time, and the process that
  dispatches the call renews it by a thread, so that another process waits for what comes of the call.
- A process of this machine is seen to be gone at once, and a claim of this process that it does not dispatch too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from typing import Final
from weakref import WeakSet

from stategraph.workers.ids import new_owner
from stategraph.workers.ledger.machine import Claimant

_log = logging.getLogger(__name__)

_PARTS: Final = 4
"""Of an owner's name: host, process, boot, and a part that is new each time."""

Name = tuple[str, str]
"""The scope and the key of an effect."""


class Dispatching:
    """The effects that one book of this process dispatches, renewed while they go on.

    Args:
        renew: Renews the claims of effects; it blocks.
        every_s: Seconds between two renewals.
    """

    def __init__(self, renew: Callable[[Mapping[Name, Claimant]], None], every_s: float) -> None:
        self._renew = renew
        self._every_s = every_s
        self._open: dict[Name, Claimant] = {}
        self._lock = threading.Lock()
        self._woken = threading.Condition(self._lock)
        self._thread: threading.Thread | None = None
        with _listing:
            _all.add(self)

    def __contains__(self, name: Name) -> bool:
        return name in self._open

    def add(self, name: Name, claimant: Claimant) -> None:
        """Note that an effect is being dispatched."""
        with self._lock:
            self._open[name] = claimant
            if claimant.token == 0 and self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="stategraph-effects", daemon=True)
                self._thread.start()

    def discard(self, name: Name) -> None:
        """Note that it is not dispatched any more."""
        with self._lock:
            self._open.pop(name, None)

    def has(self, name: Name, claimant: Claimant) -> bool:
        """Return whether an effect is dispatched for this claimant."""
        return self._open.get(name) == claimant

    def _keep(self) -> None:
        """Renew what has a claim of its own; end when there is nothing."""
        while True:
            with self._lock:
                self._woken.wait(self._every_s)
                kept = {name: each for name, each in self._open.items() if each.token == 0}
                if not kept:
                    self._thread = None
                    return
            try:
                self._renew(kept)
            except Exception as error:
                _log.warning("The claims of %d effects could not be renewed: %s", len(kept), error)


_all: WeakSet[Dispatching] = WeakSet()
_listing = threading.Lock()


def may_go_on(name: Name, claimant: Claimant) -> bool:
    """Return whether the process that has claimed an effect may be dispatching it; False: it is gone, or does not."""
    parts, own = claimant.run_id.split(":"), _HERE.split(":")
    if len(parts) != _PARTS or (parts[0], parts[2]) != (own[0], own[2]):
        return True  # a process of another machine
    if parts[1] == str(os.getpid()):
        with _listing:
            books = [*_all]
        return any(each.has(name, claimant) for each in books)
    try:
        os.kill(int(parts[1]), 0)
    except (ProcessLookupError, ValueError, OverflowError):
        return False
    except OSError:
        pass  # another user's
    return True


_HERE: Final = new_owner()
