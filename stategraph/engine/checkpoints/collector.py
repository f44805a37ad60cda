"""Python's garbage collector, paused while many objects are made that all stay alive."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Final

MANY: Final = 500
"""Values of a list from which on it is paused."""

_NOTHING: Final = nullcontext()


def paused(count: int) -> AbstractContextManager[None]:
    """Keep the garbage collector from running while a list is made, if it is long.

    It would look through the new objects again and again. It is the process's, so threads that run meanwhile are not
    collected either, for some milliseconds.

    Args:
        count: How many values the list has.
    """
    return _NOTHING if count < MANY else _paused()


@contextmanager
def _paused() -> Iterator[None]:
    was_enabled = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if was_enabled:
            gc.enable()
