"""Names that no run and no process had before."""

from __future__ import annotations

import os
import secrets
import socket
import time
from pathlib import Path
from typing import Final

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def new_ulid() -> str:
    """Make an id of 26 characters that sorts by the millisecond it was made in (https://github.com/ulid/spec)."""
    number = time.time_ns() // 1_000_000 << 80 | secrets.randbits(80)
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
