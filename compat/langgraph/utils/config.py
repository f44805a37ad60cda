"""Older home of config helpers."""

from stategraph.engine.config.context import get_config as get_config
from stategraph.engine.config.context import get_store as get_store
from stategraph.engine.config.runnable_config import ensure_config as ensure_config
from stategraph.engine.config.runnable_config import patch_configurable as patch_configurable
