"""The config of a run: completed as any other, or, for runs of which nobody asked anything, the same for all of them.

Rules
-----
* The engine never changes the config of a run. What tasks are given are copies.
"""

from __future__ import annotations

from typing import Final

from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import var_child_runnable_config

from stategraph.constants import CONF
from stategraph.engine.config.runnable_config import DEFAULT_RECURSION_LIMIT, ensure_config

UNASKED: Final[RunnableConfig] = {
    "tags": [],
    "metadata": {},
    "callbacks": None,
    "recursion_limit": DEFAULT_RECURSION_LIMIT,
    CONF: {},
}
"""The config that `ensure_config` makes of nothing, where nothing runs around it."""


def run_config(defaults: RunnableConfig | None, config: RunnableConfig | None) -> RunnableConfig:
    """Complete the config of a run as `ensure_config` does.

    Args:
        defaults: The graph's.
        config: The caller's.

    Returns:
        `UNASKED` if there is nothing to be laid over it.
    """
    if config or defaults or var_child_runnable_config.get():
        return ensure_config(defaults, config)
    return UNASKED
