"""Private checkpoint helpers that packages import."""

from datetime import UTC, datetime

from langgraph.checkpoint.base import Checkpoint
from langgraph.checkpoint.base.id import uuid6

from stategraph.core import checkpoint
from stategraph.core.checkpoint import detached as copy_checkpoint
from stategraph.core.deltas import due as delta_channels_to_snapshot
from stategraph.core.deltas import exit_task_id as exit_delta_task_id


def empty_checkpoint() -> Checkpoint:
    """The checkpoint of a thread in which nothing has been written."""
    return checkpoint.empty(str(uuid6(clock_seq=-2)), datetime.now(UTC).isoformat())
