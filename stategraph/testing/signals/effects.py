"""Count effects that a graph has outside of its state, across the processes of a trial."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Final

#: Names the file to which lives add a line for each effect.
VARIABLE: Final = "STATEGRAPH_EFFECTS_FILE"


def count_effect(name: str) -> None:
    """Note that an effect has happened, such as a payment; outside of `fuzz_signals` this does nothing.

    Args:
        name: Its name, in one line.
    """
    path = os.environ.get(VARIABLE)
    if path is None:
        return
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, f"{' '.join(name.split())}\n".encode())  # in one piece: a process dies before it or after it
    finally:
        os.close(file)


def counted(path: Path) -> Counter[str]:
    """Return how often each effect happened."""
    return Counter(path.read_text().splitlines() if path.exists() else ())
