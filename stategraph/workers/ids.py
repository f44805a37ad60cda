"""Make names that no run and no process had before."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Final

from stategraph.engine.config import environment

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_RANDOM: Final = (1 << 80) - 1
"""The last 80 bits of a UUID of version 4; two of them are the same in all."""
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def new_ulid() -> str:
    """Make an id of 26 characters that sorts by the millisecond it was made in (https://github.com/ulid/spec)."""
    here = environment.current()
    number = int(here.clock.time() * 1_000) << 80 | here.ids.unique().int & _RANDOM
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def new_owner() -> str:
    """Name this process, as the owner of leases: host, process, boot and a part that is new with each call.

    A name that a later process could have too, such as that of a machine or a container, would let a process that was
    stopped go on under its replacement's lease.
    """
    try:
        boot = _BOOT_ID.read_text(encoding="ascii")[:8]
    except OSError:  # not Linux
        boot = "-"
    return f"{socket.gethostname()}:{os.getpid()}:{boot}:{new_ulid()}"
