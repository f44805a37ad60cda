"""Private timeout helpers."""

from stategraph.engine.compile.validate import sync_timeout_unsupported as sync_timeout_unsupported
from stategraph.policies import TimeoutPolicy

coerce_timeout_policy = TimeoutPolicy.coerce
