"""One leader of the processes that share a store, by a lease in it.

The leader alone writes status, deletes and does what must happen once; the others only compile what is stored, for
themselves. Two that both believe to lead for a moment do no harm to the store: every write names the version that it
was made from.
"""

from __future__ import annotations

import os
import socket
from typing import Final
from uuid import uuid4

from stategraph.resources.store.port import ResourceStore

LEASE: Final = "leader"
LEASE_S: Final = 15.0


class Leadership:
    """This process's try to lead.

    Args:
        store: The shared store.
        seconds: How long a lease lasts.

    Attributes:
        leads: Whether it leads now.
        leader: Who leads, as it was seen last.
        pause_s: How often to call `renew`.
    """

    def __init__(self, store: ResourceStore, seconds: float = LEASE_S) -> None:
        self._store = store
        self._seconds = seconds
        self._name = f"{_machine()} {os.getpid()} {uuid4().hex[:8]}"
        self.leads = False
        self.leader = ""
        self.pause_s = seconds / 3

    async def renew(self) -> bool:
        """Take or lengthen the lease, and return whether this process leads."""
        gone = self.leader if _is_gone(self.leader) else ""
        self.leader = await self._store.take_lease(LEASE, self._name, self._seconds, instead_of=gone)
        if self.leader != self._name and not gone and _is_gone(self.leader):
            return await self.renew()
        self.leads = self.leader == self._name
        return self.leads

    async def resign(self) -> None:
        """Give the lease back, so that another process need not wait for its end."""
        if self.leads:
            self.leads = False
            await self._store.drop_lease(LEASE, self._name)


def _machine() -> str:
    """Return a name for the processes that can see each other by their ids: of the host, its boot, the namespace."""
    parts = [socket.gethostname().replace(" ", "-")]
    for path in ("/proc/sys/kernel/random/boot_id", "/proc/self/ns/pid"):
        try:
            parts.append(os.readlink(path) if path.endswith("pid") else _first_line(path))
        except OSError:
            parts.append("")
    return ":".join(parts)


def _first_line(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.readline().strip()


def _is_gone(holder: str) -> bool:
    """Return whether a holder was a process of this machine that is not there any more."""
    machine, _, rest = holder.partition(" ")
    pid = rest.partition(" ")[0]
    if machine != _machine() or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
