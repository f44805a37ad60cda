"""Older home of config helpers."""

from stategraph.engine.config import ensure_config as ensure_config
from stategraph.engine.config import patch_configurable as patch_configurable
from stategraph.engine.context import get_config as get_config
from stategraph.engine.context import get_store as get_store
