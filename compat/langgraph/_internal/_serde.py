"""Private allow-list helpers."""

from stategraph.engine.checkpoints.allowlist import apply as apply_checkpointer_allowlist
from stategraph.engine.checkpoints.allowlist import collect as collect_allowlist_from_schemas
from stategraph.engine.checkpoints.allowlist import message_classes as curated_core_allowlist
