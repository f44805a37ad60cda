"""The runtime that runs a target: approvals can be asked for, threads are listed and kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from stategraph.dev.target import Target
from stategraph.engine.checkpoints.memory import in_memory_saver
from stategraph.run.config import HumanInTheLoop
from stategraph.run.runtime import AgentRuntime

#: Settings of a target that belong to the runtime, as all of its runs share them.
_SHARED: Final = ("checkpointer", "store")


def host(target: Target, store: Any = None, **settings: Any) -> tuple[AgentRuntime, Target]:
    """Make the runtime of a target.

    Args:
        target: The target.
        store: Keeps the threads: a saver or the address of a database. None: the target's own, else memory.
        **settings: Further arguments of `AgentRuntime`.

    Returns:
        The runtime, to be opened, and the target without the settings that the runtime has taken over.

    Raises:
        ConfigurationError: The settings make no sense.
    """
    own = dict(target.settings)
    given = {"thread_index": True, **settings}
    given |= {name: own.pop(name) for name in _SHARED if name in own}
    if store is not None:
        given["checkpointer"] = store
    if given.get("checkpointer") is None:
        given["checkpointer"] = in_memory_saver()
    if "human_in_the_loop" not in own:
        given["human_in_the_loop"] = HumanInTheLoop(enabled=True)
    return AgentRuntime(**given), replace(target, settings=own)
