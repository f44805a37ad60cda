"""Private names for the classes that a strict serialiser may rebuild."""

from stategraph.engine.allowlist import STRICT_MSGPACK_ENABLED as STRICT_MSGPACK_ENABLED
from stategraph.engine.allowlist import apply as apply_checkpointer_allowlist
from stategraph.engine.allowlist import collect as collect_allowlist_from_schemas
from stategraph.engine.allowlist import message_classes as curated_core_allowlist
