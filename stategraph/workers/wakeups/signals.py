"""Values of the package: what can be signalled, and how its names are written in subjects and payloads."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeAlias

#: Longer names are cut, and told apart by a digest.
LONGEST_TOKEN: Final = 100

_UNSAFE: Final = re.compile(rb"[^A-Za-z0-9_-]")


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


def token(name: str) -> str:
    """Write any text with letters, digits, `-`, `_` and `=` alone, so that different texts stay different.

    NATS gives a meaning to dots, stars, angle brackets and spaces in subjects, and PostgreSQL limits a payload. An
    empty text is `=`; other characters are `=` and two hexadecimal digits for each of their bytes.
    """
    written = _UNSAFE.sub(lambda found: b"=%02X" % found[0][0], name.encode("utf-8", "surrogatepass")).decode() or "="
    if len(written) <= LONGEST_TOKEN:
        return written
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
    return f"{written[: LONGEST_TOKEN - 36]}=={digest}"
