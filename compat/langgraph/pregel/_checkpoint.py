"""Private checkpoint helpers that packages import."""

from stategraph.core.checkpoint import detached as copy_checkpoint
from stategraph.core.deltas import exit_task_id as exit_delta_task_id
from stategraph.core.deltas import late_exit_task_id as exit_delta_late_task_id
from stategraph.core.deltas import seen_without_bumps as versions_seen_without_bumps
from stategraph.engine.config.runnable_config import DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT
from stategraph.engine.interop.checkpoint_helpers import (
    achannels_from_checkpoint,
    channels_from_checkpoint,
    delta_channels_to_snapshot,
    empty_checkpoint,
    share_setting,
)

share_setting(__name__, "DELTA_MAX_SUPERSTEPS_SINCE_SNAPSHOT")
