"""How many examples a property is tried with."""

from __future__ import annotations

import os

from hypothesis import settings

ASKED_FOR = os.environ.get("STATEGRAPH_EXAMPLES")  # set by `make properties N=...`


def examples(number: int) -> settings:
    """Try a property with this many examples, or with as many as ``make properties`` asks for."""
    return settings(max_examples=int(ASKED_FOR or number))
