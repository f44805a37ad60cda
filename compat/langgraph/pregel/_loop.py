"""Private names that instrumentations wrap; the engine has no such loop."""

from stategraph.engine.unreached import AsyncPregelLoop as AsyncPregelLoop
from stategraph.engine.unreached import PregelLoop as PregelLoop
from stategraph.engine.unreached import SyncPregelLoop as SyncPregelLoop
