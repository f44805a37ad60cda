"""One execution at a time on a thread: two would both start from the same messages, and one turn would be lost.

Known is what this process executes on the same checkpointer; hosts of several processes see to the others themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from stategraph.errors import ConfigurationError
from stategraph.run import given

_executed: dict[tuple[int, str], str] = {}


@contextmanager
def taken(checkpointer: Any, config: Mapping[str, Any], run_id: str) -> Iterator[None]:
    """Have a thread to oneself.

    Args:
        checkpointer: Keeps the thread; without one there is nothing to lose.
        config: The host's, which names the thread.
        run_id: Who takes it.

    Raises:
        ConfigurationError: A run is being executed on it.
    """
    if not checkpointer:
        yield
        return
    thread_id = str(given.runnable_config(config, run_id)["configurable"]["thread_id"])
    key = id(checkpointer), thread_id
    other = _executed.get(key)
    if other is not None:
        raise ConfigurationError(
            f"Run '{run_id}' cannot be executed on thread '{thread_id}': run '{other}' is being executed on it; "
            "wait for it or abort it"
        )
    _executed[key] = run_id
    try:
        yield
    finally:
        del _executed[key]
