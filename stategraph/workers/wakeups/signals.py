"""Values of the package: what can be signalled."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias


class SignalKind(StrEnum):
    """Kinds of signals, by what their name names.

    Attributes:
        WORK: A queue: a run of it can be claimed. One of those who wait for it is enough.
        STOP: The owner of runs: one of them is to stop.
        EVENTS: A run: it has new events.
    """

    WORK = "work"
    STOP = "stop"
    EVENTS = "events"


#: What a waiter watches: a kind and a name.
Topic: TypeAlias = tuple[SignalKind, str]


@dataclass(frozen=True, slots=True)
class Signal:
    """A reason to look at the database.

    Attributes:
        kind: What happened.
        name: The queue, the owner or the run.
        tenant: Whose run it is about, for buses that tell tenants apart.
    """

    kind: SignalKind
    name: str
    tenant: str = ""

    @property
    def topic(self) -> Topic:
        """The topic that its waiters watch."""
        return self.kind, self.name
