"""Private config helpers that packages import."""

from stategraph.engine.config.runnable_config import DEFAULT_RECURSION_LIMIT as DEFAULT_RECURSION_LIMIT
from stategraph.engine.config.runnable_config import ensure_config as ensure_config
from stategraph.engine.config.runnable_config import (
    get_async_callback_manager_for_config as get_async_callback_manager_for_config,
)
from stategraph.engine.config.runnable_config import get_callback_manager_for_config as get_callback_manager_for_config
from stategraph.engine.config.runnable_config import is_not_empty as _is_not_empty
from stategraph.engine.config.runnable_config import merge_callbacks as _merge_callbacks
from stategraph.engine.config.runnable_config import merge_configs as merge_configs
from stategraph.engine.config.runnable_config import patch_checkpoint_map as patch_checkpoint_map
from stategraph.engine.config.runnable_config import patch_config as patch_config
from stategraph.engine.config.runnable_config import patch_configurable as patch_configurable
from stategraph.engine.config.runnable_config import recast_checkpoint_ns as recast_checkpoint_ns
