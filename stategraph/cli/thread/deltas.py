"""Values that a thread stores as the writes that made them: only the graph, which has their reducer, can make them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stategraph.cli.thread.opened import Opened
    from stategraph.run.threads.values import ThreadView


async def not_shown(opened: Opened, view: ThreadView) -> list[str]:
    """Return the names of a state's values that are missing from a view of its thread.

    Args:
        opened: The database of the thread.
        view: The thread at a checkpoint.
    """
    from stategraph.core.deltas import COUNTERS_KEY
    from stategraph.run.threads.conversation import thread_config

    if view.checkpoint_id is None:
        return []
    saved = await opened.saver.aget_tuple(thread_config(view.thread.id, view.checkpoint_id))
    counted = saved.metadata.get(COUNTERS_KEY) or {} if saved is not None else {}
    return sorted(name for name in counted if name in saved.checkpoint["channel_versions"] and name not in view.values)


def told(names: Sequence[str]) -> str:
    """Return a sentence about values that are not shown; an empty one if there are none."""
    if not names:
        return ""
    return f"Not shown: {', '.join(names)} (delta channels, whose values only the graph can make)."
