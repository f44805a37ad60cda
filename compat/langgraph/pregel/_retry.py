"""Private names around one attempt of a task that packages import."""

from stategraph.engine.attempt import _parent_ns as _checkpoint_ns_for_parent_command
from stategraph.engine.attempt import matches as _should_retry_on
